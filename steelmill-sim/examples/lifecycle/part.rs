//! A daemon that executes its script and records events.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{anyhow, bail};
use futures::future::{BoxFuture, poll_immediate};
use steelmill_core::{
    Clock as _, Daemon, DaemonRef, Factory, Health, HealthChecks, HealthWatch, Phase, Result, RunningFactory,
    Scope, State,
};
use steelmill_sim::{Clock, Sim};

use super::plan::{
    Act, Answer, ChildPlan, FactoryEnd, FactoryPlan, Outcome, Plan, Script, SupervisedPlan, Until,
};
use super::trace::{Activity, Ending, Event, EventKind, Maker, PartId, Trace, path_of, plan_name};

/// How often parts are asked for their health.
pub(crate) const CHECKS: HealthChecks =
    HealthChecks { every: Duration::from_millis(500), timeout: Duration::from_millis(200) };

/// How the trace calls the nearest supervised child around a factory.
struct Place(Arc<str>);

/// State shared by all parts: scripts and trace.
pub(crate) struct Harness {
    pub(crate) sim: Sim,
    clock: Clock,
    /// By factory name and part number.
    scripts: BTreeMap<(String, usize), Script>,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    trace: Trace,
    numbers: u32,
    /// How the trace calls the factories, by path: of a supervised child, the present generation.
    places: BTreeMap<String, Arc<str>>,
    is_root_watched: bool,
    /// The generations of supervised children whose ends are recorded.
    watched: BTreeSet<Arc<str>>,
    leaked: Vec<Box<dyn Any + Send + Sync>>,
    /// Of the root, if somebody watches it.
    health: Option<HealthWatch>,
    /// Set at the end of the scenario: no more events are recorded, and the clock is not read.
    is_closed: bool,
}

/// Closes the log when dropped, before the simulation is torn down.
pub(crate) struct CloseOnDrop<'a>(pub(crate) &'a Harness);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.log().is_closed = true;
    }
}

