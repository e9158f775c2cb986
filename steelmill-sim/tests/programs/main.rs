//! Programs as they are, and tokio in daemons: what the simulation answers below the standard library.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

mod addresses; // of groups, of one link
mod disk; // files that a program writes, and power losses
mod endings; // ends of threads and processes
mod files; // what a program finds of files and of other processes
mod guests; // threads, locks, blocking sockets, runtimes
mod limits; // limits of resources, users, privileges
mod locks; // locks of C code
mod identity; // names of threads, what was used
mod inotify; // watches on files
mod interfaces; // getifaddrs(3), netdevice(7), rtnetlink(7)
mod names; // names of hosts and services
mod processes; // a process for each run
#[cfg(target_arch = "x86_64")]
mod raw_calls; // system calls past the C library
mod signals;
mod sockets; // which calls are of sockets alone
mod storage_bugs; // a small storage engine with bugs of a known kind
mod statics; // statics, arguments and environment of each process
mod thread_locals; // of threads where another was before
mod waiting; // several threads that wait on one socket
mod tokio; // tokio in daemons and tasks

use steelmill_core::Result;
use steelmill_sim::{Campaign, ExitStatus, Sim};

/// A program on a machine of its own, which has to end well.
async fn succeeds<R: ExitStatus>(sim: Sim, main: impl Fn() -> R + Send + Sync + 'static) -> Result {
    let life = sim.program("program", main).start().await?.ended().await;
    anyhow::ensure!(life.is_success(), "{life}");
    Ok(())
}

/// The same in simulations with several schedules, and on Linux itself if `ASK_LINUX` is set.
fn both(main: fn() -> std::io::Result<()>) {
    Campaign::new(move |sim| succeeds(sim, main)).seeds(20).check();
    if std::env::var_os("ASK_LINUX").is_some() {
        main().expect("Linux does the same");
    }
}
