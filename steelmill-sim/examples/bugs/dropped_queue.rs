//! Queue dropped at shutdown: an intake accepts orders into a queue, and ends with orders in it.
//!
//! A worker takes the orders from the queue and forwards each until the kitchen has it. At a stop it must forward what
//! is left, because accepted orders are acknowledged. Planted bug: it ends after the order that it is forwarding.
//!
//! Orders are forwarded faster than they arrive, so a redeployment finds some in the queue only if the kitchen is away. It
//! is, in every redeployment: the kitchen is first cut off for half a second.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{anyhow, ensure};
use steelmill_core::{Clock as _, Daemon, DaemonRef, Deadlines, Factory, Result, Scope};
use steelmill_sim::fault::{Budget, Family};
use steelmill_sim::{Clock, Machine, Network, Sim};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::talk::{Answers, Client, Listener, answer_all, think, words};
use super::{Bug, Version};

pub(crate) const BUG: Bug = Bug {
    name: "dropped-queue",
    missing_code: "the intake's worker does not forward what is left in its queue when it is stopped",
    needed: "a redeployment while the kitchen is away",
    faults: &[&[Family::Own]],
    may_help: &[],
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

struct Intake {
    version: Version,
    listener: Listener,
    clock: DaemonRef<Clock>,
    network: DaemonRef<Network>,
    orders: UnboundedSender<u64>,
    /// Taken by the worker.
    queue: Mutex<Option<UnboundedReceiver<u64>>>,
}

impl Daemon for Intake {
    fn build(factory: &mut Factory) -> Result<Self> {
        let (orders, queue) = unbounded_channel();
        Ok(Self {
            version: *factory.value()?,
            listener: Listener::build(factory)?,
            clock: factory.get()?,
            network: factory.get()?,
            orders,
            queue: Mutex::new(Some(queue)),
        })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let queue = queue.ok_or_else(|| anyhow!("the queue is taken already"))?;
        let answers = self.listener.serve(scope, |stream| answer_all(self.clone(), stream));
        let (answers, ()) = tokio::join!(answers, self.work(scope, queue));
        answers
    }
}

impl Answers for Intake {
    async fn answer(&self, request: &str) -> String {
        match words(request).1[..] {
            [order] if self.orders.send(order).is_ok() => "accepted",
            _ => "refused",
        }
        .to_owned()
    }
}

impl Intake {
    async fn work(&self, scope: &Scope, mut queue: UnboundedReceiver<u64>) {
        let mut kitchen = Client::new(*self.network, "kitchen:7000");
        while let Some(Some(order)) = scope.until_stopping(queue.recv()).await {
            self.forward(&mut kitchen, order).await;
        }
        queue.close();
        if self.version == Version::Right {
            while let Some(order) = queue.recv().await {
                self.forward(&mut kitchen, order).await;
            }
        }
    }

    async fn forward(&self, kitchen: &mut Client, order: u64) {
        let request = format!("cook {order}");
        while !matches!(self.clock.timeout(Duration::from_secs(1), kitchen.ask(&request)).await, Ok(Ok(_))) {
            self.clock.sleep(Duration::from_millis(100)).await;
        }
    }
}

struct Kitchen {
    listener: Listener,
    orders: Mutex<BTreeSet<u64>>,
}

impl Daemon for Kitchen {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { listener: Listener::build(factory)?, orders: Mutex::default() })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.listener.serve(scope, |stream| answer_all(self.clone(), stream)).await
    }
}

impl Answers for Kitchen {
    async fn answer(&self, request: &str) -> String {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).extend(words(request).1);
        "cooked".to_owned()
    }
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let kitchen = sim.machine("kitchen", |factory| factory.with::<Kitchen>()).start().await?;
    let intake = sim.machine("intake", move |factory| {
        // Longer than any fault lasts, so that the worker is not aborted.
        factory.deadlines(Deadlines { stop: Duration::from_secs(120), ..Deadlines::default() });
        factory.provide_value(version)?;
        factory.with::<Intake>()
    });
    let intake = intake.start().await?;
    let client = sim.client("client");
    let accepted = Rc::new(RefCell::new(Vec::new()));
    let orders = sim.limit("orders", 1..=1000);
    let ordering = client.spawn("orders", order_all(client.clone(), orders, accepted.clone()));

    // A crash may lose accepted orders, which is no bug of this protocol: no machine ends.
    let machines = [client, kitchen.clone(), intake.clone()];
    let redeployments = RefCell::new(Vec::new());
    let redeploy = async |_| {
        redeployments
            .borrow_mut()
            .push(sim.spawn("redeploy", redeploy(sim, intake.clone(), kitchen.clone())));
        Ok(())
    };
    let budget = Budget { ends: Vec::new(), ..Budget::of(&machines) };
    sim.inject_faults(budget).own("redeployment", 0..=3, redeploy).run().await?;
    for redeployment in redeployments.take() {
        redeployment.await??;
    }
    ordering.await?;
    sim.clock().sleep(Duration::from_secs(120)).await;

    let kitchen = kitchen.get::<Kitchen>()?;
    let cooked = kitchen.orders.lock().unwrap_or_else(PoisonError::into_inner);
    for order in accepted.take() {
        ensure!(cooked.contains(&order), "the kitchen lacks order {order}, which was accepted");
    }
    Ok(())
}

/// Stops a machine in an orderly way while the kitchen is away, and restarts it.
async fn redeploy(sim: Sim, machine: Machine, kitchen: Machine) -> Result {
    // Not while the machine is paused or being redeployed.
    let Some(_claim) = machine.claim() else { return Ok(()) };
    let away = sim.isolate(&kitchen);
    sim.clock().sleep(Duration::from_millis(500)).await;
    sim.spawn("kitchen", async move {
        sim.clock().sleep(Duration::from_millis(500)).await;
        away.heal();
    });
    let life = machine.stop().await?;
    ensure!(life.is_success(), "{life}");
    machine.restart().await
}

async fn order_all(client: Machine, orders: u64, accepted: Rc<RefCell<Vec<u64>>>) {
    let mut intake = Client::new(client.network(), "intake:7000");
    for order in 0..orders {
        think(&client, Duration::from_millis(100)).await;
        let answer = intake.ask_within(Duration::from_secs(1), &client, &format!("order {order}")).await;
        if answer.is_ok_and(|answer| answer == "accepted") {
            accepted.borrow_mut().push(order);
        }
    }
}
