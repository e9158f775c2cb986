//! What goes wrong with a disk at present: errors, no space, delays, and damage that nobody is told of.
//!
//! The kinds of damage are those that TigerBeetle's simulator injects, after Bairavasundaram et al., "An Analysis of Data
//! Corruption in the Storage Stack" (FAST 2008).

use std::collections::BTreeSet;

use super::bytes::{PAGE, Syncing};
use super::tree::{Ino, Node};
use super::{Cluster, Errno};
use crate::kernel::timers::{Nanos, nanos};
use crate::machine::cluster::{self, RunId};
use crate::schema::decision::Stream;
use crate::schema::disk_trouble::{DiskCall, DiskTrouble};

/// The troubles of a disk, which may overlap.
#[derive(Default)]
pub(super) struct Troubles {
    active: Vec<(u32, DiskTrouble)>,
    next: u32,
    /// The sectors that cannot be read.
    bad: BTreeSet<(Ino, u64)>,
}

/// Trouble of a disk; it ends when this is dropped. Sectors that rotted or went bad stay so until they are written again.
#[derive(Debug)]
#[must_use = "the trouble ends when it is dropped"]
pub struct Troubled {
    run: RunId,
    machine: u32,
    number: u32,
}

impl Drop for Troubled {
    fn drop(&mut self) {
        cluster::try_with(self.run, |run| {
            let troubles = &mut run.disk(self.machine).troubles;
            troubles.active.retain(|(number, _)| *number != self.number);
        });
    }
}

impl Troubles {
    #[inline]
    pub(super) fn is_none(&self) -> bool {
        self.active.is_empty() && self.bad.is_empty()
    }

    fn rate(&self, of: impl Fn(&DiskTrouble) -> bool) -> u32 {
        let rates =
            self.active.iter().filter(|(_, trouble)| of(trouble)).filter_map(|(_, trouble)| trouble.ppm());
        rates.max().unwrap_or(0)
    }

    pub(super) fn is_over_quota(&self) -> bool {
        self.active.iter().any(|(_, trouble)| *trouble == DiskTrouble::OverQuota)
    }

    pub(super) fn is_full(&self) -> bool {
        self.active.iter().any(|(_, trouble)| *trouble == DiskTrouble::Full)
    }

    fn is_bad(&self, ino: Ino, offset: u64, length: usize) -> bool {
        let end = offset.saturating_add(length as u64).div_ceil(512);
        self.bad.range((ino, offset / 512)..(ino, end)).next().is_some()
    }

    /// What is written can be read again.
    pub(super) fn written(&mut self, ino: Ino, offset: u64, length: usize) {
        if !self.bad.is_empty() {
            let range = (ino, offset / 512)..(ino, (offset + length as u64).div_ceil(512));
            self.bad.retain(|sector| !range.contains(sector));
        }
    }

    /// A file is no more.
    pub(super) fn forget(&mut self, is_there: impl Fn(Ino) -> bool) {
        self.bad.retain(|(ino, _)| is_there(*ino));
    }
}

impl Cluster {
    /// Begins trouble.
    pub(crate) fn trouble_disk(&mut self, machine: u32, trouble: DiskTrouble) -> Troubled {
        match trouble {
            DiskTrouble::BitRot { sectors } => (0..sectors).for_each(|_| self.rot(machine)),
            DiskTrouble::BadSectors { sectors } => {
                for _ in 0..sectors {
                    let bad = self.some_sector(machine);
                    self.disk(machine).troubles.bad.extend(bad);
                }
            }
            _ => {}
        }
        let troubles = &mut self.disk(machine).troubles;
        let number = troubles.next;
        troubles.next += 1;
        troubles.active.push((number, trouble));
        Troubled { run: self.id, machine, number }
    }

