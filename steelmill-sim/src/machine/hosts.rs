//! The state of each machine in a run: up or down, incarnation, pause, slowness, clocks, random number generator.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::kernel::timers::{FAR_FUTURE, Nanos};
use crate::machine::cluster::Cluster;
use crate::machine::suspension::Suspension;
use crate::schema::decision::Reseed;
use crate::schema::event::{EventKind, MachineChange};

/// The scenario's own machine.
pub(crate) const SCENARIO: u32 = 0;

/// 2026-01-01T00:00:00Z: the wall clock at the beginning of every run.
const WALL_BASE: Duration = Duration::from_secs(1_767_225_600);

pub(crate) struct Hosts {
    /// The monotonic and wall time of a machine without drift or offset at virtual time zero.
    base: Instant,
    wall_base: SystemTime,
    all: Vec<Host>,
    names: BTreeMap<Arc<str>, u32>,
    /// The number of paused machines plus that of slow ones: zero skips both checks.
    pub(crate) paused_or_slow: u32,
    /// How many machines are suspended.
    pub(super) suspended: u32,
}

pub(crate) struct Host {
    pub(crate) name: Arc<str>,
    /// The number of processes that have ended. A handle of an earlier incarnation has no effect.
    pub(crate) incarnation: u32,
    pub(crate) state: HostState,
    /// While paused: the ready tasks to requeue on resume.
    pub(crate) paused: Option<Vec<u32>>,
    /// The maximum delay of a ready task.
    pub(crate) slowness: Nanos,
    pub(crate) clock: LocalClock,
    pub(super) suspension: Option<Suspension>,
    rng: Option<Box<ChaCha8Rng>>,
    pub(crate) counter: Counter,
}

/// The time stamp counter of a machine's processors, as programs have read it.
#[derive(Default)]
pub(crate) struct Counter {
    pub(crate) reads: u64,
    pub(crate) last: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostState {
    Up,
    /// The kernel still answers: with RST and ICMP port unreachable.
    ProcessEnded,
    PoweredOff,
}

impl Hosts {
    pub(crate) fn new() -> Self {
        let wall_base = SystemTime::UNIX_EPOCH + WALL_BASE;
        Self {
            base: base(),
            wall_base,
            all: Vec::new(),
            names: BTreeMap::new(),
            paused_or_slow: 0,
            suspended: 0,
        }
    }

    /// Takes the base from the intercepted clock, on the thread of the run.
    pub(crate) fn set_base(&mut self) {
        self.base = base();
    }

    fn add(&mut self, name: &Arc<str>) -> u32 {
        let id = u32::try_from(self.all.len()).expect("fewer than four billion machines");
        let key = if has_upper_case(name) { name.to_ascii_lowercase().into() } else { name.clone() };
        self.names.insert(key, id);
        self.all.push(Host {
            name: name.clone(),
            incarnation: 0,
            state: HostState::Up,
            paused: None,
            slowness: 0,
            clock: LocalClock::default(),
            suspension: None,
            rng: None,
            counter: Counter::default(),
        });
        id
    }

    pub(crate) fn base(&self) -> Instant {
        self.base
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Looks a host name up; case does not matter.
    pub(crate) fn by_name(&self, name: &str) -> Option<u32> {
        let found = if has_upper_case(name) {
            self.names.get(name.to_ascii_lowercase().as_str())
        } else {
            self.names.get(name)
        };
        found.copied()
    }
}

fn has_upper_case(name: &str) -> bool {
    name.bytes().any(|byte| byte.is_ascii_uppercase())
}

impl Index<u32> for Hosts {
    type Output = Host;
    #[inline]
    fn index(&self, id: u32) -> &Host {
        &self.all[id as usize]
    }
}

impl IndexMut<u32> for Hosts {
    #[inline]
    fn index_mut(&mut self, id: u32) -> &mut Host {
        &mut self.all[id as usize]
    }
}

/// `Instant` has no other constructor. With purity on, the intercepted clock returns virtual time zero.
#[expect(clippy::disallowed_methods, reason = "only differences to it are ever seen")]
fn base() -> Instant {
    Instant::now()
}

/// A machine's local time as a linear function of virtual time, anchored at the last change of drift.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LocalClock {
    anchor_global: Nanos,
    anchor_local: Nanos,
    /// How much faster than virtual time it goes now, in parts per million: by its drift, or not at all.
    ppm: i64,
    /// The drift in parts per million.
    drift: i64,
    /// How long its machine was suspended before now, or before the present suspension began.
    slept: Nanos,
    /// The wall clock's offset in nanoseconds, without drift.
    wall_offset: i64,
}

const MILLION: i128 = 1_000_000;

/// The pace of a clock that stands still.
const STOPPED: i64 = -1_000_000;

impl LocalClock {
    /// The local time at virtual time `global`.
    #[inline]
    pub(crate) fn local(&self, global: Nanos) -> Nanos {
        if self.ppm == 0 {
            return global - self.anchor_global + self.anchor_local;
        }
        let passed = i128::from(global - self.anchor_global);
        (i128::from(self.anchor_local) + passed + (passed * i128::from(self.ppm)).div_euclid(MILLION))
            as Nanos
    }

