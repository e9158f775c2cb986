//! The plan's answers to sequences of events. No executor, no user code.

use super::*;
use crate::{OnFailure, OnFinish};

/// The grace where there is time enough.
const GRACE: Duration = Duration::from_millis(100);

impl Plan {
    /// Takes the actions.
    fn actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions).into()
    }
}

/// A plan for slots that need these others.
fn plan(needs: &[&[u32]]) -> Plan {
    plan_with(needs, &[])
}

/// One where the first slots have these policies.
fn plan_with(needs: &[&[u32]], policies: &[Policy]) -> Plan {
    let deadlines = Deadlines {
        prepare: Duration::from_secs(30),
        stop: Duration::from_secs(10),
        rollback: Duration::from_secs(5),
    };
    let mut plan = Plan::new(deadlines, beginning());
    let policies = policies.iter().copied().chain(std::iter::repeat(Policy::default()));
    for (needs, policy) in needs.iter().zip(policies) {
        plan.add(true, needs.iter().map(|need| SlotId(*need)).collect(), policy);
    }
    plan
}

#[expect(clippy::disallowed_methods, reason = "any instant would do, and there is no other way to one")]
fn beginning() -> Instant {
    Instant::now()
}

/// One that has been started and runs.
fn running(needs: &[&[u32]]) -> Plan {
    running_with(needs, &[])
}

fn running_with(needs: &[&[u32]], policies: &[Policy]) -> Plan {
    let mut plan = plan_with(needs, policies);
    plan.start();
    for id in 0..needs.len() as u32 {
        done(&mut plan, id, Phase::Prepare);
    }
    plan.actions();
    assert_eq!(plan.stage, Stage::Running);
    plan
}

fn done(plan: &mut Plan, id: u32, phase: Phase) {
    plan.phase_ended(SlotId(id), phase, PhaseEnd::Done);
}

fn cancelled(plan: &mut Plan, id: u32, phase: Phase) {
    plan.phase_ended(SlotId(id), phase, PhaseEnd::Cancelled);
}

fn fail(plan: &mut Plan, id: u32, phase: Phase) {
    plan.phase_ended(SlotId(id), phase, PhaseEnd::Failed);
}

fn pass(plan: &mut Plan, time: Duration) {
    plan.set_now(plan.now + time);
}

/// Time passes until the timer rings.
fn ring(plan: &mut Plan) {
    plan.set_now(plan.timeouts.timer.expect("a timer is set"));
    plan.timer_fired();
}

fn join(plan: &mut Plan, id: u64, shares: &[u32], maker: Maker) -> Result<(), NotJoined> {
    plan.join(ChildId(id), shares.iter().map(|id| SlotId(*id)).collect(), maker, false)
}

/// A child of a running factory joins, and may start at once.
fn child(plan: &mut Plan, id: u64, shares: &[u32], maker: Maker) {
    assert_eq!(join(plan, id, shares, maker), Ok(()));
    assert_eq!(plan.actions.pop_back(), Some(Action::Admit(ChildId(id))));
}

/// A daemon that was told to stop ends as expected.
fn ends(plan: &mut Plan, id: u32) {
    done(plan, id, Phase::Run);
    done(plan, id, Phase::Stop);
    plan.tasks_ended(SlotId(id));
}

#[track_caller]
fn check(plan: &mut Plan, expected: &str) {
    let name = |phase: Phase| phase.to_string();
    let now = plan.now;
    let actions = plan.actions().into_iter().map(|action| match action {
        Action::Begin(SlotId(id), phase) => format!("{} {id}", name(phase)),
        Action::Started => "started".to_owned(),
        Action::Drain => "drain".to_owned(),
        Action::SignalStop(SlotId(id)) => format!("tell {id}"),
        Action::CloseTasks(SlotId(id)) => format!("tasks {id}"),
        Action::DeadlineExceeded(SlotId(id), phase, limit) => {
            format!("deadline_exceeded {id} {} {limit:?}", name(phase))
        }
        Action::StopSkipped(SlotId(id)) => format!("stop skipped {id}"),
        Action::Abort(SlotId(id), _) => format!("abort {id}"),
        Action::Look(SlotId(id)) => format!("look {id}"),
        Action::Admit(ChildId(id)) => format!("admit {id}"),
        Action::StopChild(ChildId(id)) => format!("tell child {id}"),
        Action::AbortChild(ChildId(id), ..) => format!("abort child {id}"),
        Action::StuckChild(ChildId(id)) => format!("stuck child {id}"),
        Action::RenewScope(SlotId(id)) => format!("renew {id}"),
        Action::AwaitTasks => "await tasks".to_owned(),
        Action::DrawBackoff(SlotId(id), _, nth) => format!("draw {id} for {nth}"),
        Action::Timer(Some(at)) => format!("timer {:?}", at - now),
        Action::Timer(None) => "no timer".to_owned(),
    });
    assert_eq!(actions.collect::<Vec<_>>().join(", "), expected);
}

#[test]
fn independent_daemons_prepare_at_once_and_dependents_after_all_they_need() {
    let mut plan = plan(&[&[], &[], &[0, 1], &[2]]);
    plan.start();
    check(&mut plan, "prepare 0, prepare 1, timer 30s");
    done(&mut plan, 1, Phase::Prepare);
    check(&mut plan, "");
    done(&mut plan, 0, Phase::Prepare);
    check(&mut plan, "prepare 2");
    done(&mut plan, 2, Phase::Prepare);
    check(&mut plan, "prepare 3");
    done(&mut plan, 3, Phase::Prepare);
    check(&mut plan, "run 0, run 1, run 2, run 3, started, no timer");
}