    /// A sector of some file.
    fn some_sector(&mut self, machine: u32) -> Option<(Ino, u64)> {
        let files = self.disk(machine).tree.inodes().filter_map(|(ino, inode)| match &inode.node {
            Node::File(bytes) if bytes.length() > 0 => Some((ino, bytes.length().div_ceil(512))),
            _ => None,
        });
        let files: Vec<(Ino, u64)> = files.collect();
        let mut left =
            self.kernel.draw(Stream::Disk, files.iter().map(|(_, sectors)| sectors).sum::<u64>().max(1));
        files.into_iter().find_map(|(ino, sectors)| match left < sectors {
            true => Some((ino, left)),
            false => {
                left -= sectors;
                None
            }
        })
    }

    fn rot(&mut self, machine: u32) {
        let bit = self.kernel.draw(Stream::Disk, 512 * 8);
        if let Some((ino, sector)) = self.some_sector(machine)
            && let Ok(bytes) = self.disk(machine).tree.bytes(ino)
        {
            bytes.corrupt(sector * 512 + bit / 8, |bytes| bytes[0] ^= 1 << (bit % 8));
        }
    }

    fn disk_drawn(&mut self, machine: u32, of: impl Fn(&DiskTrouble) -> bool) -> bool {
        match self.disk(machine).troubles.rate(of) {
            0 => false,
            ppm => self.kernel.draw(Stream::Disk, 1_000_000) < u64::from(ppm),
        }
    }

    pub(super) fn disk_fails(&mut self, machine: u32, call: DiskCall) -> bool {
        self.disk_drawn(machine, |trouble| matches!(trouble, DiskTrouble::Errors { of, .. } if *of == call))
    }

    /// Whether a read fails; else how many pages behind its place it reads, and how much of what it wants.
    pub(super) fn trouble_read(
        &mut self,
        machine: u32,
        ino: Ino,
        offset: u64,
        length: usize,
    ) -> Result<(u64, usize), Errno> {
        if self.disk_fails(machine, DiskCall::Read) || self.disk(machine).troubles.is_bad(ino, offset, length)
        {
            return Err(libc::EIO);
        }
        let mut behind = 0;
        if self.disk_drawn(machine, |trouble| matches!(trouble, DiskTrouble::MisdirectedReads { .. })) {
            let pages = self.disk(machine).tree.bytes(ino)?.length().div_ceil(PAGE as u64);
            behind = self.kernel.draw(Stream::Disk, pages.max(1));
        }
        Ok((behind, self.short(machine, length)))
    }

    /// How much of what it could a call transfers.
    pub(super) fn short(&mut self, machine: u32, length: usize) -> usize {
        let is_short =
            length > 1 && self.disk_drawn(machine, |trouble| matches!(trouble, DiskTrouble::Short { .. }));
        if is_short { 1 + self.kernel.draw(Stream::Disk, length as u64 - 1) as usize } else { length }
    }

    /// How much longer a sync takes.
    pub(super) fn sync_delay(&mut self, machine: u32) -> Nanos {
        let delays = self.disk(machine).troubles.active.iter().filter_map(|(_, trouble)| match trouble {
            DiskTrouble::Slow { delay_max } => Some(nanos(*delay_max)),
            _ => None,
        });
        match delays.max() {
            None => 0,
            Some(most) => self.kernel.draw(Stream::Disk, most + 1),
        }
    }

    /// What of a sync goes wrong without a word.
    pub(super) fn trouble_sync(&mut self, machine: u32, ino: Ino, syncing: &mut Syncing) {
        let mut misdirected = Vec::new();
        for index in 0..syncing.pages() {
            if self.disk_drawn(machine, |trouble| matches!(trouble, DiskTrouble::LostWrites { .. })) {
                syncing.lose(index);
            } else if self
                .disk_drawn(machine, |trouble| matches!(trouble, DiskTrouble::MisdirectedWrites { .. }))
            {
                misdirected.push(index);
            }
        }
        for index in misdirected {
            let Ok(bytes) = self.disk(machine).tree.bytes(ino) else { return };
            let pages = bytes.length().div_ceil(PAGE as u64).max(1);
            let to = self.kernel.draw(Stream::Disk, pages);
            if let Ok(bytes) = self.disk(machine).tree.bytes(ino) {
                bytes.misdirect(syncing, index, to);
            }
        }
    }
}
