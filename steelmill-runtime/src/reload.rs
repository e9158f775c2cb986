//! Reloading: SIGHUP has the configurations of the process read again.
//!
//! What always holds: reading is user code, so it runs on a thread of its own, never on the one that receives signals; one thread
//! at a time, so the last that is read is the last that is used.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use steelmill_core::{Config, Configuration, Error, Factory, Result, panic_message};

/// Adds a configuration to a factory: loads it with `load` and validates it, before anything that uses it is built; and does so
/// again whenever the process gets SIGHUP, which then stops it no longer. Daemons get it by [`Factory::config`].
///
/// A configuration that cannot be loaded later on, or is not valid, is refused: an error is logged, and the former one stays. Each
/// configuration is replaced by itself. Call it in the setup of [`run`](crate::run). A process that was started with SIGHUP
/// ignored goes on ignoring it.
///
/// `load` may block: after the start it runs on a thread of its own.
///
/// # Errors
/// Those of `load` and [`Factory::configure`]. When the factory is not one of [`run`](crate::run).
///
/// # Example
/// ```no_run
/// use anyhow::{Context, ensure};
/// use steelmill_core::{Config, Result};
/// use steelmill_runtime::{Options, configure, run};
///
/// struct Limits {
///     clients: u32,
/// }
///
/// impl Config for Limits {
///     fn validate(&self) -> Result {
///         ensure!(self.clients > 0, "clients must be at least 1");
///         Ok(())
///     }
/// }
///
/// fn load() -> Result<Limits> {
///     let text = std::fs::read_to_string("limits").context("cannot read limits")?;
///     Ok(Limits { clients: text.trim().parse().context("limits is no number")? })
/// }
///
/// fn main() -> std::process::ExitCode {
///     run(Options::default(), |factory| configure(factory, load))
/// }
/// ```
pub fn configure<C: Config>(
    factory: &mut Factory,
    load: impl Fn() -> Result<C> + Send + Sync + 'static,
) -> Result {
    let ReloadsOf(reloads) = &*factory.value::<ReloadsOf>().map_err(|_| {
        Error::msg(format!("{}: only the factory of `run` is configured by SIGHUP", factory.path()))
    })?;
    factory.configure(load()?)?;
    let configuration = factory.value::<Configuration<C>>()?;
    reloads.add(move || match load() {
        Ok(config) => configuration.replace(config).map(|_| format!("{configuration:?}")),
        Err(error) => Err(configuration.refused(error)),
    });
    Ok(())
}

type Reload = Arc<dyn Fn() -> Result<String> + Send + Sync>;

/// A value of the factory of `run`.
pub(crate) struct ReloadsOf(pub(crate) Arc<Reloads>);

/// What SIGHUP has read again.
#[derive(Default)]
pub(crate) struct Reloads {
    all: Mutex<Vec<Reload>>,
    turn: Mutex<Turn>,
}

#[derive(Default, PartialEq, Eq)]
enum Turn {
    #[default]
    Idle,
    Reading,
    /// Something may have changed since it was read.
    ReadingAndAgain,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reloads {
    fn add(&self, reload: impl Fn() -> Result<String> + Send + Sync + 'static) {
        locked(&self.all).push(Arc::new(reload));
    }

    pub(crate) fn is_empty(&self) -> bool {
        locked(&self.all).is_empty()
    }

    /// Reads all of them again, on a thread, and calls `done` with what came of it; once more if it is called meanwhile.
    pub(crate) fn reload(self: &Arc<Self>, done: impl Fn(&Result<String, String>) + Send + 'static) {
        {
            let mut turn = locked(&self.turn);
            if *turn != Turn::Idle {
                *turn = Turn::ReadingAndAgain;
                return;
            }
            *turn = Turn::Reading;
        }
        let reloads = self.clone();
        let read = move || {
            loop {
                let outcome = reloads.read();
                let _ = catch_unwind(AssertUnwindSafe(|| done(&outcome)));
                let mut turn = locked(&reloads.turn);
                if *turn == Turn::Reading {
                    *turn = Turn::Idle;
                    return;
                }
                *turn = Turn::Reading;
            }
        };
        if thread::Builder::new().name("reload".to_owned()).spawn(read).is_err() {
            *locked(&self.turn) = Turn::Idle;
        }
    }

    /// What all of them say, or what those say that failed.
    fn read(&self) -> Result<String, String> {
        let all = locked(&self.all).clone();
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for reload in all {
            match catch_unwind(AssertUnwindSafe(|| reload().map_err(|error| format!("{error:#}")))) {
                Ok(Ok(text)) => done.push(text),
                Ok(Err(error)) => failed.push(error),
                Err(panic) => {
                    failed.push(format!(
                        "a configuration was not loaded: panicked: {}",
                        panic_message(panic.as_ref())
                    ));
                    // Its destructor may panic, too.
                    std::mem::forget(panic);
                }
            }
        }
        if failed.is_empty() { Ok(done.join("; ")) } else { Err(failed.join("; ")) }
    }
}
