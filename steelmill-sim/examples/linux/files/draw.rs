//! Drawing programs of calls on files: mostly what people do with files, and now and then what nobody does.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Allocation, Call, Flags, Lock, Renaming, Whence};

/// The program of a seed.
pub(crate) fn draw(seed: u64) -> Vec<Call> {
    let mut drawing = Drawing { rng: StdRng::seed_from_u64(seed), program: Vec::new(), ids: 0, maps: 0 };
    for _ in 0..drawing.rng.random_range(1..=3) {
        drawing.scene();
    }
    for _ in 0..drawing.rng.random_range(4..=24) {
        drawing.call();
    }
    drawing.add(Call::Tree);
    drawing.program
}

/// Names that programs make and use.
const PATHS: &[&str] = &["a", "b", "c", "d", "d/a", "d/b", "d/e", "d/e/a", "s", "t"];

/// Ways to write them that few programs use.
const ODD_PATHS: &[&str] = &[
    "a/",
    "d/",
    "s/",
    "d/.",
    "d/..",
    "d/../a",
    "d//e/./a",
    "s/a",
    "t/e",
    "a/b",
    "no/a",
    ".",
    "..",
    "./",
    "",
    "d/e/..",
    "d/e/../..",
    "new/",
    "s/new",
    "s/..",
    LONG,
];

/// Longer than a name may be.
const LONG: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
                    xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
                    xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

struct Drawing {
    rng: StdRng,
    program: Vec<Call>,
    /// How many numbers of open files and of mappings there are.
    ids: u8,
    maps: u8,
}