#[test]
fn a_factory_without_daemons_starts_and_stops() {
    let mut plan = plan(&[]);
    plan.start();
    check(&mut plan, "started");
    plan.stop();
    check(&mut plan, "");
    assert!(plan.has_ended());
}

#[test]
fn what_the_world_supplies_is_only_waited_for() {
    let mut plan = Plan::new(Deadlines::default(), beginning());
    plan.add(false, Vec::new(), Policy::default());
    plan.add(true, vec![SlotId(0)], Policy::default());
    plan.start();
    check(&mut plan, "prepare 1, timer 30s");
    done(&mut plan, 1, Phase::Prepare);
    check(&mut plan, "run 1, started, no timer");
    plan.stop();
    check(&mut plan, "tell 1, stop 1, timer 10s");
    ends(&mut plan, 1);
    check(&mut plan, "tasks 1, no timer");
    assert!(plan.has_ended());
}

#[test]
fn a_diamond_stops_from_the_outside_in() {
    let mut plan = running(&[&[], &[0], &[0], &[1, 2]]);
    plan.stop();
    check(&mut plan, "tell 3, stop 3, timer 10s");
    ends(&mut plan, 3);
    check(&mut plan, "tasks 3, tell 1, stop 1, tell 2, stop 2");
    ends(&mut plan, 2);
    check(&mut plan, "tasks 2");
    ends(&mut plan, 1);
    check(&mut plan, "tasks 1, tell 0, stop 0");
    ends(&mut plan, 0);
    check(&mut plan, "tasks 0, no timer");
}

#[test]
fn a_daemon_ends_after_run_and_stop_and_tasks() {
    for [first, second] in [[Phase::Run, Phase::Stop], [Phase::Stop, Phase::Run]] {
        let mut plan = running(&[&[], &[0]]);
        plan.stop();
        check(&mut plan, "tell 1, stop 1, timer 10s");
        done(&mut plan, 1, first);
        check(&mut plan, "");
        done(&mut plan, 1, second);
        check(&mut plan, "tasks 1");
        plan.tasks_ended(SlotId(1));
        check(&mut plan, "tell 0, stop 0");
    }
}

#[test]
fn a_run_that_returned_early_is_still_stopped() {
    let mut plan = running(&[&[]]);
    done(&mut plan, 0, Phase::Run);
    check(&mut plan, "await tasks");
    plan.stop();
    check(&mut plan, "tell 0, stop 0, timer 10s");
    done(&mut plan, 0, Phase::Stop);
    check(&mut plan, "tasks 0");
}

#[test]
fn a_failed_run_stops_everything() {
    let mut plan = running(&[&[], &[0]]);
    fail(&mut plan, 0, Phase::Run);
    check(&mut plan, "tell 1, stop 1, timer 10s");
    ends(&mut plan, 1);
    check(&mut plan, "tasks 1, tell 0, stop 0");
    done(&mut plan, 0, Phase::Stop);
    check(&mut plan, "tasks 0");
}

#[test]
fn a_second_stop_changes_nothing() {
    let mut plan = running(&[&[]]);
    plan.stop();
    check(&mut plan, "tell 0, stop 0, timer 10s");
    plan.stop();
    fail(&mut plan, 0, Phase::Run);
    check(&mut plan, "");
}

#[test]
fn a_failed_prepare_rolls_back_in_reverse_with_a_deadline_of_its_own() {
    let mut plan = plan(&[&[], &[0], &[1], &[2]]);
    plan.start();
    done(&mut plan, 0, Phase::Prepare);
    done(&mut plan, 1, Phase::Prepare);
    check(&mut plan, "prepare 0, timer 30s, prepare 1, prepare 2");
    fail(&mut plan, 2, Phase::Prepare);
    check(&mut plan, "tell 2, tasks 2, timer 5s");
    plan.tasks_ended(SlotId(2));
    check(&mut plan, "tell 1, stop 1");
    done(&mut plan, 1, Phase::Stop);
    plan.tasks_ended(SlotId(1));
    check(&mut plan, "tasks 1, tell 0, stop 0");
}

#[test]
fn a_rollback_waits_until_a_prepare_it_cuts_is_dropped() {
    let mut plan = plan(&[&[], &[0], &[]]);
    plan.start();
    done(&mut plan, 0, Phase::Prepare);
    check(&mut plan, "prepare 0, prepare 2, timer 30s, prepare 1");
    fail(&mut plan, 2, Phase::Prepare);
    check(&mut plan, "tell 2, tell 1, tasks 2, timer 5s");
    plan.tasks_ended(SlotId(2));
    check(&mut plan, "");
    cancelled(&mut plan, 1, Phase::Prepare);
    check(&mut plan, "tasks 1");
    plan.tasks_ended(SlotId(1));
    check(&mut plan, "tell 0, stop 0");
}

#[test]
fn a_prepare_that_succeeds_while_rolling_back_is_stopped() {
    let mut plan = plan(&[&[], &[]]);
    plan.start();
    fail(&mut plan, 0, Phase::Prepare);
    check(&mut plan, "prepare 0, prepare 1, timer 30s, tell 0, tell 1, tasks 0, timer 5s");
    done(&mut plan, 1, Phase::Prepare);
    check(&mut plan, "tell 1, stop 1");
}

#[test]
fn a_late_prepare_is_killed_and_the_rollback_has_its_own_time() {
    let mut plan = plan(&[&[], &[0]]);
    plan.start();
    done(&mut plan, 0, Phase::Prepare);
    plan.actions();
    ring(&mut plan);
    check(&mut plan, "deadline_exceeded 1 prepare 30s, tell 1, abort 1, timer 100ms");
    cancelled(&mut plan, 1, Phase::Prepare);
    check(&mut plan, "tasks 1");
    plan.tasks_ended(SlotId(1));
    check(&mut plan, "tell 0, stop 0, timer 5s");
}

