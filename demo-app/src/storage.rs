//! What a daemon keeps on disk: keys and values, with group commit. The daemon serves from memory; this is what outlives
//! its process.
//!
//! Each change gets a number, and changes become durable in the order of their numbers. One commit takes all changes that
//! are queued, and syncs once; what is queued meanwhile shares the next one. A reply that shows a change is sent when the
//! change is durable ([`Storage::durable`]): the reply to a read as well, or a client could be shown a value that a power
//! loss takes back.
//!
//! # After an error
//! A commit that failed may be on the disk, or not, or in part; and on Linux a second sync after one that failed succeeds,
//! while the data is gone. So nothing is tried again. No further change becomes durable, the daemon's `run` fails, and with
//! it the process, as Redis's does with `appendfsync always`. The next start makes sure of what it finds ([`database`]).
//!
//! # Without a folder
//! Each change counts as durable at once, and is gone with the process.

mod database; // the file: opened, copied, committed to; these calls block

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail};
use steelmill_core::{DaemonRef, Factory, Result, Scope, assert_sometimes_at_least};
use tokio::sync::{Notify, watch};

use crate::settings::{Canary, Settings};
use crate::token::micros_since_1970;
use crate::world::Clock;
#[cfg(test)]
pub use database::Entry;
pub use database::Loaded;
use database::{Change, Database};

/// A key's value, cheap to clone.
pub type Value = Arc<[u8]>;

/// Keeps a daemon's keys and values, on disk or not at all.
pub struct Storage {
    /// The number of the last change.
    last: AtomicU64,
    disk: Option<Disk>,
}

struct Disk {
    folder: PathBuf,
    /// The daemon, which is the name of its file, too.
    name: &'static str,
    canary: Option<Canary>,
    clock: DaemonRef<Clock>,
    /// The changes that no commit has taken yet. A change gets its number under this lock.
    queue: Mutex<Vec<Queued>>,
    queued: Notify,
    durable: watch::Sender<Durable>,
    /// From [`Storage::load`] to [`Storage::run`].
    database: Mutex<Option<Database>>,
}

struct Queued {
    key: Box<[u8]>,
    /// `None` removes the key.
    record: Option<Record>,
}

/// A key's value.
#[derive(Debug, Clone)]
pub struct Record {
    pub value: Value,
    pub expires_at: Option<Instant>,
}

/// What is durable.
#[derive(Debug, Clone, Copy, Default)]
struct Durable {
    /// All changes up to this number are.
    up_to: u64,
    /// No further change will be: a commit failed, or the daemon stops.
    is_final: bool,
}

