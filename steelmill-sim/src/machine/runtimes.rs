//! The tokio runtimes of machines' tasks: what `tokio::spawn`, `tokio::time`, `tokio::net` and `spawn_blocking` find in
//! a daemon.
//!
//! Tasks are polled inside a runtime that is nobody's. The first that asks something of it, which shows by a call on one of
//! its descriptors or by a new thread, claims it for its machine: a guest thread there drives it from then on, and the
//! tasks of that machine are polled inside of it. Another runtime takes its place for all others. So a run whose tasks ask
//! nothing of tokio has one idle runtime, and pays nothing in a poll.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::panic::Location;
use std::ptr::{null, null_mut};

use steelmill_core::Error;
use tokio::runtime::{Builder, Handle, Runtime};

use super::cluster::{self, Cluster};
use super::descriptors::FIRST;
use super::threads::{self, Guest};
use super::world::Process;
use crate::kernel::kernel::RunId;
use crate::schema::outcome::{Cause, TaskReport};

/// In place of a machine's number: the descriptors of the runtime that is nobody's.
pub(super) const NOBODY: u32 = u32::MAX - 1;

/// The first descriptor of the first runtime, and how many each may have. No process has others of these numbers, so that
/// one tells whose it is, where no task is polled too.
const FIRST_OF_RUNTIMES: i32 = 1 << 20;
const OF_EACH: i32 = 16;

/// Where tasks of tokio were spawned, by machine and tokio's number.
type Tasks = BTreeMap<(u32, u64), &'static Location<'static>>;

/// What a run keeps of its runtimes.
#[derive(Default)]
pub(crate) struct Runtimes {
    /// Whose each is, by number.
    owners: Vec<Option<Process>>,
    /// Whether the last one is being made or dropped.
    is_changing: bool,
    /// Whether the last one was claimed and is not driven yet.
    is_claimed: bool,
    /// The machine whose tasks are being dropped, by whichever task.
    dropping: Option<u32>,
    /// Of those that are driven, by machine and incarnation.
    handles: BTreeMap<(u32, u32), Handle>,
    /// Of the tasks that have not ended.
    tasks: Tasks,
}

impl Runtimes {
    /// Whether the executor has to stop for a change of runtimes.
    #[inline(always)]
    pub(crate) fn is_claimed(&self) -> bool {
        self.is_claimed
    }

    pub(crate) fn is_changing(&self) -> bool {
        self.is_changing
    }

    /// The descriptors of the runtime that is nobody's.
    pub(super) fn descriptors(&self) -> std::ops::Range<i32> {
        let first = FIRST_OF_RUNTIMES + (self.owners.len() as i32 - 1) * OF_EACH;
        first..first + OF_EACH
    }
}

/// The process in whose name a call is made on this thread: a guest thread's, or that of the task being polled.
pub(crate) fn caller() -> Option<Process> {
    threads::process().or_else(|| cluster::with_current(|run| run.caller()).flatten())
}

/// The process whose descriptor a call on this thread means.
#[inline]
pub(crate) fn caller_of(fd: i32) -> Option<Process> {
    match threads::current() {
        Some(guest) if is_of_programs(fd) => Some(guest.place()),
        _ if fd < FIRST => None,
        guest => caller_with_runtime(fd, guest.map(Guest::place)),
    }
}

/// The same, at which a guest thread may lose its turn.
#[inline]
pub(crate) fn process_of(fd: i32) -> Option<Process> {
    match threads::current() {
        Some(guest) if is_of_programs(fd) => {
            guest.preempt();
            Some(guest.place())
        }
        guest => {
            let process = caller_of(fd)?;
            guest.into_iter().for_each(Guest::preempt);
            Some(process)
        }
    }
}

/// Whether a descriptor is one that programs have, and not one of a runtime that tasks are polled in.
#[inline]
fn is_of_programs(fd: i32) -> bool {
    (FIRST..FIRST_OF_RUNTIMES).contains(&fd)
}