#[test]
fn a_stop_before_the_start_ends_at_once() {
    let mut plan = plan(&[&[], &[0]]);
    plan.stop();
    assert!(plan.has_ended());
    plan.actions();
    plan.start();
    check(&mut plan, "");
}

#[test]
fn what_exceeds_the_deadline_is_aborted_and_the_others_stop_with_time_of_their_own() {
    let mut plan = running(&[&[], &[0]]);
    plan.stop();
    check(&mut plan, "tell 1, stop 1, timer 10s");
    done(&mut plan, 1, Phase::Stop);
    ring(&mut plan);
    check(&mut plan, "deadline_exceeded 1 run 10s, abort 1, timer 100ms");
    cancelled(&mut plan, 1, Phase::Run);
    plan.tasks_ended(SlotId(1));
    check(&mut plan, "tasks 1, tell 0, stop 0, timer 8.9s");
    ends(&mut plan, 0);
    check(&mut plan, "tasks 0, no timer");
}

#[test]
fn the_second_deadline_exceeded_ends_everything() {
    let mut plan = running(&[&[], &[0], &[1]]);
    plan.stop();
    ring(&mut plan);
    check(
        &mut plan,
        "tell 2, stop 2, timer 0ns, deadline_exceeded 2 run 10s, deadline_exceeded 2 stop 10s, abort 2, timer 100ms",
    );
    cancelled(&mut plan, 2, Phase::Run);
    cancelled(&mut plan, 2, Phase::Stop);
    plan.tasks_ended(SlotId(2));
    check(&mut plan, "tasks 2, tell 1, stop 1, timer 8.9s");
    ring(&mut plan);
    check(
        &mut plan,
        "deadline_exceeded 1 run 10s, deadline_exceeded 1 stop 10s, abort 1, stop skipped 0, tell 0, abort 0, timer 100ms",
    );
    for id in [1, 0] {
        cancelled(&mut plan, id, Phase::Run);
        cancelled(&mut plan, id, Phase::Stop);
        plan.tasks_ended(SlotId(id));
    }
    check(&mut plan, "tasks 1, tasks 0, no timer");
}

#[test]
fn what_blocks_its_thread_is_not_waited_for() {
    let mut plan = running(&[&[], &[0]]);
    plan.stop();
    done(&mut plan, 1, Phase::Stop);
    ring(&mut plan);
    plan.actions();
    ring(&mut plan);
    check(&mut plan, "look 1");
    plan.give_up(SlotId(1));
    check(&mut plan, "tell 0, stop 0, timer 8.8s");
    cancelled(&mut plan, 1, Phase::Run);
    ends(&mut plan, 0);
    check(&mut plan, "tasks 0, no timer");
}

#[test]
fn tasks_that_exceed_the_deadline_are_aborted() {
    let mut plan = running(&[&[]]);
    plan.stop();
    done(&mut plan, 0, Phase::Run);
    done(&mut plan, 0, Phase::Stop);
    check(&mut plan, "tell 0, stop 0, timer 10s, tasks 0");
    ring(&mut plan);
    check(&mut plan, "abort 0, timer 100ms");
    plan.tasks_ended(SlotId(0));
    check(&mut plan, "no timer");
}

#[test]
fn a_kill_does_not_wait_for_anybodys_turn() {
    let mut plan = running(&[&[], &[0]]);
    child(&mut plan, 7, &[], Maker::Daemon(SlotId(0)));
    plan.abort(Duration::from_secs(3), GRACE);
    check(
        &mut plan,
        "tell 1, stop 1, timer 10s, abort child 7, deadline_exceeded 1 run 3s, deadline_exceeded 1 stop 3s, abort 1, stop skipped 0, tell 0, abort 0, timer 100ms",
    );
    ring(&mut plan);
    check(&mut plan, "look 1, look 0, timer 150ms");
    plan.give_up(SlotId(1));
    plan.give_up(SlotId(0));
    ring(&mut plan);
    check(&mut plan, "stuck child 7");
    assert!(plan.has_ended());
}

#[test]
fn a_child_stops_after_those_who_need_its_maker_and_before_its_maker() {
    // 1 needs 0; the child was made by 0 and shares nothing.
    let mut plan = running(&[&[], &[0]]);
    child(&mut plan, 7, &[], Maker::Daemon(SlotId(0)));
    plan.stop();
    check(&mut plan, "tell 1, stop 1, timer 10s");
    ends(&mut plan, 1);
    check(&mut plan, "tasks 1, tell child 7");
    plan.child_left(ChildId(7));
    check(&mut plan, "tell 0, stop 0");
}

#[test]
fn a_child_that_shares_what_needs_its_maker_does_not_block_the_stop() {
    // 1 needs 0; 0 made the child, which shares 1. 1 is the first whose turn comes.
    let mut plan = running(&[&[], &[0]]);
    child(&mut plan, 7, &[1], Maker::Daemon(SlotId(0)));
    plan.stop();
    check(&mut plan, "tell child 7, timer 10s");
    plan.child_left(ChildId(7));
    check(&mut plan, "tell 1, stop 1");
    ends(&mut plan, 1);
    check(&mut plan, "tasks 1, tell 0, stop 0");
}

