//! Carrying out a program in the simulation: each host is a machine with its part, and the scenario is the router.
#![expect(clippy::disallowed_methods, reason = "this is a program as people write them")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use steelmill_sim::{Machine, Seed, Settings, Sim, simulate};

use super::super::carry_out::{Book, Course, Host};
use super::super::typed::{self, Trip};
use super::course::{Answer, Driver, carry_out};
use super::{HOSTS, MOMENT, Move, TICK, agree_within, host, hosts, times};

/// How many milliseconds calls have, and how much longer waits are, to see whether answers hang on it.
const SHIFTS: [(u64, i64); 6] = [(26, -170), (30, -80), (28, -40), (28, 0), (34, 0), (34, 45)];

/// Whether the answers are the same when each wait takes a little longer or less, but for times that are shifted by as much.
pub(crate) fn is_steady(moves: &[Move], port: u16, seed: u64) -> bool {
    let usual = answers(moves, port, seed);
    SHIFTS.into_iter().all(|(tick, longer)| {
        let (moved, unmoved) = (times(moves, Duration::from_millis(tick), longer), times(moves, TICK, 0));
        let shift = moved.iter().zip(&unmoved).map(|(one, other)| one.abs_diff(*other).as_millis() as u64);
        let shift = shift.max().unwrap_or(0) + SLACK;
        let others = answers_with(moves, port, seed, &moved);
        others.len() == usual.len()
            && others.iter().zip(&usual).all(|(one, other)| agree_within(one, other, shift, shift))
    })
}

/// By how many milliseconds times differ between runs in which everything has its time.
const SLACK: u64 = 15;

/// The answers of the simulation, one for each move; the failure of the run as the last one.
pub(crate) fn answers(moves: &[Move], port: u16, seed: u64) -> Vec<String> {
    answers_with(moves, port, seed, &times(moves, TICK, 0))
}

fn answers_with(moves: &[Move], port: u16, seed: u64, times: &[Duration]) -> Vec<String> {
    let moves: Arc<[Move]> = moves.into();
    let times: Arc<[Duration]> = times.into();
    let answers = Arc::new(Mutex::new(vec![Answer::default(); moves.len()]));
    let outcome = simulate(Settings::new(Seed(seed)), &|sim| {
        let (moves, times, answers) = (moves.clone(), times.clone(), answers.clone());
        async move {
            // As fast as Linux's own router.
            sim.set_latency(Duration::from_micros(20)..=Duration::from_micros(100));
            let book = Arc::<Mutex<Book>>::default();
            let mut machines = Vec::new();
            for number in 0..hosts(&moves) {
                let (moves, times, answers, book) =
                    (moves.clone(), times.clone(), answers.clone(), book.clone());
                let machine = sim.program(&format!("host{number}"), move || {
                    let mut course = [(number, Course::beside(host(number, port), book.clone()))];
                    carry_out(&moves, &times, &mut course, &mut Since(Instant::now()), &answers);
                });
                assert_eq!(
                    machine.address(),
                    host(number, port).own4,
                    "Linux is given the machine's address"
                );
                machines.push(machine);
            }
            // The others are there as well, and nobody listens.
            let _others: Vec<_> =
                (hosts(&moves)..HOSTS).map(|number| sim.client(&format!("host{number}"))).collect();
            let mut started = Vec::new();
            for machine in machines {
                started.push(machine.start().await?);
            }
            route(&sim, &moves, &times, &started).await;
            for machine in &started {
                let life = machine.ended().await;
                anyhow::ensure!(life.is_success(), "{life}");
            }
            Ok(())
        }
    });
    let answers = std::mem::take(&mut *answers.lock().expect("no move panics"));
    let mut answers: Vec<String> = answers.into_iter().map(Answer::text).collect();
    answers.extend(outcome.failure.map(|failure| format!("the run fails: {failure}")));
    answers
}

/// The answers of the simulated typed sockets, one for each part of a program; the failure of the run as the last one.
pub(crate) fn typed_answers(trips: &[Trip], port: u16, seed: u64) -> Vec<String> {
    typed_answers_with(trips, port, seed, MOMENT)
}

/// Whether they are the same when each moment is a little longer or shorter. Timers of Linux are late, never early.
pub(crate) fn typed_is_steady(trips: &[Trip], port: u16, seed: u64) -> bool {
    let usual = typed_answers(trips, port, seed);
    let others = [28, 32, 35, 38, 41, 44].map(Duration::from_millis);
    others.into_iter().all(|moment| typed_answers_with(trips, port, seed, moment) == usual)
}

fn typed_answers_with(trips: &[Trip], port: u16, seed: u64, length: Duration) -> Vec<String> {
    let trips: Arc<[Trip]> = trips.into();
    let answers = Arc::new(Mutex::new(Vec::new()));
    let outcome = simulate(Settings::new(Seed(seed)), &|sim| {
        let (trips, answers) = (trips.clone(), answers.clone());
        async move {
            sim.set_latency(Duration::from_micros(20)..=Duration::from_micros(100));
            let machines: Vec<_> = (0..HOSTS).map(|number| sim.client(&format!("host{number}"))).collect();
            let networks: Vec<_> = machines.iter().map(|machine| machine.network()).collect();
            let hosts: Vec<Host> = (0..HOSTS).map(|number| host(number, port)).collect();
            let mut cuts = BTreeMap::new();
            let router = |trip| match trip {
                Trip::Cut { from, to } if from != to => {
                    let ends = [from, to].map(|host| &machines[usize::from(host)]);
                    cuts.entry((from, to)).or_insert_with(|| sim.partition_one_way(ends[0], ends[1]));
                }
                Trip::Heal { from, to } => drop(cuts.remove(&(from, to))),
                Trip::Cut { .. } | Trip::On { .. } | Trip::Wait { .. } => {}
            };
            let moment = |length| sim.clock().sleep(length);
            let given =
                typed::simulated::answers_on_hosts(&networks, &hosts, &trips, moment, router, length).await;
            *answers.lock().expect("no operation panics") = given;
            Ok(())
        }
    });
    let mut answers = std::mem::take(&mut *answers.lock().expect("no operation panics"));
    answers.extend(outcome.failure.map(|failure| format!("the run fails: {failure}")));
    answers
}

/// Makes and heals the cuts of a program that begins now.
async fn route(sim: &Sim, moves: &[Move], times: &[Duration], machines: &[Machine]) {
    let begun = sim.elapsed();
    let mut cuts = BTreeMap::new();
    for (one, at) in moves.iter().zip(times) {
        let (Move::Cut { from, to } | Move::Heal { from, to }) = *one else { continue };
        sim.clock().sleep((begun + *at).saturating_sub(sim.elapsed())).await;
        if matches!(one, Move::Heal { .. }) {
            cuts.remove(&(from, to));
        } else if from != to {
            let ends = [from, to].map(|host| &machines[usize::from(host)]);
            cuts.entry((from, to)).or_insert_with(|| sim.partition_one_way(ends[0], ends[1]));
        }
    }
    // Before its end the last move has its time, whatever it is.
    let end = times.last().copied().unwrap_or_default();
    sim.clock().sleep((begun + end).saturating_sub(sim.elapsed())).await;
}

/// A program's time since its begin, which is that of all its hosts.
struct Since(Instant);

impl Driver for Since {
    fn until(&mut self, at: Duration) {
        std::thread::sleep(at.saturating_sub(self.0.elapsed()));
    }
}
