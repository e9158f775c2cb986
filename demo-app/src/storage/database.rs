//! The file of a daemon's data: a redb database, `NAME.redb` in the folder. Every call here blocks.
//!
//! redb, because it is written in Rust alone, is one file of a documented format, and commits with one sync; the
//! simulation found nothing lost in it. As all is in memory too, nothing is asked of it while the daemon serves but to
//! commit.
//!
//! # What a start makes sure of
//! What was written and not synced when the last process ended may be seen by this one, from the cache of the system, and
//! be gone after a power loss. That is so after a sync that failed, and nobody can tell: to the system the pages are clean
//! ("Can Applications Recover from fsync Failures?", Rebello et al., USENIX ATC 2020). So a start copies the file, and
//! checks, syncs and uses the copy, which takes the file's name in one step. Until then the old file is not touched,
//! whatever fails; and what a start has read is durable before anybody is served.
//!
//! A new file has all it needs before it gets its name, and then its folder is synced, without which a power loss could
//! take the name back, and the data with it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail, ensure};
use redb::{DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError, TableDefinition};
use steelmill_core::Result;

use super::Value;

/// Keys, each with the wall clock's microseconds since 1970 at which it expires, or 0, and its value.
const ENTRIES: TableDefinition<'_, &[u8], (u64, &[u8])> = TableDefinition::new("entries");

/// The name of the daemon, with the version of the format of its entries.
const FORMAT: TableDefinition<'_, &str, u64> = TableDefinition::new("format");
const VERSION: u64 = 1;

/// Bytes of the file that redb keeps in memory. All entries are there as well.
const CACHE: usize = 16 << 20;

/// Bytes that are copied at a time.
const PIECE: usize = 1 << 20;

/// An open file, locked against other processes.
pub(super) struct Database {
    redb: redb::Database,
    path: PathBuf,
    _lock: File,
}

/// A change of one key.
pub(super) struct Change {
    pub key: Box<[u8]>,
    /// When it expires, as in [`Entry`], and its value; `None` removes the key.
    pub record: Option<(u64, Value)>,
}

/// What was found in the file.
pub struct Loaded {
    pub entries: Vec<Entry>,
    /// Whether there was no file.
    pub is_new: bool,
}

/// A key and its value.
pub struct Entry {
    pub key: Box<[u8]>,
    pub value: Value,
    /// The wall clock's microseconds since 1970 at which it expires; 0 if it does not.
    pub expires_at: u64,
}

impl Database {
    /// Opens the file of the daemon `name`, or makes it, and the folder, too. `syncs_names` is `false` to break a rule on
    /// purpose.
    pub(super) fn open(folder: &Path, name: &str, syncs_names: bool) -> Result<(Self, Loaded)> {
        make_folder(folder)?;
        let lock = take_lock(folder, name)?;
        let path = folder.join(format!("{name}.redb"));
        let copy = folder.join(format!("{name}.redb.new"));
        let is_new = !path.try_exists().with_context(|| format!("cannot look for {}", path.display()))?;
        let into_copy = || format!("cannot write {}", copy.display());
        // One that is there was left by a start that did not get to its end.
        let file = File::create(&copy).with_context(into_copy)?;
        if !is_new {
            copy_file(&path, file).with_context(|| format!("cannot copy {}", path.display()))?;
        }
        let redb = open_checked(&copy, is_new).map_err(|error| explain(error, &path))?;
        let mut database = Self { redb, path: path.clone(), _lock: lock };
        match is_new {
            true => database.begin(name).with_context(into_copy)?,
            false => database.check_format(name)?,
        }
        let entries = database.entries().with_context(|| format!("cannot read {}", path.display()))?;
        File::open(&copy).and_then(|file| file.sync_all()).with_context(into_copy)?;
        fs::rename(&copy, &path)
            .with_context(|| format!("cannot rename {} to {}", copy.display(), path.display()))?;
        if syncs_names {
            sync_folder(folder)?;
        }
        Ok((database, Loaded { entries, is_new }))
    }

    /// Writes what a new file has.
    fn begin(&mut self, name: &str) -> Result {
        let transaction = self.redb.begin_write()?;
        transaction.open_table(FORMAT)?.insert(name, VERSION)?;
        transaction.open_table(ENTRIES)?;
        Ok(transaction.commit()?)
    }