    /// The first virtual time at which the local time is `local` or later.
    #[inline]
    pub(crate) fn global(&self, local: Nanos) -> Nanos {
        if self.ppm == 0 {
            return local
                .saturating_sub(self.anchor_local)
                .saturating_add(self.anchor_global)
                .min(FAR_FUTURE);
        }
        if self.ppm == STOPPED && local > self.anchor_local {
            return FAR_FUTURE;
        }
        let wanted = i128::from(local) - i128::from(self.anchor_local);
        let pace = (MILLION + i128::from(self.ppm)).max(1);
        let passed = -(-wanted * MILLION).div_euclid(pace);
        Nanos::try_from(passed + i128::from(self.anchor_global)).unwrap_or(FAR_FUTURE).min(FAR_FUTURE)
    }

    fn set_drift(&mut self, now: Nanos, ppm: i64) {
        self.drift = ppm;
        if self.ppm != STOPPED {
            self.set_pace(now, ppm);
        }
    }

    fn set_pace(&mut self, now: Nanos, ppm: i64) {
        self.anchor_local = self.local(now);
        self.anchor_global = now;
        self.ppm = ppm;
    }

    /// Its machine is suspended.
    pub(super) fn stop(&mut self, now: Nanos) {
        self.set_pace(now, STOPPED);
    }

    /// Its machine wakes.
    pub(super) fn go_on(&mut self, now: Nanos) {
        self.slept = self.slept(now);
        self.set_pace(now, self.drift);
    }

    /// How long its machine was suspended, up to `global`.
    fn slept(&self, global: Nanos) -> Nanos {
        self.slept + if self.ppm == STOPPED { global - self.anchor_global } else { 0 }
    }
}

impl Cluster {
    /// Adds a machine that is up.
    pub(crate) fn add_host(&mut self, name: &Arc<str>) -> u32 {
        self.kernel.machine_names.push(name.clone());
        self.hosts.add(name)
    }

    #[inline]
    pub(crate) fn local_now(&self, machine: u32) -> Nanos {
        self.hosts[machine].clock.local(self.kernel.now)
    }

    /// A machine's time with that in which it was suspended (CLOCK_BOOTTIME of clock_gettime(2)).
    pub(crate) fn boot_now(&self, machine: u32) -> Nanos {
        let clock = &self.hosts[machine].clock;
        clock.local(self.kernel.now) + clock.slept(self.kernel.now)
    }

    pub(crate) fn instant(&self, machine: u32) -> Instant {
        self.hosts.base + Duration::from_nanos(self.local_now(machine))
    }

    pub(crate) fn wall(&self, machine: u32) -> SystemTime {
        let clock = &self.hosts[machine].clock;
        let time = self.hosts.wall_base + Duration::from_nanos(self.boot_now(machine));
        let offset = Duration::from_nanos(clock.wall_offset.unsigned_abs());
        let shown = if clock.wall_offset < 0 { time.checked_sub(offset) } else { time.checked_add(offset) };
        shown.unwrap_or(time)
    }

    /// Sets a clock's drift, and reschedules the timers on it.
    pub(crate) fn set_drift(&mut self, machine: u32, ppm: i64) {
        let now = self.kernel.now;
        self.hosts[machine].clock.set_drift(now, ppm);
        self.clock_changed(machine);
    }

    /// Reschedules the timers on a clock whose pace has changed.
    pub(super) fn clock_changed(&mut self, machine: u32) {
        let now = self.kernel.now;
        let clock = self.hosts[machine].clock;
        self.kernel.timers.reschedule(machine, |local| clock.global(local).max(now));
        self.reschedule_timers(machine);
    }

    pub(crate) fn set_wall_offset(&mut self, machine: u32, nanos: i64) {
        self.kernel.happened(EventKind::Machine { machine, change: MachineChange::WallOffset(nanos) });
        self.hosts[machine].clock.wall_offset = nanos;
    }

    pub(crate) fn drift(&self, machine: u32) -> i64 {
        self.hosts[machine].clock.drift
    }

