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

/// Those of all objects; `None` where they cannot be told from the C library's.
static OBJECTS: OnceLock<Option<Objects>> = OnceLock::new();

struct Objects {
    all: Vec<Object>,
    /// How many objects had been loaded by then: the thread-locals of later ones lie elsewhere in each thread.
    loaded: u64,
}

/// Whether they can be restored.
pub(super) fn are_known() -> bool {
    objects().is_some_and(|objects| objects.loaded == loaded())
}

fn objects() -> Option<&'static Objects> {
    OBJECTS.get_or_init(read).as_ref()
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
            // Those in front of the thread pointer were there when the program began.
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
