//! A client of the simulated cluster: sends random commands to one gateway after another, and records the history.

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

/// Keys of texts, and sometimes of numbers, so that `INCR` meets both.
pub const TEXT_KEYS: [&str; 4] = ["a", "b", "c", "d"];

/// Keys that are only incremented and deleted.
pub const COUNTER_KEYS: [&str; 2] = ["m", "n"];

/// The timeout of a reply. Longer than a gateway waits for the store, or no client would ever see an unknown outcome.
const REPLY_TIMEOUT: Duration = Duration::from_millis(2_500);

/// The percentage of requests that are abandoned after they were sent, as by a client that crashes.
const ABANDONED_PERCENT: u64 = 1;

/// How the scenario controls the clients, and their progress.
#[derive(Debug, Default)]
pub struct ClientControl {
    /// Clients finish what they do, read every key once more, and end.
    pub finish: Cell<bool>,
    /// A burst: all clients use one key at the highest rate, and half of them avoid this gateway.
    pub burst: watch::Sender<Option<usize>>,
    /// Completed operations of each client.
    pub completed: [Cell<u64>; CLIENTS.len()],
}

pub struct Client {
    sim: Sim,
    index: usize,
    machine: Machine,
    history: History,
    control: Rc<ClientControl>,
    connection: Option<Connection>,
    /// The index of its current gateway.
    gateway: usize,
    /// The number of writes, which makes each written value unique.
    writes: u64,
}

/// A command, and the operation it is on each of its keys.
struct Command {
    arguments: Vec<String>,
    keys: Vec<String>,
    op: KvOp,
}

impl Command {
    fn new(name: &str, keys: &[&str], op: KvOp) -> Self {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let arguments = std::iter::once(name.to_owned()).chain(keys.iter().cloned()).collect();
        Self { arguments, keys, op }
    }

    fn set(key: &str, value: String) -> Self {
        let mut command = Self::new("SET", &[key], KvOp::Set(value.as_str().into()));
        command.arguments.push(value);
        command
    }
}

/// The effect of a command.
enum Effect {
    Applied,
    /// It was refused, without effect.
    NotApplied,
    Unknown,
}

impl Client {
    pub fn new(
        sim: Sim,
        index: usize,
        machine: Machine,
        history: History,
        control: Rc<ClientControl>,
    ) -> Self {
        Self { sim, index, machine, history, control, connection: None, gateway: 0, writes: 0 }
    }

    /// Sends commands until `finish`; then reads every key, so that no loss of an acknowledged write goes unnoticed.
    pub async fn run(mut self) {
        let mut burst = self.control.burst.subscribe();
        while !self.control.finish.get() {
            let is_burst = burst.borrow_and_update().is_some();
            if is_burst {
                self.avoid_gateway();
            }
            let commands = if is_burst { vec![self.choose_hot_key()] } else { self.choose() };
            self.execute(commands).await;
            let pause = Duration::from_millis(self.below(if self.burst().is_some() { 8 } else { 300 }));
            // A burst ends the pause.
            let _ = self.machine.clock().timeout(pause, burst.changed()).await;
        }
        for key in TEXT_KEYS.into_iter().chain(COUNTER_KEYS) {
            while !self.execute(vec![Command::new("GET", &[key], KvOp::Get)]).await {
                self.machine.clock().sleep(Duration::from_millis(50)).await;
            }
        }
    }

    fn below(&self, below: u64) -> u64 {
        self.machine.entropy().rng().random_range(0..below)
    }

    fn burst(&self) -> Option<usize> {
        *self.control.burst.borrow()
    }

    /// Switches away from the gateway that half of the clients avoid in a burst.
    fn avoid_gateway(&mut self) {
        if self.index % 2 == 1 && self.burst() == Some(self.gateway) {
            self.connection = None;
            self.gateway = (self.gateway + 1) % GATEWAYS.len();
        }
    }

