//! The bytes of a file: as programs read them, and as they were before, until they are synced.
//!
//! A write makes a new version of each page that it touches. The first version of a page is the one that the medium has for sure;
//! a power loss may leave any of them, and each sector of the page another one: the kernel writes pages back when it likes, in any
//! order, and a sector is what a disk writes at once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Errno;
use super::memory::Memory;
use super::survival::Survival;

pub(super) const PAGE: usize = 4096;

/// How many versions of a page, and lengths of a file, are kept between the synced one and the present one: of many writes the last.
const VERSIONS_MAX: usize = 4;

/// Up to a page of bytes. Those missing at the end are zeros.
pub(super) type Page = Arc<[u8]>;

/// The bytes of a file.
#[derive(Default)]
pub(super) struct Bytes {
    length: u64,
    pages: BTreeMap<u64, Slot>,
    /// How many of them have bytes. Of the others a power loss may bring some back.
    written: u32,
    /// The pages that have a place and no bytes (fallocate(2)): ranges, by their first page; their ends are exclusive.
    #[expect(clippy::box_collection, reason = "most files have none, and there may be a million files")]
    reserved: Option<Box<BTreeMap<u64, u64>>>,
    /// The pages that are not synced.
    unsynced: Vec<u64>,
    /// The lengths since the last sync, the synced one first; none while it has not changed.
    lengths: SmallVec<[u64; 2]>,
    /// What mappings of the file share.
    pub(super) memory: Option<Box<Memory>>,
}

#[derive(Default)]
struct Slot {
    /// `None` for zeros.
    now: Option<Page>,
    before: Before,
}

/// What a page was before, since it was synced.
#[derive(Default)]
enum Before {
    /// It is synced.
    #[default]
    Synced,
    /// There were zeros.
    Zeros,
    /// The synced version, and the later ones but for the present one.
    Versions(Box<SmallVec<[Option<Page>; 2]>>),
    /// A sync of it has failed: it counts as clean, and the medium has this.
    Lost(Box<Option<Page>>),
}

/// What an fsync(2) that has begun makes durable.
pub(super) struct Syncing {
    pages: Vec<(u64, Option<Page>)>,
    length: u64,
}

impl Syncing {
    pub(super) fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Has the sync leave a page as it is on the medium.
    pub(super) fn lose(&mut self, index: usize) {
        self.pages[index].0 = u64::MAX;
    }
}

fn is_same(one: Option<&Page>, other: Option<&Page>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

impl Slot {
    /// Replaces the present version; whether the page was synced before.
    fn put(&mut self, page: Option<Page>) -> bool {
        let former = std::mem::replace(&mut self.now, page);
        match &mut self.before {
            Before::Synced => {
                self.before = match former {
                    None => Before::Zeros,
                    some => Before::Versions(Box::new(SmallVec::from_iter([some]))),
                };
                true
            }
            Before::Zeros => {
                self.before = Before::Versions(Box::new(SmallVec::from_iter([None, former])));
                false
            }
            Before::Versions(versions) => {
                if versions.len() > VERSIONS_MAX {
                    versions.remove(1);
                }
                versions.push(former);
                false
            }
            Before::Lost(synced) => {
                let versions = SmallVec::from_iter([synced.take(), former]);
                self.before = Before::Versions(Box::new(versions));
                false
            }
        }
    }

    /// All versions, the synced one first and the present one last.
    fn versions(&self) -> SmallVec<[Option<&Page>; 8]> {
        let mut all = SmallVec::new();
        match &self.before {
            Before::Synced => {}
            Before::Zeros => all.push(None),
            Before::Versions(versions) => all.extend(versions.iter().map(Option::as_ref)),
            Before::Lost(synced) => all.push(Option::as_ref(synced)),
        }
        all.push(self.now.as_ref());
        all
    }

    fn is_lost(&self) -> bool {
        matches!(self.before, Before::Lost(_))
    }

    /// A sync has failed.
    fn lose(&mut self) {
        if !matches!(self.before, Before::Synced) {
            let synced = self.versions()[0].cloned();
            self.before = Before::Lost(Box::new(synced));
        }
    }

    /// Makes a version the synced one; whether it is the present one.
    fn sync(&mut self, synced: Option<&Page>) -> bool {
        if is_same(self.now.as_ref(), synced) {
            self.before = Before::Synced;
            return true;
        }
        if let Before::Versions(versions) = &mut self.before {
            let at = versions.iter().position(|version| is_same(version.as_ref(), synced)).unwrap_or(0);
            versions.drain(..at);
            versions[0] = synced.cloned();
        } else {
            self.before = Before::Versions(Box::new(SmallVec::from_iter([synced.cloned()])));
        }
        false
    }
}

/// The parts of a range that lie in one page each: the page, and where the part begins and ends in it.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset.saturating_add(length as u64);
    let mut at = offset;
    std::iter::from_fn(move || {
        (at < end).then(|| {
            let (page, from) = (at / PAGE as u64, (at % PAGE as u64) as usize);
            let to = PAGE.min(from + (end - at).min(PAGE as u64) as usize);
            at += (to - from) as u64;
            (page, from, to)
        })
    })
}

