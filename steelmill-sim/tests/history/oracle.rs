//! Differential test: small random histories, correct and incorrect, checked by stateright too.

use stateright::semantics::{ConsistencyTester, LinearizabilityTester};
use steelmill_sim::history::{Operation, Verdict, Violation};

use crate::making::{Attempt, Random, Store, events, record, simulate, spoil};

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
                assert!(!expected, "seed {seed}: stateright finds an order: {attempts:#?}\n{violation}");
                is_minimal(&violation, &attempts, seed);
                no += 1;
            }
            Verdict::Undecided(undecided) => panic!("seed {seed}: {undecided}"),
        }
    }
    assert!(yes > 2_000 && no > 2_000, "too few of one verdict: {yes} linearizable, {no} not");
}

/// Checks that the operations of a violation suffice for it, and that each is needed.
fn is_minimal(violation: &Violation, attempts: &[Attempt], seed: u64) {
    let index = |operation: &Operation| operation.client.parse::<usize>().expect("a number");
    let offender = index(&violation.operations[violation.offender]);
    let essential: Vec<_> = violation.operations.iter().filter(|o| o.essential).map(index).collect();
    let suffices = !has_order_up_to(offender, attempts, &essential);
    assert!(suffices, "seed {seed}: it takes more than this: {attempts:#?}\n{violation}");
    for &one in &essential {
        let others: Vec<_> = essential.iter().copied().filter(|&other| other != one).collect();
        let needed = has_order_up_to(offender, attempts, &others);
        assert!(needed, "seed {seed}: {one} is not needed: {attempts:#?}\n{violation}");
    }
}

/// Whether an order up to the end of the offender explains the replies of the `strict` operations. The others, and
/// those that returned later, may have taken effect or not.
fn has_order_up_to(offender: usize, attempts: &[Attempt], strict: &[usize]) -> bool {
    let end = attempts[offender].end.expect("the offender returned");
    let mut involved = Vec::new();
    let mut optional = Vec::new();
    for (index, attempt) in attempts.iter().enumerate().filter(|(_, attempt)| attempt.start <= end) {
        let is_strict = strict.contains(&index);
        let is_late = attempt.end.is_some_and(|at| (at, index) > (end, offender));
        if attempt.end.is_some() && (is_late || !is_strict) {
            optional.push(involved.len());
        }
        let reply = attempt.reply.clone().filter(|_| is_strict);
        involved.push(Attempt { reply, ..attempt.clone() });
    }
    (0..1_usize << optional.len()).any(|choice| {
        let bit = |place: &usize| optional.iter().position(|optional| optional == place);
        let is_chosen = |place: &usize| bit(place).is_none_or(|bit| choice >> bit & 1 == 1);
        let chosen = (0..involved.len()).filter(is_chosen).map(|place| involved[place].clone());
        judged_by_stateright(&chosen.collect::<Vec<_>>())
    })
}

fn judged_by_stateright(attempts: &[Attempt]) -> bool {
    let mut tester = LinearizabilityTester::new(Store(None));
    for (_, index, is_return) in events(attempts) {
        let Attempt { client, op, end, reply, .. } = &attempts[index];
        // A client continues after an unknown outcome, so its open operation moves to a client of its own.
        let thread = if end.is_some() { *client } else { 1_000 + index };
        let told = match is_return {
            true => tester.on_return(thread, reply.clone()),
            false => tester.on_invoke(thread, op.clone()),
        };
        told.expect("a client has one operation under way");
    }
    tester.is_consistent()
}
