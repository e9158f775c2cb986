//! Carrying out a program of epolls on Linux and on a machine.
#![expect(
    clippy::disallowed_methods,
    reason = "this is a program as people write them, and Linux takes real time"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use steelmill_sim::{Seed, Settings, simulate};

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
    let answers = Arc::new(Mutex::new(Vec::new()));
    let outcome = simulate(Settings::new(Seed(seed)), &|sim| {
        let (program, answers) = (program.clone(), answers.clone());
        async move {
            let host = sim.program("host", move || {
                let mut course = Course::default();
                for turn in program.iter() {
                    let answer = course.call(*turn);
                    std::thread::sleep(PAUSE);
                    answers.lock().expect("no call panics").push(answer);
                }
            });
            let life = host.start().await?.ended().await;
            anyhow::ensure!(life.is_success(), "{life}");
            Ok(())
        }
    });
    let mut answers = std::mem::take(&mut *answers.lock().expect("no call panics"));
    answers.extend(outcome.failure.map(|failure| format!("the run fails: {failure}")));
    answers
}
