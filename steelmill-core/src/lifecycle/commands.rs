//! Restarting or stopping a single daemon while the rest of its factory runs.

use std::future::Future;

use anyhow::anyhow;
use tokio::sync::oneshot;

use super::plan::Next;
use super::supervisor::Supervisor;
use crate::control::{Command, Control, Event, Order, SlotId};
use crate::{Remote, Result, RunningFactory, State};

/// A command that is being carried out.
pub(super) struct Commanded {
    slot: SlotId,
    order: Order,
    answer: oneshot::Sender<Result>,
}

impl RunningFactory {
    /// Restarts one of the factory's own daemons, while all others run; waits until its `run` has been called again. `daemon` is
    /// its name in reports and in the [`status`](RunningFactory::status): `Gateway`, `Store[primary]`.
    ///
    /// # Order
    /// Its [`Scope`](crate::Scope) is told to stop; its `run`, the children it made and then its tasks end, within its
    /// [timeout](crate::Policy::stop); then `run` is called on the same daemon with a fresh scope. `prepare` and `stop` are
    /// not called, dependents keep their refs, no backoff passes, and it does not count towards the limit of its
    /// [`Policy`](crate::Policy). To have it built anew, start it with [`supervise`](crate::Factory::supervise). A daemon that
    /// has finished or is down runs again.
    ///
    /// # Cancellation
    /// The restart begins with the call. Dropping the future does not cancel it.
    ///
    /// # Errors
    /// When the factory has no such daemon of its own; when it does not run, or stops meanwhile; when the daemon is about to
    /// restart already. What its last run fails with is in the report, as a failure.
    ///
    /// # Example
    /// ```
    /// # use steelmill_core::{Daemon, Factory, Result, State};
    /// # struct Gateway;
    /// # impl Daemon for Gateway {
    /// #     fn build(_: &mut Factory) -> Result<Self> { Ok(Gateway) }
    /// # }
    /// # steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    /// # let mut factory = Factory::root("demo", sim.world());
    /// # factory.with::<Gateway>()?;
    /// let demo = factory.start().await?;
    /// demo.stop_daemon("Gateway").await?;
    /// assert_eq!(demo.status().await.expect("it runs").daemons[0].state, State::Down);
    /// demo.restart_daemon("Gateway").await?;
    /// assert_eq!(demo.status().await.expect("it runs").daemons[0].state, State::Running);
    ///
    /// let error = demo.restart_daemon("Gatewya").await.unwrap_err();
    /// assert_eq!(error.to_string(), "demo has no daemon Gatewya; its daemons are: Gateway");
    /// assert!(demo.stop().await.is_clean());
    /// # Ok(())
    /// # });
    /// ```
    pub fn restart_daemon(&self, daemon: &str) -> impl Future<Output = Result> + Send + use<> {
        command(self.control(), daemon, Order::Restart)
    }

    /// Stops the `run` of one of the factory's own daemons, with its children and tasks, while all others run; waits for that.
    /// The daemon is [down](State::Down) then: it can still be called, and its `stop` is called when the factory
    /// stops. [`restart_daemon`](RunningFactory::restart_daemon) runs it again.
    ///
    /// # Cancellation
    /// As of [`restart_daemon`](RunningFactory::restart_daemon).
    ///
    /// # Errors
    /// As of [`restart_daemon`](RunningFactory::restart_daemon).
    pub fn stop_daemon(&self, daemon: &str) -> impl Future<Output = Result> + Send + use<> {
        command(self.control(), daemon, Order::Stop)
    }
}

impl Remote {
    /// Restarts a single daemon, as [`RunningFactory::restart_daemon`] does.
    ///
    /// # Errors
    /// As of that.
    pub fn restart_daemon(&self, daemon: &str) -> impl Future<Output = Result> + Send + use<> {
        command(self.control(), daemon, Order::Restart)
    }

    /// Stops a single daemon, as [`RunningFactory::stop_daemon`] does.
    ///
    /// # Errors
    /// As of that.
    pub fn stop_daemon(&self, daemon: &str) -> impl Future<Output = Result> + Send + use<> {
        command(self.control(), daemon, Order::Stop)
    }
}

fn command(control: &Control, daemon: &str, order: Order) -> impl Future<Output = Result> + Send + use<> {
    let (answer, answered) = oneshot::channel();
    control.send(Event::Command(Box::new(Command { daemon: daemon.into(), order, answer })));
    let path = control.path.clone();
    async move { answered.await.unwrap_or_else(|_| Err(anyhow!("{path} has ended"))) }
}

impl Supervisor {
    pub(super) fn command(&mut self, command: Command) {
        let Command { daemon, order, answer } = command;
        match self.begin_command(&daemon, order) {
            Ok(slot) => self.commanded.push(Commanded { slot, order, answer }),
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    fn begin_command(&mut self, daemon: &str, order: Order) -> Result<SlotId> {
        let path = &self.control.path;
        let found = self.run_states.iter().flatten().find(|run_state| run_state.label == daemon);
        let Some(slot) = found.map(|run_state| run_state.slot) else {
            let labels: Vec<_> =
                self.run_states.iter().flatten().map(|run_state| &*run_state.label).collect();
            return Err(anyhow!("{path} has no daemon {daemon}; its daemons are: {}", labels.join(", ")));
        };
        let next = match order {
            Order::Restart => Next::Run,
            Order::Stop => Next::Stopped,
        };
        if !self.plan.command(slot, next) {
            let (factory, state) = (self.plan.factory_state(), self.plan.state(slot));
            return Err(match factory {
                State::Running | State::Draining => anyhow!("{path}: {daemon} is {state} already"),
                _ => anyhow!(
                    "{path} is {factory}: {daemon} can be restarted or stopped only while it is running"
                ),
            });
        }
        Ok(slot)
    }

    /// Answers the commands that have been carried out, and those that cannot be any more.
    pub(super) fn answer_commands(&mut self) {
        let is_stopping = self.plan.is_stopping();
        let (plan, path) = (&self.plan, &self.control.path);
        for Commanded { slot, order, answer } in std::mem::take(&mut self.commanded) {
            match (order, plan.state(slot)) {
                _ if is_stopping => drop(answer.send(Err(anyhow!("{path} is stopping")))),
                (_, State::WindingDown) => self.commanded.push(Commanded { slot, order, answer }),
                _ => drop(answer.send(Ok(()))),
            }
        }
    }
}
