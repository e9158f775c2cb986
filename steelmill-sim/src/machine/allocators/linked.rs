//! Which allocators this program was linked with.
#![allow(unsafe_code, reason = "reading a table of assembly; the argument stands beside it")]

use std::arch::global_asm;
use std::ffi::c_void;

// A function that each allocator has and nobody else. A weak reference is null in a program without the function, and has no
// library linked that nothing else asks for.
global_asm!(
    ".pushsection .data.rel.ro.steelmill_allocators, \"aw\", %progbits",
    ".balign 8",
    ".hidden steelmill_allocators",
    ".globl steelmill_allocators",
    "steelmill_allocators:",
    ".weak _rjem_malloc",
    ".weak je_malloc",
    ".weak mallocx",
    ".weak mi_malloc",
    ".quad _rjem_malloc",
    ".quad je_malloc",
    ".quad mallocx",
    ".quad mi_malloc",
    ".size steelmill_allocators, . - steelmill_allocators",
    ".popsection",
);

unsafe extern "C" {
    static steelmill_allocators: [*const c_void; 4];
}

/// How the names of those allocators begin: jemalloc of the crates tikv-jemalloc-sys and jemalloc-sys, of other builds, and in
/// place of the C library's `malloc`; mimalloc.
const PREFIXES: [&[&str]; 4] = [&["_rjem_"], &["je_", "_je_"], &["_rjem_", "je_", "_je_"], &["mi_", "_mi_"]];

/// The allocators that this program was linked with: a function of each, and how their names begin.
pub(crate) fn linked() -> impl Iterator<Item = (usize, &'static [&'static str])> {
    // SAFETY: the table above, which the loader has relocated and nobody writes.
    let functions = unsafe { &steelmill_allocators };
    let all = functions.iter().zip(PREFIXES).map(|(function, prefixes)| (function.addr(), prefixes));
    all.filter(|(function, _)| *function != 0)
}
