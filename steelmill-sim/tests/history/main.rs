//! The linearizability checker: examples from the literature, comparison with another checker, and hard cases.

mod drawing; // histories as text diagrams
mod making; // histories as a store would make them, and spoiled ones
mod oracle; // what another checker makes of those

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use steelmill_sim::history::{Call, History, Kv, KvOp, KvReply, Model, Verdict};

use drawing::{culprits, linearizable, not_linearizable};
use making::{Random, make_stale, record, record_into, simulate};

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
    // The write is concurrent: each answer alone is right, but not this order.
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
fn a_crash_may_lose_a_value_once_and_a_value_that_was_lost_does_not_come_back() {
    linearizable(
        "A [set 1]         [get 1]          [get nil] [get nil]
         S         [lose              ]",
    );
    linearizable("A [set 1] [get 1] [set 2] [get 2]\n S          [lose ?");
    not_linearizable(
        "A [set 1]         [get nil] [get 1]
         S         [lose                       ]",
    );
    not_linearizable(
        "A [set 1]                  [get 1]
         S         [lose    ]",
    );
    // Written to the store that was started again, and hidden by a cache of what it had before.
    not_linearizable(
        "A [set 1]         [set 2] [get 1]
         S         [lose              ]",
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
    let set = history.clone().invoke(Duration::ZERO, "A", "a", KvOp::Set("1".into()));
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
    assert_eq!(violation.key, "b", "the key of the earliest violation");
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
    // A step is `(client, Some(op))` for an invocation, or `(client, None)` for the return of its last one.
    let check = |steps: &[(&str, Option<QueueOp>, Option<char>)]| {
        let history = History::<Queue>::default();
        let mut calls = BTreeMap::<&str, Call<Queue>>::new();
        for (client, op, answer) in steps {
            match op {
                Some(op) => {
                    drop(calls.insert(client, history.invoke(Duration::ZERO, client, "q", op.clone())))
                }
                None => calls.remove(client).expect("a pending invocation").returned(Duration::ZERO, *answer),
            }
        }
        history.check().is_linearizable()
    };
    let enq = |client, item| (client, Some(Enq(item)), None);
    let deq = |client| (client, Some(Deq), None);
    let ok = |client| (client, None, None);
    let got = |client, item| (client, None, Some(item));

    let h1 =
        [enq("A", 'x'), enq("B", 'y'), ok("B"), ok("A"), deq("B"), got("B", 'x'), deq("A"), got("A", 'y')];
    assert!(check(&h1), "H1: the enqueues overlap");
    let h2 = [enq("A", 'x'), ok("A"), enq("B", 'y'), deq("A"), ok("B"), got("A", 'y')];
    assert!(!check(&h2), "H2: x was there first");
    let h3 = [enq("A", 'x'), deq("B"), got("B", 'x')];
    assert!(check(&h3), "H3: an enqueue that never returned took effect");
    let h4 =
        [enq("A", 'x'), enq("B", 'y'), ok("A"), ok("B"), deq("A"), deq("C"), got("A", 'y'), got("C", 'y')];
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

  ├─┤              client-1  SET a "3"     invoked 0.026 s, returned 0.032 s  <- would fit after this
      ├─────────?  client-1  SET a "4"     invoked 0.041 s, outcome unknown
        ├─┤        client-2  GET a -> "4"  invoked 0.051 s, returned 0.057 s
            ├─┤    client-2  GET a -> "3"  invoked 0.059 s, returned 0.065 s  <- cannot be ordered

No order explains these replies, whatever the outcomes of the 4 other operations on this key.
The best attempt, SET a "4", GET a -> "4", leads to state "4", in which GET a -> "3" is impossible."#
    );
}

