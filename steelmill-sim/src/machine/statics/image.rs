//! The writable data of this program (`.data`, `.bss`): which of it belongs to the programs on machines, what it is before
//! `main`, and the change from one process's to another's.
//!
//! What the simulation itself works with stays in place: its own crates, the standard library, the logs. So do
//! [allocators](crate::machine::allocators).
//! Everything else of the executable is a program's. Data of shared libraries, such as the C library's, stays in place, too,
//! but for `environ`.
#![allow(unsafe_code, reason = "reading and replacing static data; the argument stands beside each place")]

use std::collections::BTreeSet;
use std::ffi::{CString, c_char, c_int, c_void};
use std::ops::Range;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering, compiler_fence};

use object::read::elf::ElfFile64;
use object::{Endianness, Object as _, ObjectSymbol as _, SymbolKind};

use super::Startup;
use crate::machine::allocators::{Code, Owned};
use crate::machine::executable::Executable;

/// Crates whose statics all processes share, by the beginnings of their paths.
const SHARED: [&str; 18] = [
    "steelmill_core::",
    "steelmill_sim::",
    "std::",
    "core::",
    "alloc::",
    "test::",
    "panic_unwind::",
    "std_detect::",
    // The logs of all machines go to one subscriber, which knows each place of the program that logs.
    "tracing_core::",
    "tracing_subscriber::",
    "tracing_log::",
    "sharded_slab::",
    "thread_local::",
    // Stacks are symbolized for the simulation.
    "backtrace::",
    "gimli::",
    "addr2line::",
    "object::",
    "linkme::",
];

/// What places register of themselves, in whichever crate: tracing's, and coverage points.
const SHARED_PLACES: [&str; 2] = ["__CALLSITE", "__STEELMILL_POINT"];

/// Of the shared crates' statics those that a process has to have for itself: `argv`, its panic hook, that it is exiting, and
/// its global subscriber.
const OWN: [&str; 6] = [
    "::args::unix::imp::ARGC",
    "::args::unix::imp::ARGV",
    "std::panicking::HOOK",
    "::EXITING_THREAD_ID",
    "dispatcher::GLOBAL_INIT",
    "dispatcher::GLOBAL_DISPATCH",
];

/// Where the statics of programs are.
pub(super) struct Image {
    /// All writable data of the program.
    data: Range<usize>,
    /// Those of programs, in order, apart from each other.
    ranges: Vec<Range<usize>>,
    /// What they are before `main`, one range after the other.
    pristine: Box<[u8]>,
    argc: Option<usize>,
    argv: Option<usize>,
    hook: Option<Range<usize>>,
}

/// Those of a run: what one process after the other has in place.
pub(super) struct Swap {
    image: &'static Image,
    /// What has differed from the state before `main` in some process, in order, apart from each other. The rest is alike in
    /// all.
    changed: Vec<Piece>,
    /// What has not.
    unchanged: Vec<Piece>,
    /// The panic hook of the simulation, which programs begin with.
    hook: Box<[u8]>,
}

/// A part of one range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    /// Where it is in place.
    address: usize,
    /// Where it is in the contents.
    at: usize,
    length: usize,
}

/// How long statics without a name have to be, in bytes: what is shorter between others is padding.
const NAMELESS: usize = 16;

/// How finely changes are told apart, in bytes.
const LINE: usize = 64;

/// What is not longer than this is copied along with changes on both sides of it: that takes less time than to look at it.
const GAP: usize = 256;

// SAFETY: it is plain data.
unsafe impl Sync for Image {}
// SAFETY: as above.
unsafe impl Send for Image {}

/// The statics of one process that are not in place.
pub(super) struct Contents {
    bytes: Box<[u8]>,
    environment: *mut *mut c_char,
    /// They were not in place yet.
    pub(super) is_fresh: bool,
}

/// The executable as it was loaded.
struct Loaded {
    /// What is added to the addresses in its file.
    base: usize,
    /// Its writable data: what the loader maps for writing and does not protect after relocation (elf(5)).
    data: Range<usize>,
    /// That, as it was before `main`.
    bytes: Box<[u8]>,
}

static PRISTINE: AtomicPtr<Loaded> = AtomicPtr::new(null_mut());

#[used]
#[unsafe(link_section = ".init_array")]
static KEEP_PRISTINE: unsafe extern "C" fn() = keep_pristine;

unsafe extern "C" fn keep_pristine() {
    let (base, data) = writable_data();
    // SAFETY: the loader mapped it, and nothing else executes before `main`.
    let bytes =
        unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(data.start), data.len()) };
    let loaded = Loaded { base, data, bytes: bytes.into() };
    PRISTINE.store(Box::into_raw(Box::new(loaded)), Ordering::Release);
}