#[test]
fn a_child_made_through_a_handle_is_told_at_once_and_waited_for() {
    let mut plan = running(&[&[]]);
    child(&mut plan, 7, &[], Maker::Handle);
    child(&mut plan, 8, &[0], Maker::Handle);
    plan.stop();
    check(&mut plan, "tell child 7, tell child 8, timer 10s");
    plan.child_left(ChildId(8));
    check(&mut plan, "tell 0, stop 0");
    ends(&mut plan, 0);
    check(&mut plan, "tasks 0");
    assert!(!plan.has_ended());
    plan.child_left(ChildId(7));
    check(&mut plan, "no timer");
}

#[test]
fn a_child_waits_until_what_it_shares_is_prepared_but_not_for_its_maker() {
    let mut plan = plan(&[&[], &[]]);
    plan.start();
    check(&mut plan, "prepare 0, prepare 1, timer 30s");
    assert!(join(&mut plan, 7, &[1], Maker::Daemon(SlotId(0))).is_ok());
    assert!(join(&mut plan, 8, &[], Maker::Daemon(SlotId(0))).is_ok());
    check(&mut plan, "admit 8");
    done(&mut plan, 1, Phase::Prepare);
    check(&mut plan, "admit 7");
    done(&mut plan, 0, Phase::Prepare);
    check(&mut plan, "run 0, run 1, started, no timer");
    assert!(join(&mut plan, 9, &[0, 1], Maker::Handle).is_ok());
    check(&mut plan, "admit 9");
}

#[test]
fn a_child_that_left_leaves_nothing() {
    let mut plan = running(&[&[]]);
    for id in 0..1_000 {
        child(&mut plan, id, &[0], if id % 2 == 0 { Maker::Handle } else { Maker::Descendant });
    }
    for id in 0..1_000 {
        plan.child_left(ChildId(id));
    }
    assert!(plan.children.is_empty());
    assert_eq!(plan.slots[0].children, 0);
    check(&mut plan, "");
}

#[test]
fn a_stopping_factory_takes_no_children() {
    let mut plan = running(&[&[]]);
    plan.stop();
    assert!(join(&mut plan, 7, &[], Maker::Handle).is_err());
}

#[test]
fn children_of_a_prepare_that_failed_end_before_its_tasks_are_awaited() {
    let mut plan = plan(&[&[]]);
    plan.start();
    child(&mut plan, 7, &[], Maker::Daemon(SlotId(0)));
    fail(&mut plan, 0, Phase::Prepare);
    check(&mut plan, "prepare 0, timer 30s, tell 0, tell child 7, timer 5s");
    plan.child_left(ChildId(7));
    check(&mut plan, "tasks 0");
}

#[test]
fn a_late_prepares_child_has_the_rollbacks_time_and_its_maker_waits_for_it() {
    let mut plan = plan(&[&[]]);
    plan.start();
    child(&mut plan, 7, &[], Maker::Daemon(SlotId(0)));
    check(&mut plan, "prepare 0, timer 30s");
    ring(&mut plan);
    check(&mut plan, "deadline_exceeded 0 prepare 30s, tell 0, abort 0, timer 100ms");
    cancelled(&mut plan, 0, Phase::Prepare);
    check(&mut plan, "tell child 7, timer 5s");
    plan.child_left(ChildId(7));
    check(&mut plan, "tasks 0, timer 100ms");
    ring(&mut plan);
    check(&mut plan, "look 0, timer 4.9s");
    plan.give_up(SlotId(0));
    assert!(plan.has_ended());
}

#[test]
fn a_child_that_exceeds_the_deadline_is_aborted_and_then_given_up() {
    let mut plan = running(&[&[]]);
    child(&mut plan, 7, &[], Maker::Daemon(SlotId(0)));
    plan.stop();
    check(&mut plan, "tell child 7, timer 10s");
    ring(&mut plan);
    check(&mut plan, "abort child 7, timer 250ms");
    ring(&mut plan);
    check(&mut plan, "stuck child 7, tell 0, stop 0, timer 8.65s");
    plan.child_left(ChildId(7));
    ends(&mut plan, 0);
    check(&mut plan, "tasks 0, no timer");
}

fn again(restarts: u32, window: u64) -> Policy {
    Policy::restart(Backoff { restarts, window: Duration::from_secs(window), ..Backoff::default() })
}

/// Its run fails, and it has neither children nor tasks.
fn fails_idle(plan: &mut Plan, id: u32) {
    fail(plan, id, Phase::Run);
    plan.tasks_ended(SlotId(id));
}

#[test]
fn a_failed_run_runs_again_after_its_children_and_tasks_have_ended_and_a_pause() {
    let mut plan = running_with(&[&[], &[0]], &[again(3, 60)]);
    child(&mut plan, 7, &[], Maker::Daemon(SlotId(0)));
    child(&mut plan, 8, &[0], Maker::Handle);
    assert_eq!(plan.phase_ended(SlotId(0), Phase::Run, PhaseEnd::Failed), Verdict::Restarts);
    check(&mut plan, "tell child 7, timer 10s");
    plan.child_left(ChildId(7));
    check(&mut plan, "tasks 0");
    plan.tasks_ended(SlotId(0));
    check(&mut plan, "renew 0, draw 0 for 1, no timer");
    plan.pause(SlotId(0), Duration::from_millis(80));
    check(&mut plan, "timer 80ms");
    ring(&mut plan);
    check(&mut plan, "run 0");
    assert_eq!(plan.state(SlotId(0)), State::Running);
}