impl Harness {
    pub(crate) fn new(sim: Sim, clock: Clock, plan: &Plan) -> Self {
        let scripts = plan.factories().into_iter().flat_map(|factory| {
            let scripts = factory.parts.iter();
            scripts.map(|(number, script)| ((factory.name.clone(), *number), script.clone()))
        });
        Harness { sim, clock, scripts: scripts.collect(), log: Mutex::default() }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn trace(&self) -> Trace {
        self.log().trace.clone()
    }

    pub(crate) fn take_trace(&self) -> Trace {
        std::mem::take(&mut self.log().trace)
    }

    pub(crate) fn drop_leaked(&self) {
        let leaked = std::mem::take(&mut self.log().leaked);
        drop(leaked);
    }

    pub(crate) fn forget_health(&self) {
        self.log().health = None;
    }

    fn next_number(&self) -> u32 {
        let mut log = self.log();
        log.numbers += 1;
        log.numbers
    }

    pub(crate) fn note(&self, factory: &str, part: Option<usize>, what: EventKind) {
        if self.log().is_closed {
            return;
        }
        let event = Event { at: self.sim.elapsed(), factory: factory.into(), part, what };
        self.log().trace.0.push(event);
    }

    pub(crate) fn note_factory(&self, factory: &str, what: EventKind) {
        self.note(factory, None, what);
    }

    /// Says how the trace calls the factory of a path.
    fn name_place(&self, path: &str, place: &Arc<str>) {
        self.log().places.insert(path.to_owned(), place.clone());
    }

    /// How the trace calls the factory of a path.
    fn place(&self, path: &str) -> Arc<str> {
        self.log().places.get(path).cloned().unwrap_or_else(|| path.into())
    }

    /// Adds the parts of a plan and its supervised children to a factory. A part whose build fails is skipped.
    pub(crate) fn assemble(self: &Arc<Self>, factory: &mut Factory, place: &Arc<str>, plan: &FactoryPlan) {
        self.name_place(factory.path(), place);
        factory.deadlines(plan.deadlines);
        factory.drain(plan.drain);
        factory.health_checks(CHECKS);
        if plan.escalates {
            factory.escalate();
        }
        if plan.remains {
            factory.remain_when_finished();
        }
        for (number, script) in &plan.parts {
            obtain(factory, *number, Some(script)).ok();
        }
        for child in &plan.supervised {
            let (harness, parent, plan) = (self.clone(), place.clone(), child.clone());
            let generations = AtomicU32::new(0);
            let recipe = move |child: &mut Factory| {
                let generation = 1 + generations.fetch_add(1, Ordering::Relaxed);
                harness.follow_recipe(child, &parent, &plan, generation)
            };
            let supervised = factory.supervise(&child.factory.name, child.policy, recipe);
            supervised.expect("the names in a plan are unique");
        }
    }

    /// Assembles a supervised child.
    fn follow_recipe(
        self: &Arc<Self>,
        child: &mut Factory,
        parent: &str,
        plan: &SupervisedPlan,
        generation: u32,
    ) -> Result {
        let place: Arc<str> = format!("{parent}/{}~{generation}", plan.factory.name).into();
        self.note_factory(&place, EventKind::Starts { maker: Maker::Supervisor, escalates: false });
        self.assemble(child, &place, &plan.factory);
        // Parts do not read it: what depended on it would not be shared with the children of this child.
        child.provide_value(Place(place.clone()))?;
        if plan.recipe_fails == Some(generation) {
            self.note_factory(&place, EventKind::RecipeFails);
            bail!("a scripted failure of a recipe");
        }
        Ok(())
    }

    /// Records the end of a factory from a task of its own.
    pub(crate) fn watch(self: &Arc<Self>, factory: &RunningFactory, path: Arc<str>) {
        self.note_factory(&path, EventKind::Started);
        let (ended, harness) = (factory.ended(), self.clone());
        drop(self.sim.spawn("watch", async move {
            let report = ended.await;
            harness.note_factory(&path, EventKind::Ended(report));
        }));
    }

    /// Records the states of the root, and the starts and ends of supervised children below it, given the scope of a part of
    /// the root. A generation that ends before somebody looks for it is not recorded.
    fn watch_root(self: &Arc<Self>, scope: &Scope) {
        if std::mem::replace(&mut self.log().is_root_watched, true) {
            return;
        }
        // A scope keeps no daemon in memory.
        let (harness, scope, mut changes) = (self.clone(), scope.clone(), scope.changes());
        drop(self.sim.spawn("watch root", async move {
            while let Some(change) = changes.next().await {
                match (&*change.factory, change.daemon, change.state) {
                    ("root", None, state) => harness.note_factory("root", EventKind::Entered(state)),
                    (path, None, State::Running) => harness.watch_generation(&scope, path).await,
                    _ => {}
                }
            }
        }));
    }

    /// Records the end of the present generation of a supervised child, if one of this path runs.
    async fn watch_generation(self: &Arc<Self>, root: &Scope, path: &str) {
        let mut names = path.split('/').skip(1);
        let Some(first) = names.next() else { return };
        let mut child = root.child_named(first).await;
        for name in names {
            let Ok(parent) = child else { return };
            let found = parent.child_named(name);
            drop(parent);
            child = found.await;
        }
        let Ok(child) = child else { return };
        let place = child.value::<Place>().map(|place| place.0.clone());
        // One that is not supervised itself finds that of a factory around it.
        if let Ok(place) = place
            && path_of(&place) == path
            && self.log().watched.insert(place.clone())
        {
            self.watch(&child, place);
        }
    }

    /// Records the health of the root.
    pub(crate) fn watch_health(self: &Arc<Self>, root: &RunningFactory) {
        let mut health = root.health();
        self.log().health = Some(health.clone());
        let (harness, path) = (self.clone(), root.path().to_owned());
        drop(self.sim.spawn("watch health", async move {
            while let Some(health) = health.changed().await {
                harness.note_factory(&path, EventKind::Health(health));
            }
        }));
    }

    /// Assembles and starts a child, and ends it as planned.
    ///
    /// `twin` has the same name, and is to be refused as long as the child runs.
    pub(crate) async fn run_child(
        self: &Arc<Self>,
        factory: Result<Factory>,
        twin: Option<Factory>,
        plan: ChildPlan,
        maker: Maker,
    ) {
        let Ok(mut factory) = factory else {
            return; // rejected: its parent is stopping
        };
        let parent = match &maker {
            Maker::Part(maker, _) => &*maker.factory,
            Maker::Outside | Maker::Supervisor => "root",
        };
        let path: Arc<str> =
            format!("{parent}/{}", factory.path().rsplit('/').next().unwrap_or_default()).into();
        self.assemble(&mut factory, &path, &plan.factory);
        self.note_factory(&path, EventKind::Starts { maker, escalates: plan.factory.escalates });
        let started = match plan.end {
            FactoryEnd::StartDropped(after) => match self.clock.timeout(after, factory.start()).await {
                Ok(started) => started,
                Err(_) => return,
            },
            _ => factory.start().await,
        };
        let child = match started {
            Ok(child) => child,
            Err(error) => return self.note_factory(&path, EventKind::StartFailed(error.report().clone())),
        };
        self.watch(&child, path.clone());
        if let Some(twin) = twin
            && twin.start().await.is_ok()
            && child.status().await.is_some()
        {
            self.note_factory(&path, EventKind::TwinStarted);
        }
        let note_stop = || self.note_factory(&path, EventKind::StopRequested);
        match plan.end {
            FactoryEnd::Stopped(after) | FactoryEnd::StoppedTwice(after) => {
                self.clock.sleep(after).await;
                note_stop();
                drop(child.stop().await);
            }
            FactoryEnd::StopDropped(after) => {
                self.clock.sleep(after).await;
                note_stop();
                let _ = poll_immediate(child.stop()).await;
            }
            FactoryEnd::Dropped(after) => {
                self.clock.sleep(after).await;
                let _ = self.clock.timeout(after, child.status()).await;
                note_stop();
            }
            FactoryEnd::JoinDropped(after) => {
                let _ = self.clock.timeout(after, child.join()).await;
                note_stop();
            }
            _ => drop(child.join().await),
        }
    }
}

/// Generic over its number, so that each part is a daemon type of its own.
pub(crate) struct Part<const NUMBER: usize> {
    id: PartId,
    harness: Arc<Harness>,
    script: Script,
    dependencies: Vec<Dependency>,
}

/// A ref to another part.
struct Dependency {
    id: PartId,
    held: Box<dyn Any + Send + Sync>,
    /// Clones the ref, to leak it.
    share: fn(&(dyn Any + Send + Sync)) -> Box<dyn Any + Send + Sync>,
}

impl<const NUMBER: usize> Daemon for Part<NUMBER> {
    fn build(factory: &mut Factory) -> Result<Self> {
        let harness = Arc::clone(&*factory.value::<Arc<Harness>>()?);
        let id = PartId { factory: harness.place(factory.path()), part: NUMBER };
        let name = plan_name(&id.factory).to_owned();
        let script =
            harness.scripts.get(&(name, NUMBER)).cloned().ok_or_else(|| anyhow!("no part {NUMBER}"))?;
        let dependencies = script
            .dependencies
            .iter()
            .map(|dependency| obtain(factory, *dependency, None))
            .collect::<Result<Vec<_>>>()?;
        match script.build {
            Outcome::Succeeds => {}
            Outcome::Fails => bail!("a scripted failure of build"),
            Outcome::Panics => panic!("a scripted failure of build"),
        }
        let dependencies_of = dependencies.iter().map(|dependency| dependency.id.clone()).collect();
        harness.note(&id.factory, Some(NUMBER), EventKind::Built { dependencies: dependencies_of });
        Ok(Part { id, harness, script, dependencies })
    }

