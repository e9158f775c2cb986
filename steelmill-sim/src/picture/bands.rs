//! From when to when something was wrong with whom.
//!
//! What the plan lets happen has its beginning and its end in the trace. What a scenario does to machines and links by
//! itself shows in what becomes of them: a cut is open until as many were healed. A fault of the plan does such things,
//! too, and says in the next breath that it has struck; they are not told twice.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Serialize;

use crate::fault::Kind;
use crate::trace::{Change, Event, FaultStep, LinkChange, Trace, What};

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
    let mut bands: Vec<Band> = Vec::new();
    // What is going on, by what it takes to end it: its band and how many times over.
    let mut open: BTreeMap<Key, (usize, u32)> = BTreeMap::new();
    let mut began_at: Vec<u64> = Vec::new();
    let mut are_over: Vec<bool> = Vec::new();
    for (number, event) in trace.events.iter().enumerate().take(part.end) {
        match Step::of(trace, number, event) {
            Some(Step::Begins(key, band)) => {
                if let Some((_, depth)) = open.get_mut(&key) {
                    *depth += 1;
                    continue;
                }
                // Both ways at once are one thing.
                let other = key.back().and_then(|key| open.get(&key)).map(|(band, _)| *band);
                let shown = match other.filter(|other| began_at[*other] == event.at) {
                    Some(other) => {
                        bands[other].one_way = false;
                        other
                    }
                    None => {
                        bands.push(Band { from: place(number), ..band });
                        began_at.push(event.at);
                        are_over.push(false);
                        bands.len() - 1
                    }
                };
                open.insert(key, (shown, 1));
            }
            Some(Step::Ends(key)) => {
                // What nobody saw begin is part of a fault.
                let Some((band, depth)) = open.get_mut(&key) else { continue };
                *depth -= 1;
                if *depth == 0 {
                    bands[*band].until = place(number);
                    are_over[*band] = number < part.start;
                    open.remove(&key);
                }
            }
            None => {}
        }
    }
    let mut are_over = are_over.into_iter();
    bands.retain(|_| are_over.next() == Some(false));
    bands
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
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
}

enum Step {
    Begins(Key, Band),
    Ends(Key),
}

impl Step {
    fn of(trace: &Trace, number: usize, event: &Event) -> Option<Self> {
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
            What::Fault { fault, step: FaultStep::Strikes } => {
                let lanes = struck(trace, fault as usize);
                let kind = &trace.faults.get(fault as usize)?.what;
                let look = if lanes.len() > 1 { Look::Link } else { Look::Machine };
                let one_way = matches!(kind, Kind::PartitionOneWay { .. });
                Some(Step::Begins(Key::Fault(fault), Band { one_way, ..band(kind.to_string(), lanes, look) }))
            }
            What::Fault { fault, step: FaultStep::Ends } => Some(Step::Ends(Key::Fault(fault))),
            What::Machine { machine, change } => match change {
                Change::Exited | Change::PowerLost => {
                    let text = format!("{} is down", name(machine));
                    Some(Step::Begins(Key::Down(machine), band(text, vec![machine], Look::Down)))
                }
                Change::Started => Some(Step::Ends(Key::Down(machine))),
                Change::Paused if !is_of_a_fault(trace, number, &[machine]) => {
                    let text = format!("{} is paused", name(machine));
                    Some(Step::Begins(Key::Paused(machine), band(text, vec![machine], Look::Machine)))
                }
                Change::Resumed => Some(Step::Ends(Key::Paused(machine))),
                _ => None,
            },
            What::Link { from, to, change } => {
                let (what, begins) = match change {
                    LinkChange::Cut => ("cut", true),
                    LinkChange::Healed => ("cut", false),
                    LinkChange::Impaired => ("impaired", true),
                    LinkChange::Repaired => ("impaired", false),
                    LinkChange::Held => ("held", true),
                    LinkChange::Released => ("held", false),
                    _ => return None,
                };
                let key = Key::Way(from, to, what);
                if !begins {
                    return Some(Step::Ends(key));
                }
                if is_of_a_fault(trace, number, &[from, to]) {
                    return None;
                }
                Some(Step::Begins(
                    key,
                    match from == to {
                        true => {
                            band(format!("all links of {}: {what}", name(from)), vec![from], Look::Machine)
                        }
                        false => Band {
                            one_way: true,
                            ..band(
                                format!("{} - {}: {what}", name(from), name(to)),
                                vec![from, to],
                                Look::Link,
                            )
                        },
                    },
                ))
            }
            _ => None,
        }
    }
}

/// Whether a fault of the plan that strikes these machines says right afterwards that it has struck.
fn is_of_a_fault(trace: &Trace, number: usize, machines: &[u32]) -> bool {
    let at = trace.events[number].at;
    let breath = trace.events[number..].iter().take_while(|event| event.at == at);
    breath.take(NEXT).any(|event| match event.what {
        What::Fault { fault, step: FaultStep::Strikes } => {
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
    use crate::fault::{Budget, Faults, Plan};
    use crate::{Seed, Settings, Sim, simulate};

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
            sim.trouble(Budget::of(&[a, b])).run().await?;
            Ok(())
        });
        let expected = [
            ("nothing gets from a to b".to_owned(), vec![1, 2], true, true),
            ("b is paused".to_owned(), vec![2], false, true),
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
