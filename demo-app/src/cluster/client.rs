//! A client of the simulated cluster: asks whichever gateway answers, and records what it asked and was told.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use rand::RngExt as _;
use steelmill_core::{Clock as _, Entropy as _};

use super::GATEWAYS;
use super::redis::{Connection, Reply};
use crate::world::sim::history::{Call, History, KvOp, KvReply};
use crate::world::sim::{Machine, Sim};

/// Texts are kept here, and now and then numbers: `INCR` finds both.
const TEXTS: [&str; 4] = ["a", "b", "c", "d"];

/// Only ever counted up and deleted.
const COUNTERS: [&str; 2] = ["m", "n"];

/// How long a client waits for a reply. Longer than a gateway waits for the store, or no client would ever hear of an
/// unknown outcome.
const PATIENCE: Duration = Duration::from_millis(2_500);

/// Of a hundred requests, how many are abandoned after they were sent, as by a client that crashes.
const ABANDONED_PERCENT: u32 = 1;

/// What a client and the scenario tell each other.
#[derive(Debug, Default)]
pub struct Shared {
    /// The client is to finish what it does, read every key once more, and end.
    pub finish: Cell<bool>,
    /// Operations that were answered.
    pub completed: Cell<u64>,
}

/// One client.
pub struct Client {
    sim: Sim,
    machine: Machine,
    history: History,
    shared: Rc<Shared>,
    connection: Option<Connection>,
    /// The gateway it asks, as an index.
    gateway: usize,
    /// Makes every value it writes one that nobody else writes.
    written: u64,
}

/// What became of a command.
enum Answer {
    /// It was carried out.
    Done(Reply),
    /// It was refused, and had no effect.
    Refused,
    /// Nobody can tell.
    Unknown,
}

impl Client {
    pub fn new(sim: Sim, machine: Machine, history: History, shared: Rc<Shared>) -> Self {
        Self {
            sim,
            machine,
            history,
            shared,
            connection: None,
            gateway: 0,
            written: 0,
        }
    }

    /// Asks until it is told to finish; then reads every key, so that no write that was acknowledged can be lost unseen.
    pub async fn run(mut self) {
        while !self.shared.finish.get() {
            let pause = Duration::from_millis(self.below(300));
            self.machine.clock().sleep(pause).await;
            let commands = self.choose();
            self.ask(commands).await;
        }
        for key in TEXTS.into_iter().chain(COUNTERS) {
            while !self.ask(vec![vec![(key.to_owned(), KvOp::Get)]]).await {
                self.machine.clock().sleep(Duration::from_millis(50)).await;
            }
        }
    }

    fn below(&self, below: u64) -> u64 {
        self.machine.entropy().rng().random_range(0..below)
    }

    /// What to ask next: mostly one command, sometimes several at once. A command is a list of operations on one key each.
    fn choose(&mut self) -> Vec<Vec<(String, KvOp)>> {
        let count = if self.below(10) == 0 { 3 } else { 1 };
        (0..count).map(|_| self.choose_one()).collect()
    }

    fn choose_one(&mut self) -> Vec<(String, KvOp)> {
        let one = |key: &str, op| vec![(key.to_owned(), op)];
        let text = TEXTS[self.below(TEXTS.len() as u64) as usize];
        let counter = COUNTERS[self.below(COUNTERS.len() as u64) as usize];
        self.written += 1;
        match self.below(100) {
            0..35 => one(text, KvOp::Get),
            35..45 => one(counter, KvOp::Get),
            45..65 => one(
                text,
                KvOp::Set(format!("{}-{}", self.machine.name(), self.written).into()),
            ),
            65..68 => one(text, KvOp::Set((self.written as i64).into())),
            68..80 => one(counter, KvOp::Incr),
            80..83 => one(text, KvOp::Incr),
            83..87 => one(text, KvOp::Del),
            87..88 => one(counter, KvOp::Del),
            88..93 => one(text, KvOp::Exists),
            _ => TEXTS
                .into_iter()
                .chain([counter])
                .map(|key| (key.to_owned(), KvOp::Get))
                .collect(),
        }
    }

