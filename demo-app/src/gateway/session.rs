//! One client's connection: commands in, replies out, in order, within limits.
//!
//! Commands of one connection are carried out one after the other, and nothing more is read while replies wait to be
//! sent. So what a client can make the gateway hold is one read's worth of commands and the replies to them; a client
//! that does not read its replies stops being read from, and loses the connection when its patience has run out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use steelmill_core::{Clock as _, Scope};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Gateway;
use super::command::Command;
use super::keys::Refusal;
use crate::resp::{Replies, Requests};
use crate::settings::ClientLimits;
use crate::world::{Clock, TcpStream};

/// Replies are sent when this much waits, or when no further command is there to be carried out.
const BATCH: usize = 64 * 1024;

/// How long and how much is read after the last reply and thrown away.
///
/// Closing while bytes of the client are still on their way would make the system reset the connection, and the client
/// would lose the error that explains the closing.
const FAREWELL: Duration = Duration::from_secs(1);
const FAREWELL_BYTES: usize = 8 << 20;

/// How long a command may still take, and its reply, when the gateway stops.
const GRACE: Duration = Duration::from_secs(1);

/// Why a connection is closed.
enum Close {
    /// The client has closed, or there is nobody to tell.
    Gone,
    /// After the replies that wait, and such that they arrive although the client may still be sending.
    Politely,
    /// After the replies that wait.
    Stopping,
}

impl From<std::io::Error> for Close {
    fn from(_: std::io::Error) -> Self {
        Close::Gone
    }
}

/// Serves one client until it leaves, breaks a rule, or the gateway stops.
pub(super) async fn serve(gateway: Arc<Gateway>, stream: TcpStream, scope: Scope) {
    let limits = &gateway.settings.clients;
    let mut session = Session {
        requests: Requests::new(limits.request.clone()),
        replies: Replies::default(),
        memory: Account::new(gateway.memory.clone(), limits),
        began: None,
        gateway: &gateway,
        limits,
        stream,
    };
    let overstayed = async {
        scope.stopping().await;
        gateway.clock.sleep(GRACE).await;
        Close::Gone
    };
    let close = tokio::select! {
        biased;
        close = session.converse(&scope) => close,
        close = overstayed => close,
    };
    match close {
        Close::Gone => {}
        Close::Stopping => drop(session.flush().await),
        Close::Politely => {
            if session.flush().await.is_ok() {
                farewell(session.stream, &gateway.clock).await;
            }
        }
    }
}

/// Rejects a client above the connection limit: with an error reply, then closed.
pub(super) async fn reject(gateway: Arc<Gateway>, mut stream: TcpStream) {
    let mut replies = Replies::default();
    let most = gateway.settings.clients.connections;
    replies.error(format_args!("ERR max number of clients reached: {most} are connected"));
    if let Ok(Ok(())) = gateway.clock.timeout(FAREWELL, stream.write_all(replies.bytes())).await {
        farewell(stream, &gateway.clock).await;
    }
}

/// Closes so that what was sent last arrives.
async fn farewell(mut stream: TcpStream, clock: &Clock) {
    let leave = async {
        stream.shutdown().await?;
        let mut thrown_away = [0; 4096];
        let mut count = 0;
        while count < FAREWELL_BYTES {
            match stream.read(&mut thrown_away).await? {
                0 => break,
                read => count += read,
            }
        }
        std::io::Result::Ok(())
    };
    // Nobody is left to be told if even that fails.
    let _ = clock.timeout(FAREWELL, leave).await;
}

struct Session<'a> {
    gateway: &'a Gateway,
    limits: &'a ClientLimits,
    stream: TcpStream,
    requests: Requests,
    replies: Replies,
    memory: Account,
    /// When the command that has only partly arrived began to.
    began: Option<Instant>,
}