/// What is added to the addresses in this program's file.
pub(crate) fn base() -> usize {
    writable_data().0
}

fn writable_data() -> (usize, Range<usize>) {
    unsafe extern "C" fn first(object: *mut libc::dl_phdr_info, _: usize, found: *mut c_void) -> c_int {
        // SAFETY: dl_iterate_phdr(3): the object has so many headers; `found` is ours.
        let (base, headers, found) = unsafe {
            let object = &*object;
            let headers = std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum));
            (object.dlpi_addr as usize, headers, &mut *found.cast::<(usize, Range<usize>)>())
        };
        let at = |header: &libc::Elf64_Phdr| {
            let start = base + header.p_vaddr as usize;
            start..start + header.p_memsz as usize
        };
        let protected = headers.iter().find(|header| header.p_type == libc::PT_GNU_RELRO).map_or(0..0, at);
        let writable = headers
            .iter()
            .filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W != 0);
        // It is the end of the last of them, behind what is protected.
        if let Some(last) = writable.map(at).max_by_key(|range| range.end) {
            *found = (base, last.start.max(protected.end.min(last.end))..last.end);
        }
        1 // the first object is the main program
    }
    let mut found = (0, 0..0);
    // SAFETY: the function is called while this waits.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut found).cast()) };
    found
}

/// The image of this program; `None` if its symbols were stripped, or it is not as it is expected to be.
pub(super) fn of_this_program() -> Option<&'static Image> {
    static IMAGE: OnceLock<Option<Image>> = OnceLock::new();
    IMAGE.get_or_init(read).as_ref()
}

fn read() -> Option<Image> {
    // SAFETY: null, or what `keep_pristine` leaked.
    let loaded = unsafe { PRISTINE.load(Ordering::Acquire).as_ref() }?;
    let (data, pristine) = (loaded.data.clone(), &*loaded.bytes);
    let file = Executable::map().ok()?;
    let file = ElfFile64::<Endianness>::parse(file.bytes()).ok()?;
    let allocators = Owned::of(&file, &Code::in_file(&file));
    let (mut shared, mut own) = (Vec::new(), BTreeSet::new());
    let (mut argc, mut argv, mut hook, mut has_symbols) = (None, None, None, false);
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Data && symbol.size() > 0) {
        let start = loaded.base + symbol.address() as usize;
        let range = start..start + symbol.size() as usize;
        if range.start < data.start || range.end > data.end {
            continue;
        }
        let Ok(mangled) = symbol.name() else { continue };
        has_symbols = true;
        // Without the hashes of crates.
        let name = format!("{:#}", rustc_demangle::demangle(mangled));
        match OWN.iter().position(|own| name.contains(own)) {
            Some(0) => argc = Some(start),
            Some(1) => argv = Some(start),
            Some(2) => hook = Some(range),
            Some(_) => {}
            None if is_shared(&name) || allocators.has(symbol.index().0) => {
                shared.push(range);
                continue;
            }
            None => {}
        }
        own.insert(start);
    }
    has_symbols.then(|| {
        // What is short and has no name lies between two that are shared, for alignment.
        let has_name = |range: &Range<usize>| own.range(range.clone()).next().is_some();
        let is_any = |range: &Range<usize>| range.len() >= NAMELESS || has_name(range);
        let ranges: Vec<_> = without(data.clone(), shared).into_iter().filter(is_any).collect();
        let of = |range: &Range<usize>| &pristine[range.start - data.start..range.end - data.start];
        let pristine = ranges.iter().flat_map(of).copied().collect();
        Image { data: data.clone(), ranges, pristine, argc, argv, hook }
    })
}

fn is_shared(name: &str) -> bool {
    let path = name.trim_start_matches('<');
    SHARED.iter().any(|beginning| path.starts_with(beginning))
        || SHARED_PLACES.iter().any(|place| name.contains(place))
        || name.contains("steelmill_sim::")
}

/// A range without others.
fn without(whole: Range<usize>, mut others: Vec<Range<usize>>) -> Vec<Range<usize>> {
    others.sort_by_key(|range| range.start);
    let mut rest = Vec::new();
    let mut start = whole.start;
    for other in others {
        if other.start > start {
            rest.push(start..other.start);
        }
        start = start.max(other.end);
    }
    if start < whole.end {
        rest.push(start..whole.end);
    }
    rest
}

unsafe extern "C" {
    static mut environ: *mut *mut c_char;
}

