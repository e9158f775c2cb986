//! Accepting connections: the loop over a listener, and a task for each connection that ends when the daemon stops.
//!
//! What always holds: the loop ends when the daemon is told to stop, whatever the listener does. A connection costs the
//! one allocation of its task.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use super::{RunState, Scope, TaskOutput};
use crate::Result;
use crate::cell::Waiter;
use crate::net::TcpListener;

/// The pause after a failed `accept`.
const PAUSE: Duration = Duration::from_millis(100);

/// An error that has not occurred for this long is logged again.
const QUIET: Duration = Duration::from_secs(60);

/// When each error of an `accept` last occurred, so that one that lasts is logged once.
#[derive(Default)]
struct Failures(Vec<(String, Instant)>);

impl Failures {
    /// Whether an error at `now` has to be logged.
    fn is_news(&mut self, error: String, now: Instant) -> bool {
        self.0.retain(|(_, at)| now.saturating_duration_since(*at) < QUIET);
        match self.0.iter_mut().find(|(text, _)| *text == error) {
            Some((_, at)) => {
                *at = now;
                false
            }
            None => {
                self.0.push((error, now));
                true
            }
        }
    }
}

impl Scope {
    /// Accepts TCP connections until the daemon is told to stop, and calls `accepted` with each and its peer's address.
    ///
    /// `accepted` decides what becomes of the connection. It usually spawns a task, with
    /// [`spawn_until_stopping`](Scope::spawn_until_stopping) where the stop may interrupt the work, or with
    /// [`spawn`](Scope::spawn) where the task finishes the request it is at; it rejects the connection by dropping it.
    ///
    /// A failed `accept` does not end the loop: most such errors pass (`EMFILE`: the process has no file descriptor left;
    /// `ECONNABORTED`: the client has gone). The next attempt is made after 100 milliseconds on the clock
    /// of the factory's world, so that an error that lasts does not keep a thread busy. An error is logged as a warning,
    /// but not again until it has not occurred for a minute.
    ///
    /// # Order
    /// Connections are handed over in the order the listener accepts them. No connection is accepted once the daemon has
    /// been told to stop, however many wait.
    ///
    /// # Cancellation
    /// Dropping the future loses no connection.
    ///
    /// # Example
    /// An echo service. An idle client does not hold up its stop.
    /// ```
    /// use std::sync::Arc;
    /// use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope, SetOnce};
    /// use steelmill_sim::{Network, TcpListener};
    /// use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
    ///
    /// struct Echo {
    ///     network: DaemonRef<Network>,
    ///     listener: SetOnce<TcpListener>,
    /// }
    ///
    /// impl Daemon for Echo {
    ///     fn build(factory: &mut Factory) -> Result<Self> {
    ///         Ok(Self { network: factory.get()?, listener: SetOnce::new() })
    ///     }
    ///     async fn prepare(&self, _: &Scope) -> Result {
    ///         self.listener.set(self.network.bind("0.0.0.0:7000").await?)
    ///     }
    ///     async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
    ///         let listener = self.listener.get()?;
    ///         scope.accept_loop(listener, |stream, _peer| {
    ///             let (mut read, mut write) = stream.into_split();
    ///             scope.spawn_until_stopping("connection", async move {
    ///                 let _ = copy(&mut read, &mut write).await; // a client that breaks off is no failure of the service
    ///             });
    ///         }).await;
    ///         Ok(())
    ///     }
    /// }
    ///
    /// steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    ///     let server = sim.machine("server", |factory| factory.with::<Echo>()).start().await?;
    ///     let mut client = sim.client("client").network().connect("server:7000").await?;
    ///     client.write_all(b"hello").await?;
    ///     let mut answer = [0; 5];
    ///     client.read_exact(&mut answer).await?;
    ///     assert_eq!(&answer, b"hello");
    ///     let told = sim.elapsed();
    ///     assert!(server.stop().await?.is_success()); // although the client is still connected
    ///     assert!((sim.elapsed() - told).as_millis() < 100); // and at once
    ///     Ok(())
    /// });
    /// ```
    pub async fn accept_loop<L, F>(&self, listener: &L, mut accepted: F)
    where
        L: TcpListener,
        F: FnMut(L::Stream, SocketAddr),
    {
        let mut failures = Failures::default();
        while let Some(accept) = self.until_stopping(listener.accept()).await {
            match accept {
                Ok((stream, peer)) => accepted(stream, peer),
                Err(error) => {
                    let driver = &self.run_state.control.driver;
                    match failures.is_news(error.to_string(), driver.now()) {
                        true => tracing::warn!("cannot accept a connection: {error}"),
                        false => tracing::debug!("cannot accept a connection: {error}"),
                    }
                    let _ = self.until_stopping(driver.sleep_until(driver.now() + PAUSE)).await;
                }
            }
        }
    }

    /// Starts a task as [`spawn`](Scope::spawn) does, for work that the stop may interrupt at any wait: `future` is
    /// dropped when the daemon is told to stop, and then the task has ended without a failure.
    ///
    /// It does the same as a task that waits with [`until_stopping`](Scope::until_stopping) on a scope of its own, with
    /// fewer allocations.
    ///
    /// # Order
    /// A daemon that has been told to stop already does not begin the work.
    ///
    /// # Errors
    /// A task that fails or panics is logged and reported; the daemon goes on.
    #[track_caller]
    pub fn spawn_until_stopping<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output: TaskOutput> + Send + 'static,
    {
        let waiter = self.run_state.stopping.waiter();
        self.spawn(
            name,
            UntilStopping { future, waiter, run_state: self.run_state.clone(), is_polled: false },
        );
    }
}

pin_project! {
    /// [`Scope::until_stopping`] as a future that owns what it needs of the scope.
    struct UntilStopping<F> {
        #[pin]
        future: F,
        #[pin]
        waiter: Waiter,
        run_state: Arc<RunState>,
        is_polled: bool,
    }
}

impl<F: Future<Output: TaskOutput>> Future for UntilStopping<F> {
    type Output = Result;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result> {
        let this = self.project();
        let stopping = &this.run_state.stopping;
        if !std::mem::replace(this.is_polled, true) && stopping.is_raised() {
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(output) = this.future.poll(context) {
            return Poll::Ready(output.into_result());
        }
        this.waiter.poll(stopping, context).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do to count from")]
    fn an_error_that_lasts_is_logged_once_even_if_it_alternates_with_another() {
        let (start, mut failures) = (Instant::now(), Failures::default());
        let second = Duration::from_secs(1);
        let mut is_news = |error: &str, at| failures.is_news(error.to_owned(), start + at);
        assert!(is_news("too many open files", Duration::ZERO));
        assert!(is_news("connection aborted", PAUSE));
        for attempt in 2..1_000 {
            assert!(!is_news("too many open files", attempt * PAUSE), "attempt {attempt}");
            assert!(!is_news("connection aborted", attempt * PAUSE), "attempt {attempt}");
        }
        assert!(!is_news("connection aborted", 159 * second));
        assert!(is_news("connection aborted", 219 * second), "it had passed meanwhile");
    }
}
