//! Task backtraces: deadlock, livelock, time-limit and deadline failures list where each task waits, as a stack of
//! async functions.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use steelmill_core::{Daemon, Factory, Policy, Result, Scope};
use steelmill_sim::{Campaign, Cause, Failure, Holder, Outcome, Seed, Settings, Sim, TaskReport, simulate};
use tokio::sync::{Mutex, Notify, RwLock, Semaphore, mpsc};

fn halted(
    limit: Duration,
    scenario: impl AsyncFn(Sim) -> steelmill_core::Result + Copy + 'static,
) -> Vec<TaskReport> {
    let settings = Settings { time_limit: limit, poll_limit: 10_000, record: true, ..Settings::new(Seed(1)) };
    let outcome = simulate(settings.clone(), &move |sim| async move { scenario(sim).await });
    let repeated =
        simulate(Settings { stacks: false, ..settings }, &move |sim| async move { scenario(sim).await });
    assert_eq!(outcome.digest, repeated.digest, "the diagnosis does not change the run");
    assert_eq!(outcome.counts, repeated.counts, "the diagnosis does not change the run");
    assert_eq!(outcome.decisions, repeated.decisions, "the diagnosis does not change the run");
    let failure = outcome.failure.expect("the run does not end");
    assert_eq!(failure.panicked, None, "the diagnosis does not change the run");
    match failure.cause {
        Cause::Deadlock { tasks } | Cause::Livelock { tasks, .. } | Cause::TimeLimit { tasks, .. } => tasks,
        other => panic!("{other}"),
    }
}

const DAY: Duration = Duration::from_secs(86_400);

/// The source line in this file that a line of a stack refers to.
fn source(line: &str) -> &'static str {
    let (_, number) = line.rsplit_once("tests/stuck.rs:").expect("a frame in this file");
    let number: usize = number.parse().expect("a line has a number");
    include_str!("stuck.rs").lines().nth(number - 1).expect("a line of this file")
}

/// Asserts that a task waits for one future, with these source lines as its stack, innermost first.
#[track_caller]
fn assert_waits_at(task: &TaskReport, places: &[&str]) {
    let [stack] = &task.waits_at[..] else { panic!("one stack expected, not {:#?}", task.waits_at) };
    let found: Vec<&str> = stack.iter().map(|line| source(line)).collect();
    assert_eq!(found.len(), places.len(), "{found:#?}");
    assert!(found.iter().zip(places).all(|(line, place)| line.contains(place)), "{found:#?}");
}

async fn takes_both(first: Arc<Mutex<()>>, second: Arc<Mutex<()>>, sim: Sim) {
    let _first = first.lock().await;
    sim.clock().sleep(Duration::from_millis(1)).await;
    takes_the_other(second).await;
}

async fn takes_the_other(second: Arc<Mutex<()>>) {
    let _second = second.lock().await;
}

#[test]
fn a_lock_order_deadlock_shows_both_stacks() {
    let tasks = halted(DAY, async |sim| {
        let (a, b) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
        let one = sim.spawn("one", takes_both(a.clone(), b.clone(), sim));
        let other = sim.spawn("other", takes_both(b, a, sim));
        one.await?;
        other.await?;
        Ok(())
    });
    for name in ["one", "other"] {
        let task = tasks.iter().find(|task| task.name == name).expect("the task is listed");
        assert_waits_at(task, &["second.lock().await", "takes_the_other(second).await"]);
        assert_eq!(task.waits_for, "a lock (a Mutex)");
        let holder = if name == "one" { "other" } else { "one" };
        assert_eq!(task.held_by, Some(Holder::Task(format!("scenario: {holder:?}"))));
        assert!(
            task.to_string().contains(&format!("a lock (a Mutex), held by scenario: {holder:?}")),
            "{task}"
        );
    }
    let text = tasks[1].to_string();
    let line = "\n    in stuck::takes_the_other at steelmill-sim/tests/stuck.rs:";
    assert!(text.contains(line) && text.contains("\n    in stuck::takes_both at "), "{text}");
}

