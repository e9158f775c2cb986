//! Memory of child factories and subscriptions: bounded for each live one, and freed at its end.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use steelmill_core::{Daemon, DaemonRef, Deadlines, Factory, Result, RunningFactory, Scope};
use steelmill_meter as meter;
use steelmill_runtime::RuntimeWorld;

/// Shared by all children.
struct Store;

impl Daemon for Store {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Store)
    }
}

/// One in each child, with a task.
struct Session {
    _store: DaemonRef<Store>,
}

impl Daemon for Session {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Session { _store: factory.get()? })
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let inner = scope.clone();
        scope.spawn("work", async move { inner.stopping().await });
        scope.stopping().await;
        Ok(())
    }
}

async fn child(demo: &RunningFactory, number: usize) -> Result<RunningFactory> {
    let mut child = demo.child(&format!("session-{number}"))?;
    child.with::<Session>()?;
    Ok(child.start().await?)
}

/// The nth of a chain: it is built from the one before it.
struct Link(#[allow(dead_code, reason = "it is there to be depended on")] Option<DaemonRef<Link>>);

impl Daemon for Link {
    fn build(factory: &mut Factory) -> Result<Self> {
        let number: u32 = factory.name().unwrap_or_default().parse()?;
        let before =
            number.checked_sub(1).map(|before| factory.get_named(&before.to_string())).transpose()?;
        Ok(Link(before))
    }
}

/// How much memory has grown, when it no longer changes: another thread may still free what was there before.
async fn settled() -> i64 {
    let (mut growth, mut unchanged) = (meter::growth(), 0);
    for _ in 0..30_000 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let now = meter::growth();
        unchanged = if now == growth { unchanged + 1 } else { 0 };
        growth = now;
        if unchanged == 50 {
            break;
        }
    }
    growth
}

/// How many bytes so many children leave, one after the other.
async fn left_by_children(demo: &RunningFactory, made: usize) -> i64 {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let (before, tasks_before) = (settled().await, tasks());
    for number in 0..made {
        assert!(child(demo, number).await.unwrap().stop().await.is_clean());
    }
    // On a busy machine another thread looks after supervisors, too: a task whose end was told ends soon after, and what that
    // thread keeps of the last ones is gone after its next look.
    for _ in 0..10_000 {
        if tasks() > tasks_before || meter::growth() - before >= 4_096 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(tasks() <= tasks_before, "{made} children have left tasks");
    meter::growth() - before
}

/// What a running chain of so many daemons takes of memory.
async fn bytes_of_chain(links: u32) -> i64 {
    let before = settled().await;
    let mut factory = Factory::root("demo", RuntimeWorld);
    for number in 0..links {
        factory.with_named::<Link>(&number.to_string()).unwrap();
    }
    let chain = factory.start().await.unwrap();
    let taken = settled().await - before;
    assert!(chain.stop().await.is_clean());
    taken
}

/// One test, because the allocator counts for the whole process. One thread, so that a count repeats.
#[test]
fn children_and_subscriptions_take_little_and_leave_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut factory = Factory::root("demo", RuntimeWorld);
        factory.with::<Store>().unwrap();
        // Memory is what this is about, on however busy a machine.
        factory.deadlines(Deadlines { stop: Duration::from_secs(3_600), ..Deadlines::default() });
        let demo = factory.start().await.unwrap();
        for number in 0..1_000 {
            assert!(child(&demo, number).await.unwrap().stop().await.is_clean());
        }
        meter::count_allocations(true);
        let made = 10_000;
        let mut left = i64::MAX;
        // Lists that had many of them at once, on a busy machine, keep their room: what is lost is lost each time.
        for _ in 0..3 {
            left = left.min(left_by_children(&demo, made).await);
            if left < 4_096 {
                break;
            }
        }
        assert!(left < 4_096, "{made} children have left {left} bytes");

        // The supervisor comes to know of each, and there is no change that would show who has gone.
        let inner = child(&demo, 0).await.unwrap();
        demo.status().await.unwrap();
        let before = meter::growth();
        for number in 0..made {
            drop(demo.changes());
            if number % 1_000 == 0 {
                let taken = meter::growth() - before;
                assert!(taken < 500_000, "{number} subscriptions take {taken} bytes");
                demo.status().await.unwrap();
            }
        }
        demo.status().await.unwrap();
        let left = meter::growth() - before;
        assert!(left < 8_192, "{made} subscriptions have left {left} bytes");
        inner.stop().await;

        let left = settled().await;
        let live: Vec<_> = join_all((0..2_000).map(|number| child(&demo, number))).await;
        let live: Vec<_> = live.into_iter().map(Result::unwrap).collect();
        let each = (settled().await - left) / live.len() as i64;
        println!("{each} bytes for each live child, its daemon and its task");
        assert!(each < 8_192, "{each} bytes for each live child");

        assert!(demo.stop().await.is_clean());
        for child in live {
            assert!(child.join().await.is_clean());
        }

        let (short, long) = (bytes_of_chain(1_000).await, bytes_of_chain(10_000).await);
        println!("{} bytes for each daemon in a chain of 10,000", long / 10_000);
        assert!(long < 12 * short, "a chain ten times as long takes {long} bytes instead of {short}");
        meter::count_allocations(false);
    });
}
