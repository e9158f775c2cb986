//! Bands of the picture: intervals in which a fault is active, a machine is down or paused, or a link is impaired.
//!
//! Faults of the plan begin and end explicitly in the trace; what a scenario does to machines and links by itself is
//! inferred from their changes, and cuts nest. A fault of the plan causes such changes, too, right before its
//! [`FaultStep::Strikes`]: these count towards nesting, but get no band of their own.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Serialize;

use crate::schema::event::{Event, EventKind, FaultStep, LinkChange, MachineChange};
use crate::schema::plan::Kind;
use crate::schema::trace::Trace;

/// An interval in which a fault or an outage is active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Band {
    text: String,
    /// The machines: two for the link between them.
    lanes: Vec<u32>,
    kind: Style,
    /// Whether only the direction from the first to the second is affected.
    one_way: bool,
    /// The event at which it begins; -1 for the beginning of the run.
    from: i64,
    /// The event at which it ends; -1 for the end of the run.
    until: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Style {
    Machine,
    Link,
    Down,
}

impl Band {
    /// The same, that many lanes further to the right.
    pub(super) fn moved(mut self, lanes: u32) -> Self {
        self.lanes.iter_mut().for_each(|lane| *lane += lanes);
        self
    }
}

const NONE: i64 = -1;

/// All bands that overlap `part`, by beginning. `shown` maps an event of the trace to its number in the picture, or -1.
pub(super) fn of(trace: &Trace, part: Range<usize>, shown: impl Fn(usize) -> i64) -> Vec<Band> {
    let mut bands = Bands::default();
    for (number, event) in trace.events.iter().enumerate().take(part.end) {
        for step in Step::of(trace, number, event) {
            match step {
                Step::Begins(key, band) => {
                    let band = band.map(|band| Band { from: shown(number), ..band });
                    bands.begin(key, band, event.at);
                }
                Step::Ends(key) => bands.end(&key, shown(number), number < part.start),
            }
        }
    }
    bands.all.into_iter().filter(|entry| !entry.is_before).map(|entry| entry.band).collect()
}

#[derive(Default)]
struct Bands {
    all: Vec<Entry>,
    open: BTreeMap<Key, Open>,
}

struct Entry {
    band: Band,
    began_at: u64,
    is_before: bool,
}

#[derive(Clone, Copy, Default)]
struct Open {
    /// The index of its band. `None` while it is only part of a fault, which has a band of its own.
    band: Option<usize>,
    /// How many times it has begun and not ended.
    depth: u32,
}

impl Bands {
    /// Begins `key`, or nests it once more; `band` is its band, unless it is part of a fault.
    fn begin(&mut self, key: Key, band: Option<Band>, at: u64) {
        let Open { band: open, depth } = self.open.get(&key).copied().unwrap_or_default();
        let band = open.or_else(|| band.map(|band| self.add(&key, band, at)));
        self.open.insert(key, Open { band, depth: if key.nests() { depth + 1 } else { 1 } });
    }

    fn add(&mut self, key: &Key, band: Band, began_at: u64) -> usize {
        // Both directions at once are one band.
        let other = key.reverse().and_then(|key| self.open.get(&key)?.band);
        if let Some(other) = other.filter(|other| self.all[*other].began_at == began_at) {
            self.all[other].band.one_way = false;
            return other;
        }
        self.all.push(Entry { band, began_at, is_before: false });
        self.all.len() - 1
    }

