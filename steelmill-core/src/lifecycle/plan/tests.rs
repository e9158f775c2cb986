//! Stories of the plan: what is told to it, and what it answers. No executor, no user code.

use super::*;

/// A plan for slots that need these others.
fn plan(needs: &[&[u32]]) -> Plan {
    let mut plan = Plan::new(Deadlines {
        prepare: Duration::from_secs(30),
        stop: Duration::from_secs(10),
        rollback: Duration::from_secs(5),
    });
    for needs in needs {
        plan.add(true, needs.iter().map(|need| SlotId(*need)).collect());
    }
    plan
}

/// One that has been started and runs.
fn running(needs: &[&[u32]]) -> Plan {
    let mut plan = plan(needs);
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

fn cut(plan: &mut Plan, id: u32, phase: Phase) {
    plan.phase_ended(SlotId(id), phase, PhaseEnd::Cut);
}

fn fail(plan: &mut Plan, id: u32, phase: Phase) {
    plan.phase_ended(SlotId(id), phase, PhaseEnd::Failed);
}

/// A child of a running factory joins, and may start at once.
fn child(plan: &mut Plan, id: u64, shares: &[u32], maker: Maker) {
    assert!(plan.join(ChildId(id), shares.iter().map(|id| SlotId(*id)).collect(), maker));
    assert_eq!(plan.actions.pop(), Some(Action::Admit(ChildId(id))));
}

/// A daemon that was told to stop ends without a fuss.
fn ends(plan: &mut Plan, id: u32) {
    done(plan, id, Phase::Run);
    done(plan, id, Phase::Stop);
    plan.tasks_ended(SlotId(id));
}

#[track_caller]
fn check(plan: &mut Plan, expected: &str) {
    let name = |phase: Phase| phase.to_string();
    let actions = plan.actions().into_iter().map(|action| match action {
        Action::Begin(SlotId(id), phase) => format!("{} {id}", name(phase)),
        Action::Started => "started".to_owned(),
        Action::Tell(SlotId(id)) => format!("tell {id}"),
        Action::CloseTasks(SlotId(id)) => format!("tasks {id}"),
        Action::Overstayed(SlotId(id), phase, limit) => format!("overstayed {id} {} {limit:?}", name(phase)),
        Action::NotTold(SlotId(id)) => format!("not told {id}"),
        Action::Kill(SlotId(id), _) => format!("kill {id}"),
        Action::Stuck(SlotId(id)) => format!("stuck {id}"),
        Action::Admit(ChildId(id)) => format!("admit {id}"),
        Action::TellChild(ChildId(id)) => format!("tell child {id}"),
        Action::KillChild(ChildId(id), _) => format!("kill child {id}"),
        Action::StuckChild(ChildId(id)) => format!("stuck child {id}"),
        Action::Timer(Some(limit)) => format!("timer {limit:?}"),
        Action::Timer(None) => "no timer".to_owned(),
    });
    assert_eq!(actions.collect::<Vec<_>>().join(", "), expected);
}

#[test]
fn independent_daemons_prepare_at_once_and_dependents_after_all_they_need() {
    let mut plan = plan(&[&[], &[], &[0, 1], &[2]]);
    plan.start();
    check(&mut plan, "timer 30s, prepare 0, prepare 1");
    done(&mut plan, 1, Phase::Prepare);
    check(&mut plan, "");
    done(&mut plan, 0, Phase::Prepare);
    check(&mut plan, "prepare 2");
    done(&mut plan, 2, Phase::Prepare);
    check(&mut plan, "prepare 3");
    done(&mut plan, 3, Phase::Prepare);
    check(&mut plan, "no timer, run 0, run 1, run 2, run 3, started");
}

#[test]
fn a_factory_without_daemons_starts_and_stops() {
    let mut plan = plan(&[]);
    plan.start();
    check(&mut plan, "timer 30s, no timer, started");
    plan.stop();
    check(&mut plan, "timer 10s, no timer");
    assert!(plan.has_ended());
}

#[test]
fn what_the_world_supplies_is_only_waited_for() {
    let mut plan = Plan::new(Deadlines::default());
    plan.add(false, Vec::new());
    plan.add(true, vec![SlotId(0)]);
    plan.start();
    check(&mut plan, "timer 30s, prepare 1");
    done(&mut plan, 1, Phase::Prepare);
    check(&mut plan, "no timer, run 1, started");
    plan.stop();
    check(&mut plan, "timer 10s, tell 1, stop 1");
    ends(&mut plan, 1);
    check(&mut plan, "tasks 1, no timer");
    assert!(plan.has_ended());
}

#[test]
fn a_diamond_stops_from_the_outside_in() {
    let mut plan = running(&[&[], &[0], &[0], &[1, 2]]);
    plan.stop();
    check(&mut plan, "timer 10s, tell 3, stop 3");
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
        check(&mut plan, "timer 10s, tell 1, stop 1");
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
    check(&mut plan, "");
    plan.stop();
    check(&mut plan, "timer 10s, tell 0, stop 0");
    done(&mut plan, 0, Phase::Stop);
    check(&mut plan, "tasks 0");
}

#[test]
fn a_failed_run_stops_everything() {
    let mut plan = running(&[&[], &[0]]);
    fail(&mut plan, 0, Phase::Run);
    check(&mut plan, "timer 10s, tell 1, stop 1");
    ends(&mut plan, 1);
    check(&mut plan, "tasks 1, tell 0, stop 0");
    done(&mut plan, 0, Phase::Stop);
    check(&mut plan, "tasks 0");
}

#[test]
fn a_second_stop_changes_nothing() {
    let mut plan = running(&[&[]]);
    plan.stop();
    check(&mut plan, "timer 10s, tell 0, stop 0");
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
    check(&mut plan, "timer 30s, prepare 0, prepare 1, prepare 2");
    fail(&mut plan, 2, Phase::Prepare);
    check(&mut plan, "tell 2, timer 5s, tasks 2");
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
    check(&mut plan, "timer 30s, prepare 0, prepare 2, prepare 1");
    fail(&mut plan, 2, Phase::Prepare);
    check(&mut plan, "tell 2, timer 5s, tell 1, tasks 2");
    plan.tasks_ended(SlotId(2));
    check(&mut plan, "");
    cut(&mut plan, 1, Phase::Prepare);
    check(&mut plan, "tasks 1");
    plan.tasks_ended(SlotId(1));
    check(&mut plan, "tell 0, stop 0");
}

#[test]
fn a_prepare_that_succeeds_while_rolling_back_is_stopped() {
    let mut plan = plan(&[&[], &[]]);
    plan.start();
    fail(&mut plan, 0, Phase::Prepare);
    check(&mut plan, "timer 30s, prepare 0, prepare 1, tell 0, timer 5s, tell 1, tasks 0");
    done(&mut plan, 1, Phase::Prepare);
    check(&mut plan, "tell 1, stop 1");
}

#[test]
fn a_late_prepare_is_killed_and_the_rollback_has_its_own_time() {
    let mut plan = plan(&[&[], &[0]]);
    plan.start();
    done(&mut plan, 0, Phase::Prepare);
    plan.actions();
    plan.timer_rang();
    check(&mut plan, "timer 5s, tell 1, timer 100ms, overstayed 1 prepare 30s, kill 1");
    cut(&mut plan, 1, Phase::Prepare);
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
fn an_overstayer_is_killed_and_the_others_stop_with_time_of_their_own() {
    let mut plan = running(&[&[], &[0]]);
    plan.stop();
    check(&mut plan, "timer 10s, tell 1, stop 1");
    done(&mut plan, 1, Phase::Stop);
    plan.timer_rang();
    check(&mut plan, "timer 100ms, overstayed 1 run 10s, kill 1");
    cut(&mut plan, 1, Phase::Run);
    plan.tasks_ended(SlotId(1));
    check(&mut plan, "tasks 1, tell 0, stop 0, timer 10s");
    ends(&mut plan, 0);
    check(&mut plan, "tasks 0, no timer");
}

#[test]
fn the_second_overstayer_ends_everything() {
    let mut plan = running(&[&[], &[0], &[1]]);
    plan.stop();
    plan.timer_rang();
    check(
        &mut plan,
        "timer 10s, tell 2, stop 2, timer 100ms, overstayed 2 run 10s, overstayed 2 stop 10s, kill 2",
    );
    cut(&mut plan, 2, Phase::Run);
    cut(&mut plan, 2, Phase::Stop);
    plan.tasks_ended(SlotId(2));
    check(&mut plan, "tasks 2, tell 1, stop 1, timer 10s");
    plan.timer_rang();
    check(
        &mut plan,
        "timer 100ms, overstayed 1 run 10s, overstayed 1 stop 10s, kill 1, not told 0, tell 0, kill 0",
    );
    for id in [1, 0] {
        cut(&mut plan, id, Phase::Run);
        cut(&mut plan, id, Phase::Stop);
        plan.tasks_ended(SlotId(id));
    }
    check(&mut plan, "tasks 1, tasks 0, no timer");
}

#[test]
fn what_blocks_its_thread_is_not_waited_for() {
    let mut plan = running(&[&[], &[0]]);
    plan.stop();
    done(&mut plan, 1, Phase::Stop);
    plan.timer_rang();
    plan.actions();
    plan.timer_rang();
    check(&mut plan, "stuck 1, tell 0, stop 0, timer 10s");
    cut(&mut plan, 1, Phase::Run);
    ends(&mut plan, 0);
    check(&mut plan, "tasks 0, no timer");
}

#[test]
fn tasks_that_overstay_are_killed() {
    let mut plan = running(&[&[]]);
    plan.stop();
    done(&mut plan, 0, Phase::Run);
    done(&mut plan, 0, Phase::Stop);
    check(&mut plan, "timer 10s, tell 0, stop 0, tasks 0");
    plan.timer_rang();
    check(&mut plan, "timer 100ms, kill 0");
    plan.tasks_ended(SlotId(0));
    check(&mut plan, "no timer");
}

#[test]
fn a_kill_does_not_wait_for_anybodys_turn() {
    let mut plan = running(&[&[], &[0]]);
    child(&mut plan, 7, &[], Maker::Daemon(SlotId(0)));
    plan.kill();
    check(
        &mut plan,
        "timer 10s, tell 1, stop 1, timer 100ms, kill child 7, overstayed 1 run 10s, overstayed 1 stop 10s, kill 1, \
         not told 0, tell 0, kill 0",
    );
    plan.timer_rang();
    check(&mut plan, "stuck child 7, stuck 1, stuck 0, no timer");
    assert!(plan.has_ended());
}

#[test]
fn a_child_stops_after_those_who_need_its_maker_and_before_its_maker() {
    // 1 needs 0; the child was made by 0 and shares nothing.
    let mut plan = running(&[&[], &[0]]);
    child(&mut plan, 7, &[], Maker::Daemon(SlotId(0)));
    plan.stop();
    check(&mut plan, "timer 10s, tell 1, stop 1");
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
    check(&mut plan, "timer 10s, tell child 7");
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
    check(&mut plan, "timer 10s, tell child 7, tell child 8");
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
    check(&mut plan, "timer 30s, prepare 0, prepare 1");
    assert!(plan.join(ChildId(7), vec![SlotId(0), SlotId(1)], Maker::Daemon(SlotId(0))));
    assert!(plan.join(ChildId(8), Vec::new(), Maker::Daemon(SlotId(0))));
    check(&mut plan, "admit 8");
    done(&mut plan, 1, Phase::Prepare);
    check(&mut plan, "admit 7");
    done(&mut plan, 0, Phase::Prepare);
    check(&mut plan, "no timer, run 0, run 1, started");
    assert!(plan.join(ChildId(9), vec![SlotId(0), SlotId(1)], Maker::Handle));
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
    assert!(!plan.join(ChildId(7), Vec::new(), Maker::Handle));
}

#[test]
fn children_of_a_prepare_that_failed_end_before_its_tasks_are_awaited() {
    let mut plan = plan(&[&[]]);
    plan.start();
    child(&mut plan, 7, &[], Maker::Daemon(SlotId(0)));
    fail(&mut plan, 0, Phase::Prepare);
    check(&mut plan, "timer 30s, prepare 0, tell 0, timer 5s, tell child 7");
    plan.child_left(ChildId(7));
    check(&mut plan, "tasks 0");
}

#[test]
fn an_overstaying_child_is_killed_and_then_given_up() {
    let mut plan = running(&[&[]]);
    child(&mut plan, 7, &[], Maker::Daemon(SlotId(0)));
    plan.stop();
    check(&mut plan, "timer 10s, tell child 7");
    plan.timer_rang();
    check(&mut plan, "timer 100ms, kill child 7");
    plan.timer_rang();
    check(&mut plan, "stuck child 7, tell 0, stop 0, timer 10s");
    plan.child_left(ChildId(7));
    ends(&mut plan, 0);
    check(&mut plan, "tasks 0, no timer");
}

/// Whatever happens in whatever order, everything ends, and nobody is told before those who need it have ended.
#[test]
fn random_lives_end_in_order() {
    for seed in 0..3_000 {
        let mut random = Random(seed);
        let count = 1 + random.below(7) as u32;
        let needs: Vec<Vec<SlotId>> =
            (0..count).map(|id| (0..id).filter(|_| random.below(3) == 0).map(SlotId).collect()).collect();
        let mut plan = Plan::new(Deadlines::default());
        needs.iter().for_each(|needs| plan.add(random.below(6) > 0, needs.clone()));
        Life { plan, needs, pending: Vec::new(), next_child: 0, timer: false }.live(&mut random);
    }
}

/// A life the plan leads with a world that answers in random order, and not always.
struct Life {
    plan: Plan,
    needs: Vec<Vec<SlotId>>,
    pending: Vec<Pending>,
    next_child: u64,
    timer: bool,
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
            self.carry_out();
            if self.plan.has_ended() {
                break;
            }
            assert!(step < 1_000, "a life ends");
            match random.below(20) {
                0 => self.plan.stop(),
                1 if random.below(4) == 0 => self.plan.kill(),
                2 | 3 if self.timer => self.plan.timer_rang(),
                4..8 => self.have_a_child(random),
                _ if !self.pending.is_empty() => self.answer(random),
                _ if self.timer => self.plan.timer_rang(),
                _ => self.plan.stop(),
            }
        }
        assert_eq!(self.plan.left, 0);
        assert_eq!(self.plan.dying, 0);
        assert!(self.plan.children.is_empty());
    }

    fn carry_out(&mut self) {
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
                                needs.iter().all(|need| self.plan.slots[need.index()].step == Step::Ready)
                            );
                        }
                        if phase == Phase::Stop {
                            assert_eq!(
                                self.plan.slots[id.index()].children,
                                0,
                                "{id:?} stops after its children"
                            );
                        }
                        self.pending.push(Pending::Phase(id, phase));
                    }
                    Action::Tell(id) if self.plan.slots[id.index()].is_killed => {}
                    Action::Tell(id) => {
                        let is_ended = |id: usize| self.plan.slots[id].step == Step::Ended;
                        let mut needed_by = (0..self.needs.len()).filter(|by| self.needs[*by].contains(&id));
                        assert!(needed_by.all(is_ended), "{id:?} is told after those who need it have ended");
                    }
                    Action::CloseTasks(id) => self.pending.push(Pending::Tasks(id)),
                    Action::TellChild(id) => self.pending.push(Pending::Child(id)),
                    Action::KillChild(id, _) if !self.pending.contains(&Pending::Child(id)) => {
                        self.pending.push(Pending::Child(id));
                    }
                    Action::Timer(limit) => self.timer = limit.is_some(),
                    _ => {}
                }
            }
        }
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
        self.plan.join(child, slots, maker);
    }

    fn answer(&mut self, random: &mut Random) {
        let pending = self.pending.swap_remove(random.below(self.pending.len() as u64) as usize);
        match pending {
            Pending::Phase(id, phase) => {
                let end = match random.below(12) {
                    0 => PhaseEnd::Failed,
                    1 => PhaseEnd::Cut,
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
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
