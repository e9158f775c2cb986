//! The demo as its users meet it: the built program, real sockets, a real Redis client, and clients that mean no good.
#![expect(unreachable_pub, reason = "a test has no API; `pub` says which items other files use")]
#![expect(clippy::disallowed_methods, reason = "drives a real process in real time, from threads of its own")]

mod process; // starting the program and watching it

mod command_line; // what it says to whoever types
mod hostile; // clients that break rules
mod processes; // daemons in several processes
mod redis_client; // clients that keep them
mod shutdown; // how it ends
