//! Children of a running factory: admitted one for each name, listed, and found by name.
//!
//! What always holds: of the children that have this factory as their parent, no two that live have one name, but for the moment
//! in which one [replaces](crate::Factory::replace) the other.

use std::future::Future;

use tokio::sync::oneshot;

use super::plan::NotJoined;
use super::supervisor::Supervisor;
use crate::control::{
    ChildEntry, ChildId, ChildrenRequest, Control, Event, Handle, Maker, Refusal, Refused, SlotId,
};
use crate::label::Label;
use crate::{Result, RunningFactory, Scope};

/// Among how many children a name is looked for without an index: most factories have few, and children come and go.
const NAMES_SCANNED: usize = 8;

impl RunningFactory {
    /// Handles to the children that run, the oldest first; without those that are starting. A child whose last handle was
    /// dropped stops, and is not listed.
    ///
    /// # Cancellation
    /// Dropping the future has no effect.
    ///
    /// # Example
    /// ```
    /// # use steelmill_core::Factory;
    /// # steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    /// let demo = Factory::root("demo", sim.world()).start().await?;
    /// let blue = demo.child("blue")?.start().await?;
    /// let green = demo.child("green")?.start().await?;
    /// let paths = |children: &[_]| children.iter().map(|child: &steelmill_core::RunningFactory| child.path().to_owned()).collect::<Vec<_>>();
    /// assert_eq!(paths(&demo.children().await), ["demo/blue", "demo/green"]);
    ///
    /// drop(blue); // its handle; this is another one:
    /// # let blue = green;
    /// # let green = blue;
    /// demo.child_named("green").await?.stop().await;
    /// assert!(demo.child_named("green").await.is_err());
    /// # drop(green);
    /// # demo.stop().await;
    /// # Ok(())
    /// # });
    /// ```
    pub fn children(&self) -> impl Future<Output = Vec<RunningFactory>> + Send + use<> {
        running(self.control(), None)
    }

    /// A handle to the child of this name.
    ///
    /// # Cancellation
    /// Dropping the future has no effect.
    ///
    /// # Errors
    /// When no child of this name runs.
    pub fn child_named(&self, name: &str) -> impl Future<Output = Result<RunningFactory>> + Send + use<> {
        named(self.control(), name)
    }
}

impl Scope {
    /// Handles to the children of this factory that run, the oldest first, whoever has made them; see
    /// [`RunningFactory::children`].
    ///
    /// # Cancellation
    /// Dropping the future has no effect.
    pub fn children(&self) -> impl Future<Output = Vec<RunningFactory>> + Send + use<> {
        running(self.control(), None)
    }

    /// A handle to the child of this factory with this name.
    ///
    /// # Cancellation
    /// Dropping the future has no effect.
    ///
    /// # Errors
    /// When no child of this name runs.
    pub fn child_named(&self, name: &str) -> impl Future<Output = Result<RunningFactory>> + Send + use<> {
        named(self.control(), name)
    }
}

fn named(control: &Control, name: &str) -> impl Future<Output = Result<RunningFactory>> + Send + use<> {
    let path = format!("{}/{name}", control.path);
    let found = running(control, Some(path.as_str().into()));
    async move {
        let found = found.await.into_iter().next();
        found.ok_or_else(|| anyhow::anyhow!("no child {path} is running"))
    }
}

/// The running children of this path, or all.
pub(super) fn running(
    control: &Control,
    path: Option<Box<str>>,
) -> impl Future<Output = Vec<RunningFactory>> + Send + use<> {
    let (answer, answered) = oneshot::channel();
    control.send(Event::ChildrenRequested(Box::new(ChildrenRequest { path, answer })));
    async move {
        let mut children = Vec::new();
        for child in answered.await.unwrap_or_default() {
            // An error says that it does not run.
            let handle = child.await.ok().and_then(|handle| handle.downcast::<RunningFactory>().ok());
            children.extend(handle.map(|handle| *handle));
        }
        children
    }
}

