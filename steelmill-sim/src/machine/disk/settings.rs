//! What a machine's disk is like.

use std::time::Duration;

/// What a disk is like: its size, what it promises, how long it takes. See [`Disk::set`](crate::Disk::set).
///
/// ```
/// use steelmill_sim::DiskSettings;
///
/// let small = DiskSettings { capacity: 1 << 20, ..DiskSettings::default() };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSettings {
    /// How many bytes the files may take, in pages of 4 KiB each. When they are used up, a write fails with `ENOSPC`.
    pub capacity: u64,
    /// How many bytes the user may have of that, quotactl(2); no more than the capacity. When they are used up, a write fails with
    /// `EDQUOT`. statfs(2) does not show it.
    pub quota: Option<u64>,
    /// How many bytes the disk writes at once, so that a power loss does not tear them: 512 or 4096.
    pub sector: usize,
    /// What survives a power loss.
    pub durability: Durability,
    /// The least time that a sync takes (fsync(2) and its kin, and writes with `O_SYNC`).
    pub sync_min: Duration,
    /// The greatest time that a sync takes.
    pub sync_max: Duration,
    /// Whether a sync does nothing but take its time, as of a disk that lies about its cache.
    pub ignores_syncs: bool,
}

impl Default for DiskSettings {
    /// A terabyte of 512-byte sectors that keeps what POSIX promises, and syncs within 0.1 to 2 ms.
    fn default() -> Self {
        Self {
            capacity: 1 << 40,
            quota: None,
            sector: 512,
            durability: Durability::Posix,
            sync_min: Duration::from_micros(100),
            sync_max: Duration::from_millis(2),
            ignores_syncs: false,
        }
    }
}

/// What a file system keeps when the power is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// What POSIX promises: the data and the length of a file that was synced, and the names in a directory that was synced. Of
    /// all else any part may be there: in any order, torn at sectors, a file's new length without its data.
    Posix,
    /// What ext4 adds with its default options: a sync makes all earlier changes of names durable, these survive in their
    /// order, and a file is not longer than its data.
    Ext4,
}
