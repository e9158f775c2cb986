//! What a scenario does with a machine's disk: puts files there, looks at them, wipes and swaps it.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::bytes::Bytes;
use super::tree::Node;
use super::{Cluster, DiskSettings, Errno, ROOT, Troubled, Volume};
use crate::machine::hosts::HostState;
use crate::machine::machine::Machine;
use crate::schema::disk_trouble::DiskTrouble;

/// The disk of a machine, from outside: no process of the machine is asked. [`Machine::disk`] gives it.
///
/// The machine's programs and daemons use it by `std::fs`, `tokio::fs` or the C library. It is empty at first, but for the usual
/// directories such as `/tmp` and `/var/lib`.
///
/// ```
/// use steelmill_sim::{Seed, check};
///
/// check(Seed(1), |sim| async move {
///     let writer = sim.program("writer", || {
///         std::fs::write("/var/lib/greeting", "hello").expect("the disk takes it");
///         std::thread::sleep(std::time::Duration::from_secs(60));
///     });
///     writer.disk().write("/etc/writer.conf", "verbose")?;
///     let writer = writer.start().await?;
///     sim.clock().sleep(std::time::Duration::from_secs(1)).await;
///     assert_eq!(writer.disk().read("/var/lib/greeting")?, b"hello");
///     // It was not synced, so it may be gone, or be there in part.
///     writer.power_loss();
///     let left = writer.disk().read("/var/lib/greeting").unwrap_or_default();
///     assert!([&b""[..], b"hello", &[0; 5]].contains(&&*left));
///     Ok(())
/// });
/// ```
#[derive(Debug, Clone)]
pub struct Disk(Machine);

impl Machine {
    /// The machine's disk.
    pub fn disk(&self) -> Disk {
        Disk(self.clone())
    }
}

fn error(code: Errno) -> io::Error {
    io::Error::from_raw_os_error(code)
}

