//! Failure signature: equal for two failures with the same cause, whatever their times, keys and numbers.
//!
//! Shrinking accepts a smaller plan only if the run fails with the same signature.

use std::collections::BTreeSet;
use std::mem::discriminant;

use crate::schema::outcome::{Cause, Failure, TaskReport};

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FailureSignature {
    cause: std::mem::Discriminant<Cause>,
    text: String,
    /// The file and line of a panic.
    location: Option<String>,
    /// The tasks that are stuck, that spin, or that panicked.
    tasks: BTreeSet<String>,
}

impl FailureSignature {
    pub(crate) fn of(failure: &Failure) -> Self {
        let mut signature = Self {
            cause: discriminant(&failure.cause),
            text: String::new(),
            location: None,
            tasks: BTreeSet::new(),
        };
        match &failure.cause {
            Cause::Error(error) => signature.text = format!("{error:#}"),
            Cause::Panic { message, task } => {
                signature.text.clone_from(message);
                signature.location.clone_from(&failure.panicked_at);
                signature.tasks.insert(task_kind(task));
            }
            Cause::Deadlock { tasks } | Cause::TimeLimit { tasks, .. } => {
                // A task that waits for bytes or for a timer may be an idle server.
                let is_stuck = |task: &&TaskReport| !task.is_at_rest;
                signature.tasks = tasks.iter().filter(is_stuck).map(task_kind).collect();
            }
            Cause::Livelock { tasks, .. } => {
                // Sorted by polls, most first. The idle tasks at the end vary from run to run.
                let polls = |task: &TaskReport| task.recent_polls.map_or(0, |(own, _)| own);
                let most = tasks.first().map_or(0, polls);
                signature.tasks =
                    tasks.iter().filter(|task| polls(task) >= most / 4).map(task_kind).collect();
            }
            Cause::Assertion { place, .. } => {
                signature.text = place.message().to_owned();
                signature.location = Some(place.to_string());
            }
            Cause::ProcessFailed { machine, failure, .. } => {
                signature.text = failure.lines().skip(1).collect::<Vec<&str>>().join(" ");
                signature.tasks.insert(normalized(machine));
            }
            Cause::NotRepeatable(_) => {}
        }
        let first_line = signature.text.lines().next().unwrap_or_default();
        signature.text = normalized(first_line);
        signature
    }
}

/// Machine, daemon and task without numbers, such as `gateway-: gateway: connection`.
fn task_kind(task: &TaskReport) -> String {
    let daemon = task.owner.as_ref().and_then(|owner| owner.daemon()).unwrap_or_default();
    normalized(&format!("{}: {daemon}: {}", task.machine, task.name))
}

/// Removes digits and quoted text.
fn normalized(text: &str) -> String {
    let mut is_quoted = false;
    let is_kept = |character: &char| {
        is_quoted ^= *character == '"';
        !is_quoted && !character.is_ascii_digit()
    };
    text.chars().filter(is_kept).collect()
}

/// Whether two error texts have the same signature.
pub(crate) fn same_failure(one: &str, other: &str) -> bool {
    normalized(one) == normalized(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_alike_whatever_the_key_and_the_time() {
        assert!(same_failure("not linearizable: key \"a\"", "not linearizable: key \"n\""));
        assert!(same_failure(
            "client-3 completed 7 operations in 30.1s",
            "client-1 completed 12 operations in 30.2s"
        ));
        assert!(!same_failure("not linearizable: key \"a\"", "the lease does not change hands"));
    }
}
