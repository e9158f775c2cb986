//! Before a requested stop: the factory serves on for a while, but should get no new requests.
//!
//! A factory that drains runs in every respect; so failed daemons restart, children start, and it ends when all of its daemons
//! have finished. A failure that stops it, and a second request, end the drain.

use std::time::Duration;

use super::{Action, Plan, Stage};

impl Plan {
    pub(in crate::lifecycle) fn is_draining(&self) -> bool {
        self.stage == Stage::Running && self.is_draining
    }

    /// Whether it drains because it was itself requested to stop.
    pub(in crate::lifecycle) fn will_stop(&self) -> bool {
        self.is_draining() && self.has_own_drain
    }

    /// Drains for `time`, and stops then; `None`: because its parent drains, which will stop it. A factory that does not run
    /// stops at once.
    pub(in crate::lifecycle) fn drain(&mut self, time: Option<Duration>) {
        match (self.stage, time) {
            (Stage::Running, _) => {
                if !std::mem::replace(&mut self.is_draining, true) {
                    self.act(Action::Drain);
                }
                if let Some(time) = time
                    && !std::mem::replace(&mut self.has_own_drain, true)
                {
                    self.timeouts.set_shared(self.now, time);
                }
                self.settle();
            }
            (_, Some(_)) => self.stop(),
            // Its parent drains and it starts: it drains from when it runs.
            (_, None) => self.is_draining = true,
        }
    }

    /// The time is over.
    pub(super) fn drained(&mut self) {
        self.begin_stop(self.deadlines.stop);
    }
}
