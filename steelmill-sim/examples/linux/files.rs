//! The same for files: programs of calls on files, in a directory of a real disk and in one of a simulated disk.
//!
//! No call here depends on another thread or on time, so every answer has to be the same at once.

mod calls; // calls on files as safe functions
mod course; // a program in the middle of its calls
mod draw; // the program of a seed
pub(crate) mod real; // answers of the real file system
pub(crate) mod simulated; // answers of the simulated one

use std::fmt;
use std::ops::BitOr;

pub(crate) use draw::draw;

/// A call. Open files and mappings have numbers that the program chose; a call on a number without one does nothing, so that any
/// can be taken out of a program. Paths begin at the program's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// openat(2).
    Open { id: u8, path: &'static str, flags: Flags, mode: u32 },
    /// The calls that follow begin at an open directory, if the number has one.
    Base { id: u8 },
    /// close(2).
    Close { id: u8 },
    /// dup(2): the new number names the same open file.
    Duplicate { id: u8, new: u8 },
    /// read(2).
    Read { id: u8, length: usize },
    /// pread(2).
    ReadAt { id: u8, at: i64, length: usize },
    /// readv(2), or preadv(2) with an offset that is not negative.
    ReadParts { id: u8, at: i64, lengths: [usize; 2] },
    /// write(2).
    Write { id: u8, length: usize },
    /// pwrite(2).
    WriteAt { id: u8, at: i64, length: usize },
    /// writev(2), or pwritev(2) with an offset that is not negative.
    WriteParts { id: u8, at: i64, lengths: [usize; 2] },
    /// lseek(2).
    Seek { id: u8, to: i64, whence: Whence },
    /// ftruncate(2).
    Truncate { id: u8, length: i64 },
    /// truncate(2).
    TruncatePath { path: &'static str, length: i64 },
    /// fallocate(2).
    Allocate { id: u8, mode: Allocation, at: i64, length: i64 },
    /// fsync(2) or fdatasync(2).
    Sync { id: u8, is_data: bool },
    /// renameat2(2).
    Rename { from: &'static str, to: &'static str, how: Renaming },
    /// linkat(2).
    Link { from: &'static str, to: &'static str, follows: bool },
    /// linkat(2) of an open file, by its name in /proc/self/fd.
    LinkOpen { id: u8, to: &'static str },
    /// symlinkat(2).
    Symlink { target: &'static str, path: &'static str },
    /// readlinkat(2).
    ReadLink { path: &'static str },
    /// unlinkat(2).
    Unlink { path: &'static str },
    /// unlinkat(2) with `AT_REMOVEDIR`.
    RemoveDirectory { path: &'static str },
    /// mkdirat(2).
    MakeDirectory { path: &'static str, mode: u32 },
    /// The names and types in a directory, sorted.
    List { path: &'static str },
    /// statx(2) of a path.
    Status { path: &'static str, follows: bool },
    /// statx(2) of an open file; whether its times changed since the last such call.
    StatusOpen { id: u8 },
    /// faccessat(2).
    Access { path: &'static str, mode: i32 },
    /// fchmodat(2).
    SetMode { path: &'static str, mode: u32 },
    /// fchmod(2).
    SetModeOpen { id: u8, mode: u32 },
    /// utimensat(2): the time of the last modification.
    SetTime { path: &'static str, seconds: i64 },
    /// fcntl(2) with `F_GETFL`.
    GetFlags { id: u8 },
    /// fcntl(2) with `F_SETFL`.
    SetFlags { id: u8, flags: Flags },
    /// flock(2), without waiting.
    LockWhole { id: u8, kind: Lock },
    /// fcntl(2) with `F_SETLK`, or `F_OFD_SETLK`.
    LockRange { id: u8, is_of_file: bool, kind: Lock, at: i64, length: i64, whence: Whence },
    /// fcntl(2) with `F_GETLK`, or `F_OFD_GETLK`.
    LockInTheWay { id: u8, is_of_file: bool, kind: Lock, at: i64, length: i64 },
    /// sendfile(2), from an offset that is not negative or from where the file is read.
    SendFile { from: u8, at: i64, to: u8, length: usize },
    /// copy_file_range(2), likewise.
    CopyRange { from: u8, at: i64, to: u8, to_at: i64, length: usize },
    /// mmap(2).
    Map { id: u8, map: u8, is_shared: bool, is_writable: bool, at: i64, length: usize },
    /// Reads mapped memory, where that is of the file.
    Load { map: u8, at: usize, length: usize },
    /// Writes mapped memory, where that is of the file.
    Store { map: u8, at: usize, length: usize },
    /// msync(2) with `MS_SYNC`.
    SyncMap { map: u8 },
    /// munmap(2).
    Unmap { map: u8 },
    /// All that is in the program's directory.
    Tree,
}

/// Flags of open(2), shown as they are written in code.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flags(pub(crate) i32);

macro_rules! flags {
    ($($name:ident = $flag:ident),* $(,)?) => {
        impl Flags {
            $(pub(crate) const $name: Self = Self(libc::$flag);)*
        }

        /// From the longest: some flags contain others.
        const FLAG_NAMES: &[(i32, &str)] = &[(0o100_000, "Flags::LARGE"), $((libc::$flag, concat!("Flags::", stringify!($name)))),*];
    };
}

flags! {
    TMPFILE = O_TMPFILE,
    SYNC = O_SYNC,
    DSYNC = O_DSYNC,
    READ_WRITE = O_RDWR,
    WRITE = O_WRONLY,
    APPEND = O_APPEND,
    CREATE = O_CREAT,
    EXCLUSIVE = O_EXCL,
    TRUNCATE = O_TRUNC,
    DIRECTORY = O_DIRECTORY,
    NO_FOLLOW = O_NOFOLLOW,
    PATH = O_PATH,
    NONBLOCK = O_NONBLOCK,
}

impl Flags {
    pub(crate) const READ: Self = Self(libc::O_RDONLY);
    /// What Linux adds itself; the crate libc has zero for it.
    #[expect(dead_code, reason = "it is written in tests alone")]
    pub(crate) const LARGE: Self = Self(0o100_000);
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut left, mut names) = (self.0, Vec::new());
        for (flag, name) in FLAG_NAMES {
            if left & flag == *flag {
                left &= !flag;
                names.push((*name).to_owned());
            }
        }
        if left != 0 {
            names.push(format!("Flags({left})"));
        }
        f.write_str(if names.is_empty() { "Flags::READ" } else { "" })?;
        f.write_str(&names.join(" | "))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whence {
    Start,
    Current,
    End,
    Data,
    Hole,
}

/// What fallocate(2) does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allocation {
    Grow,
    KeepSize,
    Punch,
    Zero,
    ZeroKeepSize,
    Collapse,
    Insert,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renaming {
    Plain,
    NoReplace,
    Exchange,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    Shared,
    Exclusive,
    Unlock,
}

/// The sectors of a block.
const BLOCK: u64 = 8;

/// Whether two answers are the same. A file in more than four extents has one block more on ext4, for their tree, once it was
/// written back, which depends on the load.
pub(crate) fn agree(linux: &str, simulated: &str) -> bool {
    let words = |text| str::split(text, ' ').collect::<Vec<&str>>();
    let (linux, simulated) = (words(linux), words(simulated));
    let has_a_tree = |place: usize| {
        let number = |words: &[&str]| words[place].parse::<u64>().ok();
        linux.get(place + 1).is_some_and(|next| next.starts_with("blocks"))
            && number(&simulated).is_some_and(|blocks| blocks > 0 && number(&linux) == Some(blocks + BLOCK))
    };
    linux.len() == simulated.len()
        && (0..linux.len()).all(|place| linux[place] == simulated[place] || has_a_tree(place))
}
