//! Allocators that are linked into this program call the real C library.
//!
//! An allocator locks, maps memory and reads clocks, at any moment: in a program, in the simulation while its state is
//! borrowed, and on threads that are no guests. Answered by the simulation, such a call could give the turn away while the
//! allocator's lock is held, and would be one of the program's decisions. But the linker has resolved it to a function of
//! ours. So before `main`, when there is one thread, each call of an allocator to such a function is found in its machine code
//! and redirected to the C library's.
//!
//! Its clock stands still on simulating threads, so that what it does after a while does not depend on real time.
#![allow(unsafe_code, reason = "changing machine code, and a clock; the argument stands beside each place")]

use std::arch::naked_asm;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_int};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use object::read::elf::{ElfFile64, ElfSection64};
use object::{Endianness, Object as _, ObjectSection as _};

use super::libc::symbols;
use crate::machine::allocators::branches::{self, JUMP_LENGTH, Target};
use crate::machine::allocators::{self, Code, Owned};
use crate::machine::executable::Executable;
use crate::machine::{cluster, real, statics};

/// Whether the calls of the allocators in this program are real, or why they are not; unset without an allocator.
static OUTCOME: OnceLock<Result<(), String>> = OnceLock::new();

#[used]
#[unsafe(link_section = ".init_array")]
static MAKE_REAL: extern "C" fn() = make_real;

extern "C" fn make_real() {
    if linked().next().is_some() {
        OUTCOME.get_or_init(redirect);
    }
}

/// Functions of the allocators in this program, one of each.
fn linked() -> impl Iterator<Item = usize> {
    allocators::linked().map(|(function, _)| function).filter(|function| symbols::is_in_program(*function))
}

/// Whether programs can be simulated with the allocators of this process.
///
/// # Errors
/// What there is to know otherwise.
pub(crate) fn are_real() -> Result<(), String> {
    // Each run asks.
    static ARE_REAL: OnceLock<Result<(), String>> = OnceLock::new();
    ARE_REAL.get_or_init(|| OUTCOME.get().cloned().unwrap_or(Ok(())).and_then(|()| are_linked())).clone()
}

/// Whether no allocator is in a shared library.
fn are_linked() -> Result<(), String> {
    let of_libraries = [c"mallocx", c"mi_malloc"]
        .into_iter()
        .filter(|name| symbols::meant_by(name).is_some_and(|function| !symbols::is_in_program(function)));
    match of_libraries.collect::<Vec<_>>()[..] {
        [] => Ok(()),
        [name, ..] => Err(format!(
            "programs cannot be simulated with an allocator in a shared library, which has {}: link it into the executable, \
             or preload none",
            name.to_string_lossy()
        )),
    }
}

fn redirect() -> Result<(), String> {
    try_redirect().map_err(|reason| {
        format!(
            "programs cannot be simulated with the allocator in this executable, whose calls of the C library have to be \
             changed in its code: {reason}, or let the system's allocator be that of tests: \
             #[cfg_attr(not(test), global_allocator)]"
        )
    })
}

fn try_redirect() -> Result<(), String> {
    let file = Executable::map().map_err(|error| format!("let /proc/self/exe be read ({error})"))?;
    let file = ElfFile64::<Endianness>::parse(file.bytes()).map_err(|error| error.to_string())?;
    let code = Code::in_file(&file);
    let owned = Owned::of(&file, &code);
    let base = statics::base();
    let is_owned = |function: usize| owned.functions.iter().any(|range| range.start + base == function);
    if !linked().all(is_owned) {
        return Err("keep its symbols (`strip = \"none\"` in the profile)".to_owned());
    }
    let mut redirection = Redirection::new(&file, base).map_err(not_writable)?;
    for function in &owned.functions {
        redirection.of_function(code.of(function), function.start + base).map_err(not_writable)?;
    }
    if redirection.jumps.is_empty() {
        return Err("use a processor on which they are found, as x86-64".to_owned());
    }
    let in_place = |range: &Range<usize>| range.start + base..range.end + base;
    allocators::have_code_at(owned.functions.iter().map(in_place).collect());
    Ok(())
}

fn not_writable(error: io::Error) -> String {
    format!("let /proc/self/mem be written ({error})")
}

/// What it takes to have calls go to the C library.
struct Redirection {
    /// It writes memory that is not writable, as a debugger does (proc_pid_mem(5)).
    memory: File,
    /// The functions that this crate has in place of the C library's, by their addresses.
    ours: BTreeMap<usize, &'static CStr>,
    /// The global offset tables, through which code may call.
    tables: Vec<Range<usize>>,
    /// The jumps that were written, by the names of the functions they go to.
    jumps: BTreeMap<&'static CStr, usize>,
}