impl Session<'_> {
    /// Serves until there is a reason to close.
    async fn converse(&mut self, scope: &Scope) -> Close {
        loop {
            if let Err(close) = self.turn(scope).await {
                return close;
            }
        }
    }

    async fn turn(&mut self, scope: &Scope) -> Result<(), Close> {
        self.carry_out().await?;
        self.flush().await?;
        self.read(scope).await
    }

    /// Carries out the commands that have arrived.
    async fn carry_out(&mut self) -> Result<(), Close> {
        loop {
            let start = self.replies.bytes().len();
            let words = match self.requests.next() {
                Ok(Some(words)) => words,
                Ok(None) => return Ok(()),
                Err(malformed) => {
                    self.replies.error(format_args!("ERR {malformed}"));
                    return Err(Close::Politely);
                }
            };
            self.gateway.counters.commands.add();
            let command = match Command::parse(words) {
                Ok(command) => command,
                Err(why) => {
                    self.replies.error(why);
                    continue;
                }
            };
            let (memory, limits) = (&mut self.memory, self.limits);
            let mut grown = |replies: &Replies| {
                if replies.bytes().len() - start > limits.reply {
                    return Err(Refusal::TooLong(format!("the reply is longer than {} bytes", limits.reply)));
                }
                memory.replies(replies.capacity()).map_err(Refusal::TooLong)
            };
            self.gateway.perform(command, &mut self.replies, &mut grown).await;
            if let Command::Quit = command {
                return Err(Close::Politely);
            }
            if self.replies.bytes().len() > BATCH {
                self.flush().await?;
            }
        }
    }

    /// Sends the replies that wait. However slowly a client reads, it must read something now and then.
    async fn flush(&mut self) -> Result<(), Close> {
        let mut sent = 0;
        while sent < self.replies.bytes().len() {
            let write = self.stream.write(&self.replies.bytes()[sent..]);
            match self.gateway.clock.timeout(self.limits.patience, write).await {
                Ok(written) => sent += written?,
                Err(_) => {
                    tracing::debug!("a client reads no replies; closed");
                    return Err(Close::Gone);
                }
            }
        }
        self.replies.clear();
        // Less than before, so it cannot be refused.
        let _ = self.memory.replies(self.replies.capacity());
        Ok(())
    }

    /// Waits for more of the client's bytes.
    async fn read(&mut self, scope: &Scope) -> Result<(), Close> {
        let now = self.gateway.clock.now();
        let limit = if self.requests.is_halfway() {
            let began = *self.began.get_or_insert(now);
            self.limits.arrival.saturating_sub(now - began)
        } else {
            self.began = None;
            self.limits.idle
        };
        let read = self.gateway.clock.timeout(limit, self.stream.read_buf(self.requests.space()));
        match scope.until_stopping(read).await {
            Some(Ok(Ok(0))) => return Err(Close::Gone),
            Some(Ok(Ok(_))) => {}
            Some(Ok(Err(error))) => return Err(error.into()),
            Some(Err(_)) => {
                let what = if self.began.is_some() { "the rest of the command" } else { "a command" };
                self.replies.error(format_args!("ERR {what} did not come within {limit:?}"));
                return Err(Close::Politely);
            }
            None => return Err(Close::Stopping),
        }
        if let Err(why) = self.memory.requests(self.requests.capacity()) {
            self.replies.error(format_args!("ERR {why}"));
            return Err(Close::Politely);
        }
        Ok(())
    }
}

/// What one connection holds of the memory all of them share.
struct Account {
    shared: Arc<AtomicUsize>,
    limit: usize,
    free: usize,
    requests: usize,
    replies: usize,
    /// What `shared` counts of it.
    counted: usize,
}

impl Account {
    fn new(shared: Arc<AtomicUsize>, limits: &ClientLimits) -> Self {
        Self { shared, limit: limits.memory, free: limits.free, requests: 0, replies: 0, counted: 0 }
    }

    fn requests(&mut self, bytes: usize) -> Result<(), String> {
        self.requests = bytes;
        self.count()
    }

    fn replies(&mut self, bytes: usize) -> Result<(), String> {
        self.replies = bytes;
        self.count()
    }

    fn count(&mut self) -> Result<(), String> {
        let wanted = (self.requests + self.replies).saturating_sub(self.free);
        let grew = wanted > self.counted;
        // Counted even if refused: the memory is in use until the connection gives it back.
        let total = self.shared.fetch_add(wanted, Relaxed) + wanted - self.counted;
        self.shared.fetch_sub(self.counted, Relaxed);
        self.counted = wanted;
        match grew && total > self.limit {
            true => Err(format!("all clients together have more than {} bytes waiting", self.limit)),
            false => Ok(()),
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.shared.fetch_sub(self.counted, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_share_one_budget_and_give_it_back() {
        let shared = Arc::new(AtomicUsize::new(0));
        let limits = ClientLimits { memory: 1_000, free: 100, ..ClientLimits::default() };
        let mut a = Account::new(shared.clone(), &limits);
        let mut b = Account::new(shared.clone(), &limits);
        assert!(a.requests(100).is_ok());
        assert_eq!(shared.load(Relaxed), 0, "what is free is not counted");
        assert!(a.replies(900).is_ok());
        assert!(b.requests(300).is_err());
        assert!(b.requests(150).is_ok(), "getting smaller is never refused");
        drop(a);
        assert!(b.requests(1_000).is_ok());
        drop(b);
        assert_eq!(shared.load(Relaxed), 0);
    }
}