#[test]
fn restarts_are_counted_in_a_window_that_slides() {
    let mut plan = running_with(&[&[]], &[again(2, 60)]);
    for (nth, seconds) in [(1, 0), (2, 40), (2, 40), (2, 30)] {
        pass(&mut plan, Duration::from_secs(seconds));
        fails_idle(&mut plan, 0);
        check(&mut plan, &format!("tasks 0, timer 10s, renew 0, draw 0 for {nth}, no timer"));
        plan.pause(SlotId(0), Duration::ZERO);
        ring(&mut plan);
        check(&mut plan, "timer 0ns, run 0");
    }
    pass(&mut plan, Duration::from_secs(29));
    let verdict = plan.phase_ended(SlotId(0), Phase::Run, PhaseEnd::Failed);
    assert!(matches!(verdict, Verdict::TooOften(_)), "{verdict:?}");
    check(&mut plan, "tell 0, stop 0, timer 10s");
}

#[test]
fn a_daemon_that_may_not_run_again_once_stops_everything() {
    let mut plan = running_with(&[&[]], &[again(0, 60)]);
    fail(&mut plan, 0, Phase::Run);
    check(&mut plan, "tell 0, stop 0, timer 10s");
}

#[test]
fn a_daemon_that_is_left_down_is_stopped_in_its_turn() {
    let mut plan = running_with(&[&[], &[0]], &[Policy::leave_down()]);
    fails_idle(&mut plan, 0);
    check(&mut plan, "tasks 0, timer 10s, renew 0, no timer");
    assert_eq!(plan.state(SlotId(0)), State::Down);
    plan.stop();
    check(&mut plan, "tell 1, stop 1, timer 10s");
    ends(&mut plan, 1);
    check(&mut plan, "tasks 1, tell 0, stop 0");
    done(&mut plan, 0, Phase::Stop);
    plan.tasks_ended(SlotId(0));
    check(&mut plan, "tasks 0, no timer");
}

#[test]
fn a_stop_ends_a_pause() {
    let mut plan = running_with(&[&[], &[0]], &[again(3, 60)]);
    fails_idle(&mut plan, 0);
    plan.pause(SlotId(0), Duration::from_millis(80));
    plan.actions();
    plan.stop();
    ring(&mut plan);
    check(&mut plan, "tell 1, stop 1, timer 9.92s");
    ends(&mut plan, 1);
    check(&mut plan, "tasks 1, tell 0, stop 0");
}

#[test]
fn a_stop_waits_until_a_daemon_has_wound_down() {
    let mut plan = running_with(&[&[]], &[again(3, 60)]);
    fail(&mut plan, 0, Phase::Run);
    plan.stop();
    check(&mut plan, "tasks 0, timer 10s");
    plan.tasks_ended(SlotId(0));
    check(&mut plan, "renew 0, tell 0, stop 0");
}

#[test]
fn tasks_that_keep_a_daemon_from_running_again_are_killed_within_its_own_limit() {
    let policy = Policy { stop: Some(Duration::from_secs(2)), ..again(3, 60) };
    let mut plan = running_with(&[&[]], &[policy]);
    fail(&mut plan, 0, Phase::Run);
    check(&mut plan, "tasks 0, timer 2s");
    ring(&mut plan);
    check(&mut plan, "abort 0, timer 100ms");
    plan.tasks_ended(SlotId(0));
    check(&mut plan, "renew 0, draw 0 for 1, no timer");
    assert_eq!(plan.aborts_pending, 0);
}

#[test]
fn a_task_that_blocks_its_thread_keeps_its_daemon_from_running_again() {
    let mut plan = running_with(&[&[]], &[again(3, 60)]);
    child(&mut plan, 7, &[], Maker::Daemon(SlotId(0)));
    fail(&mut plan, 0, Phase::Run);
    check(&mut plan, "tell child 7, timer 10s");
    ring(&mut plan);
    check(&mut plan, "abort child 7, abort 0, timer 100ms");
    assert!(join(&mut plan, 8, &[], Maker::Daemon(SlotId(0))).is_err(), "it makes no more");
    plan.child_left(ChildId(7));
    ring(&mut plan);
    check(&mut plan, "tasks 0, look 0");
    plan.give_up(SlotId(0));
    check(&mut plan, "renew 0, tell 0, stop 0, timer 10s");
    done(&mut plan, 0, Phase::Stop);
    plan.tasks_ended(SlotId(0));
    assert!(plan.has_ended());
}

#[test]
fn a_child_made_by_what_is_left_of_a_failed_run_is_told_to_stop() {
    let mut plan = running_with(&[&[]], &[again(3, 60)]);
    fail(&mut plan, 0, Phase::Run);
    assert!(join(&mut plan, 7, &[], Maker::Daemon(SlotId(0))).is_ok());
    check(&mut plan, "tasks 0, timer 10s, tell child 7");
    plan.tasks_ended(SlotId(0));
    check(&mut plan, "");
    plan.child_left(ChildId(7));
    check(&mut plan, "tasks 0");
    plan.tasks_ended(SlotId(0));
    check(&mut plan, "renew 0, draw 0 for 1, no timer");
}

#[test]
fn a_prepare_may_have_less_time_than_the_others() {
    let policy = Policy { prepare: Some(Duration::from_secs(1)), ..Policy::default() };
    let mut plan = plan_with(&[&[], &[]], &[policy]);
    plan.start();
    check(&mut plan, "prepare 0, prepare 1, timer 1s");
    ring(&mut plan);
    check(&mut plan, "deadline_exceeded 0 prepare 1s, tell 1, tell 0, abort 0, timer 100ms");
}

#[test]
fn a_daemon_may_have_less_time_to_stop_than_the_others() {
    let policy = Policy { stop: Some(Duration::from_secs(1)), ..Policy::default() };
    let mut plan = running_with(&[&[], &[]], &[policy]);
    plan.stop();
    check(&mut plan, "tell 1, stop 1, tell 0, stop 0, timer 1s");
    ring(&mut plan);
    check(&mut plan, "deadline_exceeded 0 run 1s, deadline_exceeded 0 stop 1s, abort 0, timer 100ms");
    ring(&mut plan);
    check(&mut plan, "look 0, timer 8.9s");
    plan.give_up(SlotId(0));
    ends(&mut plan, 1);
    check(&mut plan, "tasks 1, no timer");
}

