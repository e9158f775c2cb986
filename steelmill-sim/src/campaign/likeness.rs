//! Whether two failures are the same one.

use std::collections::BTreeSet;
use std::mem::discriminant;

use crate::schema::outcome::{Cause, Failure, TaskReport};

/// What two failures share that are the same but for times, names and numbers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Likeness {
    cause: std::mem::Discriminant<Cause>,
    text: String,
    /// The file and line of a panic.
    place: Option<String>,
    /// Who does not go on, or goes round in circles.
    tasks: BTreeSet<String>,
}

impl Likeness {
    pub(crate) fn of(failure: &Failure) -> Self {
        let mut like = Self {
            cause: discriminant(&failure.cause),
            text: String::new(),
            place: None,
            tasks: BTreeSet::new(),
        };
        match &failure.cause {
            Cause::Error(error) => like.text = format!("{error:#}"),
            Cause::Panic { message, task } => {
                like.text.clone_from(message);
                like.place.clone_from(&failure.panicked_at);
                like.tasks.insert(kind_of(task));
            }
            Cause::Deadlock { tasks } | Cause::TimeLimit { tasks, .. } => {
                // Who waits for bytes or for the time may well be a server at rest.
                let is_stuck = |task: &&TaskReport| !task.is_at_rest;
                like.tasks = tasks.iter().filter(is_stuck).map(kind_of).collect();
            }
            Cause::Livelock { tasks, .. } => {
                // They are sorted by how busy they were; the idle ones among them vary.
                let polls = |task: &TaskReport| task.recent_polls.map_or(0, |(own, _)| own);
                let most = tasks.first().map_or(0, polls);
                like.tasks = tasks.iter().filter(|task| polls(task) >= most / 4).map(kind_of).collect();
            }
            Cause::Assertion { place, .. } => {
                like.text = place.message().to_owned();
                like.place = Some(place.to_string());
            }
            Cause::FactoryFailed { machine, report, .. } => {
                let failures: Vec<&str> = report.lines().skip(1).collect();
                like.text = failures.join(" ");
                like.tasks.insert(without_particulars(machine));
            }
            Cause::NotRepeatable(_) => {}
        }
        let first_line = like.text.lines().next().unwrap_or_default();
        like.text = without_particulars(first_line);
        like
    }
}

/// What kind of task on what kind of machine it is: `connection` of `gateway-`.
fn kind_of(task: &TaskReport) -> String {
    let daemon = task.owner.as_ref().and_then(|owner| owner.daemon()).unwrap_or_default();
    without_particulars(&format!("{}: {daemon}: {}", task.machine, task.name))
}

/// A text without what stands in quotes, and without its digits.
fn without_particulars(text: &str) -> String {
    let mut is_quoted = false;
    let is_kept = |letter: &char| {
        is_quoted ^= *letter == '"';
        !is_quoted && !letter.is_ascii_digit()
    };
    text.chars().filter(is_kept).collect()
}

/// Whether two texts tell of the same failure.
pub(crate) fn is_alike(one: &str, other: &str) -> bool {
    without_particulars(one) == without_particulars(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_alike_whatever_the_key_and_the_time() {
        assert!(is_alike("not linearizable: key \"a\"", "not linearizable: key \"n\""));
        assert!(is_alike(
            "client-3 completed 7 operations in 30.1s",
            "client-1 completed 12 operations in 30.2s"
        ));
        assert!(!is_alike("not linearizable: key \"a\"", "the lease does not change hands"));
    }
}
