//! Conformance: tasks.

use std::future::{self, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Poll, Waker};

use tokio::sync::{mpsc, oneshot};

use super::{A_WHILE, Dropped};
use crate::{Clock, Spawn, Task, TaskError, World};

pub async fn the_waker_of_a_first_poll_wakes_the_task_later_on<W: World>(world: W) {
    let (mut polls, mut first) = (0, None);
    let task = poll_fn(move |context| {
        polls += 1;
        let first: &mut Waker = first.get_or_insert_with(|| context.waker().clone());
        match polls {
            1 | 2 => context.waker().wake_by_ref(),
            3 => first.wake_by_ref(),
            _ => return Poll::Ready(()),
        }
        Poll::Pending
    });
    world.spawner().spawn("woken", task).await.unwrap();
}

pub async fn a_task_gives_its_output_through_its_handle<W: World>(world: W) {
    let spawner = world.spawner();
    assert_eq!(spawner.spawn("answer", async { 42 }).await.unwrap(), 42);
    let clock = world.clock();
    let late = spawner.spawn("late answer", async move {
        clock.sleep(A_WHILE).await;
        String::from("late")
    });
    assert_eq!(late.await.unwrap(), "late");
}

pub async fn a_task_runs_without_being_awaited<W: World>(world: W) {
    let (sender, receiver) = oneshot::channel();
    let _task = world.spawner().spawn("sender", async move { sender.send(42) });
    assert_eq!(receiver.await, Ok(42));
}

pub async fn a_dropped_handle_lets_the_task_run_on<W: World>(world: W) {
    let (sender, receiver) = oneshot::channel();
    let clock = world.clock();
    drop(world.spawner().spawn("sender", async move {
        clock.sleep(A_WHILE).await;
        sender.send(42)
    }));
    assert_eq!(receiver.await, Ok(42));
}

pub async fn a_panic_becomes_an_error_with_its_message<W: World>(world: W) {
    let spawner = world.spawner();
    let dropped = Dropped::default();
    let guard = dropped.on_drop();
    let plain = spawner.spawn("panic", async move {
        let _guard = guard;
        panic!("on purpose, by the contract")
    });
    let formatted = spawner.spawn("panic", async { panic!("on purpose, number {}", 2) });
    let error: Result<(), TaskError> = plain.await;
    assert_eq!(error.unwrap_err().to_string(), "the task panicked: on purpose, by the contract");
    assert!(dropped.happened());
    let error: Result<(), TaskError> = formatted.await;
    assert_eq!(error.unwrap_err().to_string(), "the task panicked: on purpose, number 2");
}

pub async fn an_abort_drops_the_future<W: World>(world: W) {
    let dropped = Dropped::default();
    let guard = dropped.on_drop();
    let (started, has_started) = oneshot::channel();
    let task = world.spawner().spawn("waiter", async move {
        let _guard = guard;
        let _ = started.send(());
        future::pending::<()>().await
    });
    has_started.await.unwrap();
    assert!(!dropped.happened());
    task.abort();
    assert!(matches!(task.await, Err(TaskError::Aborted)));
    assert!(dropped.happened());
}

pub async fn an_abort_before_the_first_poll_drops_the_future<W: World>(world: W) {
    let dropped = Dropped::default();
    let guard = dropped.on_drop();
    let task = world.spawner().spawn("waiter", async move {
        let _guard = guard;
        future::pending::<()>().await
    });
    task.abort();
    assert!(matches!(task.await, Err(TaskError::Aborted)));
    assert!(dropped.happened());
}

pub async fn an_abort_after_the_end_keeps_the_output<W: World>(world: W) {
    let task = world.spawner().spawn("answer", async { 42 });
    while !task.is_finished() {
        world.clock().sleep(A_WHILE / 10).await;
    }
    task.abort();
    assert_eq!(task.await.unwrap(), 42);
}

pub async fn is_finished_tells_when_a_task_has_ended<W: World>(world: W) {
    let (sender, receiver) = oneshot::channel::<()>();
    let returns = world.spawner().spawn("returns", receiver);
    let aborted = world.spawner().spawn("aborted", future::pending::<()>());
    world.clock().sleep(A_WHILE).await;
    assert!(!returns.is_finished());
    assert!(!aborted.is_finished());
    sender.send(()).unwrap();
    aborted.abort();
    while !(returns.is_finished() && aborted.is_finished()) {
        world.clock().sleep(A_WHILE / 10).await;
    }
}

pub async fn a_task_can_spawn_a_task<W: World>(world: W) {
    let spawner = world.spawner();
    let outer = spawner.spawn("outer", {
        let world = world.clone();
        async move { world.spawner().spawn("inner", async { 42 }).await.unwrap() }
    });
    assert_eq!(outer.await.unwrap(), 42);
}

pub async fn a_task_that_yields_lets_others_run<W: World>(world: W) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let busy = world.spawner().spawn("busy", async move {
        while receiver.try_recv().is_err() {
            let mut yielded = false;
            poll_fn(|context| {
                if yielded {
                    return Poll::Ready(());
                }
                yielded = true;
                context.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
        }
    });
    world.spawner().spawn("other", async move { sender.send(()) }).await.unwrap().unwrap();
    busy.await.unwrap();
}

pub async fn a_thousand_tasks_all_end<W: World>(world: W) {
    let count = Arc::new(AtomicU32::new(0));
    let tasks: Vec<_> = (0..1000)
        .map(|_| {
            let count = count.clone();
            world.spawner().spawn("counter", async move { count.fetch_add(1, Ordering::SeqCst) })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(count.load(Ordering::SeqCst), 1000);
}

pub async fn waking_an_ended_task_does_nothing<W: World>(world: W) {
    let own_waker = poll_fn(|context| Poll::Ready(context.waker().clone()));
    let waker = world.spawner().spawn("ends", own_waker).await.unwrap();
    waker.wake_by_ref();
    // A new task may reuse the slot of the ended one, and must not be affected.
    let next = world.spawner().spawn("next", async { 42 });
    waker.wake();
    assert_eq!(next.await.unwrap(), 42);
}
