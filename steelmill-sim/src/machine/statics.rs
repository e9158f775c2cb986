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

use std::collections::BTreeMap;
use std::ffi::CString;

use image::{Contents, Image};

use super::cluster::{Cluster, Isolation};
use super::world::Process;

/// One process of a machine; `None` is the real one: the scenario, and machines whose processes are not programs.
type Life = Option<(u32, u32)>;

/// What a run keeps of the statics of its programs.
#[derive(Default)]
pub(crate) struct Statics {
    /// `None` as long as there is no program, or where programs share those of the real process.
    image: Option<&'static Image>,
    loaded: Life,
    /// Those of all other processes.
    kept: BTreeMap<Life, Contents>,
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
    #[inline(always)]
    pub(super) fn are_several(&self) -> bool {
        self.image.is_some()
    }

    /// Whether each process has a value of its own at an address.
    pub(super) fn are_at(&self, address: usize) -> bool {
        self.image.is_some_and(|image| image.contains(address))
    }

    fn load(&mut self, life: Life, is_loaded_alive: bool) {
        let Some(image) = self.image.filter(|_| self.loaded != life) else { return };
        if is_loaded_alive {
            self.kept.insert(self.loaded, image.save());
        }
        let contents = self.kept.remove(&life).expect("a process has statics from its start to its end");
        image.load(contents);
        self.loaded = life;
    }
}

impl Cluster {
    /// Gives a program's process that starts statics as they are before `main`; whether it has its own.
    pub(super) fn begin_statics(&mut self, process: Process, startup: &Startup) -> bool {
        if self.isolation == Isolation::Own {
            self.statics.image = image::of_this_program();
        }
        let Some(image) = self.statics.image else { return false };
        let life = Some((process.machine, process.incarnation));
        self.statics.kept.insert(life, image.fresh(startup));
        true
    }

    /// Whether a process has statics of its own.
    pub(crate) fn has_own_statics(&self, process: Process) -> bool {
        self.life_with_statics(process.machine).is_some()
    }

    /// Those of a machine's process are gone with it.
    pub(super) fn statics_gone(&mut self, machine: u32, incarnation: u32) {
        self.statics.kept.remove(&Some((machine, incarnation)));
    }

    /// Puts the statics in place that the task being polled is to find.
    pub(super) fn load_statics_of_current(&mut self) {
        let life = self.kernel.tasks.current_machine().and_then(|machine| self.life_with_statics(machine));
        self.load_statics(life);
    }

    /// Puts those of the real process in place.
    pub(crate) fn load_own_statics(&mut self) {
        self.load_statics(None);
    }

    fn load_statics(&mut self, life: Life) {
        let is_loaded_alive = self
            .statics
            .loaded
            .is_none_or(|(machine, _)| self.life_with_statics(machine) == self.statics.loaded);
        self.statics.load(life, is_loaded_alive);
    }

    /// The process of a machine, if it is one that has statics of its own.
    fn life_with_statics(&self, machine: u32) -> Life {
        let life = Some((machine, self.hosts[machine].incarnation));
        (self.statics.loaded == life || self.statics.kept.contains_key(&life)).then_some(life).flatten()
    }
}