/// As [`caller_of`], for the descriptors of runtimes, and for tasks.
fn caller_with_runtime(fd: i32, guest: Option<Process>) -> Option<Process> {
    cluster::with_current(|run| {
        let process = match fd < FIRST_OF_RUNTIMES {
            true => run.caller(),
            false => run.owner_of(fd, guest),
        }?;
        let is_gone = run.runtimes.dropping.is_some() && run.descriptors.file(process, fd).is_err();
        (!is_gone).then_some(process)
    })
    .flatten()
}

/// Whether a descriptor was a process's that has ended: what its tasks owned is dropped after that.
pub(crate) fn is_orphan(fd: i32) -> bool {
    fd >= FIRST && cluster::is_simulating()
}

/// Drops something of a machine's tasks: what that asks of the system is asked in the machine's name.
pub(crate) fn dropping<T>(id: RunId, machine: u32, action: impl FnOnce() -> T) -> T {
    let before = cluster::try_with(id, |run| run.runtimes.dropping.replace(machine));
    let result = action();
    cluster::try_with(id, |run| run.runtimes.dropping = before.flatten());
    result
}

/// The process that a new thread is for; on a task, it is one of its runtime.
pub(crate) fn caller_for_thread() -> Option<Process> {
    threads::process().or_else(|| {
        cluster::with_current(|run| {
            let process = run.caller()?;
            if !run.has_runtime(process) && !run.runtimes.is_changing {
                run.claim(process);
            }
            Some(process)
        })
        .flatten()
    })
}

/// Whether this thread may wait for something. A task may not: all tasks of a run share its thread.
pub(crate) fn may_block() -> bool {
    let is_guest = threads::process().is_some();
    if !is_guest {
        cluster::with_current(|run| {
            let error = anyhow::anyhow!(
                "a task blocks its thread in a call of the system (a sleep, a join, a blocking socket), and all tasks of the \
                 run share that thread: await instead, put it into `tokio::task::spawn_blocking`, or run the program as it \
                 is by `Sim::program`"
            );
            run.kernel.fail(Cause::Error(error));
        });
    }
    is_guest
}

/// Has a runtime tell of its tasks. Tokio's stable functions cannot.
pub(crate) fn tell_of_tasks(builder: &mut Builder) {
    #[cfg(tokio_unstable)]
    {
        fn tell(
            task: &tokio::runtime::TaskMeta<'_>,
            change: fn(&mut Tasks, (u32, u64), &'static Location<'static>),
        ) {
            let Some(process) = caller().filter(|process| process.machine != NOBODY) else { return };
            // It is a number, and says so to a formatter alone.
            let Ok(number) = task.id().to_string().parse() else { return };
            let place = task.spawned_at();
            cluster::with(process.run, |run| {
                change(&mut run.runtimes.tasks, (process.machine, number), place)
            });
        }

        builder.on_task_spawn(|task| {
            tell(task, |tasks, key, place| {
                tasks.insert(key, place);
            });
        });
        builder.on_task_terminate(|task| {
            tell(task, |tasks, key, _| {
                tasks.remove(&key);
            });
        });
    }
    let _ = builder;
}

/// Makes a runtime for whoever claims it, and calls `run` inside of it. After that it is driven, if it was claimed and
/// the run goes on; else it is dropped.
pub(crate) fn inside_of_one<T>(
    id: RunId,
    build: impl FnOnce() -> Runtime,
    run: impl FnOnce(&Runtime) -> T,
) -> T {
    cluster::with(id, |run| {
        run.runtimes.owners.push(None);
        run.runtimes.is_changing = true;
    });
    let runtime = build();
    cluster::with(id, |run| run.runtimes.is_changing = false);
    let result = run(&runtime);
    let owner = cluster::with(id, |run| {
        let is_claimed = std::mem::take(&mut run.runtimes.is_claimed) && run.kernel.over.is_none();
        run.runtimes.owners.last().copied().flatten().filter(|_| is_claimed)
    });
    match owner {
        Some(process) => drive(process, runtime),
        None => {
            cluster::with(id, |run| run.runtimes.is_changing = true);
            drop(runtime);
            cluster::with(id, |run| run.runtimes.is_changing = false);
        }
    }
    result
}

