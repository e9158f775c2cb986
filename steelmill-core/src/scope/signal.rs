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

    /// Waits for `future`, or until the signal is raised. When it is raised already the future is not polled; when both
    /// happen between two polls the future wins.
    pub(crate) fn or<F>(&self, future: F) -> Or<'_, F> {
        Or { future, signal: self, wait: self.wait(), is_polled: false }
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
        Wait { notified, listed: None }
    }

    pub(crate) fn poll(self: Pin<&mut Self>, signal: &Signal, context: &mut Context<'_>) -> Poll<()> {
        if signal.is_raised() {
            return Poll::Ready(());
        }
        let this = self.project();
        if this.listed.as_ref().is_some_and(|listed| listed.will_wake(context.waker())) {
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
        is_polled: bool,
    }
}

impl<F: Future> Future for Or<'_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if !std::mem::replace(this.is_polled, true) && this.signal.is_raised() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(output) = this.future.poll(context) {
            return Poll::Ready(Some(output));
        }
        this.wait.poll(this.signal, context).map(|()| None)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;

    use futures::FutureExt;
    use futures::task::noop_waker_ref;

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Woken(std::sync::atomic::AtomicUsize);

    impl Woken {
        fn count(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counting_waker() -> (Arc<Woken>, Waker) {
        let woken = Arc::new(Woken::default());
        (woken.clone(), woken.into())
    }

    #[test]
    fn a_raised_signal_wins_before_the_first_poll_and_the_future_after_it() {
        let signal = Signal::default();
        assert_eq!(signal.or(ready(7)).now_or_never(), Some(Some(7)));

        let (sender, receiver) = futures::channel::oneshot::channel();
        let mut both = pin!(signal.or(receiver));
        let mut context = Context::from_waker(noop_waker_ref());
        assert!(both.as_mut().poll(&mut context).is_pending());
        signal.raise();
        assert!(sender.send(7).is_ok());
        assert_eq!(both.as_mut().poll(&mut context), Poll::Ready(Some(Ok(7))));

        assert_eq!(signal.or(ready(7)).now_or_never(), Some(None));
    }

    #[test]
    fn everybody_who_waits_is_woken() {
        let signal = Signal::default();
        let mut borrowed = pin!(signal.or(pending::<()>()));
        let mut owned = pin!(signal.wait_owned());
        let (woken, waker) = counting_waker();
        let mut context = Context::from_waker(&waker);
        assert!(borrowed.as_mut().poll(&mut context).is_pending());
        assert!(owned.as_mut().poll(&signal, &mut context).is_pending());
        assert!(owned.as_mut().poll(&signal, &mut context).is_pending());
        signal.raise();
        assert_eq!(woken.count(), 2);
        assert_eq!(borrowed.as_mut().poll(&mut context), Poll::Ready(None));
        assert!(owned.as_mut().poll(&signal, &mut context).is_ready());
    }

    #[test]
    fn whoever_polled_last_is_woken() {
        let signal = Signal::default();
        let mut waiting = pin!(signal.or(pending::<()>()));
        let (first, waker) = counting_waker();
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let (second, waker) = counting_waker();
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        signal.raise();
        assert_eq!((first.count(), second.count()), (0, 1));
    }
}