/// <https://rfd.shared.oxide.computer/rfd/0609>
#[test]
fn a_lock_that_was_granted_to_a_future_that_is_not_polled_is_named() {
    async fn holds_for_a_while(lock: Arc<Mutex<()>>, sim: Sim) {
        let _held = lock.lock().await;
        sim.clock().sleep(Duration::from_secs(2)).await;
    }

    async fn stops_to_poll(lock: Arc<Mutex<()>>, sim: Sim) {
        let mut first = std::pin::pin!(lock.lock());
        tokio::select! {
            _ = &mut first => {}
            () = sim.clock().sleep(Duration::from_secs(1)) => drop(lock.lock().await),
        }
    }

    let tasks = halted(DAY, async |sim| {
        let lock = Arc::new(Mutex::new(()));
        let holder = sim.spawn("holds", holds_for_a_while(lock.clone(), sim));
        sim.clock().sleep(Duration::from_millis(1)).await;
        let stops = sim.spawn("stops to poll", stops_to_poll(lock.clone(), sim));
        sim.clock().sleep(Duration::from_secs(3)).await;
        let behind = sim.spawn("stands behind", async move { drop(lock.lock().await) });
        holder.await?;
        stops.await?;
        behind.await?;
        Ok(())
    });
    let holder = |name| tasks.iter().find(|task| task.name == name).expect("it is listed").held_by.clone();
    assert_eq!(holder("stops to poll"), Some(Holder::NoOtherTask));
    assert_eq!(holder("stands behind"), Some(Holder::Task("scenario: \"stops to poll\"".into())));
}

#[test]
fn a_permit_and_a_lock_of_readers_say_who_holds_them() {
    let tasks = halted(DAY, async |sim| {
        let (permits, lock) = (Arc::new(Semaphore::new(1)), Arc::new(RwLock::new(())));
        let (its, locks) = (permits.clone(), lock.clone());
        let holds = sim.spawn("holds", async move {
            let (_permit, _read) = (its.acquire().await, locks.read().await);
            std::future::pending().await
        });
        sim.clock().sleep(Duration::from_secs(1)).await;
        let permit = sim.spawn("permit", async move { drop(permits.acquire().await) });
        let write = sim.spawn("write", async move { drop(lock.write().await) });
        permit.await?;
        write.await?;
        holds.await?;
        Ok(())
    });
    for name in ["permit", "write"] {
        let task = tasks.iter().find(|task| task.name == name).expect("it is listed");
        assert_eq!(task.held_by, Some(Holder::Task("scenario: \"holds\"".into())), "{task}");
    }
}

#[test]
fn a_channel_says_which_end_waits() {
    let waits_for = |tasks: Vec<TaskReport>| {
        tasks.into_iter().find(|task| task.name == "waits").expect("it is listed").waits_for
    };
    let sends = halted(DAY, async |sim| {
        let (sender, _receiver) = mpsc::channel(1);
        sim.spawn("waits", async move { sender.send(1).await.and(sender.send(2).await) }).await??;
        Ok(())
    });
    assert_eq!(waits_for(sends), "room in a channel (mpsc), to send");
    let receives = halted(DAY, async |sim| {
        let (_sender, mut receiver) = mpsc::channel::<()>(1);
        sim.spawn("waits", async move { receiver.recv().await }).await?;
        Ok(())
    });
    assert_eq!(waits_for(receives), "a message in a channel (mpsc), to receive");
}

async fn waits_for_either(mut receiver: mpsc::Receiver<()>, notify: Arc<Notify>) {
    tokio::select! {
        _ = receiver.recv() => {}
        () = notify.notified() => {}
    }
}

#[test]
fn a_select_is_reported_with_one_stack_per_line() {
    let tasks = halted(DAY, async |sim| {
        let (_sender, receiver) = mpsc::channel(1);
        let task = sim.spawn("either", waits_for_either(receiver, Arc::default()));
        task.await?;
        Ok(())
    });
    let task = tasks.iter().find(|task| task.name == "either").expect("the task is listed");
    assert_eq!(task.waits_for, "several things");
    assert!((1..=2).contains(&task.waits_at.len()), "{:#?}", task.waits_at);
    let places: Vec<&str> = task.waits_at.iter().map(|stack| source(&stack[0])).collect();
    assert!(
        places.iter().all(|place| place.contains("tokio::select!") || place.contains("=>")),
        "{places:?}"
    );
    if task.waits_at.len() == 2 {
        let known = ["a message in a channel (mpsc), to receive", "a notification (a Notify)"];
        assert!(task.waits_for_each.iter().flatten().all(|what| known.contains(&&**what)), "{task}");
        assert_ne!(task.waits_for_each[0], task.waits_for_each[1], "{task}");
        assert!(task.to_string().contains("\n    and for "), "{task}");
    }
}