    /// Asks for `commands` and records what came of them; whether all were carried out.
    async fn ask(&mut self, commands: Vec<Vec<(String, KvOp)>>) -> bool {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => match Connection::open(&self.machine, GATEWAYS[self.gateway].1, PATIENCE).await {
                Ok(connection) => connection,
                Err(_) => {
                    self.try_another().await;
                    return false;
                }
            },
        };
        let mut calls = Vec::new();
        for command in &commands {
            let invoke = |(key, op): &(String, KvOp)| {
                self.history
                    .invoke(self.sim.elapsed(), self.machine.name(), key, op.clone())
            };
            calls.push(command.iter().map(invoke).collect::<Vec<Call>>());
        }
        let words: Vec<Vec<Vec<u8>>> = commands.iter().map(|command| words(command)).collect();
        let words: Vec<Vec<&[u8]>> = words
            .iter()
            .map(|words| words.iter().map(Vec::as_slice).collect())
            .collect();
        // From here on every command that is not answered has an unknown outcome: its calls are just dropped.
        if connection.send(&words).await.is_err() || self.below(100) < u64::from(ABANDONED_PERCENT) {
            self.try_another().await;
            return false;
        }
        let mut all_done = true;
        for (command, calls) in commands.iter().zip(calls) {
            let answer = match connection.receive().await {
                Ok(reply) => judge(reply),
                Err(_) => {
                    self.try_another().await;
                    return false;
                }
            };
            match answer {
                Answer::Done(reply) => self.record(command, calls, reply),
                Answer::Refused => {
                    calls.into_iter().for_each(Call::failed);
                    all_done = false;
                }
                Answer::Unknown => all_done = false,
            }
        }
        match all_done {
            true => self.connection = Some(connection),
            false => self.try_another().await,
        }
        all_done
    }

    fn record(&self, command: &[(String, KvOp)], calls: Vec<Call>, reply: Reply) {
        let replies = match (reply, command) {
            (Reply::Array(items), _) => items,
            (reply, _) => vec![reply],
        };
        assert_eq!(replies.len(), calls.len(), "as many replies as keys");
        for (call, reply) in calls.into_iter().zip(replies) {
            let returned = match reply {
                Reply::Simple(_) => KvReply::Ok,
                Reply::Integer(number) => KvReply::Integer(number),
                Reply::Bulk(value) => KvReply::Value(value.map(Into::into)),
                Reply::Error(_) => KvReply::NotAnInteger,
                Reply::Array(_) => unreachable!("no gateway nests arrays"),
            };
            call.returned(self.sim.elapsed(), returned);
            self.shared.completed.set(self.shared.completed.get() + 1);
        }
    }

    /// Turns to the next gateway, not quite at once.
    async fn try_another(&mut self) {
        self.connection = None;
        self.gateway = (self.gateway + 1) % GATEWAYS.len();
        let pause = Duration::from_millis(20 + self.below(80));
        self.machine.clock().sleep(pause).await;
    }
}

/// What an answer says about the command's effect.
fn judge(reply: Reply) -> Answer {
    match &reply {
        Reply::Error(text) => match text.split(' ').next() {
            Some("NOTLEADER" | "UNAVAILABLE") => Answer::Refused,
            Some("UNKNOWN") => Answer::Unknown,
            _ if text.contains("not an integer") => Answer::Done(reply),
            _ => panic!("a gateway answered {text:?}"),
        },
        _ => Answer::Done(reply),
    }
}

/// A command as it is sent.
fn words(command: &[(String, KvOp)]) -> Vec<Vec<u8>> {
    let (name, value) = match &command[0].1 {
        KvOp::Get if command.len() > 1 => ("MGET", None),
        KvOp::Get => ("GET", None),
        KvOp::Set(value) => ("SET", Some(value.as_bytes().to_vec())),
        KvOp::Del => ("DEL", None),
        KvOp::Exists => ("EXISTS", None),
        KvOp::Incr => ("INCR", None),
    };
    let keys = command.iter().map(|(key, _)| key.as_bytes().to_vec());
    std::iter::once(name.as_bytes().to_vec())
        .chain(keys)
        .chain(value)
        .collect()
}
