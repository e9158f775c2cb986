//! Limits of resources (getrlimit(2)): what a process is told, and may set. The number of open files is observed.

use std::collections::BTreeMap;

use super::cluster::Cluster;
use super::descriptors::{DESCRIPTORS_MAX, Errno};

/// The kinds of resources that Linux counts (RLIM_NLIMITS).
const KINDS: u32 = 16;

// As Linux numbers them; the crate libc has these for Linux alone.
const STACK: u32 = 3;
const CORE: u32 = 4;
const PROCESSES: u32 = 6;
/// How many descriptors a process may have (RLIMIT_NOFILE).
pub(crate) const OPEN_FILES: u32 = 7;
const LOCKED_MEMORY: u32 = 8;
const PENDING_SIGNALS: u32 = 11;
const MESSAGE_QUEUES: u32 = 12;
const NICE: u32 = 13;
const REAL_TIME_PRIORITY: u32 = 14;

/// No limit (RLIM_INFINITY).
const INFINITE: u64 = u64::MAX;

/// What a process is held to, and to what it may raise that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// The limits that processes have set, by machine and kind. All others are [as a process begins](default).
#[derive(Default)]
pub(crate) struct Limits(BTreeMap<(u32, u32), Limit>);

/// As systemd starts a service on a machine of eight gigabytes.
fn default(kind: u32) -> Limit {
    let (soft, hard) = match kind {
        STACK => (8 << 20, INFINITE),
        CORE => (0, INFINITE),
        PROCESSES | PENDING_SIGNALS => (31_500, 31_500),
        OPEN_FILES => (1024, DESCRIPTORS_MAX),
        LOCKED_MEMORY => (8 << 20, 8 << 20),
        MESSAGE_QUEUES => (819_200, 819_200),
        NICE | REAL_TIME_PRIORITY => (0, 0),
        _ => (INFINITE, INFINITE),
    };
    Limit { soft, hard }
}

impl Limits {
    /// A limit of a machine's process.
    ///
    /// # Errors
    /// EINVAL for a kind that Linux does not know.
    pub(crate) fn get(&self, machine: u32, kind: u32) -> Result<Limit, Errno> {
        match kind < KINDS {
            true => Ok(self.0.get(&(machine, kind)).copied().unwrap_or_else(|| default(kind))),
            false => Err(libc::EINVAL),
        }
    }

    /// Sets a limit.
    ///
    /// # Errors
    /// As prlimit(2)'s of a user without privileges.
    pub(crate) fn set(&mut self, machine: u32, kind: u32, limit: Limit) -> Result<(), Errno> {
        let former = self.get(machine, kind)?;
        if limit.soft > limit.hard {
            return Err(libc::EINVAL);
        }
        if limit.hard > former.hard {
            return Err(libc::EPERM);
        }
        self.0.insert((machine, kind), limit);
        Ok(())
    }
}

impl Cluster {
    /// How many descriptors a process may have.
    pub(super) fn descriptors_limit(&self, machine: u32) -> i32 {
        let limit = self.limits.get(machine, OPEN_FILES).map_or(DESCRIPTORS_MAX, |limit| limit.soft);
        limit.min(DESCRIPTORS_MAX) as i32
    }

    /// A process has ended: the next one of its machine begins with its own.
    pub(super) fn limits_gone(&mut self, machine: u32) {
        self.limits.0.retain(|(of, _), _| *of != machine);
    }
}