impl Drawing {
    fn chance(&mut self, one_in: u32) -> bool {
        self.rng.random_range(0..one_in) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.rng.random_range(0..choices.len())]
    }

    fn add(&mut self, call: Call) {
        self.program.push(call);
    }

    fn path(&mut self) -> &'static str {
        if self.chance(6) { self.of(ODD_PATHS) } else { self.of(PATHS) }
    }

    fn new_id(&mut self) -> u8 {
        self.ids += 1;
        self.ids - 1
    }

    /// The number of a file that the program may have open.
    fn id(&mut self) -> u8 {
        self.rng.random_range(0..self.ids.max(1))
    }

    fn map(&mut self) -> u8 {
        self.rng.random_range(0..self.maps.max(1))
    }

    /// An offset within or behind what files usually have.
    fn at(&mut self) -> i64 {
        match self.rng.random_range(0..24) {
            0 => self.of(&[
                -1,
                -4096,
                i64::MAX,
                i64::MIN,
                (1 << 44) - 4096,
                (1 << 44) - 4097,
                1 << 44,
                1 << 40,
            ]),
            1..=9 => self.of(&[0, 4096, 8192, 12_288, 16_384, 40_960]),
            10..=13 => self.of(&[1, 511, 512, 4095, 4097, 10_000, 20_000]),
            _ => self.rng.random_range(0..30_000),
        }
    }

    fn length(&mut self) -> usize {
        match self.rng.random_range(0..10) {
            0 => 0,
            1..=4 => self.of(&[1, 10, 512, 4096, 8192, 12_288]),
            _ => self.rng.random_range(1..12_000),
        }
    }

    fn flags(&mut self) -> Flags {
        let mut flags =
            self.of(&[Flags::READ, Flags::READ_WRITE, Flags::READ_WRITE, Flags::READ_WRITE, Flags::WRITE]);
        let others = [
            (Flags::CREATE, 2),
            (Flags::APPEND, 8),
            (Flags::EXCLUSIVE, 12),
            (Flags::TRUNCATE, 8),
            (Flags::DIRECTORY, 16),
            (Flags::NO_FOLLOW, 16),
            (Flags::PATH, 24),
            (Flags::NONBLOCK, 24),
            (Flags::SYNC, 40),
            (Flags::DSYNC, 40),
            (Flags::TMPFILE, 24),
        ];
        for (flag, one_in) in others {
            if self.chance(one_in) {
                flags = flags | flag;
            }
        }
        flags
    }

    fn mode(&mut self) -> u32 {
        self.of(&[0o644, 0o644, 0o644, 0o600, 0o666, 0o400, 0o200, 0o755, 0o777, 0o000])
    }

    /// What most programs begin with.
    fn scene(&mut self) {
        match self.rng.random_range(0..10) {
            0..=5 => {
                let id = self.new_id();
                let path = self.of(&["a", "b", "c"]);
                self.add(Call::Open { id, path, flags: Flags::READ_WRITE | Flags::CREATE, mode: 0o644 });
                if !self.chance(4) {
                    let length = self.length();
                    self.add(Call::Write { id, length });
                }
                if self.chance(4) {
                    let (at, length) = (self.at(), self.length());
                    self.add(Call::WriteAt { id, at, length });
                }
            }
            6..=7 => {
                self.add(Call::MakeDirectory { path: "d", mode: 0o755 });
                if self.chance(2) {
                    self.add(Call::MakeDirectory { path: "d/e", mode: 0o755 });
                }
                if self.chance(2) {
                    let id = self.new_id();
                    self.add(Call::Open {
                        id,
                        path: "d/a",
                        flags: Flags::READ_WRITE | Flags::CREATE,
                        mode: 0o644,
                    });
                }
            }
            8 => {
                let target = self.of(&["a", "d", "d/e", "no", "s", "t", "../root/a", "d/", "./a"]);
                let path = self.of(&["s", "t", "d/a"]);
                self.add(Call::Symlink { target, path });
            }
            _ => {
                let id = self.new_id();
                let flags = Flags::TMPFILE | Flags::READ_WRITE;
                let flags = if self.chance(3) { flags | Flags::EXCLUSIVE } else { flags };
                let path = self.of(&[".", "d", "a"]);
                self.add(Call::Open { id, path, flags, mode: 0o644 });
                let to = self.path();
                self.add(Call::LinkOpen { id, to });
            }
        }
    }

    /// Any call.
    fn call(&mut self) {
        if self.chance(16) {
            return self.scene();
        }
        let (id, path) = (self.id(), self.path());
        match self.rng.random_range(0..100) {
            0..=11 => {
                let id = self.new_id();
                let (flags, mode) = (self.flags(), self.mode());
                self.add(Call::Open { id, path, flags, mode });
            }
            12..=15 => self.add(Call::Close { id }),
            16..=37 => self.transfer(id),
            38..=42 => self.space(id),
            43..=47 => {
                let (to, whence) = (self.at(), self.of(&[Whence::Start, Whence::Current, Whence::End]));
                self.add(Call::Seek { id, to, whence });
            }
            48..=52 => {
                let (to, whence) = (self.at(), self.of(&[Whence::Data, Whence::Hole]));
                self.add(Call::Seek { id, to, whence });
            }
            53..=72 => self.name(id, path),
            73..=80 => {
                let follows = self.chance(2);
                let call = self.of(&[
                    Call::StatusOpen { id },
                    Call::StatusOpen { id },
                    Call::StatusOpen { id },
                    Call::Status { path, follows },
                    Call::List { path },
                    Call::Access { path, mode: 4 },
                    Call::Access { path, mode: 3 },
                    Call::GetFlags { id },
                ]);
                self.add(call);
            }
            81..=88 => self.lock(id),
            89..=95 => self.mapping(id),
            _ => {
                let (mode, new) = (self.mode(), self.ids);
                let flags =
                    self.of(&[Flags::READ, Flags::APPEND, Flags::NONBLOCK, Flags::SYNC, Flags::CREATE]);
                let call = self.of(&[
                    Call::SetMode { path, mode },
                    Call::SetModeOpen { id, mode },
                    Call::SetTime { path, seconds: 1_000_000 },
                    Call::SetFlags { id, flags },
                    Call::Base { id },
                    Call::Duplicate { id, new },
                    Call::Duplicate { id, new },
                ]);
                if matches!(call, Call::Duplicate { .. }) {
                    self.ids += 1;
                }
                self.add(call);
            }
        }
    }

    /// Reads, writes and copies.
    fn transfer(&mut self, id: u8) {
        let (at, length, to) = (self.at(), self.length(), self.id());
        let lengths = [self.length(), length];
        let other = self.at();
        let (from_at, to_at) = (self.of(&[-1, at]), self.of(&[-1, other]));
        let call = self.of(&[
            Call::Read { id, length },
            Call::Read { id, length },
            Call::Write { id, length },
            Call::Write { id, length },
            Call::ReadAt { id, at, length },
            Call::ReadAt { id, at, length },
            Call::WriteAt { id, at, length },
            Call::WriteAt { id, at, length },
            Call::ReadParts { id, at: from_at, lengths },
            Call::WriteParts { id, at: to_at, lengths },
            Call::SendFile { from: id, at: from_at, to, length },
            Call::CopyRange { from: id, at: from_at, to, to_at, length },
        ]);
        self.add(call);
    }

    /// Lengths, holes and syncs.
    fn space(&mut self, id: u8) {
        let (at, length) = (self.at(), self.at());
        let mode = self.of(&[
            Allocation::Grow,
            Allocation::Grow,
            Allocation::KeepSize,
            Allocation::KeepSize,
            Allocation::Punch,
            Allocation::Punch,
            Allocation::Zero,
            Allocation::ZeroKeepSize,
            Allocation::Collapse,
            Allocation::Insert,
        ]);
        // So much is really reserved.
        let reserved = if length > 100_000 && length < 1 << 44 { 50_000 } else { length };
        let path = self.path();
        let is_data = self.chance(2);
        let call = self.of(&[
            Call::Truncate { id, length },
            Call::Truncate { id, length },
            Call::TruncatePath { path, length },
            Call::Allocate { id, mode, at, length: reserved },
            Call::Allocate { id, mode, at, length: reserved },
            Call::Allocate { id, mode, at, length: reserved },
            Call::Sync { id, is_data },
        ]);
        self.add(call);
    }

    /// Changes of names.
    fn name(&mut self, id: u8, path: &'static str) {
        let (to, follows) = (self.path(), self.chance(2));
        let how = self.of(&[
            Renaming::Plain,
            Renaming::Plain,
            Renaming::Plain,
            Renaming::NoReplace,
            Renaming::Exchange,
            Renaming::Both,
        ]);
        let target = self.of(&["a", "d", "d/e", "no", "s", "t", ""]);
        let mode = self.of(&[0o755, 0o700, 0o555, 0o300, 0o1777]);
        let call = self.of(&[
            Call::Rename { from: path, to, how },
            Call::Rename { from: path, to, how },
            Call::Rename { from: path, to, how },
            Call::Link { from: path, to, follows },
            Call::LinkOpen { id, to },
            Call::Symlink { target, path },
            Call::ReadLink { path },
            Call::Unlink { path },
            Call::Unlink { path },
            Call::RemoveDirectory { path },
            Call::MakeDirectory { path, mode },
        ]);
        self.add(call);
    }

    fn lock(&mut self, id: u8) {
        let kind = self.of(&[Lock::Shared, Lock::Exclusive, Lock::Exclusive, Lock::Unlock]);
        let (at, length) = (self.of(&[0, 0, 10, 100, -5]), self.of(&[0, 10, 100, 50, -5, -50]));
        let whence = self.of(&[Whence::Start, Whence::Start, Whence::Current, Whence::End]);
        let is_of_file = self.chance(2);
        let call = self.of(&[
            Call::LockWhole { id, kind },
            Call::LockRange { id, is_of_file, kind, at, length, whence },
            Call::LockRange { id, is_of_file, kind, at, length, whence },
            Call::LockInTheWay { id, is_of_file, kind, at, length },
        ]);
        self.add(call);
    }

    fn mapping(&mut self, id: u8) {
        let at = self.of(&[0, 0, 0, 4096, 8192, 100]);
        let length = self.of(&[1, 4096, 8192, 10_000, 40_960, 0]);
        let (is_shared, is_writable) = (!self.chance(3), !self.chance(3));
        let new = self.maps;
        let map = self.map();
        let (place, n) = (self.rng.random_range(0..12_000), self.rng.random_range(1..6000));
        let call = self.of(&[
            Call::Map { id, map: new, is_shared, is_writable, at, length },
            Call::Map { id, map: new, is_shared, is_writable, at, length },
            Call::Load { map, at: place, length: n },
            Call::Load { map, at: place, length: n },
            Call::Store { map, at: place, length: n },
            Call::Store { map, at: place, length: n },
            Call::SyncMap { map },
            Call::Unmap { map },
        ]);
        if matches!(call, Call::Map { .. }) {
            self.maps += 1;
        }
        self.add(call);
    }
}