/// Copies a part of a page.
fn copy(page: Option<&Page>, from: usize, to: &mut [u8]) {
    let bytes = page.map_or(&[][..], |page| page.get(from..).unwrap_or_default());
    let n = bytes.len().min(to.len());
    to[..n].copy_from_slice(&bytes[..n]);
    to[n..].fill(0);
}

impl Bytes {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut file = Self::default();
        file.write(0, bytes);
        let syncing = file.begin_sync(None);
        file.end_sync(&syncing);
        file
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// How many pages it takes of its disk.
    pub(super) fn allocated(&self) -> u64 {
        let reserved = self.reserved.iter().flat_map(|ranges| ranges.iter());
        u64::from(self.written) + reserved.map(|(first, end)| end - first).sum::<u64>()
    }

    /// How many of the pages of a range it has.
    pub(super) fn allocated_in(&self, offset: u64, length: u64) -> u64 {
        let range = offset / PAGE as u64..offset.saturating_add(length).div_ceil(PAGE as u64);
        let reserved = self.reserved_in(&range).map(|range| range.end - range.start).sum::<u64>();
        self.written_in(range).count() as u64 + reserved
    }

    /// The pages of a range that have bytes.
    fn written_in(&self, range: Range<u64>) -> impl Iterator<Item = u64> {
        let written = self.pages.range(range).filter(|(_, slot)| slot.now.is_some());
        written.map(|(page, _)| *page)
    }

    /// The parts of a range of pages that are reserved.
    fn reserved_in(&self, range: &Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let Range { start, end } = *range;
        let reserved = self.reserved.iter().flat_map(move |ranges| ranges.range(..end).rev());
        let touched = reserved.take_while(move |(_, reserved_end)| **reserved_end > start);
        touched.map(move |(first, reserved_end)| start.max(*first)..end.min(*reserved_end))
    }

    /// Where the next bytes that are not a hole begin, from an offset on (lseek(2), SEEK_DATA). What is reserved is a hole.
    pub(super) fn data_from(&self, offset: u64) -> Option<u64> {
        let page = self.written_in(offset / PAGE as u64..u64::MAX).next()? * PAGE as u64;
        (offset < self.length && page < self.length).then_some(page.max(offset))
    }

    /// Where the next hole begins (lseek(2), SEEK_HOLE): at the end at the latest.
    pub(super) fn hole_from(&self, offset: u64) -> Option<u64> {
        let first = offset / PAGE as u64;
        let written = self.written_in(first..u64::MAX).zip(first..).take_while(|(page, next)| page == next);
        let absent = written.last().map_or(first, |(page, _)| page + 1);
        (offset < self.length).then(|| (absent * PAGE as u64).clamp(offset, self.length))
    }

    /// Reads up to the end of the file; how much.
    pub(super) fn read(&self, offset: u64, to: &mut [u8]) -> usize {
        let n = to.len().min(self.length.saturating_sub(offset) as usize);
        if let Some(memory) = &self.memory {
            memory.read(offset, &mut to[..n]);
            return n;
        }
        let mut done = 0;
        for (page, from, end) in parts(offset, n) {
            let now = self.pages.get(&page).and_then(|slot| slot.now.as_ref());
            copy(now, from, &mut to[done..done + end - from]);
            done += end - from;
        }
        n
    }

