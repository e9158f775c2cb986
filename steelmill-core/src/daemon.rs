//! What a service is: a [`Daemon`], and the [`DaemonRef`] others hold to call it.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;

use crate::{Factory, Result, Scope};

/// A long-running service: a struct, and one `impl` that says how it is built, prepared, run and stopped.
///
/// # Order
/// `build` and `prepare` run after those of everything it depends on; `run` starts when every daemon of the factory is
/// prepared; `stop` is called after everything that depends on it has ended. Each happens once, except that a `run` that
/// failed is called again where the daemon's [`Policy`](crate::Policy) says so.
///
/// # Panics
/// A panic in any of the four is caught, named in the [`Report`](crate::Report) and treated as an error.
///
/// # Example
/// ```
/// use std::sync::Arc;
/// use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope};
///
/// struct Greeter;
///
/// impl Daemon for Greeter {
///     fn build(_: &mut Factory) -> Result<Self> {
///         Ok(Self)
///     }
/// }
///
/// struct Door {
///     greeter: DaemonRef<Greeter>,
/// }
///
/// impl Daemon for Door {
///     fn build(factory: &mut Factory) -> Result<Self> {
///         Ok(Self { greeter: factory.get()? })
///     }
///
///     async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
///         scope.stopping().await;
///         Ok(())
///     }
/// }
/// ```
pub trait Daemon: Sized + Send + Sync + 'static {
    /// Builds this daemon, asking the factory for whatever it depends on.
    ///
    /// # Order
    /// What it asks for is built first. No I/O here: that is what [`prepare`](Daemon::prepare) is for.
    ///
    /// # Errors
    /// Reach whoever asked for this daemon, with the chain of askers in front. The factory can go on.
    fn build(factory: &mut Factory) -> Result<Self>;

    /// Gets ready to answer calls. What it makes here (a bound listener, an opened file) it keeps in a
    /// [`SetOnce`](crate::SetOnce).
    ///
    /// # Order
    /// Everything it depends on has been prepared. Independent daemons prepare at the same time. Afterwards it must
    /// answer calls; those that need its `run` loop wait.
    ///
    /// # Cancellation
    /// Dropped at the prepare deadline, and when the factory is told to stop or another daemon fails first. `stop` is
    /// then not called.
    ///
    /// # Errors
    /// The start fails, and what had been prepared is stopped in reverse order.
    fn prepare(&self, scope: &Scope) -> impl Future<Output = Result> + Send {
        let _ = scope;
        async { Ok(()) }
    }

    /// Works until told to stop.
    ///
    /// # Order
    /// Every daemon of the factory is prepared. Returning `Ok` early is fine: the daemon has finished, and can still
    /// be called.
    ///
    /// # Cancellation
    /// Dropped at the stop deadline, and then named in the report.
    ///
    /// # Errors
    /// The factory stops, unless the daemon's [`Policy`](crate::Policy) says that it runs again or is left down.
    fn run(self: &Arc<Self>, scope: &Scope) -> impl Future<Output = Result> + Send {
        async {
            scope.stopping().await;
            Ok(())
        }
    }

    /// Stops taking new work and gives back what `prepare` took.
    ///
    /// # Order
    /// Called once after every daemon and child that depends on this one has ended, beside a `run` that is told to
    /// stop at the same time. The daemon's tasks are awaited after both.
    ///
    /// # Cancellation
    /// Dropped at the stop deadline, and then named in the report; must leave nothing locked.
    ///
    /// # Errors
    /// Reported; the remaining daemons still stop.
    fn stop(&self, scope: &Scope) -> impl Future<Output = Result> + Send {
        let _ = scope;
        async { Ok(()) }
    }
}

/// A handle to a built daemon: a pointer to call straight through.
///
/// `T` may be a trait object, when the factory [binds](Factory::bind) one.
///
/// Not `Clone`, so that copies show in the code: [`share`](DaemonRef::share) makes one. A ref that is kept after its
/// factory has ended stays valid and is named in the report.
pub struct DaemonRef<T: ?Sized>(Arc<T>);

impl<T: ?Sized> DaemonRef<T> {
    /// Another handle to the same daemon.
    pub fn share(&self) -> DaemonRef<T> {
        DaemonRef(self.0.clone())
    }

    pub(crate) fn new(daemon: Arc<T>) -> Self {
        DaemonRef(daemon)
    }

    pub(crate) fn arc(&self) -> &Arc<T> {
        &self.0
    }
}

impl<T: ?Sized> Deref for DaemonRef<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> fmt::Debug for DaemonRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DaemonRef<{}>", label::<T>())
    }
}

/// What people call a type: its name without module paths.
pub(crate) type Label = Cow<'static, str>;

pub(crate) fn label<T: ?Sized>() -> Label {
    shorten(std::any::type_name::<T>())
}

/// Takes the module paths out of a type's name; borrows when there is only one path in it.
fn shorten(name: &'static str) -> Label {
    // Braces: types declared inside an async function are behind a segment called `{{closure}}`.
    let is_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '{' | '}');
    if name.chars().all(is_path) {
        return Cow::Borrowed(last_segment(name));
    }
    let mut short = String::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let end = if is_path(first) {
            let end = rest.find(|c| !is_path(c)).unwrap_or(rest.len());
            short.push_str(last_segment(&rest[..end]));
            end
        } else {
            short.push(first);
            first.len_utf8()
        };
        rest = &rest[end..];
    }
    Cow::Owned(short)
}

fn last_segment(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, short: &str) {
        assert_eq!(shorten(name), short);
    }

    #[test]
    fn a_label_has_no_module_paths() {
        check("Gateway", "Gateway");
        check("demo::gateway::Gateway", "Gateway");
        check("demo::main::{{closure}}::Gateway", "Gateway");
        check("demo::Gateway<steelmill_sim::SimWorld>", "Gateway<SimWorld>");
        check("a::Pair<(b::C, &str), [d::E; 3]>", "Pair<(C, &str), [E; 3]>");
        check("a::Boxed<dyn core::fmt::Debug + Send>", "Boxed<dyn Debug + Send>");
    }
}