    fn check_format(&self, name: &str) -> Result {
        let path = self.path.display();
        let transaction = self.redb.begin_read()?;
        let found = match transaction.open_table(FORMAT) {
            Ok(table) => table.get(name)?.map(|version| version.value()),
            Err(redb::TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(error).with_context(|| format!("cannot read {path}")),
        };
        let Some(found) = found else {
            bail!("{path} is a database of another program; choose another folder");
        };
        ensure!(
            found == VERSION,
            "{path} has version {found} of the format, and this program reads version {VERSION}: use the program that \
             wrote it"
        );
        Ok(())
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        let transaction = self.redb.begin_read()?;
        let table = transaction.open_table(ENTRIES)?;
        let mut entries = Vec::new();
        for entry in table.iter()? {
            let (key, record) = entry?;
            let (expires_at, value) = record.value();
            entries.push(Entry { key: key.value().into(), value: value.into(), expires_at });
        }
        Ok(entries)
    }

    /// Makes changes durable, all of them or none.
    pub(super) fn commit(&self, changes: &[Change]) -> Result {
        let commit = || {
            let transaction = self.redb.begin_write()?;
            let mut table = transaction.open_table(ENTRIES)?;
            for Change { key, record } in changes {
                match record {
                    Some((expires_at, value)) => table.insert(&**key, (*expires_at, &**value))?,
                    None => table.remove(&**key)?,
                };
            }
            drop(table);
            transaction.commit()?;
            Ok::<_, redb::Error>(())
        };
        commit().map_err(|error| match &error {
            redb::Error::Io(reason) if reason.kind() == io::ErrorKind::StorageFull => {
                anyhow!("no space is left for {}: make room, and start it again", self.path.display())
            }
            _ => anyhow!("cannot write {}: {error}", self.path.display()),
        })
    }

    /// Closes the file.
    pub(super) fn close(self) -> Result {
        self.redb.close().with_context(|| format!("cannot close {}", self.path.display()))
    }
}

/// Makes the folder if it is missing, and sees to it that it stays.
fn make_folder(folder: &Path) -> Result {
    let above = match folder.parent() {
        Some(above) if above != Path::new("") => above,
        _ => Path::new("."),
    };
    match fs::create_dir(folder) {
        // Also where it is there already: whoever made it may have ended before this.
        Ok(()) => sync_folder(above),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            ensure!(folder.is_dir(), "{} is no folder", folder.display());
            sync_folder(above)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("cannot make the folder {}: there is no {}", folder.display(), above.display())
        }
        Err(error) => Err(error).with_context(|| format!("cannot make the folder {}", folder.display())),
    }
}

/// Makes names in the folder durable.
fn sync_folder(folder: &Path) -> Result {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.with_context(|| format!("cannot sync the folder {}", folder.display()))
}

fn take_lock(folder: &Path, name: &str) -> Result<File> {
    let path = folder.join(format!("{name}.lock"));
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| {
        format!("cannot write {}; the folder must belong to the user of this process", path.display())
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another process uses the {name} in {}; each needs a folder of its own", folder.display())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// Copies bytes. A copy by the file system may share what is on the disk, which need not be what is read.
fn copy_file(from: &Path, mut to: File) -> io::Result<()> {
    let mut from = File::open(from)?;
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(length) => to.write_all(&piece[..length])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn open_checked(path: &Path, is_new: bool) -> Result<redb::Database, DatabaseError> {
    let mut builder = redb::Builder::new();
    builder.set_cache_size(CACHE).set_check_integrity_on_open(!is_new);
    if is_new { builder.create(path) } else { builder.open(path) }
}

/// Why the file at `path` could not be opened.
fn explain(error: DatabaseError, path: &Path) -> anyhow::Error {
    let path = path.display();
    let advice = "restore a copy of it, or move it away to begin empty; it was not changed";
    match &error {
        DatabaseError::UpgradeRequired(version) => anyhow!(
            "{path} has version {version} of redb's format, which this program does not read; it was not changed"
        ),
        DatabaseError::Storage(StorageError::Corrupted(reason)) => {
            anyhow!("{path} is damaged: {reason}; {advice}")
        }
        DatabaseError::Storage(StorageError::Io(reason)) if reason.kind() == io::ErrorKind::InvalidData => {
            anyhow!("{path} is damaged, or no database: {reason}; {advice}")
        }
        _ => anyhow!("cannot open {path}: {error}"),
    }
}