    /// Reads so many pages behind what is asked for; the first page is behind the last one.
    pub(super) fn read_behind(&self, behind: u64, offset: u64, to: &mut [u8]) -> usize {
        if behind == 0 {
            return self.read(offset, to);
        }
        let pages = self.length.div_ceil(PAGE as u64);
        let n = to.len().min(self.length.saturating_sub(offset) as usize);
        let mut done = 0;
        for (page, from, end) in parts(offset, n) {
            let part = &mut to[done..done + end - from];
            part.fill(0);
            self.read((page + behind) % pages * PAGE as u64 + from as u64, part);
            done += end - from;
        }
        n
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut done = 0;
        for (page, from, end) in parts(offset, bytes.len()) {
            self.learn(page..page + 1);
            let part = &bytes[done..done + end - from];
            let former = self.pages.get(&page).and_then(|slot| slot.now.as_ref());
            let written = match former {
                _ if part.len() == PAGE => Arc::from(part),
                None if from == 0 => Arc::from(part),
                former => {
                    let mut whole = [0; PAGE];
                    copy(former, 0, &mut whole);
                    whole[from..end].copy_from_slice(part);
                    Arc::from(&whole[..end.max(former.map_or(0, |page| page.len()))])
                }
            };
            self.put(page, Some(written));
            done += end - from;
        }
        if let Some(memory) = &self.memory {
            if offset > self.length {
                memory
                    .punch(self.length, self.length.next_multiple_of(PAGE as u64).min(offset) - self.length);
            }
            memory.write(offset, bytes);
        }
        let end = offset + bytes.len() as u64;
        if end > self.length && !bytes.is_empty() {
            self.note_length(end);
        }
    }

    fn put(&mut self, page: u64, version: Option<Page>) {
        let slot = self.pages.entry(page).or_default();
        let (had, has) = (slot.now.is_some(), version.is_some());
        if slot.put(version) {
            self.unsynced.push(page);
        }
        self.written = self.written + u32::from(has) - u32::from(had);
        if has && !had && self.reserved.is_some() {
            self.give_back(page..page + 1);
        }
    }

    /// Pages of a range are no longer reserved.
    fn give_back(&mut self, range: Range<u64>) {
        let Some(ranges) = &mut self.reserved else { return };
        let touched: Vec<(u64, u64)> = ranges
            .range(..range.end)
            .rev()
            .take_while(|(_, end)| **end > range.start)
            .map(|(first, end)| (*first, *end))
            .collect();
        for (first, end) in touched {
            ranges.remove(&first);
            if first < range.start {
                ranges.insert(first, range.start);
            }
            if range.end < end {
                ranges.insert(range.end, end);
            }
        }
        if ranges.is_empty() {
            self.reserved = None;
        }
    }