impl Redirection {
    fn new(file: &ElfFile64<'_, Endianness>, base: usize) -> io::Result<Self> {
        // By pthread_key_create an allocator's keys are known.
        let names = symbols::OURS.iter().filter(|name| !name.to_bytes().starts_with(b"pthread_key_"));
        let ours = names.filter_map(|name| Some((symbols::meant_by(name)?, *name)));
        let tables = [".got", ".got.plt"].into_iter().filter_map(|name| file.section_by_name(name));
        let in_place = |table: ElfSection64<'_, '_, Endianness>| {
            let start = table.address() as usize + base;
            start..start + table.size() as usize
        };
        Ok(Self {
            memory: File::options().write(true).open("/proc/self/mem")?,
            ours: ours.filter(|(function, _)| symbols::is_in_program(*function)).collect(),
            tables: tables.map(in_place).collect(),
            jumps: BTreeMap::new(),
        })
    }

    /// Redirects the calls of a function whose code is at an address.
    fn of_function(&mut self, code: &[u8], address: usize) -> io::Result<()> {
        let mut changed = None;
        for branch in branches::of(code, address) {
            if let Some(name) = self.name_of(branch.target) {
                let jump = self.jump_to(name)?;
                let code = changed.get_or_insert_with(|| code.to_vec());
                branch.redirect(jump, code, address).ok_or(io::ErrorKind::InvalidInput)?;
            }
        }
        changed.map_or(Ok(()), |code| self.memory.write_all_at(&code, address as u64))
    }

    /// The name of the function of ours that a branch goes to.
    fn name_of(&self, target: Target) -> Option<&'static CStr> {
        let target = match target {
            Target::At(address) => address,
            // Most of what looks like a call through a table is none.
            Target::Through(word) => {
                let is_entry = word.is_multiple_of(size_of::<usize>())
                    && self.tables.iter().any(|table| table.contains(&word));
                let word: *const usize = std::ptr::with_exposed_provenance(word);
                // SAFETY: it is in a table that is mapped, and which the loader writes before code of the program executes.
                is_entry.then(|| unsafe { word.read() })?
            }
        };
        // Most are outside of all of ours, and this is done before `main`.
        let (first, last) = (self.ours.first_key_value()?.0, self.ours.last_key_value()?.0);
        if (first..=last).contains(&&target) { self.ours.get(&target).copied() } else { None }
    }

    /// The jump to the C library's function of a name, which is too far away for a call.
    fn jump_to(&mut self, name: &'static CStr) -> io::Result<usize> {
        if let Some(jump) = self.jumps.get(name) {
            return Ok(*jump);
        }
        let function = match name == c"clock_gettime" {
            true => clock as *const () as usize,
            // SAFETY: `name` ends with a zero.
            false => unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) }.addr(),
        };
        if function == 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        let jump = room(self.jumps.len());
        self.memory.write_all_at(&branches::jump(function), jump as u64)?;
        self.jumps.insert(name, jump);
        Ok(jump)
    }
}

const ROOM: usize = symbols::OURS.len() * JUMP_LENGTH;

/// The place of a jump. No code executes it before that is written.
fn room(number: usize) -> usize {
    #[unsafe(naked)]
    extern "C" fn room() {
        naked_asm!(".balign 16", ".fill {length}, 1, 0xcc", length = const ROOM)
    }
    room as *const () as usize + number * JUMP_LENGTH
}

/// The last time that an allocator has read on each clock, in nanoseconds.
static LAST: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16]; // MAX_CLOCKS of Linux

/// clock_gettime(2) for allocators: on a simulating thread no time passes.
///
/// # Safety
/// As clock_gettime(2): `time` is valid for a write.
unsafe extern "C" fn clock(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    const SECOND: u64 = 1_000_000_000;
    let last = usize::try_from(clock).ok().and_then(|clock| LAST.get(clock));
    if let Some(last) = last.filter(|_| cluster::is_simulating()) {
        let last = last.load(Ordering::Relaxed);
        let last = libc::timespec { tv_sec: (last / SECOND) as i64, tv_nsec: (last % SECOND) as i64 };
        // SAFETY: as the caller says.
        unsafe { time.write(last) };
        return 0;
    }
    // The system call: the C library's function reads the processor's counter, which raises a signal on guests' threads.
    let result = real::syscall(libc::SYS_clock_gettime, [clock as usize, time.addr(), 0, 0, 0, 0]);
    if result < 0 {
        return -1;
    }
    // SAFETY: the kernel has written it.
    let now = unsafe { &*time };
    if let Some(last) = last {
        last.fetch_max(now.tv_sec as u64 * SECOND + now.tv_nsec as u64, Ordering::Relaxed);
    }
    0
}
