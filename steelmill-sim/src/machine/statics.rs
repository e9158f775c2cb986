//! The statics, arguments and environment of programs: each process of a machine has its own, as it has on Linux.
//!
//! They are at the same addresses for all, because the code is the same; before a task of another process is polled, those of
//! the last one are kept aside, and those of that process put in their place. This takes a real process in which nothing but
//! the run executes.

#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod image; // where they lie, and what they are before `main`
#[cfg(not(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64")))]
#[path = "statics/no_image.rs"]
mod image;

use std::ffi::CString;

#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub(crate) use image::base;
use image::{Contents, Image, Swap};

use super::cluster::{Cluster, Isolation};
use super::world::Process;

/// One process of a machine; `None` is the real one: the scenario, and machines whose processes are not programs.
type Life = Option<(u32, u32)>;

/// What a run keeps of the statics of its programs.
#[derive(Default)]
pub(crate) struct Statics {
    /// `None` as long as there is no program, or where programs share those of the real process.
    swap: Option<(&'static Image, Swap)>,
    /// Whose are in place.
    loaded: Life,
    kept: Kept,
}

/// The statics of each process while others are in place.
#[derive(Default)]
struct Kept {
    of_real: Option<Contents>,
    /// By machine, with the incarnation of its process.
    of_machines: Vec<Option<(u32, Contents)>>,
}

/// What a process is started with (execve(2)): `argv` and `environ`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Startup {
    pub(crate) arguments: Vec<CString>,
    /// `KEY=value`.
    pub(crate) environment: Vec<CString>,
}

/// Reads where the statics are, once for a real process and those that it forks.
pub(crate) fn prepare() {
    image::of_this_program();
}

impl Statics {
    /// Whether each process has a value of its own at an address.
    pub(super) fn are_at(&self, address: usize) -> bool {
        self.swap.as_ref().is_some_and(|(image, _)| image.contains(address))
    }

    /// Whether all processes share the static at an address.
    pub(super) fn are_shared_at(&self, address: usize) -> bool {
        self.swap.as_ref().is_some_and(|(image, _)| image.is_shared(address))
    }

    /// Puts those of a process in place; those of the real one where it has none of its own.
    fn load(&mut self, life: Life) {
        let Some((_, swap)) = &mut self.swap else { return };
        let life = life.filter(|_| self.kept.get(life).is_some());
        if self.loaded == life {
            return;
        }
        swap.note_changes();
        // Those of a process that has ended are gone.
        if let Some(before) = self.kept.get(self.loaded) {
            swap.save(before);
        }
        swap.load(self.kept.get(life).expect("a process has statics from its start to its end"));
        self.loaded = life;
    }
}

impl Kept {
    fn get(&mut self, life: Life) -> Option<&mut Contents> {
        let Some((machine, incarnation)) = life else { return self.of_real.as_mut() };
        let kept = self.of_machines.get_mut(machine as usize)?.as_mut();
        kept.filter(|(of, _)| *of == incarnation).map(|(_, contents)| contents)
    }

    fn insert(&mut self, process: Process, contents: Contents) {
        let machine = process.machine as usize;
        if self.of_machines.len() <= machine {
            self.of_machines.resize_with(machine + 1, || None);
        }
        self.of_machines[machine] = Some((process.incarnation, contents));
    }

    fn remove(&mut self, machine: u32, incarnation: u32) {
        if self.get(Some((machine, incarnation))).is_some() {
            self.of_machines[machine as usize] = None;
        }
    }
}

impl Cluster {
    /// Gives a program's process that starts statics as they are before `main`; whether it has its own.
    pub(super) fn begin_statics(&mut self, process: Process, startup: &Startup) -> bool {
        if self.isolation == Isolation::Own && self.statics.swap.is_none() {
            self.statics.swap = image::of_this_program().map(|image| (image, image.swap()));
            self.statics.kept.of_real = image::of_this_program().map(Image::room);
        }
        let Some((_, swap)) = &self.statics.swap else { return false };
        self.polls_inside = true;
        self.statics.kept.insert(process, swap.fresh(startup));
        true
    }

    /// Whether the program whose thread this is has set a panic hook.
    pub(crate) fn has_own_hook(&self) -> bool {
        self.statics.loaded.is_some()
            && self.statics.swap.as_ref().is_some_and(|(_, swap)| swap.has_own_hook())
    }

    /// Whether a process has statics of its own.
    pub(crate) fn has_own_statics(&mut self, process: Process) -> bool {
        self.statics.kept.get(Some((process.machine, process.incarnation))).is_some()
    }

    /// Those of a machine's process are gone with it.
    pub(super) fn statics_gone(&mut self, machine: u32, incarnation: u32) {
        self.statics.kept.remove(machine, incarnation);
    }

    /// Puts the statics in place that the task being polled is to find.
    pub(super) fn load_statics_of_current(&mut self) {
        let life =
            self.kernel.tasks.current_machine().map(|machine| (machine, self.hosts[machine].incarnation));
        if self.statics.loaded != life {
            self.statics.load(life);
        }
    }

    /// Puts those of the real process in place.
    pub(crate) fn load_own_statics(&mut self) {
        self.statics.load(None);
    }
}