    async fn prepare(&self, scope: &Scope) -> Result {
        let mut span = self.begin(Activity::Prepare);
        if &*self.id.factory == "root" {
            self.harness.watch_root(scope);
        }
        self.start_side_work(Phase::Prepare, scope, 0).await;
        perform(&self.harness, self.script.prepare, scope, &mut span).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let run = self.harness.next_number();
        let mut span = self.begin(Activity::Run(run));
        if self.script.watches_drain {
            self.watch_drain(scope);
        }
        self.start_side_work(Phase::Run, scope, run).await;
        perform(&self.harness, self.script.run, scope, &mut span).await
    }

    async fn health(&self) -> Health {
        match self.script.health {
            Answer::Healthy => Health::Healthy,
            Answer::Degraded => Health::degraded("as scripted"),
            Answer::Failing => Health::failing("as scripted"),
            Answer::Hangs => pending().await,
        }
    }

    async fn stop(&self, scope: &Scope) -> Result {
        let mut span = self.begin(Activity::Stop);
        assert!(scope.is_stopping(), "stop runs, but its scope is not stopping");
        self.start_side_work(Phase::Stop, scope, u32::MAX).await;
        perform(&self.harness, self.script.stop, scope, &mut span).await
    }
}

impl<const NUMBER: usize> Part<NUMBER> {
    fn begin(&self, activity: Activity) -> Span {
        Span::new(&self.harness, &self.id, activity)
    }

    fn watch_drain(&self, scope: &Scope) {
        let (harness, id, inner) = (self.harness.clone(), self.id.clone(), scope.clone());
        let watch = harness.next_number();
        harness.note(&id.factory, Some(NUMBER), EventKind::WatchesDrain { watch });
        let mut watch = Watch { harness, id, watch, ends: EventKind::WatchAborted { watch } };
        scope.spawn("watch drain", async move {
            inner.draining().await;
            let is_ready = watch.harness.log().health.as_ref().map(|health| health.current().is_ready());
            let is_stopping = inner.is_stopping();
            watch.ends = EventKind::Drains { watch: watch.watch, is_stopping, is_ready };
            drop(watch);
        });
    }

