//! Carrying out a program of calls on files, with the calls of the thread's world: answers as text.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use super::super::calls::Errno;
use super::calls::{self, Mapping};
use super::{Allocation, Call, Lock, Renaming, Whence};

/// A program in the middle of its calls.
pub(crate) struct Course {
    /// The directory in which it takes place, and its path.
    root: OwnedFd,
    path: String,
    base: Option<u8>,
    open: BTreeMap<u8, OwnedFd>,
    maps: BTreeMap<u8, Mapping>,
    /// When open files were last modified and changed, when that was last asked.
    times: BTreeMap<u8, [(i64, u32); 2]>,
    /// Whether mapped memory was written: when that shows in times and in what is reserved differs on purpose.
    has_stored: bool,
    /// Whether something was reserved, and written back: more than four extents of a file take a block of their own then, when
    /// Linux likes.
    has_reserved: bool,
    has_zeroed: bool,
    has_synced: bool,
    written: usize,
}

type Answer = Option<Result<String, Errno>>;

fn sum(bytes: &[u8]) -> String {
    let sum = bytes.iter().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)));
    format!("{} {sum:08x}", bytes.len())
}

fn numbered<T: ToString>(result: Result<T, Errno>) -> Answer {
    Some(result.map(|value| value.to_string()))
}

fn done<T>(result: Result<T, Errno>) -> Answer {
    Some(result.map(|_| "ok".into()))
}

/// An offset that is given, unless it is negative.
fn given(at: i64) -> Option<i64> {
    (at >= 0).then_some(at)
}

fn whence(from: Whence) -> i32 {
    match from {
        Whence::Start => libc::SEEK_SET,
        Whence::Current => libc::SEEK_CUR,
        Whence::End => libc::SEEK_END,
        Whence::Data => libc::SEEK_DATA,
        Whence::Hole => libc::SEEK_HOLE,
    }
}

fn lock_type(kind: Lock) -> i32 {
    match kind {
        Lock::Shared => libc::F_RDLCK,
        Lock::Exclusive => libc::F_WRLCK,
        Lock::Unlock => libc::F_UNLCK,
    }
}

impl Course {
    fn new(root: OwnedFd, path: String) -> Self {
        Self {
            root,
            path,
            base: None,
            open: BTreeMap::new(),
            maps: BTreeMap::new(),
            times: BTreeMap::new(),
            has_stored: false,
            has_reserved: false,
            has_zeroed: false,
            has_synced: false,
            written: 0,
        }
    }

    /// In a directory of its own, which is new.
    pub(crate) fn in_new_directory(parent: &str) -> Result<Self, Errno> {
        let path = format!("{parent}/root");
        calls::make_directory(libc::AT_FDCWD, &path, 0o755)?;
        calls::open(libc::AT_FDCWD, &path, libc::O_DIRECTORY, 0).map(|root| Self::new(root, path))
    }

    /// Makes a call; what it returned.
    pub(crate) fn call(&mut self, call: Call) -> String {
        match self.attempt(call) {
            Some(Ok(value)) => value,
            Some(Err(errno)) => errno.to_string(),
            None => "nothing".into(),
        }
    }

    fn file(&self, id: u8) -> Option<&OwnedFd> {
        self.open.get(&id)
    }

    fn base(&self) -> RawFd {
        self.base.and_then(|id| self.file(id)).unwrap_or(&self.root).as_raw_fd()
    }

    /// Bytes that differ from those that other calls wrote.
    fn bytes(&mut self, length: usize) -> Vec<u8> {
        self.written += 1;
        let first = self.written * 7919;
        (0..length).map(|n| ((first + n) * 7 % 251) as u8 + 1).collect()
    }

    fn keep(&mut self, id: u8, opened: Result<OwnedFd, Errno>) -> Answer {
        done(opened.map(|fd| {
            self.times.remove(&id);
            // The number is free before the new file is there, as the one of a closed file would be.
            self.open.remove(&id);
            self.open.insert(id, fd);
        }))
    }