    /// The next command in a burst.
    fn choose_hot_key(&mut self) -> Command {
        self.writes += 1;
        match self.below(3) {
            0 => Command::set(TEXT_KEYS[0], format!("{}.{}", self.machine.name(), self.writes)),
            _ => Command::new("GET", &[TEXT_KEYS[0]], KvOp::Get),
        }
    }

    /// The next commands: mostly one, sometimes several pipelined.
    fn choose(&mut self) -> Vec<Command> {
        let count = if self.below(10) == 0 { 3 } else { 1 };
        (0..count).map(|_| self.choose_one()).collect()
    }

    fn choose_one(&mut self) -> Command {
        let text = TEXT_KEYS[self.below(TEXT_KEYS.len() as u64) as usize];
        let counter = COUNTER_KEYS[self.below(COUNTER_KEYS.len() as u64) as usize];
        self.writes += 1;
        match self.below(100) {
            0..35 => Command::new("GET", &[text], KvOp::Get),
            35..45 => Command::new("GET", &[counter], KvOp::Get),
            45..65 => Command::set(text, format!("{}.{}", self.machine.name(), self.writes)),
            65..68 => Command::set(text, self.writes.to_string()),
            68..80 => Command::new("INCR", &[counter], KvOp::Incr),
            80..83 => Command::new("INCR", &[text], KvOp::Incr),
            83..87 => Command::new("DEL", &[text], KvOp::Del),
            87..88 => Command::new("DEL", &[counter], KvOp::Del),
            88..93 => Command::new("EXISTS", &[text], KvOp::Exists),
            _ => Command::new("MGET", &["a", "b", "c", "d", counter], KvOp::Get),
        }
    }

    /// Sends `commands` and records their results; returns whether all were executed.
    async fn execute(&mut self, commands: Vec<Command>) -> bool {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => match Connection::open(&self.machine, GATEWAYS[self.gateway].1, REPLY_TIMEOUT).await {
                Ok(connection) => connection,
                Err(_) => {
                    self.switch_gateway().await;
                    return false;
                }
            },
        };
        let calls: Vec<Vec<Call>> = commands.iter().map(|command| self.invoke(command)).collect();
        let arguments: Vec<&[String]> = commands.iter().map(|command| &command.arguments[..]).collect();
        // From here on a command without a reply has an unknown outcome: that is what dropping its `Call`s records.
        if connection.send(&arguments).await.is_err() || self.below(100) < ABANDONED_PERCENT {
            self.switch_gateway().await;
            return false;
        }
        let mut all_done = true;
        for calls in calls {
            let Ok(reply) = connection.receive().await else {
                self.switch_gateway().await;
                return false;
            };
            match effect_of(&reply) {
                Effect::Applied => self.record(calls, reply),
                Effect::NotApplied => {
                    calls.into_iter().for_each(Call::failed);
                    all_done = false;
                }
                Effect::Unknown => all_done = false,
            }
        }
        match all_done {
            true => self.connection = Some(connection),
            false => self.switch_gateway().await,
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
            let completed = &self.control.completed[self.index];
            completed.set(completed.get() + 1);
        }
    }

    /// Switches to the next gateway, after a pause.
    async fn switch_gateway(&mut self) {
        self.connection = None;
        self.gateway = (self.gateway + 1) % GATEWAYS.len();
        self.avoid_gateway();
        let pause = if self.burst().is_some() { 1 + self.below(4) } else { 20 + self.below(80) };
        let pause = Duration::from_millis(pause);
        self.machine.clock().sleep(pause).await;
    }
}

/// The effect of a command, by its reply.
fn effect_of(reply: &Reply) -> Effect {
    match reply {
        Reply::Error(text) => match text.split(' ').next() {
            Some("NOTLEADER" | "UNAVAILABLE") => Effect::NotApplied,
            Some("UNKNOWN") => Effect::Unknown,
            _ if text.contains("not an integer") => Effect::Applied,
            _ => panic!("a gateway answered {text:?}"),
        },
        _ => Effect::Applied,
    }
}