async fn sleeps_forever(sim: Sim) {
    loop {
        sim.clock().sleep(Duration::from_secs(1)).await;
    }
}

#[test]
fn a_run_over_its_time_limit_reports_sleeping_tasks() {
    let tasks = halted(Duration::from_secs(60), async |sim| {
        sim.spawn("sleeper", sleeps_forever(sim)).await?;
        Ok(())
    });
    let sleeper = tasks.iter().find(|task| task.name == "sleeper").expect("the task is listed");
    assert_waits_at(sleeper, &["clock().sleep"]);
    assert_eq!(sleeper.waits_for, "its clock");
}

#[test]
fn a_pending_task_that_is_ready_when_polled_is_reported_as_not_woken() {
    let tasks = halted(DAY, async |sim| {
        let mut was_polled = false;
        sim.spawn(
            "forgotten",
            poll_fn(move |_| {
                // Registers no waker.
                if std::mem::replace(&mut was_polled, true) { Poll::Ready(()) } else { Poll::Pending }
            }),
        )
        .await?;
        Ok(())
    });
    let task = tasks.iter().find(|task| task.name == "forgotten").expect("the task is listed");
    assert!(task.waits_for.contains("nothing has woken it") && task.waits_at.is_empty(), "{task}");
}

#[test]
fn a_future_that_panics_during_the_diagnosis_does_not_affect_it() {
    let tasks = halted(DAY, async |sim| {
        let mut polls = 0;
        sim.spawn(
            "spoiler",
            poll_fn(move |_| -> Poll<()> {
                polls += 1;
                sim.count("polls", 1);
                let _ = getrandom04::u64();
                assert!(polls < 2, "polled more than once");
                Poll::Pending
            }),
        );
        pending::<()>().await;
        Ok(())
    });
    assert_eq!(tasks.len(), 2);
}

async fn answers(own: Arc<Notify>, other: Arc<Notify>) -> Infallible {
    loop {
        own.notified().await;
        other.notify_one();
    }
}