    fn attempt(&mut self, call: Call) -> Answer {
        match call {
            Call::Open { id, path, flags, mode } => {
                let opened = calls::open(self.base(), path, flags.0, mode);
                self.keep(id, opened)
            }
            Call::Base { id } => {
                self.base = Some(id);
                self.file(id).map(|_| Ok("ok".into()))
            }
            Call::Close { id } => {
                self.times.remove(&id);
                self.open.remove(&id).map(|_| Ok("ok".into()))
            }
            Call::Duplicate { id, new } => {
                let duplicate = calls::duplicate(self.file(id)?);
                self.keep(new, duplicate)
            }
            Call::Read { id, length } => self.read(id, None, length),
            Call::ReadAt { id, at, length } => self.read(id, Some(at), length),
            Call::ReadParts { id, at, lengths: [first, second] } => {
                let (mut one, mut other) = (vec![0; first], vec![0; second]);
                let read = calls::read_parts(self.file(id)?, given(at), [&mut one, &mut other]);
                one.append(&mut other);
                Some(read.map(|n| sum(&one[..n])))
            }
            Call::Write { id, length } => {
                let bytes = self.bytes(length);
                numbered(calls::write(self.file(id)?, None, &bytes))
            }
            Call::WriteAt { id, at, length } => {
                let bytes = self.bytes(length);
                numbered(calls::write(self.file(id)?, Some(at), &bytes))
            }
            Call::WriteParts { id, at, lengths } => {
                let [one, other] = lengths.map(|length| self.bytes(length));
                numbered(calls::write_parts(self.file(id)?, given(at), [&one, &other]))
            }
            // What is mapped, and what was zeroed in the middle of a large folio, stays in memory, where it counts as data.
            Call::Seek { whence: Whence::Data | Whence::Hole, .. }
                if self.has_stored || self.has_zeroed || !self.maps.is_empty() =>
            {
                None
            }
            Call::Seek { id, to, whence: from } => {
                // Places in a directory are of the file system's own making.
                let file = self.file(id).filter(|file| !is_directory(file))?;
                let is_of_holes = matches!(from, Whence::Data | Whence::Hole);
                if is_of_holes {
                    calls::forget_cache(file);
                }
                let at = calls::seek(file, to, whence(from));
                self.has_synced |= is_of_holes;
                numbered(at)
            }
            Call::Truncate { id, length } => done(calls::truncate(self.file(id)?, length)),
            Call::TruncatePath { path, length } => {
                done(calls::truncate_path(&format!("{}/{path}", self.path), length))
            }
            Call::Allocate { id, mode, at, length } => {
                self.has_zeroed |= matches!(mode, Allocation::Zero | Allocation::ZeroKeepSize);
                let mode = match mode {
                    Allocation::Grow => 0,
                    Allocation::KeepSize => libc::FALLOC_FL_KEEP_SIZE,
                    Allocation::Punch => libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
                    Allocation::Zero => libc::FALLOC_FL_ZERO_RANGE,
                    Allocation::ZeroKeepSize => libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE,
                    Allocation::Collapse => libc::FALLOC_FL_COLLAPSE_RANGE,
                    Allocation::Insert => libc::FALLOC_FL_INSERT_RANGE,
                };
                self.has_reserved = true;
                done(calls::allocate(self.file(id)?, mode, at, length))
            }
            Call::Sync { id, is_data } => {
                self.has_synced = true;
                done(calls::sync(self.file(id)?, is_data))
            }
            Call::Rename { from, to, how } => {
                let flags = match how {
                    Renaming::Plain => 0,
                    Renaming::NoReplace => libc::RENAME_NOREPLACE,
                    Renaming::Exchange => libc::RENAME_EXCHANGE,
                    Renaming::Both => libc::RENAME_NOREPLACE | libc::RENAME_EXCHANGE,
                };
                done(calls::rename(self.base(), from, to, flags))
            }
            Call::Link { from, to, follows } => {
                let flags = if follows { libc::AT_SYMLINK_FOLLOW } else { 0 };
                done(calls::link(self.base(), from, to, flags))
            }
            Call::LinkOpen { id, to } => {
                let from = format!("/proc/self/fd/{}", self.file(id)?.as_raw_fd());
                done(calls::link(self.base(), &from, to, libc::AT_SYMLINK_FOLLOW))
            }
            Call::Symlink { target, path } => done(calls::symlink(target, self.base(), path)),
            Call::ReadLink { path } => {
                let target = calls::read_link(self.base(), path);
                Some(target.map(|target| String::from_utf8_lossy(&target).into_owned()))
            }
            Call::Unlink { path } => done(calls::unlink(self.base(), path, 0)),
            Call::RemoveDirectory { path } => done(calls::unlink(self.base(), path, libc::AT_REMOVEDIR)),
            Call::MakeDirectory { path, mode } => done(calls::make_directory(self.base(), path, mode)),
            Call::List { path } => Some(list(self.base(), path).map(|names| names.join(" "))),
            Call::Status { path, follows } => {
                let flags = if follows { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
                Some(calls::status(self.base(), path, flags).map(|status| self.outline(&status)))
            }
            Call::StatusOpen { id } => self.status_open(id),
            Call::Access { path, mode } => done(calls::access(self.base(), path, mode)),
            Call::SetMode { path, mode } => done(calls::set_mode(self.base(), path, mode)),
            Call::SetModeOpen { id, mode } => done(calls::set_mode_open(self.file(id)?, mode)),
            Call::SetTime { path, seconds } => done(calls::set_time(self.base(), path, seconds)),
            Call::GetFlags { id } => {
                let flags = calls::control(self.file(id)?, libc::F_GETFL, 0);
                Some(flags.map(|flags| format!("{:?}", super::Flags(flags))))
            }
            Call::SetFlags { id, flags } => numbered(calls::control(self.file(id)?, libc::F_SETFL, flags.0)),
            Call::LockWhole { id, kind } => {
                let operation = match kind {
                    Lock::Shared => libc::LOCK_SH,
                    Lock::Exclusive => libc::LOCK_EX,
                    Lock::Unlock => libc::LOCK_UN,
                };
                done(calls::lock(self.file(id)?, operation | libc::LOCK_NB))
            }
            Call::LockRange { id, is_of_file, kind, at, length, whence: from } => {
                let command = if is_of_file { libc::F_OFD_SETLK } else { libc::F_SETLK };
                let mut lock = range(kind, whence(from), at, length);
                done(calls::lock_range(self.file(id)?, command, &mut lock))
            }
            Call::LockInTheWay { id, is_of_file, kind, at, length } => {
                let command = if is_of_file { libc::F_OFD_GETLK } else { libc::F_GETLK };
                let mut lock = range(kind, libc::SEEK_SET, at, length);
                Some(calls::lock_range(self.file(id)?, command, &mut lock).map(|_| told(&lock)))
            }
            Call::SendFile { from, at, to, length } => {
                let mut offset = at;
                let given = given(at).map(|_| &mut offset);
                let (to, from) = (self.file(to)?, self.file(from)?);
                // What pages of one file have while they are copied over each other is the kernel's own.
                if is_same(to, from) {
                    return None;
                }
                let sent = calls::send_file(to, from, given, length);
                Some(sent.map(|n| format!("{n} {offset}")))
            }
            Call::CopyRange { from, at, to, to_at, length } => {
                let (mut offset, mut to_offset) = (at, to_at);
                let copied = calls::copy_range(
                    (self.file(from)?, given(at).map(|_| &mut offset)),
                    (self.file(to)?, given(to_at).map(|_| &mut to_offset)),
                    length,
                );
                Some(copied.map(|n| format!("{n} {offset} {to_offset}")))
            }
            Call::Map { id, map, is_shared, is_writable, at, length } => {
                let mapped = Mapping::new(self.file(id)?, is_shared, is_writable, at, length);
                done(mapped.map(|mapping| {
                    self.maps.remove(&map);
                    self.maps.insert(map, mapping);
                }))
            }
            Call::Load { map, at, length } => Some(Ok(sum(&self.maps.get(&map)?.load(at, length)?))),
            Call::Store { map, at, length } => {
                let bytes = self.bytes(length);
                let mapping = self.maps.get_mut(&map).filter(|mapping| mapping.is_writable)?;
                self.has_stored = true;
                mapping.store(at, &bytes).map(|n| Ok(n.to_string()))
            }
            Call::SyncMap { map } => done(self.maps.get(&map)?.sync()),
            Call::Unmap { map } => self.maps.remove(&map).map(|_| Ok("ok".into())),
            Call::Tree => Some(self.tree()),
        }
    }

    fn read(&self, id: u8, at: Option<i64>, length: usize) -> Answer {
        let mut buffer = vec![0; length];
        let read = calls::read(self.file(id)?, at, &mut buffer);
        Some(read.map(|n| sum(&buffer[..n])))
    }

    /// What is the same in every world of what statx(2) tells.
    fn outline(&self, status: &libc::statx) -> String {
        let mut text = format!("{:o} {} links", status.stx_mode, status.stx_nlink);
        text += &format!(" {} bytes", status.stx_size);
        if !(self.has_stored || self.has_reserved && self.has_synced) {
            text += &format!(" {} blocks", status.stx_blocks);
        }
        let asked = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
        if status.stx_mask & asked != asked {
            text += &format!(" mask {:x}", status.stx_mask);
        }
        text
    }

    fn status_open(&mut self, id: u8) -> Answer {
        let fd = self.file(id)?.as_raw_fd();
        let status = match calls::status(fd, "", libc::AT_EMPTY_PATH) {
            Ok(status) => status,
            Err(errno) => return Some(Err(errno)),
        };
        let mut text = self.outline(&status);
        let now = [status.stx_mtime, status.stx_ctime].map(|time| (time.tv_sec, time.tv_nsec));
        let before = self.times.insert(id, now);
        for (place, name) in [" modified", " changed"].into_iter().enumerate() {
            if !self.has_stored && before.is_some_and(|before| before[place] != now[place]) {
                text += name;
            }
        }
        // Whoever has the same file open.
        for (other, file) in &self.open {
            if *other != id && is_same(&self.open[&id], file) {
                text += &format!(" as {other}");
            }
        }
        Some(Ok(text))
    }

    fn tree(&self) -> Result<String, Errno> {
        let mut left = vec![".".to_owned()];
        let mut all = Vec::new();
        let root = self.root.as_raw_fd();
        while let Some(path) = left.pop() {
            let status = calls::status(root, &path, libc::AT_SYMLINK_NOFOLLOW)?;
            let mut line = format!("{path}: {}", self.outline(&status));
            match u32::from(status.stx_mode) & libc::S_IFMT {
                libc::S_IFDIR => {
                    let names = list(root, &path).unwrap_or_default();
                    let names = names.iter().filter_map(|name| name.split_once(':'));
                    left.extend(
                        names
                            .filter(|(name, _)| !name.starts_with('.'))
                            .map(|(name, _)| format!("{path}/{name}")),
                    );
                }
                libc::S_IFLNK => {
                    let target = calls::read_link(root, &path)?;
                    line += &format!(" -> {}", String::from_utf8_lossy(&target));
                }
                // Longer ones are mostly hole.
                _ if status.stx_size > 1 << 20 => {}
                _ => {
                    let mut bytes = vec![0; status.stx_size as usize];
                    match calls::open(root, &path, libc::O_RDONLY, 0)
                        .and_then(|file| calls::read(&file, None, &mut bytes))
                    {
                        Ok(n) => line += &format!(" {}", sum(&bytes[..n])),
                        Err(errno) => line += &format!(" {errno}"),
                    }
                }
            }
            all.push(line);
        }
        all.sort();
        Ok(all.join("; "))
    }
}

fn is_same(one: &OwnedFd, other: &OwnedFd) -> bool {
    let number = |file: &OwnedFd| {
        calls::status(file.as_raw_fd(), "", libc::AT_EMPTY_PATH).map(|status| status.stx_ino).ok()
    };
    number(one) == number(other)
}

fn is_directory(file: &OwnedFd) -> bool {
    let status = calls::status(file.as_raw_fd(), "", libc::AT_EMPTY_PATH);
    status.is_ok_and(|status| u32::from(status.stx_mode) & libc::S_IFMT == libc::S_IFDIR)
}

fn list(base: RawFd, path: &str) -> Result<Vec<String>, Errno> {
    let directory = calls::open(base, path, libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    let mut names: Vec<String> = calls::list(directory)?
        .into_iter()
        .map(|(name, kind)| format!("{}:{kind}", String::from_utf8_lossy(&name)))
        .collect();
    names.sort();
    Ok(names)
}

fn range(kind: Lock, whence: i32, at: i64, length: i64) -> libc::flock {
    libc::flock { l_type: lock_type(kind) as _, l_whence: whence as _, l_start: at, l_len: length, l_pid: 0 }
}

/// The lock that is in the way.
fn told(lock: &libc::flock) -> String {
    let kind = match i32::from(lock.l_type) {
        libc::F_UNLCK => return "none".into(),
        libc::F_RDLCK => "shared",
        _ => "exclusive",
    };
    let whose = match lock.l_pid {
        -1 => "a file's",
        pid if pid == calls::process() => "own",
        _ => "another's",
    };
    format!("{kind} {} {} {} {whose}", lock.l_whence, lock.l_start, lock.l_len)
}
