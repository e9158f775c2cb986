//! Files and directories with names that nobody has: mkstemp(3) and its kin, which make them past open(2) and mkdir(2).

use std::ffi::{CStr, c_char, c_int};

use super::paths::confined;
use super::set_errno;
use crate::machine::real::real;

/// How often another name is tried, as TMP_MAX of glibc has it.
const ATTEMPTS: u32 = 238_328;

const LETTERS: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// Replaces the six X before a suffix until a name can be made; what making it gave, or -1 and errno.
///
/// # Safety
/// `template` is a string that may be changed.
unsafe fn make(template: *mut c_char, suffix: c_int, make: impl Fn(*const c_char) -> c_int) -> c_int {
    // SAFETY: as the caller says.
    let length = unsafe { CStr::from_ptr(template) }.count_bytes();
    let place = usize::try_from(suffix).ok().and_then(|suffix| length.checked_sub(suffix)?.checked_sub(6));
    // SAFETY: so many bytes of the string are behind the place.
    let letters =
        place.map(|place| unsafe { std::slice::from_raw_parts_mut(template.add(place).cast::<u8>(), 6) });
    let Some(letters) = letters.filter(|letters| *letters == b"XXXXXX") else {
        set_errno(libc::EINVAL);
        return -1;
    };
    for _ in 0..ATTEMPTS {
        let mut drawn = [0_u8; 6];
        // SAFETY: there is room for so many bytes.
        unsafe { libc::getrandom(drawn.as_mut_ptr().cast(), drawn.len(), 0) };
        for (letter, drawn) in letters.iter_mut().zip(drawn) {
            *letter = LETTERS[usize::from(drawn) % LETTERS.len()];
        }
        let made = make(template);
        // SAFETY: every thread has an errno.
        if made >= 0 || unsafe { *libc::__errno_location() } != libc::EEXIST {
            return made;
        }
    }
    -1
}

/// Functions that open a file of a new name.
macro_rules! files {
    ($($name:literal $function:ident($template:ident $(, $argument:ident)*), $suffix:expr, $flags:expr;)*) => {$(
        /// # Safety
        /// As mkstemp(3).
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function($template: *mut c_char $(, $argument: c_int)*) -> c_int {
            if confined().is_none() {
                // SAFETY: as ours.
                return unsafe {
                    files!(@ $name $($argument)*)($template $(, $argument)*)
                };
            }
            let flags = $flags & !libc::O_ACCMODE | libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
            // SAFETY: mkstemp(3): it is such a string.
            unsafe { make($template, $suffix, |path| libc::open64(path, flags, 0o600)) }
        }
    )*};
    (@ $name:literal) => { real!($name, fn(*mut c_char) -> c_int) };
    (@ $name:literal $one:ident) => { real!($name, fn(*mut c_char, c_int) -> c_int) };
    (@ $name:literal $one:ident $other:ident) => { real!($name, fn(*mut c_char, c_int, c_int) -> c_int) };
}

files! {
    "mkstemp" mkstemp(template), 0, 0;
    "mkstemp64" mkstemp64(template), 0, 0;
    "mkostemp" mkostemp(template, flags), 0, flags;
    "mkostemp64" mkostemp64(template, flags), 0, flags;
    "mkstemps" mkstemps(template, suffix), suffix, 0;
    "mkstemps64" mkstemps64(template, suffix), suffix, 0;
    "mkostemps" mkostemps(template, suffix, flags), suffix, flags;
    "mkostemps64" mkostemps64(template, suffix, flags), suffix, flags;
}

/// # Safety
/// As mkdtemp(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn mkdtemp(template: *mut c_char) -> *mut c_char {
    if confined().is_none() {
        // SAFETY: as ours.
        return unsafe { real!("mkdtemp", fn(*mut c_char) -> *mut c_char)(template) };
    }
    // SAFETY: mkdtemp(3): it is such a string.
    match unsafe { make(template, 0, |path| libc::mkdir(path, 0o700)) } {
        -1 => std::ptr::null_mut(),
        _ => template,
    }
}
