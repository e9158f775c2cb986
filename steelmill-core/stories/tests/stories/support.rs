//! Shared by all tests here: running in each world, a journal of events, and scripted daemons.

#![allow(dead_code, unreachable_pub, reason = "each file of stories uses some of it")]

use std::any::Any;
use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use futures::future::BoxFuture;
use steelmill_core::{Clock, Daemon, Deadlines, Factory, Result, Scope, World};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Runs each story in every world. A story is an `async fn(impl World) -> Result`.
#[macro_export]
macro_rules! stories {
    ($($story:ident)*) => {
        mod in_the_runtime {
            $(#[test] fn $story() { $crate::support::in_the_runtime(super::$story) })*
        }

        mod in_the_sim {
            $(#[test] fn $story() { $crate::support::in_the_sim(super::$story) })*
        }
    };
}

pub fn in_the_runtime<S, F>(story: S)
where
    S: FnOnce(steelmill_runtime::RuntimeWorld) -> F,
    F: Future<Output = Result> + Send,
{
    let world = steelmill_runtime::RuntimeWorld;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let clock = world.clock();
    let story = async { clock.timeout(Duration::from_secs(20), story(world)).await };
    runtime.block_on(story).expect("a story does not hang").unwrap();
}

/// A few seeds per story, for different schedules.
pub fn in_the_sim<S, F>(story: S)
where
    S: Fn(steelmill_sim::SimWorld) -> F + Sync,
    F: Future<Output = Result> + Send + 'static,
{
    let in_the_sim = |sim: steelmill_sim::Sim| {
        sim.allow_failure("scenario", ""); // daemons of the stories panic on purpose
        story(sim.world())
    };
    steelmill_sim::Campaign::new(in_the_sim).seeds(25).check();
}

/// A deadline short enough to wait for in real time.
pub const SHORT: Duration = Duration::from_millis(50);

/// One that is kept, on however busy a machine, by whoever needs no time.
pub const BRIEF: Duration = Duration::from_millis(500);

/// A journal of events, in order.
#[derive(Clone)]
pub struct Journal(UnboundedSender<String>);

pub struct Lines(UnboundedReceiver<String>);

pub fn journal() -> (Journal, Lines) {
    let (sender, receiver) = unbounded_channel();
    (Journal(sender), Lines(receiver))
}

impl Journal {
    pub fn note(&self, line: impl Into<String>) {
        let _ = self.0.send(line.into());
    }
}

impl Lines {
    /// Everything since the last call.
    pub fn take(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }

    /// Waits for the next line.
    pub async fn next(&mut self) -> String {
        self.0.recv().await.expect("a writer is alive")
    }

    /// Waits for this line, and returns all lines up to it.
    pub async fn until(&mut self, line: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            lines.push(self.next().await);
            if lines.last().is_some_and(|last| last == line) {
                return lines;
            }
        }
    }
}

/// Asserts that both lines exist, `first` before `then`.
#[track_caller]
pub fn assert_before(lines: &[String], first: &str, then: &str) {
    let place = |wanted: &str| {
        let place = lines.iter().position(|line| line == wanted);
        place.unwrap_or_else(|| panic!("no {wanted:?} in {lines:#?}"))
    };
    assert!(place(first) < place(then), "{first:?} is not before {then:?} in {lines:#?}");
}

#[track_caller]
pub fn assert_absent(lines: &[String], unwanted: &str) {
    assert!(lines.iter().all(|line| line != unwanted), "{unwanted:?} in {lines:#?}");
}

/// The behaviour of a part in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The default of the `Daemon` trait.
    Usual,
    Return,
    Fail,
    Panic,
    Hang,
    Take(Duration),
    /// Waits for the stop, then sleeps for this long.
    Linger(Duration),
    /// Waits for the stop, then fails.
    FailAtStop,
}

/// The behaviours of all parts of a story; a value of its factory.
pub struct Script {
    journal: Journal,
    sleep: Box<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>,
    parts: BTreeMap<char, Role>,
}

#[derive(Clone, Copy)]
struct Role {
    needs: &'static str,
    build: Act,
    prepare: Act,
    run: Act,
    stop: Act,
}

impl Script {
    pub fn new(world: &impl World, journal: Journal) -> Self {
        let clock = world.clock();
        Script {
            journal,
            sleep: Box::new(move |duration| Box::pin(clock.sleep(duration))),
            parts: BTreeMap::new(),
        }
    }

    pub fn journal(&self) -> Journal {
        self.journal.clone()
    }

    /// Adds a part and its dependencies.
    pub fn part(mut self, name: char, needs: &'static str) -> Self {
        let usual = Role { needs, build: Act::Usual, prepare: Act::Usual, run: Act::Usual, stop: Act::Usual };
        self.parts.insert(name, usual);
        self
    }

