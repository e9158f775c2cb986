//! The virtual clock of a machine: monotonic and wall time, sleep.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use steelmill_core::{Daemon, Factory, Result};

use crate::kernel::tasks::WaitsFor;
use crate::kernel::timers::{Nanos, TimerId, nanos};
use crate::kernel::waiter::Waiter;
use crate::machine::cluster::{self, RunId};

/// A machine's virtual clock. Time advances only while no task of the run is ready, never by running code.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    pub(crate) run: RunId,
    pub(crate) machine: u32,
}

impl Clock {
    /// The machine's monotonic clock.
    ///
    /// # Panics
    /// Outside of its run, like every method of a simulated handle.
    #[inline]
    pub fn now(&self) -> Instant {
        cluster::with(self.run, |run| run.instant(self.machine))
    }

    /// The machine's wall clock. Without offset and drift a run begins at 2026-01-01 00:00 UTC.
    pub fn wall(&self) -> SystemTime {
        cluster::with(self.run, |run| run.wall(self.machine))
    }

    /// Waits for `duration` on this machine's clock.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        let deadline =
            cluster::with(self.run, |run| run.local_now(self.machine).saturating_add(nanos(duration)));
        Sleep { clock: *self, deadline, timer: None }
    }

    /// Waits until this machine's clock has reached `deadline`.
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        let deadline =
            cluster::with(self.run, |run| nanos(deadline.saturating_duration_since(run.hosts.base())));
        Sleep { clock: *self, deadline, timer: None }
    }
}

/// The future of [`Clock::sleep`] and [`Clock::sleep_until`].
#[derive(Debug)]
#[must_use = "a wait waits only when awaited"]
pub struct Sleep {
    clock: Clock,
    /// On the machine's own clock.
    deadline: Nanos,
    timer: Option<TimerId>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // The waker of the context, not of the current task: a combinator may pass its own.
        let waiter = Waiter::of(context.waker());
        let Clock { run, machine } = self.clock;
        let (deadline, armed) = (self.deadline, self.timer);
        self.timer = cluster::with(run, |run| {
            let timer = match armed {
                Some(timer) => {
                    let (has_fired, former) = run.kernel.timers.check(timer, waiter);
                    run.kernel.discard(former);
                    if has_fired {
                        return None;
                    }
                    timer
                }
                None => {
                    let clock = &run.hosts[machine].clock;
                    if clock.local(run.kernel.now) >= deadline {
                        run.kernel.discard(Some(waiter));
                        return None;
                    }
                    let at = clock.global(deadline);
                    let timer = run.kernel.timers.arm(at, machine, deadline, waiter);
                    if run.kernel.recorder.is_some() {
                        run.kernel.note_timer_set(timer.index());
                    }
                    timer
                }
            };
            run.kernel.waits_for(WaitsFor::Clock);
            Some(timer)
        });
        if self.timer.is_some() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            cluster::try_with(self.clock.run, |run| {
                let waiter = run.kernel.timers.release(timer);
                run.kernel.discard(waiter);
            });
        }
    }
}

impl Daemon for Clock {
    fn build(factory: &mut Factory) -> Result<Self> {
        Err(crate::machine::world::needs_machine::<Self>(factory))
    }
}

impl steelmill_core::Clock for Clock {
    fn now(&self) -> Instant {
        self.now()
    }

    fn wall(&self) -> SystemTime {
        self.wall()
    }

    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send + use<> {
        self.sleep_until(deadline)
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + use<> {
        self.sleep(duration)
    }
}
