//! End-to-end tests of the program: real processes and sockets, a Redis client library, and hostile clients.
#![expect(unreachable_pub, reason = "a test has no API; `pub` says which items other files use")]
#![expect(clippy::disallowed_methods, reason = "drives a real process in real time, from threads of its own")]

mod process; // starts the program, reads its log, sends signals

mod command_line; // output, error messages, exit codes
mod durable; // data on disk: kills, restarts, folders that cannot be used
mod hostile; // malformed input, limits, timeouts
mod limits; // memory and file descriptors under many connections
mod processes; // daemons in several processes, failover
mod redis_client; // commands, pipelining, connection limit
mod shutdown; // signals and exit codes
