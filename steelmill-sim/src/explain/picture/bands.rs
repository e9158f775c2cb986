//! From when to when something was wrong with whom.
//!
//! What the plan lets happen has its beginning and its end in the trace. What a scenario does to machines and links by
//! itself shows in what becomes of them: a cut is open until as many were healed. A fault of the plan does such things,
//! too, and says in the next breath that it has struck; they count, and are not told twice.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Serialize;

use crate::schema::event::{Event, EventKind, FaultStep, LinkChange, MachineChange};
use crate::schema::plan::Kind;
use crate::schema::trace::Trace;

/// A time in which something was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Band {
    text: String,
    /// The machines: two for the way between them.
    lanes: Vec<u32>,
    kind: Look,
    /// Whether only what the first sends the second suffers.
    one_way: bool,
    /// From which event on; -1 from the beginning.
    from: i64,
    /// Until which; -1 to the end.
    until: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Look {
    Machine,
    Link,
    /// Nothing runs on it.
    Down,
}

const NONE: i64 = -1;

/// All of which something is in a part of a trace, in the order in which they begin; `place` tells where an event stands
/// in the picture, if it does.
pub(super) fn of(trace: &Trace, part: Range<usize>, place: impl Fn(usize) -> i64) -> Vec<Band> {
    let mut bands = Bands::default();
    for (number, event) in trace.events.iter().enumerate().take(part.end) {
        for step in Step::of(trace, number, event) {
            match step {
                Step::Begins(key, band) => {
                    let band = band.map(|band| Band { from: place(number), ..band });
                    bands.begin(key, band, event.at);
                }
                Step::Ends(key) => bands.end(&key, place(number), number < part.start),
            }
        }
    }
    bands.told.into_iter().filter(|told| !told.is_over).map(|told| told.band).collect()
}

/// The bands so far, and what is going on.
#[derive(Default)]
struct Bands {
    told: Vec<Told>,
    /// By what it takes to end it.
    open: BTreeMap<Key, Open>,
}

struct Told {
    band: Band,
    began_at: u64,
    /// Whether it was over before the part that is shown.
    is_over: bool,
}

#[derive(Clone, Copy, Default)]
struct Open {
    /// None while all of it is part of a fault, which has a band of its own.
    told: Option<usize>,
    /// How many times over it is going on.
    depth: u32,
}

impl Bands {
    /// Something begins, or begins once more; `band` is what to tell of it.
    fn begin(&mut self, key: Key, band: Option<Band>, at: u64) {
        let Open { told, depth } = self.open.get(&key).copied().unwrap_or_default();
        let told = told.or_else(|| band.map(|band| self.tell(&key, band, at)));
        self.open.insert(key, Open { told, depth: if key.nests() { depth + 1 } else { 1 } });
    }

    fn tell(&mut self, key: &Key, band: Band, began_at: u64) -> usize {
        // Both ways at once are one thing.
        let other = key.back().and_then(|key| self.open.get(&key)?.told);
        if let Some(other) = other.filter(|other| self.told[*other].began_at == began_at) {
            self.told[other].band.one_way = false;
            return other;
        }
        self.told.push(Told { band, began_at, is_over: false });
        self.told.len() - 1
    }

