//! A daemon that does as its script says, and writes down what it does.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{anyhow, bail};
use futures::future::{BoxFuture, poll_immediate};
use steelmill_core::{Clock as _, Daemon, DaemonRef, Factory, Phase, Result, RunningFactory, Scope};
use steelmill_sim::{Clock, Sim};

use super::plan::{Act, ChildPlan, End, FactoryPlan, Fate, Plan, Script, Until};
use super::trace::{Doing, Event, Happened, How, Trace, Who};

/// What all parts share: their scripts, and the trace.
pub(crate) struct Life {
    pub(crate) sim: Sim,
    clock: Clock,
    /// By the factory's own name and the number of the part.
    scripts: BTreeMap<(String, usize), Script>,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    trace: Trace,
    numbers: u32,
    leaked: Vec<Box<dyn Any + Send + Sync>>,
    /// The seed is over: nothing is noted any more, and the clock is not read.
    is_closed: bool,
}

/// Closes the book when it is dropped, before the run is taken down.
pub(crate) struct Closing<'a>(pub(crate) &'a Life);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.book().is_closed = true;
    }
}

impl Life {
    pub(crate) fn new(sim: Sim, clock: Clock, plan: &Plan) -> Self {
        let scripts = plan.factories().into_iter().flat_map(|factory| {
            let scripts = factory.parts.iter();
            scripts.map(|(number, script)| ((factory.name.clone(), *number), script.clone()))
        });
        Life { sim, clock, scripts: scripts.collect(), book: Mutex::default() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn trace(&self) -> Trace {
        self.book().trace.clone()
    }

    pub(crate) fn take_trace(&self) -> Trace {
        std::mem::take(&mut self.book().trace)
    }

    /// Drops what was leaked.
    pub(crate) fn let_go(&self) {
        let leaked = std::mem::take(&mut self.book().leaked);
        drop(leaked);
    }

    fn number(&self) -> u32 {
        let mut book = self.book();
        book.numbers += 1;
        book.numbers
    }

    fn note(&self, factory: &str, part: Option<usize>, what: Happened) {
        if self.book().is_closed {
            return;
        }
        let event = Event { at: self.sim.elapsed(), factory: factory.into(), part, what };
        self.book().trace.0.push(event);
    }

    pub(crate) fn note_factory(&self, factory: &str, what: Happened) {
        self.note(factory, None, what);
    }

    /// Puts a plan's parts into a factory. One that cannot be built is left out.
    pub(crate) fn assemble(&self, factory: &mut Factory, plan: &FactoryPlan) {
        factory.deadlines(plan.deadlines);
        if plan.escalates {
            factory.escalate();
        }
        for (number, script) in &plan.parts {
            obtain(factory, *number, Some(script)).ok();
        }
    }

    /// Notes how a factory ends, whenever that is.
    pub(crate) fn watch(self: &Arc<Self>, factory: &RunningFactory) {
        let path: Arc<str> = factory.path().into();
        self.note_factory(&path, Happened::Started);
        let (ended, life) = (factory.ended(), self.clone());
        drop(self.sim.spawn("watch", async move {
            let report = ended.await;
            life.note_factory(&path, Happened::Ended(report));
        }));
    }

    /// Assembles a child, starts it, and does to it what the plan says.
    pub(crate) async fn raise(
        self: &Arc<Self>,
        factory: Result<Factory>,
        plan: ChildPlan,
        maker: Option<(Who, u32)>,
    ) {
        let Ok(mut factory) = factory else {
            return; // it came too late
        };
        self.assemble(&mut factory, &plan.factory);
        let path: Arc<str> = factory.path().into();
        self.note_factory(&path, Happened::Starts { maker, escalates: plan.factory.escalates });
        let started = match plan.fate {
            Fate::StartDropped(after) => match self.clock.timeout(after, factory.start()).await {
                Ok(started) => started,
                Err(_) => return,
            },
            _ => factory.start().await,
        };
        let child = match started {
            Ok(child) => child,
            Err(error) => return self.note_factory(&path, Happened::DidNotStart(error.report().clone())),
        };
        self.watch(&child);
        let ask = || self.note_factory(&path, Happened::StopAsked);
        match plan.fate {
            Fate::Stopped(after) | Fate::StoppedTwice(after) => {
                self.clock.sleep(after).await;
                ask();
                drop(child.stop().await);
            }
            Fate::StopDropped(after) => {
                self.clock.sleep(after).await;
                ask();
                let _ = poll_immediate(child.stop()).await;
            }
            Fate::Dropped(after) => {
                self.clock.sleep(after).await;
                let _ = self.clock.timeout(after, child.status()).await;
                ask();
            }
            Fate::JoinDropped(after) => {
                let _ = self.clock.timeout(after, child.join()).await;
                ask();
            }
            _ => drop(child.join().await),
        }
    }
}

/// The number is the type, so that a factory takes each for a daemon of its own.
pub(crate) struct Part<const NUMBER: usize> {
    who: Who,
    life: Arc<Life>,
    script: Script,
    needs: Vec<Need>,
}

/// A ref to another part.
struct Need {
    who: Who,
    held: Box<dyn Any + Send + Sync>,
    /// Another such ref, for somebody outside.
    share: fn(&(dyn Any + Send + Sync)) -> Box<dyn Any + Send + Sync>,
}

impl<const NUMBER: usize> Daemon for Part<NUMBER> {
    fn build(factory: &mut Factory) -> Result<Self> {
        let life = Arc::clone(&*factory.value::<Arc<Life>>()?);
        let who = Who { factory: factory.path().into(), part: NUMBER };
        // A child that was made again by a later run has the run in its name.
        let name = who.factory.rsplit('/').next().unwrap_or_default();
        let name = name.split('.').next().unwrap_or_default().to_owned();
        let script = life.scripts.get(&(name, NUMBER)).cloned().ok_or_else(|| anyhow!("no part {NUMBER}"))?;
        let needs =
            script.needs.iter().map(|need| obtain(factory, *need, None)).collect::<Result<Vec<_>>>()?;
        match script.build {
            End::Well => {}
            End::Fails => bail!("it was not to be built"),
            End::Panics => panic!("it was not to be built"),
        }
        let whose = needs.iter().map(|need| need.who.clone()).collect();
        life.note(&who.factory, Some(NUMBER), Happened::Built { needs: whose });
        Ok(Part { who, life, script, needs })
    }

    async fn prepare(&self, scope: &Scope) -> Result {
        let mut span = self.begins(Doing::Prepare);
        self.surround(Phase::Prepare, scope, 0).await;
        perform(&self.life, self.script.prepare, scope, &mut span).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let run = self.life.number();
        let mut span = self.begins(Doing::Run(run));
        self.surround(Phase::Run, scope, run).await;
        perform(&self.life, self.script.run, scope, &mut span).await
    }

    async fn stop(&self, scope: &Scope) -> Result {
        let mut span = self.begins(Doing::Stop);
        assert!(scope.is_stopping(), "its stop runs, and it has not been told");
        self.surround(Phase::Stop, scope, u32::MAX).await;
        perform(&self.life, self.script.stop, scope, &mut span).await
    }
}

impl<const NUMBER: usize> Part<NUMBER> {
    fn begins(&self, doing: Doing) -> Span {
        Span::new(&self.life, &self.who, doing)
    }

    /// What a phase does beside its own work: leaks, tasks, children.
    async fn surround(&self, phase: Phase, scope: &Scope, run: u32) {
        if phase == Phase::Run && self.script.leaks {
            for need in &self.needs {
                self.life.note(&self.who.factory, Some(NUMBER), Happened::Leaks(need.who.clone()));
                let leaked = (need.share)(&*need.held);
                self.life.book().leaked.push(leaked);
            }
        }
        for (_, act) in self.script.tasks.iter().filter(|(when, _)| *when == phase) {
            let (life, who, act, inner) = (self.life.clone(), self.who.clone(), *act, scope.clone());
            scope.spawn("work", async move {
                let mut span = Span::new(&life, &who, Doing::Task(run));
                perform(&life, act, &inner, &mut span).await
            });
        }
        for child in self.script.children.iter().filter(|child| child.when == phase) {
            let (life, who, plan, inner) =
                (self.life.clone(), self.who.clone(), child.clone(), scope.clone());
            let raise = async move {
                life.clock.sleep(plan.after).await;
                let factory = inner.child(&format!("{}.{run}", plan.factory.name));
                life.raise(factory, plan, Some((who, run))).await;
            };
            let raise: BoxFuture<'static, ()> = Box::pin(raise);
            if child.in_a_task {
                let (life, who) = (self.life.clone(), self.who.clone());
                scope.spawn("child", async move {
                    let mut span = Span::new(&life, &who, Doing::Task(run));
                    raise.await;
                    span.how = How::Well;
                });
            } else {
                // Until it is told, so that a child that is left alone does not keep it.
                scope.until_stopping(raise).await;
            }
        }
    }
}

impl<const NUMBER: usize> Drop for Part<NUMBER> {
    fn drop(&mut self) {
        self.life.note(&self.who.factory, Some(NUMBER), Happened::Dropped);
    }
}

/// Something that a part does, from its beginning to its end, however that comes.
struct Span {
    life: Arc<Life>,
    who: Who,
    span: u32,
    how: How,
}

impl Span {
    fn new(life: &Arc<Life>, who: &Who, doing: Doing) -> Self {
        let span = life.number();
        life.note(&who.factory, Some(who.part), Happened::Begins { doing, span });
        Span { life: life.clone(), who: who.clone(), span, how: How::Cut }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let what = Happened::Ends { span: self.span, how: self.how };
        self.life.note(&self.who.factory, Some(self.who.part), what);
    }
}

/// Does what an act says.
async fn perform(life: &Life, act: Act, scope: &Scope, span: &mut Span) -> Result {
    match act.until {
        Until::Now => {}
        Until::Told => scope.stopping().await,
        Until::Asked => {
            life.note_factory(scope.path(), Happened::StopAsked);
            scope.request_stop();
            scope.stopping().await;
        }
        Until::Never => pending().await,
    }
    if !act.linger.is_zero() {
        life.clock.sleep(act.linger).await;
    }
    let token = life.number();
    match act.end {
        End::Well => {
            span.how = How::Well;
            Ok(())
        }
        End::Fails => {
            span.how = How::Failed(token);
            bail!("token {token};")
        }
        End::Panics => {
            span.how = How::Failed(token);
            panic!("token {token};")
        }
    }
}

/// A ref to the part of that number. Of a factory's own, where a script is given, with its policy.
fn obtain(factory: &mut Factory, number: usize, script: Option<&Script>) -> Result<Need> {
    fn part<const NUMBER: usize>(factory: &mut Factory, script: Option<&Script>) -> Result<Need> {
        if let Some(script) = script {
            factory.policy::<Part<NUMBER>>(script.policy);
        }
        let part = factory.get::<Part<NUMBER>>()?;
        let share = |held: &(dyn Any + Send + Sync)| -> Box<dyn Any + Send + Sync> {
            let held = held.downcast_ref::<DaemonRef<Part<NUMBER>>>();
            Box::new(held.expect("it is one").share())
        };
        Ok(Need { who: part.who.clone(), held: Box::new(part), share })
    }
    let obtain = [
        part::<0>, part::<1>, part::<2>, part::<3>, part::<4>, part::<5>, part::<6>, part::<7>, part::<8>,
        part::<9>,
    ];
    obtain[number](factory, script)
}
