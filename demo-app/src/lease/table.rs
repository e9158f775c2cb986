//! The table of granted leases, with holders and expiries. It has no clock: the time is an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::message::{Command, Reply, Request};

/// Limits of what clients can make the daemon store.
const NAME_MAX: usize = 256;
const LEASES_MAX: usize = 1024;
const TTL_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Table {
    held: BTreeMap<String, Grant>,
    last_token: u64,
    /// The holder of the last grant, and how many times it differed from the one before.
    last_holder: String,
    holder_changes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub holder: String,
    pub token: u64,
    pub expires_at: Instant,
}

impl Table {
    /// An empty table; the next token is `last_token` + 1.
    pub fn new(last_token: u64) -> Self {
        Self { held: BTreeMap::new(), last_token, last_holder: String::new(), holder_changes: 0 }
    }

    /// How many times a lease was granted to another holder than the grant before.
    pub fn holder_changes(&self) -> u64 {
        self.holder_changes
    }

    /// The lease `name`, if it is held at `now`.
    pub fn held(&self, name: &str, now: Instant) -> Option<&Grant> {
        self.held.get(name).filter(|grant| now < grant.expires_at)
    }

    pub fn answer(&mut self, now: Instant, request: Request<'_>) -> Reply {
        match request.command {
            Command::Acquire { holder, ttl } => self.acquire(now, request.name, holder, ttl.min(TTL_MAX)),
            Command::Renew { token, ttl } => self.renew(now, request.name, token, ttl.min(TTL_MAX)),
            Command::Release { token } => match self.held(request.name, now) {
                Some(grant) if grant.token == token => {
                    self.held.remove(request.name);
                    Reply::Released
                }
                _ => Reply::Lost,
            },
        }
    }

    /// A held lease is not granted again, not even to its holder: a delayed duplicate of its request would replace the
    /// token that it relies on.
    fn acquire(&mut self, now: Instant, name: &str, holder: &str, ttl: Duration) -> Reply {
        if let Some(grant) = self.held(name, now) {
            return Reply::Held { holder: grant.holder.clone(), remaining: grant.expires_at - now };
        }
        if name.len() > NAME_MAX || holder.len() > NAME_MAX {
            return Reply::Refused(format!("names must have at most {NAME_MAX} bytes"));
        }
        if self.held.len() >= LEASES_MAX {
            self.held.retain(|_, grant| now < grant.expires_at);
        }
        if self.held.len() >= LEASES_MAX {
            return Reply::Refused(format!("{LEASES_MAX} leases are held, which is the limit"));
        }
        if self.last_holder != holder {
            self.holder_changes += u64::from(!self.last_holder.is_empty());
            holder.clone_into(&mut self.last_holder);
        }
        self.last_token += 1;
        let grant = Grant { holder: holder.to_owned(), token: self.last_token, expires_at: now + ttl };
        self.held.insert(name.to_owned(), grant);
        Reply::Granted { token: self.last_token, ttl }
    }

    fn renew(&mut self, now: Instant, name: &str, token: u64, ttl: Duration) -> Reply {
        match self.held.get_mut(name) {
            Some(grant) if grant.token == token && now < grant.expires_at => {
                // A renewal never shortens the lease, because a reply that promised more may be in flight.
                grant.expires_at = grant.expires_at.max(now + ttl);
                Reply::Granted { token, ttl }
            }
            _ => Reply::Lost,
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do to count from")]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(3);

    /// An empty table, and an instant to count from.
    fn empty() -> (Table, Instant) {
        (Table::new(100), Instant::now())
    }

    fn acquire(table: &mut Table, now: Instant, holder: &str) -> Reply {
        table.answer(now, Request { name: "kv", command: Command::Acquire { holder, ttl: TTL } })
    }

    fn renew(table: &mut Table, now: Instant, token: u64) -> Reply {
        table.answer(now, Request { name: "kv", command: Command::Renew { token, ttl: TTL } })
    }

    fn release(table: &mut Table, now: Instant, token: u64) -> Reply {
        table.answer(now, Request { name: "kv", command: Command::Release { token } })
    }

    #[test]
    fn one_holds_it_at_a_time_and_tokens_grow() {
        let (mut table, start) = empty();
        assert_eq!(acquire(&mut table, start, "a"), Reply::Granted { token: 101, ttl: TTL });
        let second = start + Duration::from_secs(1);
        let held = Reply::Held { holder: "a".into(), remaining: Duration::from_secs(2) };
        assert_eq!(acquire(&mut table, second, "b"), held);
        assert_eq!(acquire(&mut table, second, "a"), held);
        assert_eq!(table.holder_changes(), 0);
        assert_eq!(acquire(&mut table, start + TTL, "b"), Reply::Granted { token: 102, ttl: TTL });
        assert_eq!(table.holder_changes(), 1);
    }

    #[test]
    fn only_its_holder_renews_it_and_only_in_time() {
        let (mut table, start) = empty();
        acquire(&mut table, start, "a");
        let second = start + Duration::from_secs(1);
        assert_eq!(renew(&mut table, second, 101), Reply::Granted { token: 101, ttl: TTL });
        assert_eq!(renew(&mut table, second, 100), Reply::Lost);
        assert!(matches!(acquire(&mut table, start + TTL, "b"), Reply::Held { .. }));
        assert_eq!(renew(&mut table, second + TTL, 101), Reply::Lost);
        assert_eq!(table.held("kv", second + TTL), None);
    }

    #[test]
    fn a_released_lease_is_free_at_once_and_a_late_release_frees_nothing() {
        let (mut table, start) = empty();
        acquire(&mut table, start, "a");
        assert_eq!(release(&mut table, start, 101), Reply::Released);
        assert_eq!(acquire(&mut table, start, "b"), Reply::Granted { token: 102, ttl: TTL });
        assert_eq!(release(&mut table, start, 101), Reply::Lost);
        assert!(table.held("kv", start).is_some_and(|grant| grant.holder == "b"));
    }

    #[test]
    fn the_memory_that_clients_can_use_is_bounded() {
        let (mut table, start) = empty();
        let mut names = (0..).map(|number: u32| number.to_string());
        let mut ask = |now| {
            let name = names.next().expect("endless");
            let ttl = Duration::MAX;
            table.answer(now, Request { name: &name, command: Command::Acquire { holder: "a", ttl } })
        };
        for _ in 0..LEASES_MAX {
            assert!(matches!(ask(start), Reply::Granted { ttl: TTL_MAX, .. }));
        }
        assert!(matches!(ask(start), Reply::Refused(_)));
        assert!(matches!(ask(start + TTL_MAX), Reply::Granted { .. }));
        let long = "x".repeat(NAME_MAX + 1);
        assert!(matches!(acquire(&mut table, start, &long), Reply::Refused(_)));
    }
}
