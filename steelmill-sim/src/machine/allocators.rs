//! Allocators that are linked into this program, such as jemalloc and mimalloc, for a `#[global_allocator]`.
//!
//! The heap is one for all processes of machines and for the simulation itself, so an allocator is no part of a program: its
//! statics stay in place ([`statics`](super::statics)), its calls of the C library are real
//! ([`host::allocators`](crate::host::allocators)), and a guest thread that ends, or that a fault ends, leaves it here.

#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub(crate) mod branches; // machine code that calls
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod linked; // which allocators there are
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod owned; // which symbols are an allocator's

use std::ops::Range;
use std::sync::OnceLock;

#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub(crate) use linked::linked;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub(crate) use owned::{Code, Owned};

use super::thread_data;

/// Where the allocators' code is, in order; unset as long as none was found.
static CODE: OnceLock<Vec<Range<usize>>> = OnceLock::new();

/// The allocators' functions were found, in order of their addresses.
pub(crate) fn have_code_at(ranges: Vec<Range<usize>>) {
    CODE.get_or_init(|| ranges);
}

/// Whether threads have to leave an allocator.
pub(crate) fn are_in_use() -> bool {
    CODE.get().is_some()
}

/// Whether a function is an allocator's.
pub(crate) fn have(function: usize) -> bool {
    let code = CODE.get().map_or(&[][..], |code| &code[..]);
    let after = code.partition_point(|range| range.start <= function);
    after.checked_sub(1).is_some_and(|at| code[at].contains(&function))
}

/// This thread allocates no more: calls the allocators' own destructors, which take it out of their lists and give back what
/// they cache for it, as at the exit of a thread.
pub(crate) fn leave() {
    if are_in_use() {
        thread_data::destroy(have);
    }
}
