//! A timer that is read (timerfd_create(2)).

use std::time::Duration;

use super::{Buffers, Errno, FileId, Object};
use crate::kernel::timers::{Nanos, nanos};
use crate::kernel::waiter::Waiters;
use crate::machine::cluster::{Cluster, Event};
use crate::machine::world::Process;

/// A timer on its machine's clock.
pub(crate) struct Timer {
    machine: u32,
    /// The clock that absolute times are of.
    clock: i32,
    /// When it expires next, on the machine's clock; `None` while it is disarmed.
    next: Option<Nanos>,
    /// How long after that again; 0 for never.
    interval: Nanos,
    /// Whether an event is scheduled at `next`. There is none as long as nobody waits: a run may end beside a timer.
    is_scheduled: bool,
    pub(super) waiters: Waiters,
}

/// What a timer is set to: the time to its next expiry, and the interval of the others (timerfd_settime(2)).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Setting {
    pub(crate) left: Duration,
    pub(crate) interval: Duration,
}

impl Cluster {
    /// A disarmed timer.
    pub(crate) fn open_timer(
        &mut self,
        process: Process,
        clock: i32,
        is_nonblocking: bool,
    ) -> Result<i32, Errno> {
        let timer = Timer {
            machine: process.machine,
            clock,
            next: None,
            interval: 0,
            is_scheduled: false,
            waiters: Waiters::default(),
        };
        self.open_file(process, Object::Timer(timer), is_nonblocking)
    }

    fn timer(&mut self, process: Process, fd: i32) -> Result<(FileId, Nanos, &mut Timer), Errno> {
        let now = self.local_now(process.machine);
        match self.descriptors.file(process, fd)? {
            (id, super::File { object: Object::Timer(timer), .. }) => Ok((id, now, timer)),
            _ => Err(libc::EINVAL),
        }
    }

    pub(crate) fn timer_clock(&mut self, process: Process, fd: i32) -> Result<i32, Errno> {
        self.timer(process, fd).map(|(_, _, timer)| timer.clock)
    }

    /// What is left of a timer.
    pub(crate) fn timer_setting(&mut self, process: Process, fd: i32) -> Result<Setting, Errno> {
        let (_, now, timer) = self.timer(process, fd)?;
        let Some(next) = timer.next else { return Ok(Setting::default()) };
        // Of one that has expired and will again, the time to that.
        let next = match timer.interval {
            0 => next,
            interval => next + (now.saturating_sub(next)).div_ceil(interval) * interval,
        };
        let [left, interval] = [next.saturating_sub(now), timer.interval].map(Duration::from_nanos);
        Ok(Setting { left, interval })
    }

    /// Arms a timer, or disarms it if nothing is left; what was set before.
    pub(crate) fn set_timer(
        &mut self,
        process: Process,
        fd: i32,
        new: Option<Setting>,
    ) -> Result<Setting, Errno> {
        let before = self.timer_setting(process, fd)?;
        let (_, now, timer) = self.timer(process, fd)?;
        timer.next = new.map(|new| now.saturating_add(nanos(new.left)));
        timer.interval = new.map_or(0, |new| nanos(new.interval));
        timer.is_scheduled = false;
        let waiters = timer.waiters.take();
        self.kernel.wake_all(waiters); // who waits looks again
        Ok(before)
    }

    pub(super) fn timer_readiness(&mut self, id: FileId) -> u32 {
        let Object::Timer(timer) = &self.descriptors.get(id).object else { return 0 };
        let (machine, next) = (timer.machine, timer.next);
        let has_expired = next.is_some_and(|next| next <= self.local_now(machine));
        if has_expired { libc::EPOLLIN as u32 } else { 0 }
    }

    /// Somebody waits for the next expiry. One that has come is told once, until the timer is read.
    pub(super) fn await_timer(&mut self, id: FileId) {
        if self.timer_readiness(id) == 0 {
            self.schedule_timer(id);
        }
    }

    /// Schedules the expiry that somebody waits for, which may have come while the machine was suspended.
    fn schedule_timer(&mut self, id: FileId) {
        let Object::Timer(timer) = &mut self.descriptors.get(id).object else { return };
        if let (Some(next), false) = (timer.next, timer.is_scheduled) {
            timer.is_scheduled = true;
            let at = self.hosts[timer.machine].clock.global(next).max(self.kernel.now);
            self.kernel.timers.schedule(at, Event::Timer(id));
        }
    }

    /// A scheduled time has come: of this timer, or of one that the file was before.
    pub(crate) fn timer_due(&mut self, id: FileId) {
        let now = self.kernel.now;
        let Some(Some(super::File { object: Object::Timer(timer), .. })) =
            self.descriptors.files.get_mut(id as usize)
        else {
            return;
        };
        timer.is_scheduled = false;
        if timer.next.is_some_and(|next| next <= self.hosts[timer.machine].clock.local(now)) {
            let waiters = timer.waiters.take();
            self.kernel.wake_all(waiters);
        } else {
            self.schedule_timer(id);
        }
    }

    /// A machine was suspended for so long, which counts for timers on clocks that went on.
    pub(crate) fn timers_slept(&mut self, machine: u32, slept: Nanos) {
        for file in self.descriptors.files.iter_mut().flatten() {
            if let Object::Timer(timer) = &mut file.object
                && timer.machine == machine
                && timer.clock != libc::CLOCK_MONOTONIC
            {
                timer.next = timer.next.map(|next| next.saturating_sub(slept));
            }
        }
    }

    /// A machine's clock goes at another speed.
    pub(crate) fn reschedule_timers(&mut self, machine: u32) {
        for id in 0..self.descriptors.files.len() as FileId {
            if let Some(super::File { object: Object::Timer(timer), .. }) =
                &mut self.descriptors.files[id as usize]
                && timer.machine == machine
                && std::mem::take(&mut timer.is_scheduled)
            {
                self.schedule_timer(id);
            }
        }
    }

    /// How often a timer has expired since it was read; `None` if it has not.
    pub(super) fn read_timer(
        &mut self,
        id: FileId,
        buffers: &mut Buffers<'_>,
    ) -> Result<Option<usize>, Errno> {
        if buffers.room() < size_of::<u64>() {
            return Err(libc::EINVAL);
        }
        let Object::Timer(timer) = &mut self.descriptors.get(id).object else { return Err(libc::EINVAL) };
        let (machine, next, interval) = (timer.machine, timer.next, timer.interval);
        let now = self.local_now(machine);
        let Some(next) = next.filter(|next| *next <= now) else { return Ok(None) };
        let more = (now - next).checked_div(interval).unwrap_or(0);
        if let Object::Timer(timer) = &mut self.descriptors.get(id).object {
            timer.next = (interval > 0).then(|| next + (more + 1) * interval);
        }
        buffers.put(0, &(1 + more).to_ne_bytes());
        Ok(Some(size_of::<u64>()))
    }
}
