//! The linearizability checker against the literature, against another checker, and against hard cases.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};
use steelmill_sim::history::{Call, History, Kv, KvOp, KvReply, Model, Operation, Value, Verdict, Violation};

// ---- Drawings: one line per client; `[` invokes, `]` returns, `?` gives up, `!` fails. ----------------------------

#[test]
fn sequential_answers_are_linearizable() {
    linearizable(
        "A [get nil] [set 1] [get 1]           [exists 1]
         B                          [incr 2]             [del 1] [get nil] [del 0] [exists 0] [incr 1]",
    );
}

#[test]
fn concurrent_operations_may_take_effect_in_either_order() {
    linearizable(
        "A [set 1]
         B  [get nil]  [get 1]",
    );
    linearizable(
        "A [set 1      ]
         B  [get 1]
         C          [get 1]",
    );
    linearizable(
        "A [set 1             ]
         B  [set 2           ]
         C   [get 2]  [get 1]",
    );
}

#[test]
fn a_stale_read_is_blamed_on_the_writes_around_it() {
    let violation = not_linearizable(
        "A [set 1] [set 2]       [set 3]                       [get 5]
         B                  [get 2]      [get 3]        [set 5]
         C [get nil]                             [get 2]",
    );
    assert_eq!(culprits(&violation), ["set a 2", "set a 3", "get a 2"]);
    assert_eq!(violation.operations[violation.offender].what, "GET a -> \"2\"");
}

#[test]
fn a_new_value_once_seen_cannot_be_unseen() {
    // The write is still under way, so either answer is right, but not in this order.
    let violation = not_linearizable(
        "A [set 1] [set 2              ]
         B          [get 2]
         C                   [get 1]",
    );
    assert_eq!(culprits(&violation), ["set a 1", "set a 2", "get a 2", "get a 1"]);
}

#[test]
fn a_value_nobody_wrote_stands_alone() {
    let violation = not_linearizable(
        "A [set 1]  [set 2]
         B     [get 7]",
    );
    assert_eq!(culprits(&violation), ["get a 7"]);
}

#[test]
fn a_lost_update_shows_in_two_increments() {
    let violation = not_linearizable(
        "A [incr 1] [incr 2   ]        [incr 3]
         B              [incr 2]
         C [get nil]            [get 2]",
    );
    assert_eq!(culprits(&violation), ["incr a 1", "incr a 2", "incr a 2"]);
    linearizable(
        "A [incr 1] [incr 3   ]
         B              [incr 2]",
    );
    linearizable("A [set x] [incr nan] [get x] [set 9223372036854775807] [incr nan] [set 07] [incr nan]");
    not_linearizable("A [set 7] [incr nan]");
}

#[test]
fn a_key_is_deleted_once() {
    linearizable(
        "A [set 1] [del 1   ]
         B             [del 0]",
    );
    not_linearizable(
        "A [set 1] [del 1   ]
         B             [del 1]",
    );
    not_linearizable(
        "A [set 1] [del 1]
         B                 [exists 1]",
    );
}

#[test]
fn an_unknown_write_may_take_effect_late_or_never() {
    linearizable(
        "A [set 1] [set 2 ?
         B                  [get 1] [get 1]",
    );
    linearizable(
        "A [set 1] [set 2 ?
         B                  [get 1] [get 2] [get 2]",
    );
    not_linearizable(
        "A [set 1] [set 2 ?
         B                  [get 2] [get 1]",
    );
    not_linearizable(
        "A [set 1]          [set 2 ?
         B          [get 2]",
    );
}

#[test]
fn an_unknown_write_takes_effect_once() {
    linearizable(
        "A [incr ?
         B          [get 1] [get 1]",
    );
    not_linearizable(
        "A [incr ?
         B          [get 1] [get 2]",
    );
    not_linearizable(
        "A [set 1 ?
         B           [get 1] [set 2] [get 1]",
    );
}