    /// Ends `key`, or one of its nested beginnings.
    fn end(&mut self, key: &Key, until: i64, is_before: bool) {
        // Without a recorded beginning it was part of a fault that began before the trace window, or of none.
        let Some(open) = self.open.get_mut(key) else { return };
        open.depth -= 1;
        if open.depth == 0 {
            if let Some(band) = open.band {
                let entry = &mut self.all[band];
                (entry.band.until, entry.is_before) = (until, is_before);
            }
            self.open.remove(key);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Fault(u32),
    Down(u32),
    /// Does not nest: a pause ends with the first resume, or with the process.
    Paused(u32),
    /// Does not nest either.
    Suspended(u32),
    /// One direction of a link, and its change.
    Link(u32, u32, &'static str),
}

impl Key {
    /// The same change of the opposite direction.
    fn reverse(&self) -> Option<Self> {
        match *self {
            Key::Link(from, to, what) if from != to => Some(Key::Link(to, from, what)),
            _ => None,
        }
    }

    /// Whether it nests: it ends only when it has ended as often as it began.
    fn nests(&self) -> bool {
        matches!(self, Key::Link(..))
    }
}

enum Step {
    /// With its band, unless it is part of a fault.
    Begins(Key, Option<Band>),
    Ends(Key),
}

impl Step {
    /// The beginnings and ends at an event.
    fn of(trace: &Trace, number: usize, event: &Event) -> Vec<Self> {
        let band = |text: String, lanes: Vec<u32>, kind: Style| Band {
            text,
            lanes,
            kind,
            one_way: false,
            from: NONE,
            until: NONE,
        };
        let name = |machine: u32| {
            let known = trace.machines.get(machine as usize).cloned();
            known.unwrap_or_else(|| format!("machine {machine}"))
        };
        match event.what {
            EventKind::Fault { fault, step: FaultStep::Strikes } => {
                let lanes = struck(trace, fault as usize);
                let Some(known) = trace.faults.get(fault as usize) else { return Vec::new() };
                let style = if lanes.len() > 1 { Style::Link } else { Style::Machine };
                let one_way = matches!(
                    known.what,
                    Kind::PartitionOneWay { .. } | Kind::Latency { .. } | Kind::LostSegment { .. }
                );
                let band = Band { one_way, ..band(known.what.to_string(), lanes, style) };
                vec![Step::Begins(Key::Fault(fault), Some(band))]
            }
            EventKind::Fault { fault, step: FaultStep::Ends } => vec![Step::Ends(Key::Fault(fault))],
            EventKind::Machine { machine, change } => match change {
                MachineChange::Exited | MachineChange::PowerLost => {
                    let text = format!("{} is down", name(machine));
                    let band = band(text, vec![machine], Style::Down);
                    vec![Step::Ends(Key::Paused(machine)), Step::Begins(Key::Down(machine), Some(band))]
                }
                MachineChange::Started => vec![Step::Ends(Key::Down(machine))],
                MachineChange::Paused => {
                    let is_own = !is_part_of_fault(trace, number, &[machine]);
                    let text = format!("{} is paused", name(machine));
                    let band = is_own.then(|| band(text, vec![machine], Style::Machine));
                    vec![Step::Begins(Key::Paused(machine), band)]
                }
                MachineChange::Resumed => vec![Step::Ends(Key::Paused(machine))],
                MachineChange::Suspended => {
                    let is_own = !is_part_of_fault(trace, number, &[machine]);
                    let text = format!("{} is suspended", name(machine));
                    let band = is_own.then(|| band(text, vec![machine], Style::Machine));
                    vec![Step::Begins(Key::Suspended(machine), band)]
                }
                MachineChange::Woken => vec![Step::Ends(Key::Suspended(machine))],
                _ => Vec::new(),
            },
            EventKind::Link { from, to, change } => {
                let (what, begins) = match change {
                    LinkChange::Cut => ("cut", true),
                    LinkChange::Healed => ("cut", false),
                    LinkChange::Impaired => ("impaired", true),
                    LinkChange::Repaired => ("impaired", false),
                    LinkChange::Held => ("held", true),
                    LinkChange::Released => ("held", false),
                    _ => return Vec::new(),
                };
                let key = Key::Link(from, to, what);
                if !begins {
                    return vec![Step::Ends(key)];
                }
                let band = if is_part_of_fault(trace, number, &[from, to]) {
                    None
                } else if from == to {
                    Some(band(format!("all links of {}: {what}", name(from)), vec![from], Style::Machine))
                } else {
                    let text = format!("{} - {}: {what}", name(from), name(to));
                    Some(Band { one_way: true, ..band(text, vec![from, to], Style::Link) })
                };
                vec![Step::Begins(key, band)]
            }
            _ => Vec::new(),
        }
    }
}

/// Whether a fault of the plan that affects these machines strikes right after this change, at the same time.
fn is_part_of_fault(trace: &Trace, number: usize, machines: &[u32]) -> bool {
    let at = trace.events[number].at;
    let same_time = trace.events[number..].iter().take_while(|event| event.at == at);
    same_time.take(STRIKE_DISTANCE_MAX).any(|event| match event.what {
        EventKind::Fault { fault, step: FaultStep::Strikes } => {
            let lanes = struck(trace, fault as usize);
            machines.iter().all(|machine| lanes.contains(machine))
        }
        _ => false,
    })
}

/// The maximum number of events from a fault's first change to its [`FaultStep::Strikes`].
const STRIKE_DISTANCE_MAX: usize = 16;

pub(super) fn struck(trace: &Trace, fault: usize) -> Vec<u32> {
    let Some(fault) = trace.faults.get(fault) else { return Vec::new() };
    let number = |name: &str| trace.machines.iter().position(|machine| machine == name);
    fault.what.machines().into_iter().filter_map(number).map(|number| number as u32).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fault::Budget;
    use crate::run::simulate::simulate;
    use crate::schema::plan::{Faults, Plan};
    use crate::{Impairment, Machine, Seed, Settings, Sim};

    /// The bands of a run: text, lanes, whether it is one way, and whether it ends.
    fn bands<F: Future<Output = steelmill_core::Result> + 'static>(
        faults: &str,
        scenario: impl Fn(Sim) -> F,
    ) -> Vec<(String, Vec<u32>, bool, bool)> {
        let faults = Faults::Plan(Plan::from_json(faults).expect("a plan"));
        let settings = Settings { trace: true, faults, ..Settings::new(Seed(1)) };
        let trace = simulate(settings, &scenario).trace.expect("it was asked for");
        let all = of(&trace, 0..trace.events.len(), |event| event as i64);
        all.into_iter().map(|band| (band.text, band.lanes, band.one_way, band.until > band.from)).collect()
    }

    #[test]
    fn a_fault_of_the_plan_has_one_band() {
        let plan = r#"{"faults": [
            {"when": {"at": "1s"}, "lasts": "2s", "what": {"partition_one_way": {"from": "a", "to": "b"}}},
            {"when": {"at": "2s"}, "lasts": "1s", "what": {"pause": {"machine": "b"}}}]}"#;
        let actual = bands(plan, |sim: Sim| async move {
            let a = sim.machine("a", |_| Ok(())).start().await?;
            let b = sim.machine("b", |_| Ok(())).start().await?;
            sim.inject_faults(Budget::of(&[a, b])).run().await?;
            Ok(())
        });
        let expected = [
            ("nothing gets from a to b".to_owned(), vec![1, 2], true, true),
            ("b is paused".to_owned(), vec![2], false, true),
        ];
        assert_eq!(actual, expected);
    }