    /// One of those that are going on ends.
    fn end(&mut self, key: &Key, until: i64, is_over: bool) {
        // What nobody saw begin was part of a fault whose beginning the trace does not hold, or of nothing.
        let Some(open) = self.open.get_mut(key) else { return };
        open.depth -= 1;
        if open.depth == 0 {
            if let Some(told) = open.told {
                let told = &mut self.told[told];
                (told.band.until, told.is_over) = (until, is_over);
            }
            self.open.remove(key);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Fault(u32),
    Down(u32),
    Paused(u32),
    /// A way, and what was done to it.
    Way(u32, u32, &'static str),
}

impl Key {
    /// The same done to the way back.
    fn back(&self) -> Option<Self> {
        match *self {
            Key::Way(from, to, what) if from != to => Some(Key::Way(to, from, what)),
            _ => None,
        }
    }

    /// Whether it ends only when it has ended as often as it began.
    fn nests(&self) -> bool {
        matches!(self, Key::Way(..))
    }
}

enum Step {
    /// With a band, unless it is part of a fault.
    Begins(Key, Option<Band>),
    Ends(Key),
}

impl Step {
    /// What begins and ends with an event.
    fn of(trace: &Trace, number: usize, event: &Event) -> Vec<Self> {
        let band = |text: String, lanes: Vec<u32>, kind: Look| Band {
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
                let look = if lanes.len() > 1 { Look::Link } else { Look::Machine };
                let one_way = matches!(known.what, Kind::PartitionOneWay { .. });
                let band = Band { one_way, ..band(known.what.to_string(), lanes, look) };
                vec![Step::Begins(Key::Fault(fault), Some(band))]
            }
            EventKind::Fault { fault, step: FaultStep::Ends } => vec![Step::Ends(Key::Fault(fault))],
            EventKind::Machine { machine, change } => match change {
                MachineChange::Exited | MachineChange::PowerLost => {
                    let text = format!("{} is down", name(machine));
                    let band = band(text, vec![machine], Look::Down);
                    // A paused process that ends is not paused any more.
                    vec![Step::Ends(Key::Paused(machine)), Step::Begins(Key::Down(machine), Some(band))]
                }
                MachineChange::Started => vec![Step::Ends(Key::Down(machine))],
                MachineChange::Paused => {
                    let is_told = !is_of_a_fault(trace, number, &[machine]);
                    let text = format!("{} is paused", name(machine));
                    let band = is_told.then(|| band(text, vec![machine], Look::Machine));
                    vec![Step::Begins(Key::Paused(machine), band)]
                }
                MachineChange::Resumed => vec![Step::Ends(Key::Paused(machine))],
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
                let key = Key::Way(from, to, what);
                if !begins {
                    return vec![Step::Ends(key)];
                }
                let band = if is_of_a_fault(trace, number, &[from, to]) {
                    None
                } else if from == to {
                    Some(band(format!("all links of {}: {what}", name(from)), vec![from], Look::Machine))
                } else {
                    let text = format!("{} - {}: {what}", name(from), name(to));
                    Some(Band { one_way: true, ..band(text, vec![from, to], Look::Link) })
                };
                vec![Step::Begins(key, band)]
            }
            _ => Vec::new(),
        }
    }
}

/// Whether a fault of the plan that strikes these machines says right afterwards that it has struck.
fn is_of_a_fault(trace: &Trace, number: usize, machines: &[u32]) -> bool {
    let at = trace.events[number].at;
    let breath = trace.events[number..].iter().take_while(|event| event.at == at);
    breath.take(NEXT).any(|event| match event.what {
        EventKind::Fault { fault, step: FaultStep::Strikes } => {
            let lanes = struck(trace, fault as usize);
            machines.iter().all(|machine| lanes.contains(machine))
        }
        _ => false,
    })
}

/// How many events after what it does a fault says so, at most.
const NEXT: usize = 16;

/// Whom a fault of the plan strikes.
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

    /// The bands of a run: what, on which lanes, how many of them are one way, and whether they end.
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
    fn a_fault_of_the_plan_is_told_once() {
        let plan = r#"{"faults": [
            {"when": {"at": "1s"}, "lasts": "2s", "what": {"partition_one_way": {"from": "a", "to": "b"}}},
            {"when": {"at": "2s"}, "lasts": "1s", "what": {"pause": {"machine": "b"}}}]}"#;
        let told = bands(plan, |sim: Sim| async move {
            let a = sim.machine("a", |_| Ok(())).start().await?;
            let b = sim.machine("b", |_| Ok(())).start().await?;
            sim.inject_faults(Budget::of(&[a, b])).run().await?;
            Ok(())
        });
        let expected = [
            ("nothing gets from a to b".to_owned(), vec![1, 2], true, true),
            ("b is paused".to_owned(), vec![2], false, true),
        ];
        assert_eq!(told, expected);
    }

    /// The times, in seconds, from when to when each band goes on; until 0 for one that does not end.
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
    fn a_cut_ends_when_the_last_of_those_that_cut_it_has_healed() {
        let plan = r#"{"faults": [
            {"when": {"at": "2s"}, "lasts": "1s", "what": {"partition": {"between": ["a", "b"]}}},
            {"when": {"at": "2s"}, "lasts": "1s", "what": {"loss": {"between": ["a", "b"], "ppm": 10}}},
            {"when": {"at": "2s"}, "lasts": "3s", "what": {"isolation": {"machine": "b"}}}]}"#;
        let told = times(plan, |sim: Sim| async move {
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
        let told: Vec<_> = told.iter().map(|(text, from, until)| (text.as_str(), *from, *until)).collect();
        let expected = [
            ("a - b: cut", 1, 9),
            ("a - b: impaired", 1, 9),
            ("a and b are cut off from each other", 2, 3),
            ("0.001 % of messages between a and b are lost", 2, 3),
            ("b is cut off from all others", 2, 5),
            ("all links of b: cut", 3, 7),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_pause_ends_when_the_process_goes_on_or_ends() {
        let told = times(r#"{"faults": []}"#, |sim: Sim| async move {
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
            // Pauses do not nest.
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
        assert_eq!(told, expected);
    }

    #[test]
    fn what_a_scenario_does_by_itself_is_told_too() {
        let told = bands(r#"{"faults": []}"#, |sim: Sim| async move {
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
        assert_eq!(told, expected);
    }
}