#[test]
fn a_run_that_returns_runs_again_if_its_policy_says_so() {
    let backoff = Backoff { restarts: 1, ..Backoff::default() };
    let mut plan = running_with(&[&[], &[]], &[Policy::permanent(backoff)]);
    done(&mut plan, 0, Phase::Run);
    check(&mut plan, "tasks 0, timer 10s");
    plan.tasks_ended(SlotId(0));
    check(&mut plan, "renew 0, draw 0 for 1, no timer");
    plan.pause(SlotId(0), Duration::from_millis(80));
    check(&mut plan, "timer 80ms");
    ring(&mut plan);
    check(&mut plan, "run 0");
    // Failures and ends have one limit.
    assert_eq!(plan.phase_ended(SlotId(0), Phase::Run, PhaseEnd::Failed), Verdict::TooOften(backoff));
    check(&mut plan, "tell 1, stop 1, tell 0, stop 0, timer 10s");
}

#[test]
fn a_run_that_returns_stops_the_factory_if_its_policy_says_so() {
    let policy = Policy { on_finish: OnFinish::StopFactory, ..Policy::default() };
    let mut plan = running_with(&[&[], &[0]], &[policy]);
    assert_eq!(plan.phase_ended(SlotId(0), Phase::Run, PhaseEnd::Done), Verdict::Stands);
    check(&mut plan, "tell 1, stop 1, timer 10s");
}

#[test]
fn a_factory_has_nothing_left_to_do_when_all_have_finished_and_no_child_is_left() {
    let mut plan = running_with(&[&[], &[0], &[]], &[Policy::leave_down()]);
    child(&mut plan, 7, &[], Maker::Handle);
    fail(&mut plan, 0, Phase::Run);
    check(&mut plan, "tasks 0, timer 10s");
    plan.tasks_ended(SlotId(0));
    check(&mut plan, "renew 0, no timer");
    done(&mut plan, 1, Phase::Run);
    done(&mut plan, 2, Phase::Run);
    check(&mut plan, "");
    plan.child_left(ChildId(7));
    check(&mut plan, "await tasks");
    plan.try_finish();
    check(&mut plan, "await tasks");
    plan.finish();
    check(&mut plan, "tell 2, stop 2, tell 1, stop 1, timer 10s");
}

#[test]
fn daemons_that_are_down_alone_are_no_end_and_a_factory_may_remain() {
    let mut plan = running_with(&[&[]], &[Policy::leave_down()]);
    fail(&mut plan, 0, Phase::Run);
    plan.tasks_ended(SlotId(0));
    check(&mut plan, "tasks 0, timer 10s, renew 0, no timer");

    let mut plan = running(&[&[]]);
    plan.remain();
    done(&mut plan, 0, Phase::Run);
    check(&mut plan, "");
}

#[test]
fn a_single_daemon_is_restarted_on_request_after_its_children_and_tasks_have_ended() {
    let mut plan = running(&[&[], &[0]]);
    child(&mut plan, 7, &[], Maker::Daemon(SlotId(0)));
    assert!(plan.command(SlotId(0), Next::Run));
    check(&mut plan, "tell 0, tell child 7, timer 10s");
    assert!(!plan.command(SlotId(0), Next::Run), "it is about to");
    plan.child_left(ChildId(7));
    check(&mut plan, "");
    done(&mut plan, 0, Phase::Run);
    check(&mut plan, "tasks 0");
    plan.tasks_ended(SlotId(0));
    check(&mut plan, "renew 0, run 0, no timer");
}

#[test]
fn a_single_daemon_that_is_stopped_on_request_is_down_until_it_is_restarted() {
    let mut plan = running(&[&[], &[]]);
    assert!(plan.command(SlotId(0), Next::Stopped));
    check(&mut plan, "tell 0, timer 10s");
    done(&mut plan, 0, Phase::Run);
    plan.tasks_ended(SlotId(0));
    check(&mut plan, "tasks 0, renew 0, no timer");
    assert_eq!(plan.state(SlotId(0)), State::Down);
    done(&mut plan, 1, Phase::Run);
    check(&mut plan, "");
    assert!(plan.command(SlotId(0), Next::Run));
    check(&mut plan, "tasks 0, timer 10s");
    plan.tasks_ended(SlotId(0));
    check(&mut plan, "renew 0, run 0, no timer");
}

#[test]
fn a_run_that_overstays_a_request_to_restart_is_aborted_and_its_daemon_runs_again() {
    let policy = Policy { stop: Some(Duration::from_secs(2)), ..Policy::default() };
    let mut plan = running_with(&[&[]], &[policy]);
    assert!(plan.command(SlotId(0), Next::Run));
    check(&mut plan, "tell 0, timer 2s");
    ring(&mut plan);
    check(&mut plan, "deadline_exceeded 0 run 2s, abort 0, timer 100ms");
    cancelled(&mut plan, 0, Phase::Run);
    check(&mut plan, "tasks 0");
    plan.tasks_ended(SlotId(0));
    check(&mut plan, "renew 0, run 0, no timer");
    assert_eq!(plan.aborts_pending, 0);
}

#[test]
fn a_run_that_blocks_its_thread_at_a_request_to_restart_stops_the_factory() {
    let mut plan = running(&[&[]]);
    assert!(plan.command(SlotId(0), Next::Run));
    ring(&mut plan);
    plan.actions();
    ring(&mut plan);
    check(&mut plan, "look 0");
    plan.give_up(SlotId(0));
    check(&mut plan, "renew 0, tell 0, stop 0, timer 10s");
    done(&mut plan, 0, Phase::Stop);
    plan.tasks_ended(SlotId(0));
    assert!(plan.has_ended());
}