fn bytes_of(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

impl Disk {
    fn with<T>(&self, look: impl FnOnce(&mut Volume, u64) -> Result<T, Errno>) -> io::Result<T> {
        let machine = self.0.id();
        self.0.with(|run| {
            let now = run.disk_time(machine);
            let result = look(run.disk(machine), now).map_err(error);
            run.tell_watchers(machine);
            result
        })
    }

    /// Sets what the disk is like, from now on.
    ///
    /// # Panics
    /// When the sector is neither of 512 nor of 4096 bytes, or `sync_min` is above `sync_max`.
    pub fn set(&self, settings: DiskSettings) {
        assert!(matches!(settings.sector, 512 | 4096), "a sector of {} bytes: 512 or 4096", settings.sector);
        assert!(settings.sync_min <= settings.sync_max, "sync_min is above sync_max");
        self.0.with(|run| run.disk(self.0.id()).settings = settings);
    }

    /// What the disk is like.
    pub fn settings(&self) -> DiskSettings {
        self.0.with(|run| run.disk(self.0.id()).settings)
    }

    /// What a file has at present, synced or not.
    ///
    /// # Errors
    /// As [`std::fs::read`].
    pub fn read(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        self.with(|volume, _| {
            let ino = volume.find(ROOT, bytes_of(path.as_ref()), true)?;
            volume.tree.bytes(ino).map(|bytes| bytes.contents())
        })
    }

    /// Puts a file there, durable at once, with the directories that it needs.
    ///
    /// # Errors
    /// When something on the way is no directory, or the path is one.
    pub fn write(&self, path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> io::Result<()> {
        let path = path.as_ref();
        self.with(|volume, now| {
            let parents: Vec<&Path> = path.ancestors().skip(1).collect();
            for parent in parents.into_iter().rev().filter(|parent| parent.components().count() > 1) {
                match volume.make_directory(ROOT, bytes_of(parent), 0o777, now) {
                    Ok(()) | Err(libc::EEXIST) => {}
                    Err(error) => return Err(error),
                }
            }
            let place = volume.tree.place(ROOT, bytes_of(path), true)?;
            let ino = match volume.tree.lookup(place.directory, &place.name)? {
                Some(ino) => ino,
                None => volume.tree.make_file(&place, 0o644, now)?,
            };
            volume.tree.change_bytes(ino, |bytes| *bytes = Bytes::of(contents.as_ref()))?;
            volume.tree.note(ino, libc::IN_MODIFY);
            volume.tree.note(ino, libc::IN_CLOSE_WRITE);
            volume.tree.sync_names();
            volume.is_used = true;
            Ok(())
        })
    }

    /// The files in a directory and below it, by name.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn files(&self, directory: impl AsRef<Path>) -> io::Result<Vec<PathBuf>> {
        self.with(|volume, _| {
            let mut left =
                vec![(volume.find(ROOT, bytes_of(directory.as_ref()), true)?, directory.as_ref().to_owned())];
            let mut files = Vec::new();
            while let Some((directory, path)) = left.pop() {
                for (name, ino) in volume.tree.names(directory)? {
                    let path = path.join(OsStr::from_bytes(name));
                    match volume.tree.get(*ino).node {
                        Node::Directory { .. } => left.push((*ino, path)),
                        Node::File(_) | Node::Link(_) | Node::Socket => files.push(path),
                    }
                }
            }
            files.sort();
            Ok(files)
        })
    }

    /// Whether a power loss now would lose nothing.
    pub fn is_synced(&self) -> bool {
        self.0.with(|run| run.disk(self.0.id()).unsynced() == (0, 0))
    }

    /// Changes a byte on the medium itself, as a fault of the disk does: `change` is given what is there.
    ///
    /// # Errors
    /// When there is no such file, or it is not so long.
    pub fn corrupt(
        &self,
        path: impl AsRef<Path>,
        offset: u64,
        change: impl FnOnce(u8) -> u8,
    ) -> io::Result<()> {
        self.with(|volume, _| {
            let ino = volume.find(ROOT, bytes_of(path.as_ref()), true)?;
            let bytes = volume.tree.bytes(ino)?;
            if offset >= bytes.length() {
                return Err(libc::ENXIO);
            }
            bytes.corrupt(offset, |bytes| bytes[0] = change(bytes[0]));
            Ok(())
        })
    }

    /// Begins trouble, which ends when the guard is dropped.
    ///
    /// ```
    /// use steelmill_sim::fault::{DiskCall, DiskTrouble};
    /// # use steelmill_sim::{Seed, check};
    /// # check(Seed(1), |sim| async move {
    /// let program = sim.program("program", || {
    ///     let file = std::fs::File::create("/tmp/file").expect("room");
    ///     assert!(file.sync_all().is_err());
    /// });
    /// let trouble = program.disk().trouble(DiskTrouble::Errors { of: DiskCall::Sync, ppm: 1_000_000 });
    /// assert!(program.start().await?.ended().await.is_success());
    /// drop(trouble);
    /// # Ok(()) });
    /// ```
    ///
    /// # Panics
    /// When a rate is above 1,000,000 ppm.
    pub fn trouble(&self, trouble: DiskTrouble) -> Troubled {
        assert!(trouble.ppm() <= Some(1_000_000), "a rate above 1000000 ppm: {trouble:?}");
        self.0.with(|run| run.trouble_disk(self.0.id(), trouble))
    }

    /// Replaces it by an empty one.
    ///
    /// # Panics
    /// When the machine is up: exit the process, or cut the power.
    pub fn wipe(&self) {
        self.check_down();
        self.0.with(|run| {
            let volume = run.disk(self.0.id());
            *volume = Volume::new(volume.settings, 0);
        });
    }

    /// Exchanges it for that of another machine, with what each is like.
    ///
    /// # Panics
    /// When one of the machines is up.
    pub fn swap(&self, other: &Machine) {
        self.check_down();
        other.disk().check_down();
        let (one, other) = (self.0.id(), other.id());
        self.0.with(|run| {
            let (first, second) = (run.disks.remove(&one), run.disks.remove(&other));
            run.disks.extend(second.map(|it| (one, it)).into_iter().chain(first.map(|it| (other, it))));
        });
    }

    fn check_down(&self) {
        let is_up = self.0.with(|run: &mut Cluster| run.hosts[self.0.id()].state == HostState::Up);
        assert!(!is_up, "the disk of {:?} is in use: the machine is up", self.0.name());
    }
}

impl Volume {
    /// How many pages of files, and changes of names, are not durable.
    fn unsynced(&mut self) -> (usize, usize) {
        let pages = self.tree.inodes().map(|(_, inode)| match &mut inode.node {
            Node::File(bytes) => {
                bytes.learn(0..u64::MAX);
                bytes.unsynced() + usize::from(!bytes.is_synced())
            }
            _ => 0,
        });
        let pages = pages.sum();
        (pages, self.tree.unsynced_changes())
    }
}
