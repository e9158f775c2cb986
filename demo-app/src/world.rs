//! The world this binary is built for: its clock, network, entropy, sockets, and the limit of their number. All other
//! files import them from here.

#[cfg(all(feature = "runtime", feature = "sim"))]
compile_error!(
    "demo-app is built for one world at a time, and both were asked for: for the sim write \
     `cargo run -p demo-app --no-default-features --features sim` (or `cargo xtask sim`), \
     for the runtime world `cargo run -p demo-app`"
);

#[cfg(not(any(feature = "runtime", feature = "sim")))]
compile_error!(
    "demo-app is built for one world, and none was asked for: for the runtime world write \
     `cargo run -p demo-app`, for the sim `cargo run -p demo-app --no-default-features --features sim` \
     (or `cargo xtask sim`)"
);

#[cfg(feature = "runtime")]
pub use steelmill_runtime::{self as runtime, Clock, Entropy, Network, TcpListener, TcpStream};

#[cfg(all(feature = "sim", not(feature = "runtime")))]
pub use steelmill_sim::{self as sim, Clock, Entropy, Network, TcpListener, TcpStream};

/// The most file descriptors of the process: the system's limit, raised to what the process may have.
#[cfg(feature = "runtime")]
pub fn descriptor_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // A limit that cannot be raised stays as it is.
    let is_raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    let limit = if is_raised { maximum } else { current };
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// The most file descriptors of the process: the simulation has no limit.
#[cfg(all(feature = "sim", not(feature = "runtime")))]
pub fn descriptor_limit() -> usize {
    usize::MAX
}

/// Writes once to a connection that was just accepted, and closes it. It has room, although tokio may not have been told so yet:
/// so the write goes past tokio.
#[cfg(feature = "runtime")]
pub fn write_and_close(stream: TcpStream, bytes: &[u8]) {
    use std::io::Write as _;

    // Whoever has gone needs no reply.
    let _ = stream.into_std().and_then(|mut stream| stream.write(bytes));
}

/// Writes once to a connection that was just accepted, and closes it.
#[cfg(all(feature = "sim", not(feature = "runtime")))]
pub fn write_and_close(stream: TcpStream, bytes: &[u8]) {
    let _ = stream.try_write(bytes);
}
