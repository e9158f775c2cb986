//! The part of a program that one driver carries out: in the simulation each host its own, on Linux one thread all.

use std::sync::Mutex;
use std::time::Duration;

use super::super::carry_out::Course;
use super::Move;

/// Where and when calls are made.
pub(crate) trait Driver {
    /// Sleeps until a time of the program.
    fn until(&mut self, at: Duration);
    /// What is to be done before a host's call.
    fn enter(&mut self, _host: u8) {}
    /// Has the router drop what goes from one host to another, or forward it again.
    fn set_cut(&mut self, _from: u8, _to: u8, _is_cut: bool) {}
}

/// The answer to a move.
#[derive(Default, Clone)]
pub(crate) struct Answer {
    value: String,
    /// Sockets, for what they become ready, and in a wait how many milliseconds after its begin.
    changes: Vec<(u8, Option<u64>, String)>,
}

impl Answer {
    pub(crate) fn text(mut self) -> String {
        // Of what happens to several sockets at once the order is nobody's promise.
        self.changes.sort_by_key(|(id, ..)| *id);
        let changes = self.changes.iter().map(|(id, at, ready)| match at {
            Some(at) => format!(" {id}:{ready}@{at}"),
            None => format!(" {id}:{ready}"),
        });
        self.value + &changes.collect::<String>()
    }
}

/// How often it looks at all sockets while the program waits.
const GLANCE: Duration = Duration::from_millis(10);

/// How long before the next move it looks at them.
const AHEAD: Duration = Duration::from_millis(4);

/// Carries out the moves of some hosts, and adds to the answers what these have of them.
pub(crate) fn carry_out(
    moves: &[Move],
    times: &[Duration],
    courses: &mut [(u8, Course)],
    driver: &mut impl Driver,
    answers: &Mutex<Vec<Answer>>,
) {
    let add =
        |place: usize, add: &dyn Fn(&mut Answer)| add(&mut answers.lock().expect("no move panics")[place]);
    for (place, one) in moves.iter().enumerate() {
        let (begin, end) = (times[place], times[place + 1] - AHEAD);
        driver.until(begin);
        let value = match *one {
            Move::On { host, step } => {
                let own = courses.iter_mut().find(|(number, _)| *number == host);
                own.map(|(_, course)| {
                    driver.enter(host);
                    course.call(step)
                })
            }
            Move::Cut { from, to } | Move::Heal { from, to } => {
                driver.set_cut(from, to, matches!(one, Move::Cut { .. }));
                Some("ok".into())
            }
            Move::Wait { .. } => Some("waited".into()),
        };
        let is_wait = matches!(one, Move::Wait { .. });
        let mut at = begin;
        while at < end {
            at = if is_wait { (at + GLANCE).min(end) } else { end };
            driver.until(at);
            let millis = is_wait.then(|| (at - begin).as_millis() as u64);
            for (id, ready) in courses.iter_mut().flat_map(|(_, course)| course.changed()) {
                add(place, &|answer| answer.changes.push((id, millis, ready.clone())));
            }
        }
        courses.iter().for_each(|(_, course)| course.note_names());
        if let Some(value) = value {
            add(place, &|answer| answer.value.clone_from(&value));
        }
    }
}
