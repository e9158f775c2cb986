//! Carrying out a program in the simulation, as a `main` on a machine.
#![expect(clippy::disallowed_methods, reason = "this is a program as people write them")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use steelmill_sim::{Seed, Settings, simulate};

use super::carry_out::{Course, Host};
use super::linux::OWN;
use super::step::Step;
use super::typed::{self, Act};

/// After each call so much time passes: all that is on its way arrives, and no timer ends.
const PAUSE: Duration = Duration::from_millis(5);

/// The answers of the simulated sockets, one for each operation; the failure of the run as the last one.
pub(crate) fn typed_answers(acts: &[Act], port: u16, seed: u64) -> Vec<String> {
    let acts: Arc<[Act]> = acts.into();
    let answers = Arc::new(Mutex::new(Vec::new()));
    let outcome = simulate(Settings::new(Seed(seed)), &|sim| {
        let (acts, answers) = (acts.clone(), answers.clone());
        async move {
            let host = Host { own4: OWN.0, own6: OWN.1, port };
            let network = sim.client("host").network();
            let given = typed::simulated::answers(&network, &acts, host, || sim.clock().sleep(PAUSE)).await;
            *answers.lock().expect("no operation panics") = given;
            Ok(())
        }
    });
    let mut answers = std::mem::take(&mut *answers.lock().expect("no operation panics"));
    answers.extend(outcome.failure.map(|failure| format!("the run fails: {failure}")));
    answers
}

/// The answers of the simulation, one for each step; the failure of the run as the last one.
pub(crate) fn answers(program: &[Step], port: u16, seed: u64) -> Vec<String> {
    let program: Arc<[Step]> = program.into();
    on_a_machine(seed, move |note| {
        let mut course = Course::new(Host { own4: OWN.0, own6: OWN.1, port });
        for step in program.iter() {
            let answer = course.call(*step);
            std::thread::sleep(PAUSE);
            note(format!("{answer}{}", course.changes()));
        }
    })
}

/// What a `main` on a machine notes; the failure of the run as the last one.
pub(crate) fn on_a_machine(seed: u64, main: impl Fn(&dyn Fn(String)) + Send + Sync + 'static) -> Vec<String> {
    let (main, answers) = (Arc::new(main), Arc::new(Mutex::new(Vec::new())));
    let outcome = simulate(Settings::new(Seed(seed)), &|sim| {
        let (main, answers) = (main.clone(), answers.clone());
        async move {
            let host = sim.program("host", move || {
                main(&|answer| answers.lock().expect("no step panics").push(answer));
            });
            assert_eq!(host.address(), OWN.0, "Linux is given the machine's address");
            let life = host.start().await?.ended().await;
            anyhow::ensure!(life.is_success(), "{life}");
            Ok(())
        }
    });
    let mut answers = std::mem::take(&mut *answers.lock().expect("no step panics"));
    answers.extend(outcome.failure.map(|failure| format!("the run fails: {failure}")));
    answers
}
