//! What a run is repeated for, beside its outcome.

use serde::{Deserialize, Serialize};

/// What to look at in a repeated run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Look {
    /// Where the tasks wait that are aborted at a deadline after a number of polls. The run ends there.
    Aborted { polls: u64 },
    /// Who holds what a task, by its key within the run, waits for at the end.
    Holder { task: u64, backwards: bool },
    /// Which threads of a program hold a lock at the end, by where it was in runs before.
    Threads { locks: Vec<LockWord> },
}

/// The word of memory that tells whether a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LockWord {
    /// The machine of those that wait for it.
    pub(crate) machine: u32,
    pub(crate) address: usize,
    pub(crate) kind: LockKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LockKind {
    Mutex,
    RwLock,
}
