//! A client of the simulated cluster: asks whichever gateway answers, and records what it asked and was told.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use rand::RngExt as _;
use steelmill_core::Clock as _;
use tokio::sync::watch;

use super::redis::{Connection, Reply};
use super::{CLIENTS, GATEWAYS};
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
const ABANDONED_PERCENT: u64 = 1;

/// What the scenario wants of the clients, and what they have done.
#[derive(Debug, Default)]
pub struct Demand {
    /// Clients are to finish what they do, read every key once more, and end.
    pub finish: Cell<bool>,
    /// All are to ask for one key as fast as they can, and half of them are to keep away from this gateway.
    pub rush: watch::Sender<Option<usize>>,
    /// Operations of each client that were answered.
    pub completed: [Cell<u64>; CLIENTS.len()],
}

/// One client.
pub struct Client {
    sim: Sim,
    index: usize,
    machine: Machine,
    history: History,
    demand: Rc<Demand>,
    connection: Option<Connection>,
    /// The gateway it asks, as an index.
    gateway: usize,
    /// Makes every value it writes one that nobody else writes.
    written: u64,
}

/// A command, and the operation it is on each of its keys.
struct Command {
    words: Vec<String>,
    keys: Vec<String>,
    op: KvOp,
}

impl Command {
    fn new(name: &str, keys: &[&str], op: KvOp) -> Self {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let words = std::iter::once(name.to_owned()).chain(keys.iter().cloned()).collect();
        Self { words, keys, op }
    }

    fn set(key: &str, value: String) -> Self {
        let mut command = Self::new("SET", &[key], KvOp::Set(value.as_str().into()));
        command.words.push(value);
        command
    }
}

/// What became of a command.
enum Answer {
    /// It was carried out.
    Done,
    /// It was refused, and had no effect.
    Refused,
    /// Nobody can tell.
    Unknown,
}

impl Client {
    pub fn new(sim: Sim, index: usize, machine: Machine, history: History, demand: Rc<Demand>) -> Self {
        Self { sim, index, machine, history, demand, connection: None, gateway: 0, written: 0 }
    }

    /// Asks until it is told to finish; then reads every key, so that no write that was acknowledged can be lost unseen.
    pub async fn run(mut self) {
        let mut rush = self.demand.rush.subscribe();
        while !self.demand.finish.get() {
            let rushes = rush.borrow_and_update().is_some();
            if rushes {
                self.keep_away();
            }
            let commands = if rushes { vec![self.choose_hot()] } else { self.choose() };
            self.ask(commands).await;
            let pause = Duration::from_millis(self.below(if self.rush().is_some() { 8 } else { 300 }));
            // A rush is no time to sleep through.
            let _ = self.machine.clock().timeout(pause, rush.changed()).await;
        }
        for key in TEXTS.into_iter().chain(COUNTERS) {
            while !self.ask(vec![Command::new("GET", &[key], KvOp::Get)]).await {
                self.machine.clock().sleep(Duration::from_millis(50)).await;
            }
        }
    }

    fn below(&self, below: u64) -> u64 {
        self.machine.entropy().rng().random_range(0..below)
    }

    fn rush(&self) -> Option<usize> {
        *self.demand.rush.borrow()
    }

    /// Leaves the gateway that half of the clients are to keep away from.
    fn keep_away(&mut self) {
        if self.index % 2 == 1 && self.rush() == Some(self.gateway) {
            self.connection = None;
            self.gateway = (self.gateway + 1) % GATEWAYS.len();
        }
    }

    /// What to ask in a rush.
    fn choose_hot(&mut self) -> Command {
        self.written += 1;
        match self.below(3) {
            0 => Command::set(TEXTS[0], format!("{}.{}", self.machine.name(), self.written)),
            _ => Command::new("GET", &[TEXTS[0]], KvOp::Get),
        }
    }

    /// What to ask next: mostly one command, sometimes several at once.
    fn choose(&mut self) -> Vec<Command> {
        let count = if self.below(10) == 0 { 3 } else { 1 };
        (0..count).map(|_| self.choose_one()).collect()
    }

    fn choose_one(&mut self) -> Command {
        let text = TEXTS[self.below(TEXTS.len() as u64) as usize];
        let counter = COUNTERS[self.below(COUNTERS.len() as u64) as usize];
        self.written += 1;
        match self.below(100) {
            0..35 => Command::new("GET", &[text], KvOp::Get),
            35..45 => Command::new("GET", &[counter], KvOp::Get),
            45..65 => Command::set(text, format!("{}.{}", self.machine.name(), self.written)),
            65..68 => Command::set(text, self.written.to_string()),
            68..80 => Command::new("INCR", &[counter], KvOp::Incr),
            80..83 => Command::new("INCR", &[text], KvOp::Incr),
            83..87 => Command::new("DEL", &[text], KvOp::Del),
            87..88 => Command::new("DEL", &[counter], KvOp::Del),
            88..93 => Command::new("EXISTS", &[text], KvOp::Exists),
            _ => Command::new("MGET", &["a", "b", "c", "d", counter], KvOp::Get),
        }
    }

    /// Asks for `commands` and records what came of them; whether all were carried out.
    async fn ask(&mut self, commands: Vec<Command>) -> bool {
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
        let calls: Vec<Vec<Call>> = commands.iter().map(|command| self.invoke(command)).collect();
        let words: Vec<&[String]> = commands.iter().map(|command| &command.words[..]).collect();
        // From here on a command that is not answered has an unknown outcome, which is what dropping its calls says.
        if connection.send(&words).await.is_err() || self.below(100) < ABANDONED_PERCENT {
            self.try_another().await;
            return false;
        }
        let mut all_done = true;
        for calls in calls {
            let Ok(reply) = connection.receive().await else {
                self.try_another().await;
                return false;
            };
            match judge(&reply) {
                Answer::Done => self.record(calls, reply),
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

    fn invoke(&self, command: &Command) -> Vec<Call> {
        let invoke = |key: &String| {
            self.history.invoke(self.sim.elapsed(), self.machine.name(), key, command.op.clone())
        };
        command.keys.iter().map(invoke).collect()
    }

    fn record(&self, calls: Vec<Call>, reply: Reply) {
        let replies = match reply {
            Reply::Array(items) => items,
            single => vec![single],
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
            let completed = &self.demand.completed[self.index];
            completed.set(completed.get() + 1);
        }
    }

    /// Turns to the next gateway, not quite at once.
    async fn try_another(&mut self) {
        self.connection = None;
        self.gateway = (self.gateway + 1) % GATEWAYS.len();
        self.keep_away();
        let pause = if self.rush().is_some() { 1 + self.below(4) } else { 20 + self.below(80) };
        let pause = Duration::from_millis(pause);
        self.machine.clock().sleep(pause).await;
    }
}

/// What an answer says about the command's effect.
fn judge(reply: &Reply) -> Answer {
    match reply {
        Reply::Error(text) => match text.split(' ').next() {
            Some("NOTLEADER" | "UNAVAILABLE") => Answer::Refused,
            Some("UNKNOWN") => Answer::Unknown,
            _ if text.contains("not an integer") => Answer::Done,
            _ => panic!("a gateway answered {text:?}"),
        },
        _ => Answer::Done,
    }
}
