//! The world this binary is built for: its clock, network, entropy and sockets. All other files import them from here.

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
