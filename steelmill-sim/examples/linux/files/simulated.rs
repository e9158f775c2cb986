//! Carrying out a program on the disk of a machine.
#![expect(clippy::disallowed_methods, reason = "this is a program as people write them")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use steelmill_sim::{Seed, Settings, simulate};

use super::Call;
use super::course::Course;

/// After each call so much time passes, so that the times of files differ.
const PAUSE: Duration = Duration::from_micros(1);

/// The answers of the simulation, one for each call; the failure of the run as the last one.
pub(crate) fn answers(program: &[Call], _: u16, seed: u64) -> Vec<String> {
    let program: Arc<[Call]> = program.into();
    let answers = Arc::new(Mutex::new(Vec::new()));
    let outcome = simulate(Settings::new(Seed(seed)), &|sim| {
        let (program, answers) = (program.clone(), answers.clone());
        async move {
            let host = sim.program("host", move || {
                let mut course = Course::in_new_directory("/tmp").expect("it is empty");
                for call in program.iter() {
                    let answer = course.call(*call);
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
