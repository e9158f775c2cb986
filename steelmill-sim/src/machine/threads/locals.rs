//! The thread-locals of a real thread, as they are when a thread begins: for the next guest thread on it.
//!
//! What destructors have left, or what a fault has left, is overwritten with what the linker has put into the program and its libraries
//! (`PT_TLS` of elf(5)). The C library's own, among them its allocator's, stay as they are.
#![allow(unsafe_code, reason = "reading and replacing thread-locals; the argument stands beside each place")]

use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::sync::OnceLock;

use crate::machine::thread_data;

/// The thread-locals of one object: the program, or a library.
struct Object {
    /// From the thread pointer, which lies behind them (variant II of "ELF Handling For Thread-Local Storage").
    from_pointer: isize,
    /// What those begin with that do not begin as zeros.
    image: Range<usize>,
    size: usize,
}

struct Objects {
    all: Vec<Object>,
    /// How many had been loaded by then.
    loaded: u64,
}

/// Those that were there before `main`, whose thread-locals are at the same place in each thread; `None` where they cannot be told from
/// the C library's. Those of libraries that are loaded later are anywhere.
static OBJECTS: OnceLock<Option<Objects>> = OnceLock::new();

#[cfg(target_os = "linux")]
#[used]
#[unsafe(link_section = ".init_array")]
static FIND_OBJECTS: extern "C" fn() = find_objects;

#[cfg(target_os = "linux")]
extern "C" fn find_objects() {
    OBJECTS.get_or_init(read);
}

fn objects() -> Option<&'static Objects> {
    OBJECTS.get()?.as_ref()
}

/// Whether they can be restored.
pub(super) fn are_known() -> bool {
    objects().is_some_and(|objects| objects.loaded == loaded())
}

/// Has the thread-locals of a thread as they are when one begins.
///
/// # Safety
/// It is the thread pointer of a thread that does not execute, and nothing uses its thread-locals any more.
pub(super) unsafe fn restore(thread_pointer: usize) {
    for object in objects().into_iter().flat_map(|objects| &objects.all) {
        let at = std::ptr::with_exposed_provenance_mut::<u8>(
            thread_pointer.wrapping_add_signed(object.from_pointer),
        );
        let image = std::ptr::with_exposed_provenance::<u8>(object.image.start);
        // SAFETY: the loader has given each thread so much room there for this object. Nobody uses it, as the caller says.
        unsafe {
            at.copy_from_nonoverlapping(image, object.image.len());
            at.add(object.image.len()).write_bytes(0, object.size - object.image.len());
        }
    }
}

/// Has what the C library keeps for this thread, and programs may have changed, as it is when one begins.
pub(super) fn restore_of_c_library() {
    thread_data::forget();
    // SAFETY: each takes any thread; null is allowed where a value is given back.
    unsafe {
        libc::uselocale(std::ptr::without_provenance_mut(usize::MAX)); // LC_GLOBAL_LOCALE
        libc::dlerror();
        *libc::__errno_location() = 0;
    }
}

/// How many objects have been loaded into this process so far.
fn loaded() -> u64 {
    unsafe extern "C" fn first(object: *mut libc::dl_phdr_info, _: usize, loaded: *mut c_void) -> c_int {
        // SAFETY: dl_iterate_phdr(3), and `loaded` is ours.
        unsafe { loaded.cast::<u64>().write((*object).dlpi_adds) };
        1
    }
    let mut loaded = 0u64;
    // SAFETY: the function is called while this waits.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut loaded).cast()) };
    loaded
}

/// Looks at this thread's.
fn read() -> Option<Objects> {
    struct Found {
        thread_pointer: usize,
        errno: usize,
        all: Option<Vec<Object>>,
    }
    unsafe extern "C" fn next(object: *mut libc::dl_phdr_info, _: usize, found: *mut c_void) -> c_int {
        // SAFETY: dl_iterate_phdr(3): the object has so many headers; `found` is ours.
        let (object, headers, found) = unsafe {
            let object = &*object;
            let headers = std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum));
            (object, headers, &mut *found.cast::<Found>())
        };
        let Some(header) = headers.iter().find(|header| header.p_type == libc::PT_TLS) else { return 0 };
        let start = object.dlpi_tls_data.addr();
        let size = header.p_memsz as usize;
        if (start..start + size).contains(&found.errno) {
            // The C library's stay; if it is linked into the program, they are among that one's.
            let is_program = found.all.as_ref().is_some_and(Vec::is_empty);
            if is_program {
                found.all = None;
            }
            return 0;
        }
        let image = object.dlpi_addr as usize + header.p_vaddr as usize;
        let from_pointer = start.wrapping_sub(found.thread_pointer).cast_signed();
        match &mut found.all {
            Some(all) if start != 0 && from_pointer < 0 => {
                all.push(Object { from_pointer, image: image..image + header.p_filesz as usize, size });
            }
            all => *all = None,
        }
        0
    }
    // SAFETY: every thread has an errno.
    let errno = unsafe { libc::__errno_location() }.addr();
    let mut found = Found { thread_pointer: super::context::thread_pointer()?, errno, all: Some(Vec::new()) };
    // SAFETY: the function is called while this waits.
    unsafe { libc::dl_iterate_phdr(Some(next), (&raw mut found).cast()) };
    Some(Objects { all: found.all?, loaded: loaded() })
}

#[cfg(all(test, target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn those_of_a_library_that_is_loaded_later_are_not_known() {
        assert!(are_known());
        // SAFETY: it is a part of the C library, and has no constructor that matters.
        let library = unsafe { libc::dlopen(c"libresolv.so.2".as_ptr(), libc::RTLD_NOW) };
        assert!(!library.is_null());
        assert!(!are_known());
    }

    #[test]
    fn they_were_found_before_main() {
        assert!(OBJECTS.get().is_some(), "by the constructor, as nobody else looks");
        thread_local! { static LOCAL: std::cell::Cell<u64> = const { std::cell::Cell::new(7) } }
        let pointer = super::super::context::thread_pointer().expect("on this processor");
        let local = LOCAL.with(|local| std::ptr::from_ref(local).addr());
        let is_in = |object: &Object| {
            let start = pointer.wrapping_add_signed(object.from_pointer);
            (start..start + object.size).contains(&local)
        };
        assert!(objects().is_some_and(|objects| objects.all.iter().any(is_in)));
    }
}