/// A change is not known to be durable, and never will be in this life of the process.
#[derive(Debug, thiserror::Error)]
#[error("it is not known whether the change survives: {0} stops committing")]
pub struct NotDurable(&'static str);

impl Storage {
    /// The storage of the daemon `name` as configured.
    pub fn build(factory: &mut Factory, name: &'static str) -> Result<Self> {
        let settings = factory.value::<Settings>()?;
        let disk = match &settings.data {
            None => None,
            Some(folder) => Some(Disk {
                folder: folder.clone(),
                name,
                canary: settings.canary,
                clock: factory.get()?,
                queue: Mutex::default(),
                queued: Notify::new(),
                durable: watch::Sender::default(),
                database: Mutex::default(),
            }),
        };
        Ok(Self { last: AtomicU64::new(0), disk })
    }

    /// One without a disk.
    #[cfg(test)]
    pub fn in_memory() -> Self {
        Self { last: AtomicU64::new(0), disk: None }
    }

    /// Opens the file and returns what is in it; `None` without a disk.
    ///
    /// # Errors
    /// The folder cannot be used, another process uses it, or the file is damaged or of another version. Nothing was
    /// changed.
    pub async fn load(&self) -> Result<Option<Loaded>> {
        let Some(disk) = &self.disk else { return Ok(None) };
        let (folder, name) = (disk.folder.clone(), disk.name);
        let syncs_names = disk.canary != Some(Canary::DirectorySync);
        let (database, loaded) = blocking(move || Database::open(&folder, name, syncs_names))
            .await
            .context("cannot use --data")?;
        let (entries, folder) = (loaded.entries.len(), disk.folder.display());
        match loaded.is_new {
            true => tracing::info!("{name} begins empty in {folder}"),
            false => tracing::info!("{name} has {entries} entries in {folder}"),
        }
        *lock(&disk.database) = Some(database);
        Ok(Some(loaded))
    }

    /// Whether changes outlive the process.
    pub fn is_on_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// The number of the last change.
    pub fn last(&self) -> u64 {
        self.last.load(SeqCst)
    }

    /// Queues a change of `key` and returns its number; no record removes the key. Changes of one key must be made under a
    /// lock of the caller's, so that their numbers have its order.
    pub fn change(&self, key: &[u8], record: Option<&Record>) -> u64 {
        let Some(disk) = &self.disk else {
            return self.last.fetch_add(1, SeqCst) + 1;
        };
        let queued = Queued { key: key.into(), record: record.cloned() };
        let mut queue = lock(&disk.queue);
        queue.push(queued);
        let number = self.last.fetch_add(1, SeqCst) + 1;
        drop(queue);
        disk.queued.notify_one();
        number
    }

    /// Whether all changes up to `number` are durable.
    pub fn is_durable(&self, number: u64) -> bool {
        self.disk.as_ref().is_none_or(|disk| {
            number == 0 || disk.canary == Some(Canary::EarlyReply) || disk.durable.borrow().up_to >= number
        })
    }

    /// Waits until all changes up to `number` are durable.
    ///
    /// # Errors
    /// They never will be.
    pub async fn durable(&self, number: u64) -> Result<(), NotDurable> {
        let Some(disk) = self.disk.as_ref().filter(|_| !self.is_durable(number)) else {
            return Ok(());
        };
        let mut durable = disk.durable.subscribe();
        let state = durable.wait_for(|state| state.up_to >= number || state.is_final).await;
        // The sender is in `disk`, so it is not dropped meanwhile.
        match state.is_ok_and(|state| state.up_to >= number) {
            true => Ok(()),
            false => Err(NotDurable(disk.name)),
        }
    }

    /// Commits changes until the stop; then commits what is left, and closes the file.
    ///
    /// # Errors
    /// A commit failed: what it has and all that follows is not durable, and never becomes so.
    pub async fn run(&self, scope: &Scope) -> Result {
        let Some(disk) = &self.disk else {
            scope.stopping().await;
            return Ok(());
        };
        let committing = self.commit_loop(disk, scope).await;
        disk.durable.send_modify(|durable| durable.is_final = true);
        committing.with_context(|| {
            format!("what {} acknowledged is in {}, and nothing more", disk.name, disk.folder.display())
        })
    }

    async fn commit_loop(&self, disk: &Disk, scope: &Scope) -> Result {
        let Some(mut database) = lock(&disk.database).take() else {
            bail!("{} is not open", disk.folder.display());
        };
        let mut is_stopping = false;
        loop {
            let (queue, last) = {
                let mut queue = lock(&disk.queue);
                (std::mem::take(&mut *queue), self.last())
            };
            if queue.is_empty() {
                if is_stopping {
                    return blocking(move || database.close()).await;
                }
                is_stopping = scope.until_stopping(disk.queued.notified()).await.is_none();
                continue;
            }
            assert_sometimes_at_least!(queue.len(), 2, "several changes share a commit");
            let changes = disk.changes(queue);
            database = blocking(move || database.commit(&changes).map(|()| database)).await?;
            disk.durable.send_modify(|durable| durable.up_to = last);
        }
    }
}

impl Disk {
    /// As they are in the file: with the wall clock's times, because no other clock outlives the process.
    fn changes(&self, queue: Vec<Queued>) -> Vec<Change> {
        let (now, wall) = (self.clock.now(), micros_since_1970(self.clock.wall()));
        let on_wall = |at: Instant| {
            let left = at.saturating_duration_since(now).as_micros();
            wall.saturating_add(u64::try_from(left).unwrap_or(u64::MAX)).max(1)
        };
        let change = |Queued { key, record }| Change {
            key,
            record: record.map(|Record { value, expires_at }| (expires_at.map_or(0, on_wall), value)),
        };
        queue.into_iter().map(change).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind it is consistent at every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes calls that block on a thread that may.
#[expect(
    clippy::disallowed_methods,
    reason = "files block; what outlives its daemon here is a commit that nobody is told of"
)]
async fn blocking<T: Send + 'static>(calls: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(calls).await {
        Ok(done) => done,
        Err(error) => Err(anyhow!("the database failed: {error}")),
    }
}
