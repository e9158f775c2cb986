//! Mappings of files (mmap(2)). The real kernel maps them, from a file in memory that has what the file has.

use std::ops::Range;

use libc::c_int;

use super::memory::Memory;
use super::open::Sync;
use super::{Cluster, Errno, Ino, OpenFile};
use crate::machine::descriptors::{Content, Object};
use crate::machine::real;
use crate::machine::world::Process;

/// The mappings of files, of all processes of a run.
#[derive(Default)]
pub(crate) struct Mappings {
    live: Vec<Mapping>,
    /// Those of processes that have ended, whose tasks may still be dropped: machine, address and length.
    ended: Vec<(u32, Range<usize>)>,
}

#[derive(Debug, Clone)]
struct Mapping {
    process: Process,
    at: Range<usize>,
    ino: Ino,
    /// Where in the file it begins.
    offset: u64,
    is_shared: bool,
}

/// What mmap(2) is given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MapCall {
    pub(crate) address: usize,
    pub(crate) length: usize,
    pub(crate) protection: c_int,
    pub(crate) flags: c_int,
    pub(crate) offset: i64,
}

impl Mappings {
    /// The files that are mapped shared in a range of memory, with their machines.
    fn shared_in(&self, at: Range<usize>) -> Vec<(u32, Ino)> {
        let is_in = |mapping: &&Mapping| mapping.is_shared && mapping.touches(&at);
        self.live.iter().filter(is_in).map(|mapping| (mapping.process.machine, mapping.ino)).collect()
    }
}

impl Mapping {
    fn touches(&self, other: &Range<usize>) -> bool {
        self.at.start < other.end && other.start < self.at.end
    }
}

impl Drop for Mappings {
    fn drop(&mut self) {
        let live = self.live.drain(..).map(|mapping| mapping.at);
        live.chain(self.ended.drain(..).map(|(_, at)| at)).for_each(unmap);
    }
}

fn unmap(at: Range<usize>) {
    real::syscall(libc::SYS_munmap, [at.start, at.len(), 0, 0, 0, 0]);
}

/// A length in whole pages.
fn whole_pages(length: usize) -> usize {
    length.next_multiple_of(super::bytes::PAGE)
}

impl Cluster {
    /// Maps a file, shared or privately.
    pub(crate) fn map_file(
        &mut self,
        process: Process,
        open: OpenFile,
        call: MapCall,
    ) -> Result<usize, Errno> {
        let is_shared = call.flags & libc::MAP_TYPE != libc::MAP_PRIVATE;
        let is_writable = is_shared && call.protection & libc::PROT_WRITE != 0;
        open.check_mapping(is_writable)?;
        let offset = u64::try_from(call.offset).map_err(|_| libc::EINVAL)?;
        let tree = &mut self.disk(open.machine).tree;
        let bytes = tree.bytes(open.ino).map_err(|_| libc::ENODEV)?;
        let memory = bytes.share()?;
        memory.is_writable |= is_writable;
        let at = memory.map(call.address, call.length, call.protection, call.flags, offset)?;
        tree.open(open.ino);
        let at = at..at + whole_pages(call.length);
        self.forget_mapped(process, at.clone());
        self.mappings.live.push(Mapping { process, at, ino: open.ino, offset, is_shared });
        Ok(self.mappings.live.last().map_or(0, |mapping| mapping.at.start))
    }

    /// Maps privately what a process has of files beside its disk.
    pub(crate) fn map_content(&mut self, process: Process, fd: c_int, call: MapCall) -> Result<usize, Errno> {
        let Object::Content(Content::Bytes { bytes, .. }) = &self.descriptors.file(process, fd)?.1.object
        else {
            return Err(libc::ENODEV);
        };
        let offset = u64::try_from(call.offset).map_err(|_| libc::EINVAL)?;
        let memory = Memory::new(bytes.len() as u64)?;
        memory.write(0, bytes);
        memory.map(call.address, call.length, call.protection, call.flags, offset)
    }

    /// Whether an address is one of a mapped file.
    pub(crate) fn is_mapped(&self, address: usize) -> bool {
        self.mappings.live.iter().any(|mapping| mapping.at.contains(&address))
    }

    /// A part of the memory of a process is no longer what was mapped there.
    pub(crate) fn forget_mapped(&mut self, process: Process, gone: Range<usize>) {
        if self.mappings.live.is_empty() {
            return;
        }
        let (mut rest, mut held) = (Vec::new(), Vec::new());
        self.mappings.live.retain(|mapping| {
            let is_touched = mapping.touches(&gone);
            if is_touched {
                let before = mapping.at.start..gone.start;
                let after = gone.end..mapping.at.end;
                let skipped = after.start.saturating_sub(mapping.at.start) as u64;
                let offset = mapping.offset + skipped;
                rest.extend((!before.is_empty()).then(|| Mapping { at: before, ..mapping.clone() }));
                rest.extend((!after.is_empty()).then(|| Mapping { at: after, offset, ..mapping.clone() }));
                held.push(mapping.ino);
            }
            !is_touched
        });
        let tree = &mut self.disk(process.machine).tree;
        rest.iter().for_each(|mapping| tree.open(mapping.ino));
        held.into_iter().for_each(|ino| tree.close(ino));
        self.mappings.live.append(&mut rest);
    }

    /// A mapping has been moved or changed its length (mremap(2)).
    pub(crate) fn mapping_moved(&mut self, from: usize, at: usize, length: usize) {
        if let Some(mapping) = self.mappings.live.iter_mut().find(|mapping| mapping.at.start == from) {
            mapping.at = at..at + whole_pages(length);
        }
    }

    /// Mapped memory has become writable (mprotect(2)).
    pub(crate) fn mapping_writable(&mut self, at: Range<usize>) {
        for (machine, ino) in self.mappings.shared_in(at) {
            if let Ok(bytes) = self.disk(machine).tree.bytes(ino)
                && let Some(memory) = &mut bytes.memory
            {
                memory.is_writable = true;
            }
        }
    }

    /// msync(2) with MS_SYNC: the syncs of what is mapped in a range.
    pub(crate) fn begin_sync_of_mapped(&mut self, at: Range<usize>) -> Vec<Sync> {
        let synced = self.mappings.shared_in(at);
        synced.into_iter().map(|(machine, ino)| self.begin_sync_of(machine, ino)).collect()
    }

    /// A process has ended. Its memory stays until the next one begins: its tasks are dropped after this.
    pub(super) fn unmap_all(&mut self, machine: u32) {
        let (gone, live) =
            self.mappings.live.drain(..).partition(|mapping: &Mapping| mapping.process.machine == machine);
        self.mappings.live = live;
        for Mapping { at, ino, .. } in gone {
            self.disk(machine).tree.close(ino);
            self.mappings.ended.push((machine, at));
        }
    }

    /// A process begins.
    pub(crate) fn unmap_ended(&mut self, machine: u32) {
        let gone = self.mappings.ended.extract_if(.., |(other, _)| *other == machine);
        gone.for_each(|(_, at)| unmap(at));
    }
}
