//! The reply to `INFO`: this gateway, and each daemon and child of its factory.

use std::fmt::Write as _;

use steelmill_core::Status;

use super::Gateway;
use super::leadership::LeaseState;
use crate::listener::Listener;

impl Gateway {
    pub(super) async fn info(&self) -> String {
        let lease = match &*self.lease_state.borrow() {
            LeaseState::Held(leadership) => ("lease_token", leadership.lease.token().to_string()),
            LeaseState::NotHeld(holder) => ("leader", holder.as_deref().unwrap_or("unknown").to_owned()),
        };
        let left = self.lease_left().unwrap_or_default();
        let up = |is_up| if is_up { "up" } else { "down" }.to_owned();
        let sections = [
            (
                "Server",
                vec![
                    ("demo_version", env!("CARGO_PKG_VERSION").to_owned()),
                    ("address", self.holder().to_owned()),
                    ("store_link", up(self.store.is_up())),
                    ("lease_link", up(self.lease.is_up())),
                ],
            ),
            (
                "Clients",
                vec![("connected_clients", self.listener.get().map_or(0, Listener::connections).to_string())],
            ),
            ("Lease", vec![("lease_left_ms", left.as_millis().to_string()), lease]),
            (
                "Stats",
                vec![
                    ("total_commands_processed", self.counters.commands.get().to_string()),
                    ("keyspace_hits", self.counters.hits.get().to_string()),
                    ("keyspace_misses", self.counters.misses.get().to_string()),
                ],
            ),
        ];
        let mut text = String::new();
        for (section, lines) in sections {
            write!(text, "# {section}\r\n").expect("writing to memory cannot fail");
            for (name, value) in lines {
                write!(text, "{name}:{value}\r\n").expect("writing to memory cannot fail");
            }
        }
        let status = match self.scope.get() {
            Ok(scope) => scope.status().await,
            Err(_) => None,
        };
        if let Some(status) = status {
            text.push_str("# Daemons\r\n");
            daemons(&status, &mut text).expect("writing to memory cannot fail");
        }
        text
    }
}

/// Appends a line for each factory, `demo:state=running,...`, and each daemon, `demo/Gateway:state=running,...`.
fn daemons(status: &Status, text: &mut String) -> std::fmt::Result {
    for status in status.walk() {
        let (factory, ms) = (&status.factory, status.lasted.as_millis());
        write!(text, "{factory}:state={},for_ms={ms},children={}\r\n", status.state, status.children.len())?;
        for daemon in &status.daemons {
            let (name, ms) = (&daemon.daemon, daemon.lasted.as_millis());
            let (state, runs, tasks) = (daemon.state, daemon.runs, daemon.tasks_alive());
            write!(text, "{factory}/{name}:state={state},for_ms={ms},runs={runs},tasks={tasks}")?;
            if let Some(error) = &daemon.last_error {
                // An error may have several lines; the reply has one for each daemon.
                write!(text, ",last_error={}", error.replace(['\r', '\n'], " "))?;
            }
            text.push_str("\r\n");
        }
    }
    Ok(())
}