async fn yields() {
    loop {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_livelock_lists_recently_busy_tasks_first() {
    let tasks = halted(DAY, async |sim| {
        // More polls than the two, but not recently.
        sim.spawn("once busy", async move {
            for _ in 0..30_000 {
                sim.clock().sleep(Duration::from_millis(1)).await;
            }
            pending::<()>().await
        });
        sim.clock().sleep(Duration::from_secs(60)).await;
        let (a, b) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        a.notify_one();
        sim.spawn("ping", answers(a.clone(), b.clone()));
        sim.spawn("pong", answers(b, a)).await?;
        Ok(())
    });
    let names: Vec<&str> = tasks.iter().map(|task| task.name).collect();
    assert!(names == ["ping", "pong"] || names == ["pong", "ping"], "{names:?}");
    for task in &tasks {
        assert_eq!(task.recent_polls, Some((2_500, 5_000)));
        assert_waits_at(task, &["own.notified().await"]);
    }
    let text = tasks[0].to_string();
    assert!(text.contains(", 2500 of them among the last 5000\n    in stuck::answers at "), "{text}");
}

#[test]
fn a_task_that_wakes_itself_is_reported_with_its_stack() {
    let tasks = halted(DAY, async |sim| {
        sim.spawn("spinner", yields());
        sim.clock().sleep(Duration::from_secs(1)).await;
        Ok(())
    });
    assert_eq!((tasks[0].name, tasks[0].recent_polls), ("spinner", Some((5_000, 5_000))));
    assert_waits_at(&tasks[0], &["tokio::task::yield_now().await"]);
}

#[test]
fn a_join_is_reported_with_each_of_its_futures() {
    async fn joins(a: Arc<Notify>, b: Arc<Mutex<()>>) {
        let (_first, _second) = tokio::join!(
            a.notified(), //
            b.lock(),
        );
    }
    let tasks = halted(DAY, async |sim| {
        let mutex = Arc::new(Mutex::new(()));
        let _taken = mutex.lock().await;
        sim.spawn("both", joins(Arc::default(), mutex.clone())).await?;
        Ok(())
    });
    let task = tasks.iter().find(|task| task.name == "both").expect("the task is listed");
    assert!(!task.waits_at.is_empty(), "{task}");
    assert!(task.waits_at.iter().flatten().all(|line| line.contains("joins at ")), "{task}");
}

#[test]
fn a_combinator_with_its_own_wakers_is_reported_if_the_sim_knows_what_it_waits_for() {
    async fn naps(sim: Sim) {
        let naps = (1..4).map(|days| async move { sim.clock().sleep(days * DAY).await });
        let mut naps: FuturesUnordered<_> = naps.collect();
        while let Some(()) = naps.next().await {}
    }
    async fn locks() {
        let mutex = Mutex::new(());
        let _taken = mutex.lock().await;
        let mut guards: FuturesUnordered<_> = (0..3).map(|_| async { mutex.lock().await }).collect();
        while guards.next().await.is_some() {}
    }
    let tasks = halted(Duration::from_secs(60), async |sim| {
        sim.spawn("locks", locks());
        sim.spawn("naps", naps(sim)).await?;
        Ok(())
    });
    let task = |name| tasks.iter().find(|task| task.name == name).expect("the task is listed");
    assert_waits_at(task("naps"), &["sim.clock().sleep(days * DAY).await", "naps.next().await"]);
    assert_waits_at(task("locks"), &["guards.next().await"]);
    assert_eq!(task("locks").waits_for, "one of several futures (FuturesUnordered)");
}

/// Which future of a daemon does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hang {
    Prepare,
    Run,
    Stop,
    Tasks,
    /// Its `run`, its `stop` and a task; each draws entropy on every poll.
    All,
    /// Its `run`, and a task of the same name.
    Namesake,
    /// Its `stop`, without any registered waker.
    ForEver,
}

struct Guest(Hang);

impl Guest {
    async fn hang_if(&self, what: Hang) {
        if self.0 == what {
            never_ends().await;
        }
        if (self.0, what) == (Hang::ForEver, Hang::Stop) {
            pending().await
        }
        if self.0 == Hang::All && what != Hang::Prepare {
            is_restless().await;
        }
    }
}

async fn never_ends() {
    Notify::new().notified().await
}

async fn is_restless() {
    let mut never = std::pin::pin!(never_ends());
    poll_fn(|context| {
        let _ = getrandom04::u64();
        never.as_mut().poll(context)
    })
    .await
}

async fn lingers(nth: u64, sim: Sim) {
    for _ in 0..nth {
        sim.clock().sleep(Duration::from_secs(1)).await;
    }
    never_ends().await;
}

impl Daemon for Guest {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Guest(*factory.value::<Hang>()?))
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.hang_if(Hang::Prepare).await;
        Ok(())
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        if self.0 == Hang::Tasks {
            scope.spawn("guest's guest", never_ends());
            scope.spawn("guest's guest", async { never_ends().await });
        }
        if self.0 == Hang::All {
            scope.spawn("guest's guest", is_restless());
        }
        if self.0 == Hang::Namesake {
            scope.spawn("run", never_ends());
            never_ends().await;
        }
        self.hang_if(Hang::Run).await;
        scope.stopping().await;
        Ok(())
    }

    async fn stop(&self, _: &Scope) -> Result {
        self.hang_if(Hang::Stop).await;
        Ok(())
    }
}

async fn has_a_guest(sim: Sim, hang: Hang) -> Result {
    let machine = sim.machine("inn", move |factory| {
        factory.provide_value(hang)?;
        let limit = Some(Duration::from_secs(3));
        factory.policy::<Guest>(Policy { prepare: limit, stop: limit, ..Policy::default() });
        factory.with::<Guest>()
    });
    let machine = machine.start().await?;
    let life = machine.stop().await?;
    // The run continues for a while; stacks are taken only after its failure.
    sim.spawn("lingerer", lingers(5, sim));
    sim.clock().sleep(Duration::from_secs(7)).await;
    anyhow::ensure!(life.is_success(), "{life}");
    Ok(())
}

fn failed(outcome: Outcome) -> Failure {
    outcome.failure.expect("the seed fails")
}

