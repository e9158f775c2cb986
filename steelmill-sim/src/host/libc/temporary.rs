//! Files and directories with names that nobody has, or without a name: mkstemp(3), mktemp(3), memfd_create(2) and their kin, which make
//! them past open(2) and mkdir(2).

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_char, c_int, c_uint};

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
/// As memfd_create(2): a file of the disk without a name. It is never sealed.
#[unsafe(no_mangle)]
unsafe extern "C" fn memfd_create(name: *const c_char, flags: c_uint) -> c_int {
    if confined().is_none() {
        // SAFETY: as ours.
        return unsafe { real!("memfd_create", fn(*const c_char, c_uint) -> c_int)(name, flags) };
    }
    let known = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    if flags & !known != 0 {
        set_errno(libc::EINVAL);
        return -1;
    }
    // SAFETY: the path is a string.
    unsafe { libc::open64(c"/".as_ptr(), libc::O_TMPFILE | libc::O_RDWR | libc::O_EXCL, 0o777) }
}

/// # Safety
/// As mktemp(3): a name that nobody has as yet, or an empty one.
#[unsafe(no_mangle)]
unsafe extern "C" fn mktemp(template: *mut c_char) -> *mut c_char {
    if confined().is_none() {
        // SAFETY: as ours.
        return unsafe { real!("mktemp", fn(*mut c_char) -> *mut c_char)(template) };
    }
    // SAFETY: mktemp(3): it is such a string.
    unsafe {
        if make(template, 0, is_unused) < 0 && *template != 0 {
            template.write(0);
        }
    }
    template
}

/// 0 for a path at which nothing is, else -1 and an errno.
fn is_unused(path: *const c_char) -> c_int {
    // SAFETY: the caller's template is a string.
    if unsafe { libc::access(path, libc::F_OK) } == 0 {
        set_errno(libc::EEXIST);
        return -1;
    }
    0
}

/// # Safety
/// As tempnam(3), which gives memory of malloc(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn tempnam(directory: *const c_char, prefix: *const c_char) -> *mut c_char {
    /// Of a prefix so many bytes are used.
    const PREFIX: usize = 5;
    if confined().is_none() {
        // SAFETY: as ours.
        return unsafe {
            real!("tempnam", fn(*const c_char, *const c_char) -> *mut c_char)(directory, prefix)
        };
    }
    // SAFETY: tempnam(3): each is null or a string; getenv gives the same.
    let text = |text: *const c_char| unsafe { (!text.is_null()).then(|| CStr::from_ptr(text).to_bytes()) };
    // SAFETY: the name is a string.
    let preferred = text(unsafe { libc::getenv(c"TMPDIR".as_ptr()) }).or_else(|| text(directory));
    let prefix = text(prefix).unwrap_or(b"file");
    let mut template = preferred.unwrap_or(b"/tmp").to_vec();
    template.push(b'/');
    template.extend(&prefix[..prefix.len().min(PREFIX)]);
    template.extend(b"XXXXXX\0");
    // SAFETY: it ends with a zero; strdup(3) copies it.
    unsafe {
        match make(template.as_mut_ptr().cast(), 0, is_unused) {
            0 => libc::strdup(template.as_ptr().cast()),
            _ => std::ptr::null_mut(),
        }
    }
}

/// # Safety
/// As tmpnam(3), which keeps one name for all whose buffer is null.
#[unsafe(no_mangle)]
unsafe extern "C" fn tmpnam(buffer: *mut c_char) -> *mut c_char {
    /// A name as tmpnam(3) gives it, with its zero: L_tmpnam.
    const ROOM: usize = 20;
    struct Name(UnsafeCell<[u8; ROOM]>);
    // SAFETY: tmpnam(3): who gives no buffer calls this on one thread.
    unsafe impl Sync for Name {}
    static NAME: Name = Name(UnsafeCell::new([0; ROOM]));
    if confined().is_none() {
        // SAFETY: as ours.
        return unsafe { real!("tmpnam", fn(*mut c_char) -> *mut c_char)(buffer) };
    }
    let buffer = if buffer.is_null() { NAME.0.get().cast() } else { buffer };
    // SAFETY: either has room for the template, which ends with a zero.
    unsafe {
        libc::strcpy(buffer, c"/tmp/fileXXXXXX".as_ptr());
        if make(buffer, 0, is_unused) == 0 { buffer } else { std::ptr::null_mut() }
    }
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