/// Starts a guest thread that drives a runtime.
fn drive(process: Process, runtime: Runtime) {
    let setup = cluster::with(process.run, |run| {
        let place = (process.machine, process.incarnation);
        run.runtimes.handles.insert(place, runtime.handle().clone());
        run.polls_inside = true;
        run.guest_setup.clone()
    });
    let driven = setup.map_err(Error::msg).and_then(|setup| {
        let runtime = Box::into_raw(Box::new(runtime));
        Ok(threads::spawn(process, "tokio", null(), execute, runtime.cast(), setup)?)
    });
    if let Err(error) = driven {
        let error = error.context("a thread for the tasks that use tokio cannot be started");
        cluster::with(process.run, |run| run.kernel.fail(Cause::Error(error)));
    }
}

#[expect(unsafe_code, reason = "a thread is given a pointer")]
extern "C" fn execute(runtime: *mut c_void) -> *mut c_void {
    // SAFETY: `drive` made it from a box, for this thread.
    let runtime = unsafe { Box::from_raw(runtime.cast::<Runtime>()) };
    runtime.block_on(std::future::pending::<()>());
    null_mut()
}

impl Cluster {
    fn caller(&self) -> Option<Process> {
        match self.runtimes.dropping.or_else(|| self.kernel.tasks.current_machine()) {
            _ if self.runtimes.is_changing => Some(Process { run: self.id, machine: NOBODY, incarnation: 0 }),
            Some(machine) => {
                let incarnation = self.hosts[machine].incarnation;
                Some(Process { run: self.id, machine, incarnation })
            }
            None => None,
        }
    }

    /// Whose a descriptor of a runtime is; the caller claims one that is nobody's.
    fn owner_of(&mut self, fd: i32, guest: Option<Process>) -> Option<Process> {
        let owner = self.runtimes.owners.get(((fd - FIRST_OF_RUNTIMES) / OF_EACH) as usize)?;
        if owner.is_some() {
            return *owner;
        }
        let caller = guest.or_else(|| self.caller())?;
        if !self.runtimes.is_changing {
            self.claim(caller);
        }
        Some(caller)
    }

    /// The reports of the tasks that tokio has: where they were spawned is all that is known.
    pub(crate) fn tasks_of_tokio(&self) -> Vec<TaskReport> {
        let report = |(&(machine, _), place): (&(u32, u64), &&'static Location<'static>)| {
            self.kernel.report_of_tokio(machine, place)
        };
        self.runtimes.tasks.iter().map(report).collect()
    }

    /// The tasks of a process are gone with it.
    pub(super) fn tasks_of_tokio_gone(&mut self, machine: u32) {
        self.runtimes.tasks.retain(|(of, _), _| *of != machine);
    }

    fn has_runtime(&self, process: Process) -> bool {
        self.runtimes.handles.contains_key(&(process.machine, process.incarnation))
    }

    fn claim(&mut self, process: Process) {
        if !self.runtimes.is_claimed {
            self.want_own_process();
            self.runtimes.is_claimed = true;
            *self.runtimes.owners.last_mut().expect("a task is polled inside of a runtime") = Some(process);
            self.descriptors.move_all(NOBODY, process.machine);
        }
    }

    /// The runtime that the task being polled is to be polled in, if its machine has one of its own.
    pub(super) fn runtime_of_current(&self) -> Option<Handle> {
        let machine = self.kernel.tasks.current_machine()?;
        self.runtimes.handles.get(&(machine, self.hosts[machine].incarnation)).cloned()
    }
}
