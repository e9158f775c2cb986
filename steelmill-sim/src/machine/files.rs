//! The files that a program finds beside its machine's [disk](super::disk): few, and none that it can change.
//!
//! A machine answers for what tells of itself. Of the real files it has those that the scenario allowed.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use super::cluster::Cluster;
use super::sim::Sim;
use super::world::Process;
use crate::kernel::internal::internally;

/// What is at a path.
pub(crate) enum Found {
    /// A file with this content.
    Content(Vec<u8>),
    Device(Device),
    /// What is there in reality, which may be nothing: the scenario allowed it.
    Real(PathBuf),
    /// What is there in reality, past the run: functions and lines of a backtrace are read from it.
    Symbols,
    Nothing,
}

/// A device of characters (null(4), random(4)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Device {
    Null,
    Zero,
    Random,
    /// The standard output or error of the process, by its number.
    Output(i32),
}

impl Sim {
    /// Lets the programs of this run read real files: those below a path, or the file that it is. Certificates, templates and
    /// test data are such files. A program cannot change them; all else is on its machine's [disk](crate::Machine::disk).
    ///
    /// A relative path is one from the current directory of this process. A program's own is `/`.
    ///
    /// ```
    /// steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    ///     let read = || std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    ///     let refused = sim.program("refused", move || assert!(read().is_err()));
    ///     assert!(refused.start().await?.ended().await.is_success());
    ///     sim.allow_reading(env!("CARGO_MANIFEST_DIR"));
    ///     let allowed = sim.program("allowed", move || assert!(read().is_ok()));
    ///     assert!(allowed.start().await?.ended().await.is_success());
    ///     Ok(())
    /// });
    /// ```
    pub fn allow_reading(&self, path: impl AsRef<Path>) {
        let path = std::path::absolute(path.as_ref()).unwrap_or_else(|_| path.as_ref().to_owned());
        self.with(|run| run.readable.push(normal(&path)));
    }
}

/// A path from the root, without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => drop(normal.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    normal
}

/// Whether a backtrace is symbolized from what is at a path: the program, its libraries, their debug information (as gdb finds
/// it, too), and the list of what is loaded where. A crate that does so, std first, keeps that list for the whole process, so it
/// must be the real one.
fn is_of_symbols(path: &Path) -> bool {
    static LOADED: OnceLock<BTreeSet<PathBuf>> = OnceLock::new();
    let loaded = LOADED.get_or_init(|| {
        let maps = internally(|| std::fs::read_to_string("/proc/self/maps")).unwrap_or_default();
        maps.lines().filter_map(|line| Some(PathBuf::from(&line[line.find('/')?..]))).collect()
    });
    let is_loaded = |path: &Path| {
        let is_named_so = loaded.iter().any(|loaded| loaded.file_name() == path.file_name());
        // The loader names a library by whichever link it followed.
        is_named_so && internally(|| path.canonicalize()).is_ok_and(|real| loaded.contains(&real))
    };
    let is_beside_loaded = |path: &Path| {
        let folder = path.parent().map(|folder| match folder.ends_with(".debug") {
            true => folder.parent().unwrap_or(folder),
            false => folder,
        });
        loaded.iter().any(|loaded| loaded.parent() == folder)
    };
    match path.extension().and_then(OsStr::to_str) {
        _ if path.starts_with("/usr/lib/debug") => true,
        _ if matches!(path.to_str(), Some("/proc/self/maps" | "/proc/self/exe")) => true,
        Some("debug") => is_beside_loaded(path),
        Some("dwp") => is_loaded(&path.with_extension("")),
        _ => is_loaded(path),
    }
}

impl Cluster {
    /// What a process finds at a path.
    pub(crate) fn find_file(&self, process: Process, path: &Path) -> Found {
        let path = normal(path);
        if self.readable.iter().any(|allowed| path.starts_with(allowed)) {
            return Found::Real(path);
        }
        let name = &self.hosts[process.machine].name;
        if let Some(content) = path.to_str().and_then(|path| self.proc_file(process, path)) {
            return Found::Content(content.into_bytes());
        }
        match path.to_str() {
            Some("/dev/null") => Found::Device(Device::Null),
            Some("/dev/zero") => Found::Device(Device::Zero),
            Some("/dev/random" | "/dev/urandom") => Found::Device(Device::Random),
            Some("/dev/stdin" | "/dev/fd/0" | "/proc/self/fd/0") => Found::Device(Device::Null),
            Some("/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1") => Found::Device(Device::Output(1)),
            Some("/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2") => Found::Device(Device::Output(2)),
            Some("/etc/hostname" | "/proc/sys/kernel/hostname") => {
                Found::Content(format!("{name}\n").into_bytes())
            }
            Some("/etc/hosts") => Found::Content(self.hosts_file().into_bytes()),
            // Libraries that resolve names themselves want a server. None answers there: /etc/hosts has all names.
            Some("/etc/resolv.conf") => Found::Content(b"nameserver 127.0.0.53\n".to_vec()),
            _ if is_of_symbols(&path) => Found::Symbols,
            _ => Found::Nothing,
        }
    }

    /// hosts(5): every machine by its name.
    fn hosts_file(&self) -> String {
        let mut lines = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
        for machine in &self.machines {
            let address = self.net.addresses.v4(machine.id());
            lines.push_str(&format!("{address} {}\n", machine.name()));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_normal_path_has_no_way_back() {
        assert_eq!(normal(Path::new("/a/./b/../c")), Path::new("/a/c"));
        assert_eq!(normal(Path::new("a/../../b")), Path::new("/b"));
    }
}
