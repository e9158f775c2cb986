//! What a process does when it exits: functions that it has registered by atexit(3).

use std::collections::BTreeMap;
use std::ffi::c_void;

use super::cluster::Cluster;

/// A function that is called at exit, with its argument and the exit code. Those of atexit(3) take neither, those of
/// `__cxa_atexit` the argument alone.
#[derive(Clone, Copy)]
pub(crate) enum ExitFunction {
    WithArgument(extern "C" fn(*mut c_void), *mut c_void),
    /// on_exit(3).
    WithCode(extern "C" fn(i32, *mut c_void), *mut c_void),
}

/// Of each machine's process, in the order in which they were registered.
#[derive(Default)]
pub(crate) struct ExitFunctions(BTreeMap<u32, Vec<ExitFunction>>);

impl ExitFunctions {
    pub(crate) fn register(&mut self, machine: u32, function: ExitFunction) {
        self.0.entry(machine).or_default().push(function);
    }

    /// The one that is to be called next: that registered last.
    pub(crate) fn take_last(&mut self, machine: u32) -> Option<ExitFunction> {
        self.0.get_mut(&machine)?.pop()
    }
}

impl Cluster {
    /// A process has ended.
    pub(super) fn exit_functions_gone(&mut self, machine: u32) {
        self.exit_functions.0.remove(&machine);
    }
}
