//! Generates histories: those of a correct store, and mutations that make them incorrect.

use std::collections::BTreeMap;
use std::time::Duration;

use stateright::semantics::SequentialSpec;
use steelmill_sim::history::{Call, History, KvOp, KvReply, Value};

/// One operation on a key; its outcome is unknown without an end.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) client: usize,
    pub(crate) op: KvOp,
    pub(crate) start: u64,
    pub(crate) end: Option<u64>,
    pub(crate) reply: Option<KvReply>,
}

/// The history of sequential clients of a correct store.
pub(crate) fn simulate(random: &mut Random, clients: usize, operations: usize) -> Vec<Attempt> {
    let mut free_from = vec![0; clients];
    let mut effects = Vec::new();
    let mut attempts = Vec::new();
    let values = 1 + random.below(2 * operations as u64);
    for index in 0..operations {
        let client = random.below(clients as u64) as usize;
        let op = match random.below(10) {
            0..4 => KvOp::Get,
            4..7 => KvOp::Set(random.value(values)),
            7 => KvOp::Del,
            8 => KvOp::Exists,
            _ => KvOp::Incr,
        };
        let start = free_from[client] + random.below(8);
        let effect = start + random.below(8);
        let end = effect + random.below(8);
        free_from[client] = end + 1;
        // One in eight has an unknown outcome: applied now, later or never.
        let is_known = random.below(8) > 0;
        if is_known {
            effects.push((effect, index));
        } else if random.below(2) == 0 {
            effects.push((effect + random.below(3) * random.below(100), index));
        }
        attempts.push(Attempt { client, op, start, end: is_known.then_some(end), reply: None });
    }
    effects.sort_unstable();
    let mut store = Store(None);
    for (_, index) in effects {
        let reply = store.invoke(&attempts[index].op);
        attempts[index].reply = reply.filter(|_| attempts[index].end.is_some());
    }
    attempts
}

pub(crate) fn spoil(attempts: &mut [Attempt], random: &mut Random) {
    let other = random.pick(attempts).reply.clone();
    let Attempt { start, op, end: Some(end), reply: Some(reply), .. } = random.pick(attempts) else {
        return;
    };
    match (random.below(3), op, other) {
        (0, ..) => *end = *start, // it took longer than this
        (_, KvOp::Get, Some(KvReply::Value(value))) => *reply = KvReply::Value(value),
        (_, KvOp::Get, _) => *reply = KvReply::Value(Some(random.value(4))),
        (_, KvOp::Del | KvOp::Exists, _) => *reply = KvReply::Integer(random.below(2) as i64),
        (_, KvOp::Incr, _) => *reply = KvReply::Integer(random.below(4) as i64),
        (_, KvOp::Set(_) | KvOp::Lose, _) => {}
    }
}

/// Gives a late read the reply of an earlier one.
pub(crate) fn make_stale(attempts: &mut [Attempt], random: &mut Random) {
    let is_read = |attempt: &&mut Attempt| matches!(attempt.reply, Some(KvReply::Value(Some(_))));
    let mut reads: Vec<_> = attempts.iter_mut().filter(is_read).collect();
    let half = reads.len() / 2;
    let (early, late) = reads.split_at_mut(half);
    let seen = random.pick(early).reply.clone();
    random.pick(late).reply = seen;
}

/// `(time, attempt, whether it returned)`, in order.
pub(crate) fn events(attempts: &[Attempt]) -> Vec<(u64, usize, bool)> {
    let mut events = Vec::new();
    for (index, attempt) in attempts.iter().enumerate() {
        events.push((attempt.start, index, false));
        events.extend(attempt.end.map(|end| (end, index, true)));
    }
    events.sort_by_key(|&(time, index, is_return)| (time, is_return, index));
    events
}

pub(crate) fn record(attempts: &[Attempt]) -> History {
    let history = History::default();
    record_into(&history, "a", attempts);
    history
}

/// Records attempts with their index as the client, so that a report refers to it.
pub(crate) fn record_into(history: &History, key: &str, attempts: &[Attempt]) {
    let mut calls = BTreeMap::new();
    for (time, index, is_return) in events(attempts) {
        let now = Duration::from_millis(time);
        let Attempt { op, reply, .. } = &attempts[index];
        if is_return {
            let call: Call = calls.remove(&index).expect("a pending invocation");
            call.returned(now, reply.clone().expect("it was answered"));
        } else {
            calls.insert(index, history.invoke(now, &index.to_string(), key, op.clone()));
        }
    }
}

/// The state of one key: an independent model of Redis' semantics.
#[derive(Clone)]
pub(crate) struct Store(pub(crate) Option<String>);

impl SequentialSpec for Store {
    type Op = KvOp;
    type Ret = Option<KvReply>; // none: any

    fn invoke(&mut self, op: &KvOp) -> Option<KvReply> {
        Some(match op {
            KvOp::Get => KvReply::Value(self.0.clone().map(Into::into)),
            KvOp::Set(value) => {
                self.0 = Some(value.to_string().trim_matches('"').into());
                KvReply::Ok
            }
            KvOp::Del => KvReply::Integer(self.0.take().is_some() as i64),
            KvOp::Exists => KvReply::Integer(self.0.is_some() as i64),
            KvOp::Lose => {
                self.0 = None;
                KvReply::Ok
            }
            KvOp::Incr => match self.0.as_deref().unwrap_or("0").parse::<i64>() {
                Err(_) => KvReply::NotAnInteger,
                Ok(number) => {
                    self.0 = Some((number + 1).to_string());
                    KvReply::Integer(number + 1)
                }
            },
        })
    }

    fn is_valid_step(&mut self, op: &KvOp, reply: &Option<KvReply>) -> bool {
        let answer = self.invoke(op);
        reply.is_none() || answer == *reply
    }
}

/// SplitMix64: a test case is determined by its seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a mut [T]) -> &'a mut T {
        &mut from[self.below(from.len() as u64) as usize]
    }

    /// A value; often the same one, sometimes no integer.
    pub(crate) fn value(&mut self, kinds: u64) -> Value {
        match self.below(kinds) {
            odd if odd % 4 == 3 => format!("v{odd}").into(),
            number => (number as i64).into(),
        }
    }
}