#[test]
fn a_long_contradiction_is_cut_short() {
    /// `add` returns nothing; only a read shows the number of adds.
    #[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
    struct Counter(u64);
    impl Model for Counter {
        type Op = &'static str;
        type Ret = u64;
        fn step(&self, op: &&'static str, ret: Option<&u64>) -> Option<Self> {
            match *op {
                "add" => Some(Counter(self.0 + 1)),
                _ => ret.is_none_or(|ret| *ret == self.0).then(|| self.clone()),
            }
        }
    }
    let history = History::<Counter>::default();
    for i in 0..30 {
        history.invoke(Duration::from_millis(i), "A", "n", "add").returned(Duration::from_millis(i), 0);
    }
    history.invoke(Duration::from_millis(30), "B", "n", "read").returned(Duration::from_millis(31), 29);
    let Verdict::NotLinearizable(violation) = history.check() else { panic!("an add was lost") };
    assert_eq!(violation.operations.len(), 31, "every operation is needed");
    let report = violation.to_string();
    assert!(report.contains("... and 15 earlier operations"), "{report}");
    assert!(report.lines().count() < 24, "{report}");
}

#[test]
fn a_day_of_work_is_judged_at_once() {
    for seed in 0..40 {
        let mut random = Random(seed);
        let keys = 1 + random.below(8);
        let history = History::<Kv>::default();
        let keyed: Vec<_> =
            (0..keys).map(|key| (format!("key-{key}"), simulate(&mut random, 8, 250))).collect();
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
        assert_eq!(verdict, record(&attempts).check(), "seed {seed}: the verdict is deterministic");
        match verdict {
            Verdict::Linearizable => {} // the old value may have been written again
            Verdict::NotLinearizable(violation) => shown.push(violation.operations.len()),
            Verdict::Undecided(undecided) => panic!("seed {seed}: {undecided}"),
        }
    }
    let many = shown.iter().filter(|&&shown| shown > 6).count();
    assert!(shown.len() > 30 && many < 3, "operations shown per violation: {shown:?}");
}

#[test]
fn many_writers_and_unknown_outcomes_stay_within_the_budget() {
    for (read, expected) in
        [(Some("7"), true), (Some("unknown-33"), true), (Some("never"), false), (None, false)]
    {
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
        let writers: Vec<_> =
            (0..12).map(|i| invoke(format!("writer-{i}"), KvOp::Set((i as i64).into()))).collect();
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

/// A store that crashes again and again records an operation each time, and all of them are over when it is up for long.
#[test]
fn many_equal_operations_at_once_are_tried_in_one_order() {
    for (read, expected) in [(None, true), (Some("kept"), true), (Some("never"), false)] {
        let history = History::<Kv>::default();
        let invoke = |at, client: String, op| history.invoke(Duration::from_millis(at), &client, "key", op);
        invoke(0, "writer".into(), KvOp::Set("kept".into())).returned(Duration::from_millis(1), KvReply::Ok);
        let crashes: Vec<_> = (0..24).map(|n| invoke(2 + n, format!("crash-{n}"), KvOp::Lose)).collect();
        let reader = invoke(50, "reader".into(), KvOp::Get);
        for (n, crash) in (0..).zip(crashes) {
            crash.returned(Duration::from_millis(100 + n), KvReply::Ok);
        }
        reader.returned(Duration::from_millis(200), KvReply::Value(read.map(Into::into)));
        let last = invoke(201, "reader".into(), KvOp::Get);
        last.returned(Duration::from_millis(202), KvReply::Value(None));
        let verdict = history.check_within(10_000);
        assert!(!matches!(verdict, Verdict::Undecided(_)), "reading {read:?}: {verdict}");
        assert_eq!(verdict.is_linearizable(), expected, "reading {read:?}: {verdict}");
    }
}

#[test]
fn a_budget_that_does_not_suffice_is_admitted() {
    let history = History::<Kv>::default();
    record_into(&history, "a", &simulate(&mut Random(1), 4, 100));
    let Verdict::Undecided(undecided) = history.check_within(50) else { panic!("50 steps are too few") };
    assert_eq!((undecided.key.as_str(), undecided.recorded, undecided.steps), ("a", history.len(), 50));
    assert!(history.check_within(50).into_result().is_err(), "undecided is an error");

    // A violation elsewhere is still a violation.
    history
        .invoke(Duration::ZERO, "A", "z", KvOp::Get)
        .returned(Duration::ZERO, KvReply::Value(Some("9".into())));
    assert!(matches!(history.check_within(50), Verdict::NotLinearizable(violation) if violation.key == "z"));
}