    pub fn build(mut self, name: char, act: Act) -> Self {
        self.parts.get_mut(&name).unwrap().build = act;
        self
    }

    pub fn prepare(mut self, name: char, act: Act) -> Self {
        self.parts.get_mut(&name).unwrap().prepare = act;
        self
    }

    pub fn run(mut self, name: char, act: Act) -> Self {
        self.parts.get_mut(&name).unwrap().run = act;
        self
    }

    pub fn stop(mut self, name: char, act: Act) -> Self {
        self.parts.get_mut(&name).unwrap().stop = act;
        self
    }

    /// A factory called `demo` with the deadlines and all parts of the script.
    pub fn factory(self, world: impl World, deadlines: Deadlines) -> Result<Factory> {
        let mut factory = Factory::root("demo", world);
        factory.deadlines(deadlines);
        let names: Vec<_> = self.parts.keys().copied().collect();
        factory.provide_value(self)?;
        for name in names {
            with(&mut factory, name)?;
        }
        Ok(factory)
    }

    async fn act(&self, act: Act, scope: &Scope) -> Result {
        match act {
            Act::Usual | Act::Return => {}
            Act::Fail => bail!("as told"),
            Act::Panic => panic!("as told"),
            Act::Hang => pending().await,
            Act::Take(time) => (self.sleep)(time).await,
            Act::Linger(time) => {
                scope.stopping().await;
                (self.sleep)(time).await;
            }
            Act::FailAtStop => {
                scope.stopping().await;
                bail!("as told");
            }
        }
        Ok(())
    }
}

/// A daemon that executes the script and records events in the journal.
pub struct Part<const NAME: char> {
    script: Arc<Script>,
    _needs: Vec<Box<dyn Any + Send + Sync>>,
}

impl<const NAME: char> Part<NAME> {
    /// Writes a line into the journal.
    pub fn note(&self, line: &str) {
        self.script.journal.note(line);
    }

    async fn phase(&self, verb: &str, act: Act, scope: &Scope) -> Result {
        self.script.journal.note(format!("{NAME} {verb}s"));
        self.script.act(act, scope).await?;
        self.script.journal.note(format!("{NAME} {verb} done"));
        Ok(())
    }

    fn role(&self) -> Role {
        self.script.parts[&NAME]
    }
}

impl<const NAME: char> Daemon for Part<NAME> {
    fn build(factory: &mut Factory) -> Result<Self> {
        let script = factory.value::<Script>()?;
        let role = *script.parts.get(&NAME).ok_or_else(|| anyhow::anyhow!("no part for {NAME}"))?;
        let needs = role.needs.chars().map(|need| get(factory, need)).collect::<Result<_>>()?;
        match role.build {
            Act::Fail => bail!("as told"),
            Act::Panic => panic!("as told"),
            _ => {}
        }
        script.journal.note(format!("{NAME} built in {}", factory.path()));
        Ok(Part { script, _needs: needs })
    }

    async fn prepare(&self, scope: &Scope) -> Result {
        self.phase("prepare", self.role().prepare, scope).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let act = match self.role().run {
            Act::Usual => Act::Linger(Duration::ZERO),
            act => act,
        };
        self.phase("run", act, scope).await
    }

    async fn stop(&self, scope: &Scope) -> Result {
        assert!(scope.is_stopping());
        self.phase("stop", self.role().stop, scope).await
    }
}

impl<const NAME: char> Drop for Part<NAME> {
    fn drop(&mut self) {
        self.script.journal.note(format!("{NAME} dropped"));
    }
}

/// A ref to the part of that name.
pub fn get(factory: &mut Factory, name: char) -> Result<Box<dyn Any + Send + Sync>> {
    Ok(match name {
        'a' => Box::new(factory.get::<Part<'a'>>()?),
        'b' => Box::new(factory.get::<Part<'b'>>()?),
        'c' => Box::new(factory.get::<Part<'c'>>()?),
        'd' => Box::new(factory.get::<Part<'d'>>()?),
        'e' => Box::new(factory.get::<Part<'e'>>()?),
        'x' => Box::new(factory.get::<Part<'x'>>()?),
        _ => bail!("no part is called {name}"),
    })
}

pub fn with(factory: &mut Factory, name: char) -> Result {
    match name {
        'a' => factory.with::<Part<'a'>>(),
        'b' => factory.with::<Part<'b'>>(),
        'c' => factory.with::<Part<'c'>>(),
        'd' => factory.with::<Part<'d'>>(),
        'e' => factory.with::<Part<'e'>>(),
        'x' => factory.with::<Part<'x'>>(),
        _ => bail!("no part is called {name}"),
    }
}