impl Supervisor {
    pub(super) fn admit_child(&mut self, mut join: ChildEntry) {
        if let Err(why) = self.try_admit(&mut join) {
            let by = self.control.path.clone();
            let _ = join.events.send(Event::Refused(Box::new(Refused { by, why })));
            return;
        }
        if join.maker != Maker::Descendant {
            for watcher in self.watchers.iter() {
                let _ = join.events.send(Event::Subscribe(watcher.clone()));
            }
            if self.health.is_some() {
                let _ = join.events.send(Event::WatchHealth(None));
            }
            if self.plan.is_draining() {
                let _ = join.events.send(Event::Drain);
            }
            if !self.names.is_empty() {
                self.names.insert(join.child.clone(), join.id);
            }
        }
        self.children.insert(join.id, join);
        if self.names.is_empty() && self.children.len() > NAMES_SCANNED {
            let own = self.children.values().filter(|child| child.maker != Maker::Descendant);
            self.names = own.map(|child| (child.child.clone(), child.id)).collect();
        }
    }

    /// The newest child of this path.
    fn namesake(&self, path: &str) -> Option<&ChildEntry> {
        if self.names.is_empty() {
            let mut own = self.children.values().rev().filter(|child| child.maker != Maker::Descendant);
            own.find(|child| *child.child == *path)
        } else {
            self.children.get(self.names.get(path)?)
        }
    }

    fn try_admit(&mut self, join: &mut ChildEntry) -> std::result::Result<(), Refusal> {
        if join.maker != Maker::Descendant
            && let Some(namesake) = self.namesake(&join.child)
        {
            let name: Box<str> = join.child.rsplit('/').next().unwrap_or_default().into();
            match namesake.maker {
                _ if !join.start.replaces => return Err(Refusal::NameTaken(name)),
                maker if maker == join.maker => {}
                Maker::Daemon(maker) => return Err(Refusal::OtherMaker(name, self.label_of(maker))),
                _ => return Err(Refusal::OtherMaker(name, "the holder of a handle".into())),
            }
        }
        let shares = std::mem::take(&mut join.shares);
        self.plan.join(join.id, shares, join.maker, join.start.is_awaited_by_maker).map_err(|why| {
            match (why, join.maker) {
                (NotJoined::WaitsForItself, Maker::Daemon(maker)) => {
                    Refusal::WaitsForItself(self.label_of(maker))
                }
                _ => Refusal::Stopping,
            }
        })
    }

    /// Forgets a child that has ended.
    pub(super) fn remove_child(&mut self, id: ChildId) {
        let Some(child) = self.children.remove(&id) else { return };
        // The name may be that of another by now, which has replaced this one.
        if !self.names.is_empty() && self.names.get(&child.child) == Some(&id) {
            self.names.remove(&child.child);
        }
    }

    fn label_of(&self, slot: SlotId) -> Label {
        self.run_states[slot.index()].as_ref().map(|run_state| run_state.label.clone()).unwrap_or_default()
    }

    /// Lets the children answer with handles to themselves.
    pub(super) fn answer_children(
        &self,
        path: Option<&str>,
        answer: oneshot::Sender<Vec<oneshot::Receiver<Handle>>>,
    ) {
        let ask = |child: &ChildEntry| {
            let (answer, answered) = oneshot::channel();
            let _ = child.events.send(Event::HandleRequested(answer));
            answered
        };
        let own = || self.children.values().filter(|child| child.maker != Maker::Descendant);
        let asked = match path {
            None => own().map(ask).collect(),
            // While it is replaced, there are two, of which the new one may not run yet.
            Some(path) => own().rev().filter(|child| *child.child == *path).map(ask).collect(),
        };
        let _ = answer.send(asked);
    }

    /// Answers with a handle to this factory, if it runs.
    pub(super) fn answer_handle(&self, answer: oneshot::Sender<Handle>) {
        if let Some(node) = &self.node
            && !self.plan.is_stopping()
            && let Some(handle) = RunningFactory::upgrade(node, &self.handles)
            // Dropping a handle stops nothing here: it is not the last one, or was about to be.
            && let Err(handle) = answer.send(Box::new(handle))
        {
            drop(handle);
        }
    }
}