    /// Gives pages of a range that have no place one.
    fn reserve(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut merged, gone) = (range.clone(), self.written_in(range).collect::<Vec<_>>());
        let ranges = self.reserved.get_or_insert_default();
        while let Some((first, end)) = ranges
            .range(..merged.end)
            .next_back()
            .map(|(first, end)| (*first, *end))
            .filter(|(_, end)| *end > merged.start)
        {
            ranges.remove(&first);
            merged = first.min(merged.start)..end.max(merged.end);
        }
        ranges.insert(merged.start, merged.end);
        for page in gone {
            self.give_back(page..page + 1);
        }
    }

    fn note_length(&mut self, length: u64) {
        if self.lengths.len() > VERSIONS_MAX {
            self.lengths.remove(1);
        }
        self.lengths.push(self.length);
        self.length = length;
    }

    /// ftruncate(2).
    pub(super) fn set_length(&mut self, length: u64) {
        if length <= self.length {
            // What is reserved behind the end goes, too.
            self.give_back(length.div_ceil(PAGE as u64)..u64::MAX);
        }
        if length == self.length {
            return;
        }
        self.learn(0..u64::MAX);
        if length < self.length {
            let (last, kept) = (length / PAGE as u64, (length % PAGE as u64) as usize);
            if let Some(Some(page)) = self.pages.get(&last).filter(|_| kept > 0).map(|slot| slot.now.clone())
                && page.len() > kept
            {
                self.put(last, Some(Arc::from(&page[..kept])));
            }
            self.drop_pages(last + u64::from(kept > 0)..u64::MAX);
        }
        if length > self.length {
            self.forget_behind_end();
        }
        self.note_length(length);
        if let Some(memory) = &self.memory {
            memory.set_length(length);
        }
    }

    /// Makes pages zeros that take no place.
    fn drop_pages(&mut self, range: Range<u64>) {
        self.give_back(range.clone());
        let some: Vec<u64> = self.pages.range(range).map(|(page, _)| *page).collect();
        let mut has_forgotten = false;
        for page in some {
            let is_new = matches!(self.pages[&page].before, Before::Zeros);
            if is_new {
                let slot = self.pages.remove(&page);
                self.written -= u32::from(slot.is_some_and(|slot| slot.now.is_some()));
                has_forgotten = true;
            } else if self.pages[&page].now.is_some() {
                self.put(page, None);
            }
        }
        if has_forgotten {
            let pages = &self.pages;
            self.unsynced.retain(|page| pages.contains_key(page));
        }
    }

    /// What mappings stored behind the end, in the last page, is not of the file.
    fn forget_behind_end(&self) {
        if let Some(memory) = &self.memory {
            memory.punch(self.length, self.length.next_multiple_of(PAGE as u64) - self.length);
        }
    }

    /// Reserves the pages of a range (fallocate(2)).
    pub(super) fn allocate(&mut self, offset: u64, length: u64, keeps_length: bool) {
        let end = offset.saturating_add(length);
        self.reserve(offset / PAGE as u64..end.div_ceil(PAGE as u64));
        if end > self.length && !keeps_length {
            self.learn(0..u64::MAX);
            self.forget_behind_end();
            self.note_length(end);
            if let Some(memory) = &self.memory {
                memory.set_length(end);
            }
        }
    }

    /// Writes zeros within the length, and gives whole pages back (FALLOC_FL_PUNCH_HOLE).
    pub(super) fn punch(&mut self, offset: u64, length: u64) {
        let page = PAGE as u64;
        if offset >= self.length {
            return;
        }
        // What goes beyond the length goes to the end of the last page.
        let end = match offset.saturating_add(length) {
            end if end > self.length => self.length.next_multiple_of(page),
            end => end,
        };
        self.learn(0..u64::MAX);
        let (first, last) = (offset.next_multiple_of(page), end / page * page);
        if first <= last {
            self.zero(offset, first);
            self.drop_pages(first / page..last / page);
            self.zero(last, end);
        } else {
            self.zero(offset, end);
        }
        if let Some(memory) = &self.memory {
            memory.punch(offset, end - offset);
        }
    }

    /// Takes whole pages out of a file, or puts a hole before the page at an offset (FALLOC_FL_COLLAPSE_RANGE,
    /// FALLOC_FL_INSERT_RANGE).
    pub(super) fn shift(
        &mut self,
        offset: u64,
        length: u64,
        inserts: bool,
        length_max: u64,
    ) -> Result<(), Errno> {
        let page = PAGE as u64;
        let is_within = if inserts { offset < self.length } else { offset + length < self.length };
        if !offset.is_multiple_of(page) || !length.is_multiple_of(page) || !is_within {
            return Err(libc::EINVAL);
        }
        if inserts && self.length + length > length_max {
            return Err(libc::EFBIG);
        }
        self.learn(0..u64::MAX);
        let (first, by) = (offset / page, length / page);
        // The first page that is kept, and where a page goes.
        let from = if inserts { first } else { first + by };
        let to = |page: u64| if inserts { page + by } else { page - by };
        let moved: Vec<(u64, Option<Page>)> =
            self.written_in(from..u64::MAX).map(|page| (to(page), self.pages[&page].now.clone())).collect();
        let reserved: Vec<Range<u64>> =
            self.reserved_in(&(from..u64::MAX)).map(|range| to(range.start)..to(range.end)).collect();
        self.drop_pages(first..u64::MAX);
        for range in reserved {
            self.reserve(range);
        }
        for (page, bytes) in moved {
            self.put(page, bytes);
        }
        self.note_length(if inserts { self.length + length } else { self.length - length });
        if let Some(memory) = &self.memory {
            memory.set_length(offset);
            memory.set_length(self.length);
            for number in self.written_in(first..u64::MAX) {
                memory.write(number * page, self.pages[&number].now.as_deref().unwrap_or_default());
            }
            memory.set_length(self.length);
        }
        Ok(())
    }

    /// Writes zeros to a part of a page, if it has bytes.
    fn zero(&mut self, from: u64, end: u64) {
        let (from, end, page) = (from, end.min(self.length), from / PAGE as u64);
        if from < end && self.pages.get(&page).is_some_and(|slot| slot.now.is_some()) {
            self.write(from, &[0; PAGE][..(end - from) as usize]);
        }
    }

    /// The memory that mappings share.
    pub(super) fn share(&mut self) -> Result<&mut Memory, Errno> {
        if self.memory.is_none() {
            let memory = Memory::new(self.length)?;
            for (page, slot) in &self.pages {
                if let Some(bytes) = &slot.now {
                    memory.write(page * PAGE as u64, bytes);
                }
            }
            memory.set_length(self.length);
            self.memory = Some(Box::new(memory));
        }
        Ok(self.memory.as_mut().expect("it was just made"))
    }

    /// Takes the stores of mappings as writes.
    pub(super) fn learn(&mut self, range: Range<u64>) {
        let Some(memory) = self.memory.as_ref().filter(|memory| memory.is_writable) else { return };
        let end = self.length.div_ceil(PAGE as u64).min(range.end);
        let mut stored = Vec::new();
        let mut next = range.start;
        while let Some(touched) = memory.touched_from(next * PAGE as u64).filter(|_| next < end) {
            let page = touched / PAGE as u64;
            if page >= end {
                break;
            }
            next = page + 1;
            let n = (self.length - page * PAGE as u64).min(PAGE as u64) as usize;
            let (mut before, mut now) = ([0; PAGE], [0; PAGE]);
            copy(self.pages.get(&page).and_then(|slot| slot.now.as_ref()), 0, &mut before);
            memory.read(page * PAGE as u64, &mut now[..n]);
            if before[..n] != now[..n] {
                stored.push((page, Arc::from(&now[..n])));
            }
        }
        for (page, now) in stored {
            self.put(page, Some(now));
        }
    }

    /// What a mapping has stored behind the end, within the last page, is gone when that page is written back (mmap(2)).
    fn clear_behind_end(&self) {
        let stored = self.memory.as_ref().filter(|memory| memory.is_writable);
        let behind = self.length.next_multiple_of(PAGE as u64) - self.length;
        if let Some(memory) = stored.filter(|_| behind > 0) {
            memory.punch(self.length, behind);
        }
    }

    /// What a sync that begins now, of a range or of all, makes durable.
    pub(super) fn begin_sync(&mut self, range: Option<(u64, usize)>) -> Syncing {
        let range = match range {
            Some((offset, length)) => {
                offset / PAGE as u64..offset.saturating_add(length as u64).div_ceil(PAGE as u64)
            }
            None => 0..u64::MAX,
        };
        self.learn(range.clone());
        self.clear_behind_end();
        let is_pending = |page: &&u64| range.contains(page) && !self.pages[page].is_lost();
        let unsynced = self.unsynced.iter().filter(is_pending);
        let pages = unsynced.map(|page| (*page, self.pages[page].now.clone())).collect();
        Syncing { pages, length: self.length }
    }

    /// A sync has ended; what was written meanwhile is not synced.
    pub(super) fn end_sync(&mut self, syncing: &Syncing) {
        let mut is_any = false;
        for (page, synced) in &syncing.pages {
            if let Some(slot) = self.pages.get_mut(page) {
                is_any |= slot.sync(synced.as_ref());
                if slot.now.is_none() && matches!(slot.before, Before::Synced) && self.memory.is_none() {
                    self.pages.remove(page);
                }
            }
        }
        if is_any {
            let pages = &self.pages;
            self.unsynced
                .retain(|page| pages.get(page).is_some_and(|slot| !matches!(slot.before, Before::Synced)));
        }
        match self.lengths.iter().position(|length| *length == syncing.length) {
            _ if self.length == syncing.length => self.lengths.clear(),
            Some(at) => drop(self.lengths.drain(..at)),
            None => {}
        }
    }

    /// A sync has failed: its pages count as clean, and are not on the medium.
    pub(super) fn fail_sync(&mut self, syncing: &Syncing) {
        for (page, _) in &syncing.pages {
            if let Some(slot) = self.pages.get_mut(page) {
                slot.lose();
            }
        }
    }

    /// A page of a sync goes to the place of another one.
    pub(super) fn misdirect(&mut self, syncing: &mut Syncing, index: usize, to: u64) {
        let (page, written) = syncing.pages[index].clone();
        let Some(slot) = self.pages.get_mut(&page).filter(|_| page != to) else { return };
        let on_the_medium = slot.versions()[0].cloned();
        *slot = Slot { now: on_the_medium, ..Slot::default() };
        self.unsynced.retain(|other| *other != page);
        syncing.lose(index);
        *self.pages.entry(to).or_default() = Slot { now: written, ..Slot::default() };
        self.unsynced.retain(|other| *other != to);
        self.give_back(to..to + 1);
        self.count_written();
        if let Some(memory) = &self.memory {
            for page in [page, to] {
                let mut whole = [0; PAGE];
                copy(self.pages[&page].now.as_ref(), 0, &mut whole);
                memory.write(page * PAGE as u64, &whole);
            }
            memory.set_length(self.length);
        }
    }

    fn count_written(&mut self) {
        self.written = self.pages.values().filter(|slot| slot.now.is_some()).count() as u32;
    }

    pub(super) fn is_synced(&self) -> bool {
        self.unsynced.is_empty() && self.lengths.is_empty()
    }

    /// How many pages are not synced.
    pub(super) fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// What a power loss leaves, as the survival has it. What is lost, in words, unless that is nothing.
    pub(super) fn lose_power(&mut self, survival: &mut Survival<'_>) -> Option<String> {
        self.learn(0..u64::MAX);
        self.memory = None;
        if self.is_synced() {
            return None;
        }
        let (mut sectors, mut lost) = (0, 0);
        survival.begin_file();
        let present = self.length;
        if let Some(synced) = self.lengths.first().copied() {
            let choice = survival.version(self.lengths.len() + 1);
            self.length = self.lengths.get(choice).copied().unwrap_or(present);
            if survival.orders_data() && self.length > synced && choice > 0 {
                // The data was written before the length was: what it covers is there.
                survival.keep_data();
            }
        }
        self.unsynced.sort_unstable();
        for page in std::mem::take(&mut self.unsynced) {
            let slot = self.pages.get_mut(&page).expect("what is not synced is there");
            let mut versions = slot.versions();
            if slot.now.is_none() && page * PAGE as u64 >= present {
                versions.pop(); // a truncation writes nothing: with the old length the old bytes are there
            }
            let mut left = [0; PAGE];
            for from in (0..PAGE).step_by(survival.sector()) {
                let choice = if slot.is_lost() { 0 } else { survival.sector_version(versions.len()) };
                (sectors, lost) = (sectors + 1, lost + u32::from(choice + 1 < versions.len()));
                let version = versions[choice];
                copy(version, from, &mut left[from..from + survival.sector()]);
            }
            drop(versions);
            *slot = Slot { now: Some(Arc::from(&left[..])), ..Slot::default() };
        }
        self.lengths.clear();
        let length = self.length;
        self.pages.retain(|page, _| page * (PAGE as u64) < length);
        if let Some(slot) = self.pages.get_mut(&(length / PAGE as u64))
            && let Some(page) = &slot.now
        {
            let kept = (length % PAGE as u64) as usize;
            slot.now = Some(Arc::from(&page[..kept.min(page.len())]));
        }
        self.give_back(length.div_ceil(PAGE as u64)..u64::MAX);
        for page in self.written_in(0..u64::MAX).collect::<Vec<_>>() {
            self.give_back(page..page + 1);
        }
        self.count_written();
        survival.end_file();
        (lost > 0 || length < present).then(|| {
            format!("{lost} of {sectors} sectors that were not synced are lost; its length is {length}, and was {present}")
        })
    }

    /// Changes the medium itself, so that a sector has other bytes.
    pub(super) fn corrupt(&mut self, offset: u64, change: impl FnOnce(&mut [u8])) {
        let page = offset / PAGE as u64;
        let Some(slot) = self.pages.get_mut(&page) else { return };
        let mut whole = [0; PAGE];
        copy(slot.now.as_ref(), 0, &mut whole);
        change(&mut whole[(offset % PAGE as u64) as usize..]);
        slot.now = Some(Arc::from(&whole[..]));
        if let Some(memory) = &self.memory {
            memory.write(page * PAGE as u64, &whole);
        }
    }

    pub(super) fn contents(&self) -> Vec<u8> {
        let mut all = vec![0; self.length as usize];
        self.read(0, &mut all);
        all
    }
}