impl Image {
    pub(super) fn contains(&self, address: usize) -> bool {
        self.data.contains(&address) && self.ranges.iter().any(|range| range.contains(&address))
    }

    /// Whether an address is in data that all processes share.
    pub(super) fn is_shared(&self, address: usize) -> bool {
        self.data.contains(&address) && !self.contains(address)
    }

    /// For a new run, in whose real process they may have changed already.
    pub(super) fn swap(&'static self) -> Swap {
        let mut at = 0;
        let mut unchanged = Vec::new();
        for range in &self.ranges {
            unchanged.push(Piece { address: range.start, at, length: range.len() });
            at += range.len();
        }
        // SAFETY: it is mapped, and nobody sets a hook meanwhile.
        let hook = unsafe { self.hook_in_place() }.into();
        Swap { image: self, changed: Vec::new(), unchanged, hook }
    }

    /// # Safety
    /// Nobody sets a hook as long as the slice is used.
    unsafe fn hook_in_place<'a>(&self) -> &'a [u8] {
        let Range { start, end } = self.hook.clone().unwrap_or_default();
        let at: *const u8 =
            if start == end { std::ptr::dangling() } else { std::ptr::with_exposed_provenance(start) };
        // SAFETY: it is mapped, and as the caller says.
        unsafe { std::slice::from_raw_parts(at, end - start) }
    }

    /// Room for those of the real process.
    pub(super) fn room(&self) -> Contents {
        Contents { bytes: self.pristine.clone(), environment: null_mut(), is_fresh: false }
    }

    /// Writes into contents, by the address in place.
    fn put(&self, bytes: &mut [u8], address: Option<usize>, value: &[u8]) {
        let Some(address) = address else { return };
        let mut before = 0;
        for range in &self.ranges {
            if range.contains(&address) {
                let at = before + address - range.start;
                bytes[at..at + value.len()].copy_from_slice(value);
            }
            before += range.len();
        }
    }
}

impl Piece {
    fn pointer(self) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(self.address)
    }

    /// What is in place.
    ///
    /// # Safety
    /// The piece is of an image, and nobody writes it as long as the slice is used.
    unsafe fn in_place<'a>(self) -> &'a [u8] {
        // SAFETY: it is mapped, and as the caller says.
        unsafe { std::slice::from_raw_parts(self.pointer(), self.length) }
    }

    fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.at..self.at + self.length]
    }

    /// Its lines: parts that are short.
    fn lines(self) -> impl Iterator<Item = Piece> {
        (0..self.length).step_by(LINE).map(move |from| Piece {
            address: self.address + from,
            at: self.at + from,
            length: LINE.min(self.length - from),
        })
    }
}

impl Swap {
    /// Those of a process that starts.
    pub(super) fn fresh(&self, startup: &Startup) -> Contents {
        let image = self.image;
        let mut bytes = image.pristine.clone();
        image.put(&mut bytes, image.argc, &startup.arguments.len().to_ne_bytes());
        let arguments = vector(&startup.arguments).expose_provenance();
        image.put(&mut bytes, image.argv, &arguments.to_ne_bytes());
        // A copy of a hook that has no data to free: see `host/panics`.
        image.put(&mut bytes, image.hook.as_ref().map(|hook| hook.start), &self.hook);
        Contents { bytes, environment: vector(&startup.environment), is_fresh: true }
    }

    /// Whether the process whose statics are in place has set a panic hook.
    pub(super) fn has_own_hook(&self) -> bool {
        // SAFETY: asked by one of its threads, which sets none meanwhile.
        unsafe { self.image.hook_in_place() != &*self.hook }
    }

    /// Takes note of what the process whose statics are in place has changed, before others take that place.
    pub(super) fn note_changes(&mut self) {
        compiler_fence(Ordering::SeqCst);
        let pristine = &self.image.pristine;
        // SAFETY: no other thread writes them: the run has the real process for itself.
        self.take_changes(|piece| unsafe { piece.in_place() } != piece.of(pristine));
    }

    /// Copies those in place, after what was changed in them was noted.
    pub(super) fn save(&self, contents: &mut Contents) {
        let bytes = contents.bytes.as_mut_ptr();
        for piece in &self.changed {
            // SAFETY: no other thread writes them: the run has the real process for itself. All contents are as long as the
            // image, of which the pieces are parts.
            unsafe { bytes.add(piece.at).copy_from_nonoverlapping(piece.pointer(), piece.length) };
        }
        // SAFETY: it is the C library's, and read as it does.
        contents.environment = unsafe { environ };
    }

