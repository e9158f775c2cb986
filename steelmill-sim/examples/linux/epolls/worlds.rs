//! Carrying out a program of epolls on Linux and on a machine.
#![expect(
    clippy::disallowed_methods,
    reason = "this is a program as people write them, and Linux takes real time"
)]

use std::sync::Arc;
use std::time::Duration;

use super::super::simulated::on_a_machine;
use super::Turn;
use super::course::Course;

/// After each call so much time passes, so that what is on its way has arrived.
const PAUSE: Duration = Duration::from_micros(100);
const LONG_PAUSE: Duration = Duration::from_millis(5);

/// The answers of Linux, one for each call.
pub(crate) fn real(program: &[Turn], _: u16, is_patient: bool) -> Option<Vec<String>> {
    let mut course = Course::default();
    let answer = |turn: &Turn| {
        let answer = course.call(*turn);
        std::thread::sleep(if is_patient { LONG_PAUSE } else { PAUSE });
        answer
    };
    Some(program.iter().map(answer).collect())
}

/// The answers of the simulation, one for each call; the failure of the run as the last one.
pub(crate) fn simulated(program: &[Turn], _: u16, seed: u64) -> Vec<String> {
    let program: Arc<[Turn]> = program.into();
    on_a_machine(seed, move |note| {
        let mut course = Course::default();
        for turn in program.iter() {
            let answer = course.call(*turn);
            std::thread::sleep(PAUSE);
            note(answer);
        }
    })
}