#[test]
fn a_child_that_depends_on_its_maker_waits_until_that_is_prepared() {
    let mut plan = plan(&[&[], &[0]]);
    plan.start();
    plan.actions();
    assert!(join(&mut plan, 7, &[0], Maker::Daemon(SlotId(0))).is_ok());
    assert!(join(&mut plan, 8, &[], Maker::Daemon(SlotId(0))).is_ok());
    check(&mut plan, "admit 8");
    let shares = |id| vec![SlotId(id)];
    let awaited = |plan: &mut Plan, id| plan.join(ChildId(9), shares(id), Maker::Daemon(SlotId(0)), true);
    assert_eq!(awaited(&mut plan, 0), Err(NotJoined::WaitsForItself));
    assert_eq!(awaited(&mut plan, 1), Err(NotJoined::WaitsForItself), "it depends on the maker");
    done(&mut plan, 0, Phase::Prepare);
    check(&mut plan, "prepare 1, admit 7");
    assert_eq!(awaited(&mut plan, 1), Ok(()));
}

/// Random events in any order: everything ends, within twice the deadline, and no daemon is stopped before its dependents have ended.
#[test]
fn random_lives_end_in_order() {
    for seed in 0..10_000 {
        let mut random = Random(seed);
        let count = 1 + random.below(7) as u32;
        let needs: Vec<Vec<SlotId>> =
            (0..count).map(|id| (0..id).filter(|_| random.below(3) == 0).map(SlotId).collect()).collect();
        let stop = Duration::from_millis([0, 30, 400, 1_000, 10_000][random.below(5) as usize]);
        let mut plan = Plan::new(Deadlines { stop, rollback: stop, ..Deadlines::default() }, beginning());
        for needs in &needs {
            plan.add(random.below(6) > 0, needs.clone(), random.policy());
        }
        Life { plan, needs, pending: Vec::new(), next_child: 0, stops: None }.live(&mut random);
    }
}

/// A life the plan leads with a world that answers in random order, and not always.
struct Life {
    plan: Plan,
    needs: Vec<Vec<SlotId>>,
    pending: Vec<Pending>,
    next_child: u64,
    /// When the stop began, and when its last resort is due.
    stops: Option<(Instant, Instant)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pending {
    Phase(SlotId, Phase),
    Tasks(SlotId),
    Child(ChildId),
}

impl Life {
    fn live(mut self, random: &mut Random) {
        self.plan.start();
        for step in 0.. {
            self.execute();
            if let Stage::Stopping { limit, .. } = self.plan.stage
                && self.stops.is_none()
            {
                let (now, within) = (self.plan.now, Deadlines::last_resort(limit).expect("it is short"));
                self.stops = Some((now, now + within));
            }
            if self.plan.has_ended() {
                break;
            }
            assert!(step < 1_000, "a life ends");
            match random.below(20) {
                0 => self.plan.stop(),
                1 if random.below(4) == 0 => self.plan.abort(Duration::from_secs(3), GRACE),
                2 | 3 if self.has_timer() => ring(&mut self.plan),
                4 => self.command(random),
                5..8 => self.have_a_child(random),
                _ if !self.pending.is_empty() => self.answer(random),
                _ if self.has_timer() => ring(&mut self.plan),
                _ => self.plan.stop(),
            }
        }
        assert_eq!(self.plan.unended, 0);
        assert_eq!(self.plan.aborts_pending, 0);
        assert!(self.plan.children.is_empty());
        if let Some((began, last_resort)) = self.stops {
            let dropped = self.plan.drop_by().expect("a stop has a deadline");
            assert!(
                self.plan.now < last_resort && dropped < last_resort,
                "{:?} of {:?}",
                dropped - began,
                last_resort - began
            );
        }
    }

    fn execute(&mut self) {
        loop {
            let actions = self.plan.actions();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                match action {
                    Action::Begin(id, phase) => {
                        if phase == Phase::Prepare {
                            let needs = &self.needs[id.index()];
                            assert!(
                                needs.iter().all(|need| self.plan.slots[need.index()].step.is_prepared())
                            );
                        }
                        if phase == Phase::Stop {
                            assert_eq!(
                                self.plan.slots[id.index()].children,
                                0,
                                "{id:?} stops after its children"
                            );
                        }
                        assert!(
                            !self.pending.contains(&Pending::Phase(id, phase)),
                            "{id:?} is at {phase} already"
                        );
                        assert!(
                            !self.pending.contains(&Pending::Tasks(id)),
                            "{id:?} has tasks of its last run"
                        );
                        self.pending.push(Pending::Phase(id, phase));
                    }
                    Action::SignalStop(id) if self.plan.slots[id.index()].is_aborted => {}
                    // Its run alone.
                    Action::SignalStop(id) if self.plan.slots[id.index()].step == Step::WindingDown => {}
                    Action::SignalStop(id) => {
                        let is_ended = |id: usize| self.plan.slots[id].step == Step::Ended;
                        let mut needed_by = (0..self.needs.len()).filter(|by| self.needs[*by].contains(&id));
                        assert!(needed_by.all(is_ended), "{id:?} is told after those who need it have ended");
                    }
                    Action::CloseTasks(id) if self.pending.contains(&Pending::Tasks(id)) => {}
                    Action::CloseTasks(id) => self.pending.push(Pending::Tasks(id)),
                    Action::RenewScope(id) => {
                        assert_eq!(self.plan.slots[id.index()].own_children, 0, "its children have ended");
                        // Those that were stuck have lost their say.
                        self.pending.retain(|pending| *pending != Pending::Tasks(id));
                    }
                    Action::DrawBackoff(id, backoff, nth) => {
                        self.plan.pause(id, backoff.pause(nth, u64::from(nth) << 60));
                    }
                    Action::Look(id) if self.plan.is_patient(id) && self.next_child.is_multiple_of(2) => {
                        self.plan.wait_again(id, self.plan.grace());
                    }
                    Action::Look(id) => self.plan.give_up(id),
                    Action::AwaitTasks => {
                        let steps = || self.plan.slots.iter().filter(|slot| slot.has_lifecycle);
                        assert!(steps().all(|slot| !slot.in_flight.any() && slot.children == 0));
                        self.plan.finish();
                    }
                    Action::StopChild(id) => self.pending.push(Pending::Child(id)),
                    Action::AbortChild(id, ..) if !self.pending.contains(&Pending::Child(id)) => {
                        self.pending.push(Pending::Child(id));
                    }
                    _ => {}
                }
            }
        }
    }