    /// Puts statics in place.
    pub(super) fn load(&mut self, contents: &mut Contents) {
        if std::mem::take(&mut contents.is_fresh) {
            // A process that starts has arguments.
            let (bytes, pristine) = (&contents.bytes, &self.image.pristine);
            self.take_changes(|piece| piece.of(bytes) != piece.of(pristine));
        }
        let bytes = contents.bytes.as_ptr();
        for piece in &self.changed {
            // SAFETY: as in `save`. What borrows from statics there belongs to threads that do not execute until theirs are in
            // place again.
            unsafe { piece.pointer().copy_from_nonoverlapping(bytes.add(piece.at), piece.length) };
        }
        compiler_fence(Ordering::SeqCst);
        // SAFETY: as in `save`.
        unsafe { environ = contents.environment };
    }

    /// Takes what has changed out of what has not.
    fn take_changes(&mut self, has_changed: impl Fn(Piece) -> bool) {
        if self.unchanged.iter().any(|piece| has_changed(*piece)) {
            self.divide(has_changed);
        }
    }

    /// Takes those lines that have changed out of what has not.
    #[cold]
    fn divide(&mut self, has_changed: impl Fn(Piece) -> bool) {
        let lines: Vec<Piece> = self.unchanged.drain(..).flat_map(Piece::lines).collect();
        let (changed, unchanged): (Vec<Piece>, Vec<Piece>) =
            lines.into_iter().partition(|line| has_changed(*line));
        self.unchanged = joined(unchanged);
        let changed = joined([std::mem::take(&mut self.changed), changed].concat());
        let starts: BTreeSet<usize> = changed.iter().map(|piece| piece.address).collect();
        let ends: BTreeSet<usize> = changed.iter().map(|piece| piece.address + piece.length).collect();
        let is_gap = |piece: &mut Piece| {
            let end = piece.address + piece.length;
            piece.length <= GAP && ends.contains(&piece.address) && starts.contains(&end)
        };
        let gaps = self.unchanged.extract_if(.., is_gap);
        self.changed = joined(changed.into_iter().chain(gaps).collect());
    }
}

/// Pieces in order, with those that are next to each other as one.
fn joined(mut pieces: Vec<Piece>) -> Vec<Piece> {
    pieces.sort_by_key(|piece| piece.address);
    let mut joined: Vec<Piece> = Vec::new();
    for piece in pieces {
        match joined.last_mut() {
            Some(last)
                if last.address + last.length == piece.address && last.at + last.length == piece.at =>
            {
                last.length += piece.length;
            }
            _ => joined.push(piece),
        }
    }
    joined
}

/// A vector of strings with a null at its end, for a process that may keep it. It is never freed.
fn vector(strings: &[CString]) -> *mut *mut c_char {
    let ends = std::iter::once(null::<c_char>().cast_mut());
    let all: Box<[*mut c_char]> =
        strings.iter().map(|string| string.clone().into_raw()).chain(ends).collect();
    Box::leak(all).as_mut_ptr()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn a_range_without_others_is_what_lies_between_them() {
        assert_eq!(without(0..10, vec![6..8, 2..4, 3..5]), [0..2, 5..6, 8..10]);
        assert_eq!(without(0..10, vec![0..4, 6..6, 8..10]), [4..6, 6..8]);
        assert!(without(0..10, Vec::from([0..10; 1])).is_empty());
    }

    #[test]
    fn statics_of_this_program_are_told_apart() {
        static OWN: AtomicUsize = AtomicUsize::new(7);
        let image = of_this_program().expect("a test has symbols");
        // A unit test's statics are of this crate, which is the simulation's.
        assert!(!image.contains((&raw const OWN).addr()));
        assert!(!image.contains((&raw const PRISTINE).addr()));
        assert!(image.argc.is_some_and(|argc| image.contains(argc)), "std's ARGC");
        assert!(image.argv.is_some_and(|argv| image.contains(argv)), "std's ARGV");
        assert!(image.pristine.len() < 1 << 20);
    }

    #[test]
    fn what_the_simulation_works_with_is_shared() {
        for shared in [
            "steelmill_sim::kernel::watchdog::WATCHED",
            "<std::thread::id::ThreadId>::new::COUNTER",
            "app::f::__CALLSITE",
        ] {
            assert!(is_shared(shared), "{shared}");
        }
        for own in
            ["tokio::signal::registry::globals::GLOBALS", "log::LOGGER", "app::CONFIG", "sqlite3Config"]
        {
            assert!(!is_shared(own), "{own}");
        }
    }
}
