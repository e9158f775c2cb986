//! Runs that come to a halt say where each task waits: as the async functions that wait for each other.

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use steelmill_sim::{Cause, Seed, Settings, Sim, TaskReport, simulate};
use tokio::sync::{Mutex, Notify, mpsc};

fn halted(
    limit: Duration,
    scenario: impl AsyncFn(Sim) -> steelmill_core::Result + Copy + 'static,
) -> Vec<TaskReport> {
    let settings = Settings { time_limit: limit, ..Settings::new(Seed(1)) };
    let outcome = simulate(settings.clone(), &move |sim| async move { scenario(sim).await });
    let repeated =
        simulate(Settings { stacks: false, ..settings }, &move |sim| async move { scenario(sim).await });
    assert_eq!(outcome.digest, repeated.digest, "a look leaves no trace");
    match outcome.failure.expect("it does not end").cause {
        Cause::Deadlock { tasks } | Cause::TimeLimit { tasks, .. } => tasks,
        other => panic!("{other}"),
    }
}

const DAY: Duration = Duration::from_secs(86_400);

/// What stands where a line of a stack points to, in this file.
fn source(line: &str) -> &'static str {
    let (_, number) = line.rsplit_once("tests/stuck.rs:").expect("it is of this file");
    let number: usize = number.parse().expect("a line has a number");
    include_str!("stuck.rs").lines().nth(number - 1).expect("there is such a line")
}

/// Waits for one thing, at these places, innermost first.
#[track_caller]
fn assert_waits_at(task: &TaskReport, places: &[&str]) {
    let [stack] = &task.waits_at[..] else { panic!("one thing to wait for, not {:#?}", task.waits_at) };
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
fn two_locks_taken_crosswise_show_both_places() {
    let tasks = halted(DAY, async |sim| {
        let (a, b) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
        let one = sim.spawn("one", takes_both(a.clone(), b.clone(), sim));
        let other = sim.spawn("other", takes_both(b, a, sim));
        one.await?;
        other.await?;
        Ok(())
    });
    for name in ["one", "other"] {
        let task = tasks.iter().find(|task| task.name == name).expect("it is listed");
        assert_waits_at(task, &["second.lock().await", "takes_the_other(second).await"]);
    }
    let text = tasks[1].to_string();
    assert!(text.contains("\n    in ") && text.contains("tests/stuck.rs:"), "{text}");
}

async fn waits_for_either(mut receiver: mpsc::Receiver<()>, notify: Arc<Notify>) {
    tokio::select! {
        _ = receiver.recv() => {}
        () = notify.notified() => {}
    }
}

#[test]
fn whoever_waits_for_two_things_is_told_once_for_each_place() {
    let tasks = halted(DAY, async |sim| {
        let (_sender, receiver) = mpsc::channel(1);
        let task = sim.spawn("either", waits_for_either(receiver, Arc::default()));
        task.await?;
        Ok(())
    });
    let task = tasks.iter().find(|task| task.name == "either").expect("it is listed");
    assert!((1..=2).contains(&task.waits_at.len()), "{:#?}", task.waits_at);
    let places: Vec<&str> = task.waits_at.iter().map(|stack| source(&stack[0])).collect();
    assert!(
        places.iter().all(|place| place.contains("tokio::select!") || place.contains("=>")),
        "{places:?}"
    );
}

async fn sleeps_for_ever(sim: Sim) {
    loop {
        sim.clock().sleep(Duration::from_secs(1)).await;
    }
}

#[test]
fn a_run_that_takes_too_long_shows_who_sleeps() {
    let tasks = halted(Duration::from_secs(60), async |sim| {
        sim.spawn("sleeper", sleeps_for_ever(sim)).await?;
        Ok(())
    });
    let sleeper = tasks.iter().find(|task| task.name == "sleeper").expect("it is listed");
    assert_waits_at(sleeper, &["clock().sleep"]);
    assert_eq!(sleeper.waits_for, "its clock");
}

#[test]
fn a_task_that_would_go_on_if_it_was_woken_is_found_out() {
    let tasks = halted(DAY, async |sim| {
        let mut was_polled = false;
        sim.spawn(
            "forgotten",
            poll_fn(move |_| {
                // Asks nobody to be woken.
                if std::mem::replace(&mut was_polled, true) { Poll::Ready(()) } else { Poll::Pending }
            }),
        )
        .await?;
        Ok(())
    });
    let task = tasks.iter().find(|task| task.name == "forgotten").expect("it is listed");
    assert!(task.waits_for.contains("nobody has woken it") && task.waits_at.is_empty(), "{task}");
}

#[test]
fn what_panics_when_it_is_looked_at_spoils_nothing() {
    let tasks = halted(DAY, async |sim| {
        let mut polls = 0;
        sim.spawn(
            "spoiler",
            poll_fn(move |_| -> Poll<()> {
                polls += 1;
                assert!(polls < 2, "polled too often");
                Poll::Pending
            }),
        );
        pending::<()>().await;
        Ok(())
    });
    assert_eq!(tasks.len(), 2);
}