    fn has_timer(&self) -> bool {
        self.plan.timeouts.timer.is_some()
    }

    fn have_a_child(&mut self, random: &mut Random) {
        let child = ChildId(self.next_child);
        self.next_child += 1;
        let slots: Vec<_> = (0..self.needs.len() as u32)
            .map(SlotId)
            .filter(|id| self.plan.slots[id.index()].has_lifecycle && random.below(2) == 0)
            .collect();
        let maker = match slots.first() {
            Some(maker) if random.below(2) == 0 => Maker::Daemon(*maker),
            Some(_) if random.below(2) == 0 => Maker::Descendant,
            _ => Maker::Handle,
        };
        let _ = self.plan.join(child, slots, maker, false);
    }

    fn command(&mut self, random: &mut Random) {
        let id = SlotId(random.below(self.needs.len() as u64) as u32);
        let next = if random.below(2) == 0 { Next::Run } else { Next::Stopped };
        self.plan.command(id, next);
    }

    fn answer(&mut self, random: &mut Random) {
        let pending = self.pending.swap_remove(random.below(self.pending.len() as u64) as usize);
        match pending {
            Pending::Phase(id, phase) => {
                let end = match random.below(12) {
                    0 => PhaseEnd::Failed,
                    1 => PhaseEnd::Cancelled,
                    _ => PhaseEnd::Done,
                };
                self.plan.phase_ended(id, phase, end);
            }
            Pending::Tasks(id) => self.plan.tasks_ended(id),
            Pending::Child(id) => self.plan.child_left(id),
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn policy(&mut self) -> Policy {
        let on_failure = match self.below(4) {
            0 => OnFailure::Restart(Backoff { restarts: self.below(4) as u32, ..Backoff::default() }),
            1 => OnFailure::LeaveDown,
            _ => OnFailure::StopFactory,
        };
        let mut limit = || (self.below(3) == 0).then(|| Duration::from_secs(self.below(40)));
        let (prepare, stop) = (limit(), limit());
        let on_finish = match self.below(6) {
            0 => OnFinish::Restart(Backoff { restarts: self.below(4) as u32, ..Backoff::default() }),
            1 => OnFinish::StopFactory,
            _ => OnFinish::Stay,
        };
        Policy { on_failure, on_finish, prepare, stop }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

#[test]
fn a_requested_stop_drains_and_then_begins() {
    let mut plan = running(&[&[], &[0]]);
    plan.drain(Some(Duration::from_secs(3)));
    check(&mut plan, "drain, timer 3s");
    assert_eq!(plan.factory_state(), State::Draining);
    pass(&mut plan, Duration::from_secs(1));
    plan.drain(Some(Duration::from_secs(3)));
    check(&mut plan, ""); // the same request
    child(&mut plan, 7, &[0], Maker::Handle);
    ring(&mut plan);
    check(&mut plan, "tell child 7, tell 1, stop 1, timer 10s");
}

#[test]
fn a_drain_ends_by_a_failure_or_a_stop_at_once() {
    let mut plan = running(&[&[]]);
    plan.drain(Some(Duration::from_secs(3)));
    fail(&mut plan, 0, Phase::Run);
    check(&mut plan, "drain, timer 3s, tell 0, stop 0, timer 10s");
    let mut plan = running(&[&[]]);
    plan.drain(Some(Duration::from_secs(3)));
    plan.stop();
    check(&mut plan, "drain, timer 3s, tell 0, stop 0, timer 10s");
}

#[test]
fn a_drain_of_the_parent_has_no_end_of_its_own() {
    let mut plan = running(&[&[]]);
    plan.drain(None);
    check(&mut plan, "drain");
    assert!(plan.is_draining() && !plan.will_stop());
    plan.drain(Some(Duration::from_secs(3)));
    check(&mut plan, "timer 3s");
    assert!(plan.will_stop());
}

#[test]
fn a_factory_that_starts_while_its_parent_drains_drains_when_it_runs() {
    let mut plan = plan(&[&[]]);
    plan.start();
    plan.drain(None);
    check(&mut plan, "prepare 0, timer 30s");
    assert!(!plan.is_draining());
    done(&mut plan, 0, Phase::Prepare);
    check(&mut plan, "run 0, started, drain, no timer");
    assert!(plan.is_draining());
}

#[test]
fn a_start_that_is_stopped_does_not_drain() {
    let mut plan = plan(&[&[]]);
    plan.start();
    plan.drain(Some(Duration::from_secs(3)));
    check(&mut plan, "prepare 0, timer 30s, tell 0, timer 5s");
}