#[test]
fn a_future_that_exceeds_its_deadline_is_reported_with_its_stack() {
    for (hang, name, innermost) in [
        (Hang::Prepare, "prepare", "self.hang_if(Hang::Prepare).await"),
        (Hang::Run, "run", "self.hang_if(Hang::Run).await"),
        (Hang::Stop, "stop", "self.hang_if(Hang::Stop).await"),
    ] {
        let failure = failed(simulate(Settings::new(Seed(1)), &move |sim| has_a_guest(sim, hang)));
        let [overstay] = &failure.deadline_exceeded[..] else { panic!("{failure}") };
        assert_eq!((overstay.task.name, overstay.at), (name, Duration::from_secs(3)), "{failure}");
        assert_waits_at(&overstay.task, &["Notify::new().notified().await", "never_ends().await", innermost]);
        let text = failure.to_string();
        for part in [
            "took longer than 3s and was aborted",
            "aborted at 3.000000000 s, at its deadline after 3s: inn: ",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(text.contains(&format!("{name:?} of inn: Guest")), "{text}");
        assert!(text.contains("\n    in stuck::never_ends at steelmill-sim/tests/stuck.rs:"), "{text}");
    }
}

#[test]
fn a_future_without_a_registered_waker_is_reported_as_such() {
    let failure = failed(simulate(Settings::new(Seed(1)), &|sim| has_a_guest(sim, Hang::ForEver)));
    let [overstay] = &failure.deadline_exceeded[..] else { panic!("{failure}") };
    assert!(overstay.task.waits_for.contains("registered no waker"), "{failure}");

    let tasks = halted(DAY, async |sim| {
        sim.spawn("hopeless", pending::<()>());
        sim.spawn("hopeful", Arc::new(Notify::new()).notified_owned()).await?;
        Ok(())
    });
    let is_without_waker = |task: &&TaskReport| task.waits_for.contains("registered no waker");
    let hopeless: Vec<&str> = tasks.iter().filter(is_without_waker).map(|task| task.name).collect();
    assert_eq!(hopeless, ["hopeless"]);
}

#[test]
fn tasks_that_outlive_their_daemon_are_reported_with_their_stacks() {
    let failure = failed(simulate(Settings::new(Seed(1)), &|sim| has_a_guest(sim, Hang::Tasks)));
    let [one, other] = &failure.deadline_exceeded[..] else { panic!("{failure}") };
    assert_waits_at(&one.task, &["Notify::new().notified().await"]);
    assert_waits_at(&other.task, &["Notify::new().notified().await", "async { never_ends().await }"]);
    assert!(one.task.spawned_at.file().ends_with("tests/stuck.rs"), "{failure}");
}

#[test]
fn all_futures_aborted_at_the_same_time_are_reported() {
    let summary = Campaign::new(|sim| has_a_guest(sim, Hang::All)).seeds(1).run();
    let failure = summary.failed[0].failure.as_ref().expect("the seed fails");
    let mut listed: Vec<&str> = failure.deadline_exceeded.iter().map(|overstay| overstay.task.name).collect();
    listed.sort_unstable();
    assert_eq!(listed, ["guest's guest", "run", "stop"]);
    for overstay in &failure.deadline_exceeded {
        let waits_at = overstay.task.waits_at.concat();
        assert!(waits_at.iter().any(|line| line.starts_with("stuck::is_restless at ")), "{failure}");
    }
}

#[test]
fn a_task_with_the_name_of_a_phase_is_reported_once() {
    let failure = failed(simulate(Settings::new(Seed(1)), &|sim| has_a_guest(sim, Hang::Namesake)));
    let listed: Vec<&str> = failure.deadline_exceeded.iter().map(|overstay| overstay.task.name).collect();
    assert_eq!(listed, ["run", "run"], "{failure}");
}

#[test]
fn tasks_that_spawn_each_other_forever_are_a_livelock() {
    fn again(sim: Sim) {
        drop(sim.spawn("again", async move { again(sim) }));
    }
    let tasks = halted(DAY, async |sim| {
        again(sim);
        sim.clock().sleep(Duration::from_secs(1)).await;
        Ok(())
    });
    assert_eq!((tasks[0].name, tasks[0].recent_polls), ("again", Some((0, 5_000))));
    let text = Cause::Livelock { polls: 10_000, tasks }.to_string();
    assert!(text.ends_with("  and tasks that have ended, polled 5000 times among the last 5000"), "{text}");
}

#[test]
fn stacks_of_aborted_futures_do_not_change_the_run() {
    let scenario = |sim| has_a_guest(sim, Hang::Tasks);
    let plain = simulate(Settings { stacks: false, ..Settings::new(Seed(1)) }, &scenario);
    let looked = simulate(Settings::new(Seed(1)), &scenario);
    assert_eq!((plain.digest, plain.simulated, plain.polls), (looked.digest, looked.simulated, looked.polls));
    let overstayed = failed(plain).deadline_exceeded;
    assert!(overstayed.len() == 2 && overstayed.iter().all(|overstay| overstay.task.waits_at.is_empty()));

    let summary = Campaign::new(scenario).seeds(1).run();
    let text = summary.failed[0].failure.as_ref().expect("the seed fails").to_string();
    assert!(text.contains("in stuck::never_ends at "), "{text}");
    let shrunk = Campaign::new(scenario).shrink(Seed(1), |_| ()).expect("the seed fails");
    let text = failed(shrunk.outcome).to_string();
    assert!(text.contains("in stuck::never_ends at "), "{text}");
}

#[test]
fn a_run_that_passes_reports_no_exceeded_deadlines() {
    let scenario = |sim| async move {
        let _ = has_a_guest(sim, Hang::Stop).await;
        Ok(())
    };
    assert!(simulate(Settings::new(Seed(1)), &scenario).passed());
}

#[test]
fn of_many_exceeded_deadlines_the_last_are_reported() {
    let failure = failed(simulate(Settings::new(Seed(1)), &|sim| async move {
        let limit = Some(Duration::from_secs(1));
        let machine = sim.machine("inn", move |factory| {
            factory.provide_value(Hang::Stop)?;
            factory.policy::<Guest>(Policy { stop: limit, ..Policy::default() });
            factory.with::<Guest>()
        });
        let machine = machine.start().await?;
        for _ in 0..20 {
            machine.stop().await?;
            machine.restart().await?;
        }
        anyhow::bail!("at last")
    }));
    let times: Vec<u64> = failure.deadline_exceeded.iter().map(|overstay| overstay.at.as_secs()).collect();
    assert_eq!(times, (5..=20).collect::<Vec<_>>());
    let is_explained = |at: &u64| !failure.deadline_exceeded[*at as usize].task.waits_at.is_empty();
    assert_eq!((0..16).filter(is_explained).collect::<Vec<_>>(), [13, 14, 15]);
}

#[test]
fn waiting_for_a_stop_request_is_left_out() {
    struct Twice(Mutex<()>);
    impl Daemon for Twice {
        fn build(_: &mut Factory) -> Result<Self> {
            Ok(Twice(Mutex::default()))
        }
        async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
            let _once = self.0.lock().await;
            scope.until_stopping(self.0.lock()).await;
            Ok(())
        }
    }
    let tasks = halted(DAY, async |sim| {
        let _machine = sim.machine("twice", |factory| factory.with::<Twice>()).start().await?;
        std::future::pending().await
    });
    let task = tasks.iter().find(|task| task.name == "run").expect("the task is listed");
    assert_eq!(task.waits_for, "a lock (a Mutex)");
}

#[test]
fn idle_tasks_are_listed_last() {
    struct Idle;
    impl Daemon for Idle {
        fn build(_: &mut Factory) -> Result<Self> {
            Ok(Idle)
        }
    }
    let tasks = halted(DAY, async |sim| {
        let machine = sim.machine("idle", |factory| factory.with::<Idle>()).start().await?;
        let listener = machine.network().bind("0.0.0.0:1").await?;
        sim.spawn("server", async move { listener.accept().await.map(drop) });
        let mutex = Arc::new(Mutex::new(()));
        let other = mutex.clone();
        let _taken = mutex.lock().await;
        sim.spawn("late", async move { drop(other.lock_owned().await) }).await?;
        Ok(())
    });
    let listed: Vec<(&str, &str)> = tasks.iter().map(|task| (task.name, task.waits_for)).collect();
    let expected = [
        ("scenario", "a task to end"),
        ("run", "the stop request"),
        ("late", "a lock (a Mutex)"),
        ("main", "its factory to end"),
        ("server", "a TCP connection to accept"),
        ("supervisor", "its daemons"),
    ];
    assert_eq!(listed, expected);
    assert!(!tasks[1].to_string().contains("spawned at"), "{}", tasks[1]);
}
