//! Suspended machines: hosts that sleep, as a laptop does whose lid is closed, or a virtual machine that is saved.
//!
//! The monotonic clock stands still and the wall clock goes on (clock_gettime(2): CLOCK_MONOTONIC does not count time that the system is
//! suspended, CLOCK_BOOTTIME does). Nothing executes, the kernel neither: what arrives from other machines is lost, and what the kernel
//! had to do at a time is done so much later.

use crate::kernel::timers::Nanos;
use crate::machine::cluster::Cluster;
use crate::machine::hosts::{HostState, Hosts};
use crate::machine::machine::Machine;
use crate::machine::net;
use crate::schema::event::{DeliveryProblem, EventKind, MachineChange};

/// The state of a host that sleeps.
pub(crate) struct Suspension {
    since: Nanos,
    /// Whether its process is paused besides.
    is_paused: bool,
    /// What its kernel has to do when it wakes, and how long after that.
    deferred: Vec<(Nanos, net::Event)>,
}

impl Machine {
    /// Suspends the machine to memory, until [`wake`](Machine::wake): its monotonic clock stands still, its wall clock goes on, nothing
    /// executes, and what other machines send it is lost. Whoever measures time by [`Clock::now`](crate::Clock::now), as std's and
    /// tokio's `Instant` do, does not notice; whoever waits for the machine does.
    ///
    /// The end of its process wakes it. Suspending a machine that is suspended, or has no power, does nothing.
    ///
    /// ```
    /// use std::time::Duration;
    /// use steelmill_sim::{Seed, check};
    ///
    /// check(Seed(1), |sim| async move {
    ///     let laptop = sim.client("laptop");
    ///     let (now, wall) = (laptop.clock().now(), laptop.clock().wall());
    ///     laptop.suspend();
    ///     sim.clock().sleep(Duration::from_secs(3600)).await;
    ///     laptop.wake();
    ///     assert_eq!(laptop.clock().now(), now);
    ///     assert_eq!(laptop.clock().wall(), wall + Duration::from_secs(3600));
    ///     Ok(())
    /// });
    /// ```
    pub fn suspend(&self) {
        self.with(|run| run.suspend(self.id()));
    }

    /// Wakes the machine. Timers go on where they stood; those of timerfd_create(2) on a clock that went on expire at once.
    pub fn wake(&self) {
        self.with(|run| run.wake_machine(self.id()));
    }

    /// Whether the machine is [suspended](Machine::suspend).
    pub fn is_suspended(&self) -> bool {
        self.with(|run| run.hosts[self.id()].suspension.is_some())
    }
}

impl Cluster {
    fn suspend(&mut self, machine: u32) {
        let since = self.kernel.now;
        let host = &mut self.hosts[machine];
        if host.suspension.is_some() || host.state == HostState::PoweredOff {
            return;
        }
        let is_paused = host.paused.is_some();
        host.suspension = Some(Suspension { since, is_paused, deferred: Vec::new() });
        host.clock.stop(since);
        self.hosts.suspended += 1;
        self.kernel.happened(EventKind::Machine { machine, change: MachineChange::Suspended });
        self.pause(machine);
        self.clock_changed(machine);
        self.machine_is_silent(machine);
    }

    /// Wakes a machine, if it is suspended.
    pub(super) fn wake_machine(&mut self, machine: u32) {
        let now = self.kernel.now;
        let host = &mut self.hosts[machine];
        let Some(Suspension { since, is_paused, deferred }) = host.suspension.take() else { return };
        host.clock.go_on(now);
        self.hosts.suspended -= 1;
        self.kernel.happened(EventKind::Machine { machine, change: MachineChange::Woken });
        self.timers_slept(machine, now - since);
        self.clock_changed(machine);
        for (after, event) in deferred {
            self.schedule(now + after, event);
        }
        self.machine_hears_again(machine);
        if !is_paused {
            self.resume(machine);
        }
    }

    /// Pauses the process of a machine, or has it stay paused when it wakes.
    pub(super) fn pause_process(&mut self, machine: u32, pauses: bool) {
        match (&mut self.hosts[machine].suspension, pauses) {
            (Some(suspension), _) => suspension.is_paused = pauses,
            (None, true) => self.pause(machine),
            (None, false) => self.resume(machine),
        }
    }

    pub(super) fn is_process_paused(&self, machine: u32) -> bool {
        let host = &self.hosts[machine];
        host.suspension.as_ref().map_or(host.paused.is_some(), |suspension| suspension.is_paused)
    }

    /// Keeps what a suspended machine's kernel has to do now until it wakes. Whether it did.
    #[cold]
    pub(crate) fn defers_until_awake(&mut self, machine: u32, event: net::Event) -> bool {
        let now = self.kernel.now;
        let Some(suspension) = self.hosts[machine].suspension.as_mut() else { return false };
        suspension.deferred.push((now - suspension.since, event));
        true
    }
}

impl Hosts {
    /// Why what arrives at a machine is lost, if it is.
    #[inline]
    pub(crate) fn silence(&self, machine: u32) -> Option<DeliveryProblem> {
        match self[machine].state {
            HostState::PoweredOff => Some(DeliveryProblem::PowerOff),
            _ if self.suspended == 0 => None,
            _ => self[machine].suspension.as_ref().map(|_| DeliveryProblem::Suspended),
        }
    }
}
