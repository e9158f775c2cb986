//! What may go wrong with a disk.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::plan::Family;

/// What goes wrong with a machine's disk while a fault lasts: see [`Kind::Disk`](crate::fault::Kind::Disk) and
/// [`Disk::trouble`](crate::Disk::trouble). Rates (`ppm`) are parts per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum DiskTrouble {
    /// Calls fail with `EIO`.
    ///
    /// After a sync that failed the pages that it was of count as clean: the next sync succeeds, and a power loss loses them all the
    /// same, as on Linux (Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020).
    Errors {
        /// Of which calls.
        of: DiskCall,
        /// The rate of calls that fail.
        ppm: u32,
    },
    /// No space is left: what needs another page fails with `ENOSPC`.
    Full,
    /// The user's quota is used up: what needs another page fails with `EDQUOT`.
    OverQuota,
    /// Syncs take longer.
    Slow {
        /// The greatest extra time.
        #[serde(with = "super::plan::text")]
        delay_max: Duration,
    },
    /// Reads and writes transfer less than they could.
    Short {
        /// The rate of such calls.
        ppm: u32,
    },
    /// Bits flip in sectors of files, once.
    BitRot {
        /// How many sectors.
        sectors: u32,
    },
    /// Sectors of files cannot be read (`EIO`) until they are written again (latent sector errors), from once on.
    BadSectors {
        /// How many sectors.
        sectors: u32,
    },
    /// A sync leaves some pages as they were on the medium, and says nothing.
    LostWrites {
        /// The rate of such pages.
        ppm: u32,
    },
    /// A sync writes some pages to the place of others of their file, and says nothing.
    MisdirectedWrites {
        /// The rate of such pages.
        ppm: u32,
    },
    /// A read gets another page of its file.
    MisdirectedReads {
        /// The rate of such reads.
        ppm: u32,
    },
}

/// A kind of calls on files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DiskCall {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Syncs.
    Sync,
}

impl DiskTrouble {
    /// The family of such faults.
    pub fn family(&self) -> Family {
        match self {
            Self::Errors { .. } => Family::DiskErrors,
            Self::Full | Self::OverQuota => Family::DiskFull,
            Self::Slow { .. } => Family::SlowDisk,
            Self::Short { .. } => Family::ShortTransfers,
            Self::BitRot { .. }
            | Self::BadSectors { .. }
            | Self::LostWrites { .. }
            | Self::MisdirectedWrites { .. }
            | Self::MisdirectedReads { .. } => Family::Corruption,
        }
    }

    /// Its rate, if it has one.
    pub(crate) fn ppm(&self) -> Option<u32> {
        match *self {
            Self::Errors { ppm, .. }
            | Self::Short { ppm }
            | Self::LostWrites { ppm }
            | Self::MisdirectedWrites { ppm }
            | Self::MisdirectedReads { ppm } => Some(ppm),
            Self::Full
            | Self::OverQuota
            | Self::Slow { .. }
            | Self::BitRot { .. }
            | Self::BadSectors { .. } => None,
        }
    }
}

impl fmt::Display for DiskTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |ppm: &u32| f64::from(*ppm) / 10_000.0;
        match self {
            Self::Errors { of, ppm } => {
                let of = match of {
                    DiskCall::Read => "reads",
                    DiskCall::Write => "writes",
                    DiskCall::Sync => "syncs",
                };
                write!(f, "{} % of {of} fail", share(ppm))
            }
            Self::Full => f.write_str("no space is left"),
            Self::OverQuota => f.write_str("the quota is used up"),
            Self::Slow { delay_max } => write!(f, "syncs take up to {delay_max:?} longer"),
            Self::Short { ppm } => write!(f, "{} % of reads and writes are short", share(ppm)),
            Self::BitRot { sectors } => write!(f, "bits flip in {sectors} sectors"),
            Self::BadSectors { sectors } => write!(f, "{sectors} sectors cannot be read"),
            Self::LostWrites { ppm } => write!(f, "{} % of pages are not written", share(ppm)),
            Self::MisdirectedWrites { ppm } => write!(f, "{} % of pages are written elsewhere", share(ppm)),
            Self::MisdirectedReads { ppm } => write!(f, "{} % of reads get another page", share(ppm)),
        }
    }
}
