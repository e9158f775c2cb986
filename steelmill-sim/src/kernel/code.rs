//! Where machine code is in this process.
#![allow(unsafe_code, reason = "dl_iterate_phdr(3); the argument stands beside each place")]

use std::ffi::{c_int, c_void};
use std::ops::Range;

/// Where the code is of the library or the program that has an address.
pub(crate) fn code_at(address: usize) -> Option<Range<usize>> {
    unsafe extern "C" fn look(object: *mut libc::dl_phdr_info, _: usize, search: *mut c_void) -> c_int {
        // SAFETY: dl_iterate_phdr(3): the object has so many headers; `search` is ours.
        let (base, headers, search) = unsafe {
            let object = &*object;
            let headers = std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum));
            (object.dlpi_addr as usize, headers, &mut *search.cast::<Search>())
        };
        for header in
            headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0)
        {
            let start = base + header.p_vaddr as usize;
            let code = start..start + header.p_memsz as usize;
            if code.contains(&search.address) {
                search.found = Some(code);
            }
        }
        c_int::from(search.found.is_some())
    }

    struct Search {
        address: usize,
        found: Option<Range<usize>>,
    }

    let mut search = Search { address, found: None };
    // SAFETY: the function is called while this waits.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut search).cast()) };
    search.found
}
