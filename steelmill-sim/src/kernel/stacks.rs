//! Stacks: where a thread is, as addresses, and which functions those are.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// How many frames of a stack are looked at.
pub(crate) const DEPTH: usize = 64;

/// The addresses on this thread's stack, innermost first, and how many there are. Allocates nothing.
#[inline(never)]
pub(crate) fn here() -> ([usize; DEPTH], usize) {
    let (mut frames, mut depth) = ([0; DEPTH], 0);
    backtrace::trace(|frame| {
        frames[depth] = frame.ip() as usize;
        depth += 1;
        depth < DEPTH
    });
    (frames, depth)
}

/// A function on a stack.
pub(crate) struct Named {
    pub(crate) function: String,
    /// With the line; empty where it is not known.
    pub(crate) file: String,
}

impl Named {
    /// Whether it is neither the program's nor of its workspace, as far as paths tell.
    pub(crate) fn is_foreign(&self) -> bool {
        self.file.is_empty()
            || ["/rustc/", "/rustlib/src/", "/registry/src/"].iter().any(|way| self.file.contains(way))
    }

    /// Whether it is in a file of one of our crates.
    pub(crate) fn is_of(&self, of: &str, file: &str) -> bool {
        let path = self.file.rsplit_once(':').map_or("", |(path, _)| path);
        path.contains(of) && path.ends_with(file)
    }
}

/// What stands in the place of a stack in a program without debug information.
pub(crate) const NO_DEBUG_INFO: &str = "unknown, as the program was built without debug information: set debug = \"limited\" in its Cargo profile";

/// Whether the program has debug information, as a stack shows that was taken [`here`]. Without it no function has a file,
/// but those of a C library that was installed with its own.
pub(crate) fn has_debug_info(stack: &[Named]) -> bool {
    stack.iter().any(|named| named.file.contains("steelmill-sim/src/"))
}

/// A path as one would type it in the workspace that this runs in, if it is of it; tests run in their package's folder.
fn as_seen_here(path: &Path) -> &Path {
    static WORKSPACE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let workspace = WORKSPACE.get_or_init(|| {
        let here = std::env::current_dir().ok()?;
        let has_lock = |folder: &&Path| folder.join("Cargo.lock").is_file();
        Some(here.ancestors().find(has_lock).unwrap_or(&here).to_owned())
    });
    workspace.as_ref().and_then(|workspace| path.strip_prefix(workspace).ok()).unwrap_or(path)
}

/// The functions of a stack, innermost first, those included that were inlined.
pub(crate) fn named(frames: &[usize]) -> Vec<Named> {
    let mut found = Vec::new();
    for frame in frames {
        // An address on a stack is the one to return to: behind the call. The outermost may be none.
        backtrace::resolve(frame.saturating_sub(1) as *mut _, |symbol| {
            let function = symbol.name().map_or_else(|| "?".to_owned(), |name| format!("{name:#}"));
            let mut file = String::new();
            if let Some(path) = symbol.filename() {
                let _ = write!(file, "{}:{}", as_seen_here(path).display(), symbol.lineno().unwrap_or(0));
            }
            found.push(Named { function, file });
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_without_files_is_of_a_program_without_debug_information() {
        let (frames, depth) = here();
        assert!(has_debug_info(&named(&frames[..depth])));
        let named =
            |function: &str, file: &str| Named { function: function.to_owned(), file: file.to_owned() };
        let libc = named("__libc_start_call_main", "./csu/../sysdeps/nptl/libc_start_call_main.h:58");
        assert!(!has_debug_info(&[named("demo::main", ""), libc]));
    }
}