    /// In nanoseconds, without drift.
    pub(crate) fn wall_offset(&self, machine: u32) -> i64 {
        self.hosts[machine].clock.wall_offset
    }

    /// Defers all tasks of a machine until it is resumed.
    pub(crate) fn pause(&mut self, machine: u32) {
        let host = &mut self.hosts[machine];
        if host.paused.is_none() {
            host.paused = Some(Vec::new());
            self.hosts.paused_or_slow += 1;
        }
    }

    pub(crate) fn resume(&mut self, machine: u32) {
        if let Some(waiting) = self.hosts[machine].paused.take() {
            self.hosts.paused_or_slow -= 1;
            waiting.into_iter().for_each(|task| self.kernel.tasks.requeue(task));
        }
    }

    /// Delays each poll of a machine's tasks by up to `delay_max`.
    pub(crate) fn set_slowness(&mut self, machine: u32, delay_max: Nanos) {
        let before = std::mem::replace(&mut self.hosts[machine].slowness, delay_max);
        self.hosts.paused_or_slow += u32::from(delay_max > 0);
        self.hosts.paused_or_slow -= u32::from(before > 0);
    }

    pub(crate) fn reseed(&mut self, reseed: Reseed) {
        self.kernel.decisions.reseed(reseed);
        if reseed.stream.is_none() {
            self.hosts.all.iter_mut().for_each(|host| host.rng = None);
        }
    }

    pub(crate) fn entropy(&mut self, machine: u32) -> u64 {
        let key = self.kernel.decisions.entropy_key(machine);
        let rng = self.hosts[machine].rng.get_or_insert_with(|| Box::new(ChaCha8Rng::seed_from_u64(key)));
        let value = rng.next_u64();
        let drawn = self.kernel.decisions.draw_entropy(machine, value);
        self.kernel.drawn(drawn, 0);
        drawn.value
    }

    /// Fills a buffer from a machine's generator, with eight bytes per draw.
    pub(crate) fn fill(&mut self, machine: u32, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.entropy(machine).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    /// Entropy before the first machine exists: std's hash keys, which it draws once per thread. They come from the
    /// seed but stay out of the digest, because a later run on the thread does not draw them.
    pub(crate) fn fill_before_machines(&mut self, bytes: &mut [u8]) {
        ChaCha8Rng::seed_from_u64(self.kernel.decisions.entropy_key(u32::MAX)).fill_bytes(bytes);
    }

    /// Whether this incarnation of a machine still runs.
    #[inline]
    pub(crate) fn is_alive(&self, machine: u32, incarnation: u32) -> bool {
        let host = &self.hosts[machine];
        host.incarnation == incarnation && host.state == HostState::Up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_and_its_inverse_agree_at_every_pace() {
        for ppm in [-500_000, -200, -1, 0, 1, 37, 200, 1_000_000] {
            let mut clock = LocalClock::default();
            clock.set_drift(12_345, ppm);
            for local in (12_346..2_000_000_000).step_by(99_999_989) {
                let global = clock.global(local);
                assert!(clock.local(global) >= local, "{ppm} ppm: too early for {local}");
                assert!(clock.local(global - 1) < local, "{ppm} ppm: too late for {local}");
            }
        }
    }

    #[test]
    fn a_change_of_pace_does_not_make_a_clock_jump() {
        let mut clock = LocalClock::default();
        for (now, ppm) in [(1_000_000, 300), (5_000_000, -300), (9_000_000, 0)] {
            let before = clock.local(now);
            clock.set_drift(now, ppm);
            assert_eq!(clock.local(now), before);
        }
    }

    #[test]
    fn a_clock_that_stands_still_is_due_for_nothing_and_goes_on_from_there() {
        let mut clock = LocalClock::default();
        clock.stop(1_000);
        assert_eq!((clock.local(5_000), clock.slept(5_000)), (1_000, 4_000));
        assert_eq!((clock.global(1_001), clock.global(1_000)), (FAR_FUTURE, 1_000));
        clock.set_drift(2_000, 500_000);
        assert_eq!(clock.local(5_000), 1_000);
        clock.go_on(6_000);
        assert_eq!((clock.local(8_000), clock.slept(8_000)), (4_000, 5_000));
    }

    #[test]
    fn a_timer_without_end_is_never_due_at_any_drift() {
        let mut clock = LocalClock::default();
        assert_eq!(clock.global(Nanos::MAX), FAR_FUTURE);
        clock.set_drift(5, -900_000);
        assert_eq!(clock.global(Nanos::MAX), FAR_FUTURE);
    }
}
