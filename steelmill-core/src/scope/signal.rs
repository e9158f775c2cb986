//! A flag that is raised once, and those who wait for it.
//!
//! Asking whether it is raised is one load. Waiting takes a place in a list once, however often the waiting task is
//! polled, so that the many tasks of a daemon do not meet at its stop signal.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;
use tokio::sync::Notify;
use tokio::sync::futures::{Notified, OwnedNotified};

#[derive(Default)]
pub(crate) struct Signal {
    raised: AtomicBool,
    waiters: Arc<Notify>,
}

impl Signal {
    pub(crate) fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        self.waiters.notify_waiters();
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    /// Waits for `future`, or until the signal is raised. A future that is ready at the first poll wins.
    pub(crate) fn or<F>(&self, future: F) -> Or<'_, F> {
        Or {
            future,
            signal: self,
            wait: self.wait(),
        }
    }

    fn wait(&self) -> Wait<Notified<'_>> {
        Wait::new(self.waiters.notified())
    }

    /// A place in the list that can move into a task. Poll it with this signal.
    pub(crate) fn wait_owned(&self) -> Wait<OwnedNotified> {
        Wait::new(self.waiters.clone().notified_owned())
    }
}

pin_project! {
    /// A place in a signal's list.
    pub(crate) struct Wait<N> {
        #[pin]
        notified: N,
        // Who is in the list; polling `notified` again would lock the list.
        listed: Option<Waker>,
    }
}

impl<N: Future<Output = ()>> Wait<N> {
    fn new(notified: N) -> Self {
        Wait {
            notified,
            listed: None,
        }
    }

    pub(crate) fn poll(self: Pin<&mut Self>, signal: &Signal, context: &mut Context<'_>) -> Poll<()> {
        if signal.is_raised() {
            return Poll::Ready(());
        }
        let this = self.project();
        if this
            .listed
            .as_ref()
            .is_some_and(|listed| listed.will_wake(context.waker()))
        {
            return Poll::Pending;
        }
        *this.listed = Some(context.waker().clone());
        this.notified.poll(context)
    }
}

pin_project! {
    /// See [`Signal::or`].
    #[must_use = "futures do nothing unless polled"]
    pub(crate) struct Or<'a, F> {
        #[pin]
        future: F,
        signal: &'a Signal,
        #[pin]
        wait: Wait<Notified<'a>>,
    }
}

impl<F: Future> Future for Or<'_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(context) {
            return Poll::Ready(Some(output));
        }
        this.wait.poll(this.signal, context).map(|()| None)
    }
}