    /// The bands of a run: text, beginning and end in seconds; end 0 for one that does not end.
    fn times<F: Future<Output = steelmill_core::Result> + 'static>(
        faults: &str,
        scenario: impl Fn(Sim) -> F,
    ) -> Vec<(String, u64, u64)> {
        let faults = Faults::Plan(Plan::from_json(faults).expect("a plan"));
        let settings = Settings { trace: true, faults, ..Settings::new(Seed(1)) };
        let trace = simulate(settings, &scenario).trace.expect("it was asked for");
        let at = |event: i64| trace.events.get(event as usize).map_or(0, |event| event.at / 1_000_000_000);
        let all = of(&trace, 0..trace.events.len(), |event| event as i64);
        all.into_iter().map(|band| (band.text, at(band.from), at(band.until))).collect()
    }

    #[test]
    fn a_cut_ends_when_the_last_of_nested_cuts_is_healed() {
        let plan = r#"{"faults": [
            {"when": {"at": "2s"}, "lasts": "1s", "what": {"partition": {"between": ["a", "b"]}}},
            {"when": {"at": "2s"}, "lasts": "1s", "what": {"loss": {"between": ["a", "b"], "ppm": 10}}},
            {"when": {"at": "2s"}, "lasts": "3s", "what": {"isolation": {"machine": "b"}}}]}"#;
        let actual = times(plan, |sim: Sim| async move {
            let a = sim.machine("a", |_| Ok(())).start().await?;
            let b = sim.machine("b", |_| Ok(())).start().await?;
            let clock = sim.clock();
            let own = async {
                clock.sleep(Duration::from_secs(1)).await;
                let cut = sim.partition(&a, &b);
                let impaired = sim.impair(&a, &b, Impairment { loss_ppm: 10, ..Impairment::default() });
                clock.sleep(Duration::from_secs(2)).await;
                let isolated = sim.isolate(&b);
                clock.sleep(Duration::from_secs(4)).await;
                isolated.heal();
                clock.sleep(Duration::from_secs(2)).await;
                drop(impaired);
                cut.heal();
                Ok(())
            };
            let budget = Budget::of(&[a.clone(), b.clone()]);
            let (own, plan) = tokio::join!(own, sim.inject_faults(budget).run());
            own.and(plan.map(drop))
        });
        let actual: Vec<_> =
            actual.iter().map(|(text, from, until)| (text.as_str(), *from, *until)).collect();
        let expected = [
            ("a - b: cut", 1, 9),
            ("a - b: impaired", 1, 9),
            ("a and b are cut off from each other", 2, 3),
            ("0.001 % of messages between a and b are lost", 2, 3),
            ("b is cut off from all others", 2, 5),
            ("all links of b: cut", 3, 7),
        ];
        assert_eq!(actual, expected);
    }

    #[test]
    fn a_pause_ends_when_the_process_resumes_or_ends() {
        let actual = times(r#"{"faults": []}"#, |sim: Sim| async move {
            let a = sim.machine("a", |_| Ok(())).start().await?;
            let second = || sim.clock().sleep(Duration::from_secs(1));
            for end in [|a: &Machine| a.exit(), |a: &Machine| a.power_loss(), |_: &Machine| ()] {
                a.pause();
                second().await;
                end(&a);
                second().await;
                a.restart().await?;
                second().await;
            }
            a.pause();
            a.pause();
            second().await;
            a.resume();
            second().await;
            Ok(())
        });
        let (paused, down) = ("a is paused".to_owned(), "a is down".to_owned());
        let expected = [
            (paused.clone(), 0, 1),
            (down.clone(), 1, 2),
            (paused.clone(), 3, 4),
            (down.clone(), 4, 5),
            (paused.clone(), 6, 8),
            (down, 8, 8),
            (paused, 9, 10),
        ];
        assert_eq!(actual, expected);
    }

    #[test]
    fn changes_made_by_the_scenario_have_bands() {
        let actual = bands(r#"{"faults": []}"#, |sim: Sim| async move {
            let a = sim.machine("a", |_| Ok(())).start().await?;
            let b = sim.machine("b", |_| Ok(())).start().await?;
            let cut = sim.partition(&a, &b);
            let again = sim.partition(&a, &b);
            let hold = sim.hold_one_way(&b, &a);
            sim.clock().sleep(Duration::from_secs(1)).await;
            cut.heal();
            a.power_loss();
            sim.clock().sleep(Duration::from_secs(1)).await;
            again.heal();
            a.restart().await?;
            b.pause();
            std::mem::forget(hold);
            Ok(())
        });
        let expected = [
            ("a - b: cut".to_owned(), vec![1, 2], false, true),
            ("b - a: held".to_owned(), vec![2, 1], true, false),
            ("a is down".to_owned(), vec![1], false, true),
            ("b is paused".to_owned(), vec![2], false, false),
        ];
        assert_eq!(actual, expected);
    }
}
