//! Stack traces: capture of a thread's return addresses, and their symbolization into functions and files.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::internal::internally;

/// The number of frames that a capture holds.
pub(crate) const DEPTH: usize = 64;

/// Return addresses, innermost first, and their number.
pub(crate) type Stack = ([usize; DEPTH], usize);

/// Captures this thread's return addresses, innermost first, and their number. Allocates nothing.
#[inline(never)]
pub(crate) fn capture() -> Stack {
    let (mut frames, mut depth) = ([0; DEPTH], 0);
    backtrace::trace(|frame| {
        frames[depth] = frame.ip() as usize;
        depth += 1;
        depth < DEPTH
    });
    (frames, depth)
}

pub(crate) struct Frame {
    pub(crate) function: String,
    /// The path with the line; empty if unknown.
    pub(crate) file: String,
}

impl Frame {
    /// Whether its path is in the standard library or a dependency, or unknown.
    pub(crate) fn is_external(&self) -> bool {
        self.file.is_empty()
            || ["/rustc/", "/rustlib/src/", "/registry/src/"].iter().any(|folder| self.file.contains(folder))
    }

    /// Whether it is of std's streams, which hold locks that all threads share: standard output and the like.
    pub(crate) fn is_of_streams(&self) -> bool {
        self.function.trim_start_matches(['<', '&']).starts_with("std::io::")
    }

    /// Whether it is in a file of one of our crates.
    pub(crate) fn is_in(&self, package: &str, file: &str) -> bool {
        let path = self.file.rsplit_once(':').map_or("", |(path, _)| path);
        path.contains(package) && path.ends_with(file)
    }
}

/// What stands in place of a stack if the program was built without debug information.
pub(crate) const NO_DEBUG_INFO: &str = "unknown, as the program was built without debug information: set debug = \"limited\" in its Cargo profile";

/// Whether the program has debug information, judged by a stack that was captured by [`capture`]. Without it no frame has a file,
/// but those of a C library that was installed with its own debug information.
pub(crate) fn has_debug_info(stack: &[Frame]) -> bool {
    stack.iter().any(|frame| frame.file.contains("steelmill-sim/src/"))
}

/// A path relative to the workspace that contains the current folder; tests run in their package's folder.
fn relative_to_workspace(path: &Path) -> &Path {
    static WORKSPACE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let workspace = WORKSPACE.get_or_init(|| {
        let here = std::env::current_dir().ok()?;
        let has_lock = |folder: &&Path| folder.join("Cargo.lock").is_file();
        Some(here.ancestors().find(has_lock).unwrap_or(&here).to_owned())
    });
    workspace.as_ref().and_then(|workspace| path.strip_prefix(workspace).ok()).unwrap_or(path)
}

/// The frames of a stack, innermost first, with inlined functions.
pub(crate) fn symbolize(addresses: &[usize]) -> Vec<Frame> {
    // The list of what is loaded is read once for the whole process.
    internally(|| symbolize_each(addresses))
}

fn symbolize_each(addresses: &[usize]) -> Vec<Frame> {
    let mut frames = Vec::new();
    for address in addresses {
        // A return address is behind the call; the outermost may be 0.
        backtrace::resolve(address.saturating_sub(1) as *mut _, |symbol| {
            let function = symbol.name().map_or_else(|| "?".to_owned(), |name| format!("{name:#}"));
            let mut file = String::new();
            if let Some(path) = symbol.filename() {
                let _ = write!(
                    file,
                    "{}:{}",
                    relative_to_workspace(path).display(),
                    symbol.lineno().unwrap_or(0)
                );
            }
            frames.push(Frame { function, file });
        });
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_without_files_is_of_a_program_without_debug_information() {
        let (frames, depth) = capture();
        assert!(has_debug_info(&symbolize(&frames[..depth])));
        let frame =
            |function: &str, file: &str| Frame { function: function.to_owned(), file: file.to_owned() };
        let libc = frame("__libc_start_call_main", "./csu/../sysdeps/nptl/libc_start_call_main.h:58");
        assert!(!has_debug_info(&[frame("demo::main", ""), libc]));
    }
}