    /// Starts the side work of a phase: leaks, tasks and children.
    async fn start_side_work(&self, phase: Phase, scope: &Scope, run: u32) {
        if phase == Phase::Run && self.script.leaks {
            for dependency in &self.dependencies {
                self.harness.note(&self.id.factory, Some(NUMBER), EventKind::Leaks(dependency.id.clone()));
                let leaked = (dependency.share)(&*dependency.held);
                self.harness.log().leaked.push(leaked);
            }
        }
        for (_, act) in self.script.tasks.iter().filter(|(when, _)| *when == phase) {
            let (harness, id, act, inner) = (self.harness.clone(), self.id.clone(), *act, scope.clone());
            scope.spawn("work", async move {
                let mut span = Span::new(&harness, &id, Activity::Task(run));
                perform(&harness, act, &inner, &mut span).await
            });
        }
        for child in self.script.children.iter().filter(|child| child.when == phase) {
            let (harness, id, plan, inner) =
                (self.harness.clone(), self.id.clone(), child.clone(), scope.clone());
            let run_child = async move {
                harness.clock.sleep(plan.after).await;
                let name = format!("{}.{run}", plan.factory.name);
                let (factory, twin) = (inner.child(&name), plan.has_twin.then(|| inner.child(&name)));
                let twin = twin.and_then(Result::ok);
                harness.clock.sleep(plan.starts_after).await;
                harness.run_child(factory, twin, plan, Maker::Part(id, run)).await;
            };
            let run_child: BoxFuture<'static, ()> = Box::pin(run_child);
            if child.in_a_task {
                let (harness, id) = (self.harness.clone(), self.id.clone());
                scope.spawn("child", async move {
                    let mut span = Span::new(&harness, &id, Activity::Task(run));
                    run_child.await;
                    span.ending = Ending::Succeeded;
                });
            } else {
                // Interrupted by the stop, or a child that never ends would block the phase.
                scope.until_stopping(run_child).await;
            }
        }
    }
}

impl<const NUMBER: usize> Drop for Part<NUMBER> {
    fn drop(&mut self) {
        self.harness.note(&self.id.factory, Some(NUMBER), EventKind::Dropped);
    }
}

/// Records on drop how the wait for a drain has ended.
struct Watch {
    harness: Arc<Harness>,
    id: PartId,
    watch: u32,
    ends: EventKind,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.harness.note(&self.id.factory, Some(self.id.part), self.ends.clone());
    }
}

/// Records the beginning of an activity, and on drop its end.
struct Span {
    harness: Arc<Harness>,
    id: PartId,
    span: u32,
    ending: Ending,
}

impl Span {
    fn new(harness: &Arc<Harness>, id: &PartId, activity: Activity) -> Self {
        let span = harness.next_number();
        harness.note(&id.factory, Some(id.part), EventKind::Begins { activity, span });
        Span { harness: harness.clone(), id: id.clone(), span, ending: Ending::Cancelled }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let what = EventKind::Ends { span: self.span, ending: self.ending };
        self.harness.note(&self.id.factory, Some(self.id.part), what);
    }
}

async fn perform(harness: &Harness, act: Act, scope: &Scope, span: &mut Span) -> Result {
    match act.until {
        Until::Now => {}
        Until::Stopping => scope.stopping().await,
        Until::OwnStopRequest => {
            harness.note_factory(&span.id.factory, EventKind::StopRequested);
            scope.request_stop();
            scope.stopping().await;
        }
        Until::Never => pending().await,
    }
    if !act.linger.is_zero() {
        harness.clock.sleep(act.linger).await;
    }
    let token = harness.next_number();
    match act.end {
        Outcome::Succeeds => {
            span.ending = Ending::Succeeded;
            Ok(())
        }
        Outcome::Fails => {
            span.ending = Ending::Failed(token);
            bail!("token {token};")
        }
        Outcome::Panics => {
            span.ending = Ending::Failed(token);
            panic!("token {token};")
        }
    }
}

/// Gets the part with this number; with a script, also sets its policy, as the factory's own part.
fn obtain(factory: &mut Factory, number: usize, script: Option<&Script>) -> Result<Dependency> {
    fn part<const NUMBER: usize>(factory: &mut Factory, script: Option<&Script>) -> Result<Dependency> {
        if let Some(script) = script {
            factory.policy::<Part<NUMBER>>(script.policy);
        }
        let part = factory.get::<Part<NUMBER>>()?;
        let share = |held: &(dyn Any + Send + Sync)| -> Box<dyn Any + Send + Sync> {
            let held = held.downcast_ref::<DaemonRef<Part<NUMBER>>>();
            Box::new(held.expect("made by part").share())
        };
        Ok(Dependency { id: part.id.clone(), held: Box::new(part), share })
    }
    let obtain = [
        part::<0>, part::<1>, part::<2>, part::<3>, part::<4>, part::<5>, part::<6>, part::<7>, part::<8>,
        part::<9>,
    ];
    obtain[number](factory, script)
}
