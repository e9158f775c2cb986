//! Allocators that are linked into this program call the real C library.
//!
//! An allocator locks, maps memory and reads clocks, at any moment: in a program, in the simulation while its state is borrowed, and
//! on threads that are no guests. Answered by the simulation, such a call could give the turn away while the allocator's lock is
//! held, and it would be one of the program's decisions. But the linker has resolved it to the function of ours. So before `main`, when
//! there is one thread, each call of an allocator to one of them is found in its machine code, and made to the C
//! library's.
//!
//! Its clock stands still on simulating threads, so that what it does after a while does not depend on real time.
#![allow(unsafe_code, reason = "changing machine code, and a clock; the argument stands beside each place")]

use std::arch::naked_asm;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_int};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use object::read::elf::{ElfFile64, ElfSection64};
use object::{Endianness, Object as _, ObjectSection as _};

use super::libc::symbols;
use crate::machine::allocators::branches::{self, JUMP_LENGTH, Target};
use crate::machine::allocators::{self, Owned, code_of};
use crate::machine::{cluster, executable, real, statics};

/// Whether the calls of the allocators in this program are real, or why they are not; unset without an allocator.
static OUTCOME: OnceLock<Result<(), String>> = OnceLock::new();

#[used]
#[unsafe(link_section = ".init_array")]
static MAKE_REAL: extern "C" fn() = make_real;

extern "C" fn make_real() {
    if allocators::linked().any(symbols::is_in_program) {
        OUTCOME.get_or_init(redirect);
    }
}

/// Whether programs can be simulated with the allocators of this process.
///
/// # Errors
/// What there is to know otherwise.
pub(crate) fn are_real() -> Result<(), String> {
    OUTCOME.get().cloned().unwrap_or(Ok(()))?;
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
            "programs cannot be simulated with the allocator in this executable, whose calls of the C library have to be found and \
             changed: {reason}; keep the symbols (`strip = \"none\"` in the profile), or let the system's allocator be that of \
             tests: #[cfg_attr(not(test), global_allocator)]"
        )
    })
}

fn try_redirect() -> Result<(), String> {
    let file = executable::map().map_err(|error| format!("/proc/self/exe: {error}"))?;
    let file = ElfFile64::<Endianness>::parse(file).map_err(|error| error.to_string())?;
    let owned = Owned::of(&file);
    let base = statics::base();
    let linked: Vec<usize> =
        allocators::linked().filter(|function| symbols::is_in_program(*function)).collect();
    let is_owned = |function: &usize| owned.functions.iter().any(|range| range.start + base == *function);
    if !linked.iter().all(is_owned) {
        return Err("it has no symbols of the allocator".to_owned());
    }
    let memory = File::options().write(true).open("/proc/self/mem");
    let memory = memory.map_err(|error| format!("/proc/self/mem: {error}"))?;
    let write = |code: &[u8], address: usize| {
        memory.write_all_at(code, address as u64).map_err(|error| format!("/proc/self/mem: {error}"))
    };
    let (ours, tables) = (ours(), tables(&file, base));
    let mut jumps = BTreeMap::new();
    for function in &owned.functions {
        let (code, address) = (code_of(&file, function).unwrap_or_default(), function.start + base);
        for branch in branches::of(code, address) {
            let target = target_of(branch.target, &tables);
            let Some(name) = target.and_then(|target| ours.get(&target)) else { continue };
            let jump = match jumps.get(name) {
                Some(jump) => *jump,
                None => {
                    let jump = room(jumps.len());
                    write(&branches::jump(real_function(name)?), jump)?;
                    jumps.insert(*name, jump);
                    jump
                }
            };
            let instruction = branch.to(jump, code, address).ok_or("its code is too far away")?;
            write(&instruction, address + branch.at)?;
        }
    }
    if jumps.is_empty() {
        return Err("the allocator makes none".to_owned());
    }
    let in_place = |range: &Range<usize>| range.start + base..range.end + base;
    allocators::have_code_at(owned.functions.iter().map(in_place).collect());
    Ok(())
}

/// The functions that this crate has in place of the C library's, by their addresses.
fn ours() -> BTreeMap<usize, &'static CStr> {
    let meant = symbols::OURS.iter().filter_map(|name| Some((symbols::meant_by(name)?, *name)));
    meant.filter(|(function, _)| symbols::is_in_program(*function)).collect()
}

/// The global offset tables, through which code may call.
fn tables(file: &ElfFile64<'_, Endianness>, base: usize) -> Vec<Range<usize>> {
    let tables = [".got", ".got.plt"].into_iter().filter_map(|name| file.section_by_name(name));
    let in_place = |table: ElfSection64<'_, '_, Endianness>| {
        let start = table.address() as usize + base;
        start..start + table.size() as usize
    };
    tables.map(in_place).collect()
}

fn target_of(target: Target, tables: &[Range<usize>]) -> Option<usize> {
    const WORD: usize = size_of::<usize>();
    match target {
        Target::At(address) => Some(address),
        // Most of what looks like a call through a table is none.
        Target::Through(word) => {
            let is_entry = word % WORD == 0 && tables.iter().any(|table| table.contains(&word));
            let word: *const usize = std::ptr::with_exposed_provenance(word);
            // SAFETY: it is in a table that the loader has mapped, and which it writes before code of the program executes.
            is_entry.then(|| unsafe { word.read() })
        }
    }
}

/// The function that an allocator calls by a name.
fn real_function(name: &CStr) -> Result<usize, String> {
    if name == c"clock_gettime" {
        return Ok(clock as *const () as usize);
    }
    // SAFETY: `name` ends with a zero.
    let function = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    if function.is_null() { Err(format!("the C library has no {name:?}")) } else { Ok(function.addr()) }
}

const ROOM: usize = symbols::OURS.len() * JUMP_LENGTH;

/// The place for one of the jumps to functions of libraries, which are too far away for a call. No code executes it before that is
/// written.
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
