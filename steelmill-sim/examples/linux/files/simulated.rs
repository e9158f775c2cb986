//! Carrying out a program on the disk of a machine.
#![expect(clippy::disallowed_methods, reason = "this is a program as people write them")]

use std::sync::Arc;
use std::time::Duration;

use super::super::simulated::on_a_machine;
use super::Call;
use super::course::Course;

/// After each call so much time passes, so that the times of files differ.
const PAUSE: Duration = Duration::from_micros(1);

/// The answers of the simulation, one for each call; the failure of the run as the last one.
pub(crate) fn answers(program: &[Call], _: u16, seed: u64) -> Vec<String> {
    let program: Arc<[Call]> = program.into();
    on_a_machine(seed, move |note| {
        let mut course = Course::in_new_directory("/tmp").expect("it is empty");
        for call in program.iter() {
            let answer = course.call(*call);
            std::thread::sleep(PAUSE);
            note(answer);
        }
    })
}