#[test]
fn equal_unknown_writes_are_as_many_as_there_are() {
    linearizable(
        "A [incr ?
         B [incr ?
         C          [get 2]",
    );
    not_linearizable(
        "A [incr ?
         B [incr ?
         C          [get 3]",
    );
    not_linearizable(
        "A [incr ?
         B                  [incr ?
         C          [get 2]",
    );
}

#[test]
fn a_known_failure_never_happened() {
    linearizable(
        "A [set 1] [set 2 !
         B                  [get 1]",
    );
    let violation = not_linearizable(
        "A [set 1] [set 2 !
         B                  [get 2]",
    );
    assert_eq!(culprits(&violation), ["get a 2"]);
}

#[test]
fn a_crashed_client_leaves_its_call_open() {
    let history = History::<Kv>::default();
    let set = history
        .clone()
        .invoke(Duration::ZERO, "A", "a", KvOp::Set("1".into()));
    history.invoke(Duration::ZERO, "B", "a", KvOp::Del).failed();
    drop(set); // as the task that held it is
    for seen in [None, None, Some("1"), Some("1")] {
        let get = history.invoke(Duration::ZERO, "C", "a", KvOp::Get);
        get.returned(Duration::ZERO, KvReply::Value(seen.map(Into::into)));
        assert!(history.check().is_linearizable());
    }
    assert_eq!((history.len(), history.open()), (5, 1));
}

#[test]
fn keys_are_judged_one_by_one() {
    linearizable(
        "A [set 1] [b:set 2]
         B                   [get 1] [b:get 2]",
    );
    let violation = not_linearizable(
        "A [set 1] [b:set 2]         [set 3]
         B                   [get 1]         [b:get nil] [get 1]",
    );
    assert_eq!(violation.key, "b", "it showed there first");
}

/// Herlihy and Wing's queue histories H1 to H4 (section 2 of their paper).
#[test]
fn the_queues_of_herlihy_and_wing() {
    use QueueOp::{Deq, Enq};
    #[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
    struct Queue(VecDeque<char>);
    #[derive(Clone, PartialEq, Debug)]
    enum QueueOp {
        Enq(char),
        Deq,
    }
    impl Model for Queue {
        type Op = QueueOp;
        type Ret = Option<char>;
        fn step(&self, op: &QueueOp, ret: Option<&Option<char>>) -> Option<Self> {
            let mut queue = self.0.clone();
            let answer = match op {
                Enq(item) => {
                    queue.push_back(*item);
                    None
                }
                Deq => Some(queue.pop_front()?), // it waits for an item
            };
            ret.is_none_or(|ret| *ret == answer).then_some(Queue(queue))
        }
    }
    // Each step is `(client, Some(op))` for an invocation or `(client, None)` for the return of what it invoked last.
    let check = |steps: &[(&str, Option<QueueOp>, Option<char>)]| {
        let history = History::<Queue>::default();
        let mut calls = BTreeMap::<&str, Call<Queue>>::new();
        for (client, op, answer) in steps {
            match op {
                Some(op) => {
                    drop(calls.insert(client, history.invoke(Duration::ZERO, client, "q", op.clone())))
                }
                None => calls
                    .remove(client)
                    .expect("it was invoked")
                    .returned(Duration::ZERO, *answer),
            }
        }
        history.check().is_linearizable()
    };
    let enq = |client, item| (client, Some(Enq(item)), None);
    let deq = |client| (client, Some(Deq), None);
    let ok = |client| (client, None, None);
    let got = |client, item| (client, None, Some(item));

    let h1 = [
        enq("A", 'x'),
        enq("B", 'y'),
        ok("B"),
        ok("A"),
        deq("B"),
        got("B", 'x'),
        deq("A"),
        got("A", 'y'),
    ];
    assert!(check(&h1), "H1: the enqueues overlap");
    let h2 = [
        enq("A", 'x'),
        ok("A"),
        enq("B", 'y'),
        deq("A"),
        ok("B"),
        got("A", 'y'),
    ];
    assert!(!check(&h2), "H2: x was there first");
    let h3 = [enq("A", 'x'), deq("B"), got("B", 'x')];
    assert!(check(&h3), "H3: an enqueue that never returned took effect");
    let h4 = [
        enq("A", 'x'),
        enq("B", 'y'),
        ok("A"),
        ok("B"),
        deq("A"),
        deq("C"),
        got("A", 'y'),
        got("C", 'y'),
    ];
    assert!(!check(&h4), "H4: y was dequeued twice");
}

#[test]
fn the_report_shows_who_waited_when() {
    let violation = not_linearizable(
        "client-1 [set 1] [set 2]  [set 3]        [set 4 ?
         client-2 [get nil]                [get 3]          [get 4] [get 3]",
    );
    assert_eq!(
        violation.to_string(),
        r#"not linearizable: key "a"

  ├─┤              client-1  SET a "3"     invoked 0.026 s, returned 0.032 s
      ├─────────?  client-1  SET a "4"     invoked 0.041 s, outcome unknown
        ├─┤        client-2  GET a -> "4"  invoked 0.051 s, returned 0.057 s
            ├─┤    client-2  GET a -> "3"  invoked 0.059 s, returned 0.065 s  <- cannot be ordered

No order explains these answers, whatever became of the 4 other operations on this key.
The best attempt, SET a "4", GET a -> "4", leaves "4", and GET a -> "3" is impossible."#
    );
}

// ---- Another checker: small random histories, right and wrong, judged by both. ------------------------------------

#[test]
fn stateright_agrees() {
    let (mut yes, mut no) = (0, 0);
    for seed in 0..8_000 {
        let mut random = Random(seed);
        let mut attempts = simulate(&mut random, 3, 9);
        for _ in 0..random.below(4) {
            spoil(&mut attempts, &mut random);
        }
        let expected = judged_by_stateright(&attempts);
        match record(&attempts).check() {
            Verdict::Linearizable => {
                assert!(expected, "seed {seed}: stateright finds no order: {attempts:#?}");
                yes += 1;
            }
            Verdict::NotLinearizable(violation) => {
                assert!(
                    !expected,
                    "seed {seed}: stateright finds an order: {attempts:#?}\n{violation}"
                );
                is_minimal(&violation, &attempts, seed);
                no += 1;
            }
            Verdict::Undecided(undecided) => panic!("seed {seed}: {undecided}"),
        }
    }
    assert!(
        yes > 2_000 && no > 2_000,
        "both verdicts are tried: {yes} linearizable, {no} not"
    );
}

/// Checks what a violation says about itself: it suffices, and all of it is needed.
fn is_minimal(violation: &Violation, attempts: &[Attempt], seed: u64) {
    let index = |operation: &Operation| operation.client.parse::<usize>().expect("a number");
    let offender = index(&violation.operations[violation.offender]);
    let essential: Vec<_> = violation
        .operations
        .iter()
        .filter(|o| o.essential)
        .map(index)
        .collect();
    let suffices = !has_order_up_to(offender, attempts, &essential);
    assert!(
        suffices,
        "seed {seed}: it takes more than this: {attempts:#?}\n{violation}"
    );
    for &one in &essential {
        let others: Vec<_> = essential.iter().copied().filter(|&other| other != one).collect();
        let needed = has_order_up_to(offender, attempts, &others);
        assert!(
            needed,
            "seed {seed}: {one} is not needed: {attempts:#?}\n{violation}"
        );
    }
}

/// Whether there is an order up to the end of the offender in which the `strict` operations answer as they did.
/// The others, and what returned later, may have taken effect by then or not.
fn has_order_up_to(offender: usize, attempts: &[Attempt], strict: &[usize]) -> bool {
    let end = attempts[offender].end.expect("the offender returned");
    let mut involved = Vec::new();
    let mut optional = Vec::new();
    for (index, attempt) in attempts
        .iter()
        .enumerate()
        .filter(|(_, attempt)| attempt.start <= end)
    {
        let is_strict = strict.contains(&index);
        let is_late = attempt.end.is_some_and(|at| (at, index) > (end, offender));
        if attempt.end.is_some() && (is_late || !is_strict) {
            optional.push(involved.len());
        }
        let reply = attempt.reply.clone().filter(|_| is_strict);
        involved.push(Attempt {
            reply,
            ..attempt.clone()
        });
    }
    (0..1_usize << optional.len()).any(|choice| {
        let bit = |place: &usize| optional.iter().position(|optional| optional == place);
        let is_chosen = |place: &usize| bit(place).is_none_or(|bit| choice >> bit & 1 == 1);
        let chosen = (0..involved.len())
            .filter(is_chosen)
            .map(|place| involved[place].clone());
        judged_by_stateright(&chosen.collect::<Vec<_>>())
    })
}

fn judged_by_stateright(attempts: &[Attempt]) -> bool {
    let mut tester = LinearizabilityTester::new(Store(None));
    for (_, index, is_return) in events(attempts) {
        let Attempt {
            client,
            op,
            end,
            reply,
            ..
        } = &attempts[index];
        // A client goes on after giving up; in its place stays one of whom nothing more is heard.
        let thread = if end.is_some() { *client } else { 1_000 + index };
        let told = match is_return {
            true => tester.on_return(thread, reply.clone()),
            false => tester.on_invoke(thread, op.clone()),
        };
        told.expect("a client has one operation under way");
    }
    tester.is_consistent()
}

/// The same object, written once more from what Redis does.
#[derive(Clone)]
struct Store(Option<String>);

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

// ---- Hard cases. --------------------------------------------------------------------------------------------------

#[test]
fn a_day_of_work_is_judged_at_once() {
    for seed in 0..40 {
        let mut random = Random(seed);
        let keys = 1 + random.below(8);
        let history = History::<Kv>::default();
        let keyed: Vec<_> = (0..keys)
            .map(|key| (format!("key-{key}"), simulate(&mut random, 8, 250)))
            .collect();
        for (key, attempts) in &keyed {
            record_into(&history, key, attempts);
        }
        assert_eq!(history.check(), Verdict::Linearizable, "seed {seed}");
        assert!(history.open() > 0, "seed {seed}: some outcomes are unknown");
    }
}

#[test]
fn a_stale_read_among_hundreds_of_operations_is_shown_in_a_few() {
    let mut shown = Vec::new();
    for seed in 0..50 {
        let mut random = Random(seed);
        let mut attempts = simulate(&mut random, 6, 300);
        make_stale(&mut attempts, &mut random);
        let verdict = record(&attempts).check();
        assert_eq!(
            verdict,
            record(&attempts).check(),
            "seed {seed}: a verdict repeats, word for word"
        );
        match verdict {
            Verdict::Linearizable => {} // the old value may have been written again
            Verdict::NotLinearizable(violation) => shown.push(violation.operations.len()),
            Verdict::Undecided(undecided) => panic!("seed {seed}: {undecided}"),
        }
    }
    let many = shown.iter().filter(|&&shown| shown > 6).count();
    assert!(
        shown.len() > 30 && many < 3,
        "operations shown per violation: {shown:?}"
    );
}

#[test]
fn many_writers_and_unknown_outcomes_stay_within_the_budget() {
    for (read, expected) in [
        (Some("7"), true),
        (Some("unknown-33"), true),
        (Some("never"), false),
        (None, false),
    ] {
        let history = History::<Kv>::default();
        let mut tick = 0;
        let mut invoke = |client: String, op| {
            tick += 1;
            history.invoke(Duration::from_millis(tick), &client, "hot", op)
        };
        invoke("first".into(), KvOp::Set("0".into())).returned(Duration::from_millis(1), KvReply::Ok);
        for i in 0..40 {
            invoke(format!("lost-{i}"), KvOp::Set(format!("unknown-{i}").into())).unknown();
        }
        let writers: Vec<_> = (0..12)
            .map(|i| invoke(format!("writer-{i}"), KvOp::Set((i as i64).into())))
            .collect();
        for writer in writers {
            writer.returned(Duration::from_millis(100), KvReply::Ok);
        }
        let reply = KvReply::Value(read.map(Into::into));
        invoke("reader".into(), KvOp::Get).returned(Duration::from_millis(101), reply);
        let verdict = history.check();
        assert_eq!(verdict.is_linearizable(), expected, "reading {read:?}: {verdict}");
        assert!(!matches!(verdict, Verdict::Undecided(_)), "{verdict}");
    }
}

#[test]
fn a_budget_that_does_not_suffice_is_admitted() {
    let history = History::<Kv>::default();
    record_into(&history, "a", &simulate(&mut Random(1), 4, 100));
    let Verdict::Undecided(undecided) = history.check_within(50) else {
        panic!("50 steps are too few")
    };
    assert_eq!(
        (undecided.key.as_str(), undecided.recorded, undecided.steps),
        ("a", history.len(), 50)
    );
    assert!(
        history.check_within(50).into_result().is_err(),
        "undecided is not passed"
    );

    // A violation elsewhere is still a violation.
    history
        .invoke(Duration::ZERO, "A", "z", KvOp::Get)
        .returned(Duration::ZERO, KvReply::Value(Some("9".into())));
    assert!(matches!(history.check_within(50), Verdict::NotLinearizable(violation) if violation.key == "z"));
}

// ---- Making histories. --------------------------------------------------------------------------------------------

/// One operation on a key. Without an end its outcome is unknown.
#[derive(Clone, Debug)]
struct Attempt {
    client: usize,
    op: KvOp,
    start: u64,
    end: Option<u64>,
    reply: Option<KvReply>,
}

/// What `clients` that work one operation after another see of a store that does everything right.
fn simulate(random: &mut Random, clients: usize, operations: usize) -> Vec<Attempt> {
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
        // One in eight has an unknown outcome: it took effect now, or later, or never.
        let is_known = random.below(8) > 0;
        if is_known {
            effects.push((effect, index));
        } else if random.below(2) == 0 {
            effects.push((effect + random.below(3) * random.below(100), index));
        }
        attempts.push(Attempt {
            client,
            op,
            start,
            end: is_known.then_some(end),
            reply: None,
        });
    }
    effects.sort_unstable();
    let mut store = Store(None);
    for (_, index) in effects {
        let reply = store.invoke(&attempts[index].op);
        attempts[index].reply = reply.filter(|_| attempts[index].end.is_some());
    }
    attempts
}

/// Changes an answer, or when it came.
fn spoil(attempts: &mut [Attempt], random: &mut Random) {
    let other = random.pick(attempts).reply.clone();
    let Attempt {
        start,
        op,
        end: Some(end),
        reply: Some(reply),
        ..
    } = random.pick(attempts)
    else {
        return;
    };
    match (random.below(3), op, other) {
        (0, ..) => *end = *start, // it took longer than this
        (_, KvOp::Get, Some(KvReply::Value(value))) => *reply = KvReply::Value(value),
        (_, KvOp::Get, _) => *reply = KvReply::Value(Some(random.value(4))),
        (_, KvOp::Del | KvOp::Exists, _) => *reply = KvReply::Integer(random.below(2) as i64),
        (_, KvOp::Incr, _) => *reply = KvReply::Integer(random.below(4) as i64),
        (_, KvOp::Set(_), _) => {}
    }
}

/// Lets a late read answer with what an early one saw.
fn make_stale(attempts: &mut [Attempt], random: &mut Random) {
    let is_read = |attempt: &&mut Attempt| matches!(attempt.reply, Some(KvReply::Value(Some(_))));
    let mut reads: Vec<_> = attempts.iter_mut().filter(is_read).collect();
    let half = reads.len() / 2;
    let (early, late) = reads.split_at_mut(half);
    let seen = random.pick(early).reply.clone();
    random.pick(late).reply = seen;
}

/// `(time, attempt, whether it returned)`, in order.
fn events(attempts: &[Attempt]) -> Vec<(u64, usize, bool)> {
    let mut events = Vec::new();
    for (index, attempt) in attempts.iter().enumerate() {
        events.push((attempt.start, index, false));
        events.extend(attempt.end.map(|end| (end, index, true)));
    }
    events.sort_by_key(|&(time, index, is_return)| (time, is_return, index));
    events
}

fn record(attempts: &[Attempt]) -> History {
    let history = History::default();
    record_into(&history, "a", attempts);
    history
}

/// Records them under their index for a client, so that a report can be traced back.
fn record_into(history: &History, key: &str, attempts: &[Attempt]) {
    let mut calls = BTreeMap::new();
    for (time, index, is_return) in events(attempts) {
        let now = Duration::from_millis(time);
        let Attempt { op, reply, .. } = &attempts[index];
        if is_return {
            let call: Call = calls.remove(&index).expect("it was invoked");
            call.returned(now, reply.clone().expect("it was answered"));
        } else {
            calls.insert(index, history.invoke(now, &index.to_string(), key, op.clone()));
        }
    }
}

fn linearizable(drawing: &str) {
    let verdict = read(drawing).check();
    assert!(verdict.is_linearizable(), "{drawing}\n{verdict}");
}

fn not_linearizable(drawing: &str) -> Violation {
    match read(drawing).check() {
        Verdict::NotLinearizable(violation) => violation,
        verdict => panic!("{drawing}\n{verdict}"),
    }
}

/// The shown operations in the words of the drawings.
fn culprits(violation: &Violation) -> Vec<String> {
    let plain = |c: char| {
        if c.is_alphanumeric() || c == ' ' {
            Some(c.to_ascii_lowercase())
        } else {
            None
        }
    };
    let words = |what: &str| what.replace(" ->", "").chars().filter_map(plain).collect();
    violation
        .operations
        .iter()
        .map(|operation| words(&operation.what))
        .collect()
}

/// Reads a drawing: a column is a millisecond.
fn read(drawing: &str) -> History {
    let history = History::default();
    let mut events = Vec::new();
    for (row, line) in drawing.lines().map(str::trim_start).enumerate() {
        let (client, _) = line.split_once(' ').expect("a client and what it did");
        for (start, _) in line.match_indices('[') {
            let end = start + line[start..].find([']', '?', '!']).expect("an end");
            events.push((start, row, client, &line[start + 1..end], '['));
            events.push((
                end,
                row,
                client,
                "",
                line[end..].chars().next().expect("it was found"),
            ));
        }
    }
    events.sort();
    let mut calls = BTreeMap::new();
    for (column, row, client, text, kind) in events {
        let now = Duration::from_millis(column as u64);
        if kind == '[' {
            let (key, command) = text.split_once(':').unwrap_or(("a", text));
            let mut words = command.split_whitespace();
            let name = words.next().expect("a command");
            let (op, reply) = parse(name, words.next().unwrap_or(""));
            calls.insert(row, (history.invoke(now, client, key, op), reply));
            continue;
        }
        let (call, reply) = calls.remove(&row).expect("it was invoked");
        match kind {
            ']' => call.returned(now, reply),
            '!' => call.failed(),
            _ => call.unknown(),
        }
    }
    history
}

fn parse(name: &str, rest: &str) -> (KvOp, KvReply) {
    let integer = || rest.parse().map_or(KvReply::NotAnInteger, KvReply::Integer);
    match name {
        "get" => (KvOp::Get, KvReply::Value((rest != "nil").then(|| rest.into()))),
        "set" => (KvOp::Set(rest.into()), KvReply::Ok),
        "del" => (KvOp::Del, integer()),
        "exists" => (KvOp::Exists, integer()),
        "incr" => (KvOp::Incr, integer()),
        _ => panic!("{name}?"),
    }
}

/// SplitMix64: the seed is all there is to a test case.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<'a, T>(&mut self, from: &'a mut [T]) -> &'a mut T {
        &mut from[self.below(from.len() as u64) as usize]
    }

    /// Often the same, sometimes no integer.
    fn value(&mut self, kinds: u64) -> Value {
        match self.below(kinds) {
            odd if odd % 4 == 3 => format!("v{odd}").into(),
            number => (number as i64).into(),
        }
    }
}
