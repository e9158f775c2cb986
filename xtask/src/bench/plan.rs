//! The workloads: what is measured, at which sizes, and the target.

pub(super) struct Workload {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// The name of one operation.
    pub(super) op: &'static str,
    /// The lower bound.
    pub(super) bound: Side,
    pub(super) ours: Side,
    /// The arguments of the timed rounds.
    pub(super) timed: &'static str,
    /// The arguments of two counted runs. Their difference excludes the cost of starting up.
    pub(super) counted: [&'static str; 2],
    pub(super) target: Target,
}

impl Workload {
    /// The workload whose instructions limit those of this one.
    pub(super) fn reference(&self) -> Option<&'static str> {
        match self.target.instructions {
            Some(Limit::AboveOurs(name, _)) => Some(name),
            _ => None,
        }
    }
}

/// One program of a comparison.
pub(super) struct Side {
    /// Its name in the table.
    pub(super) label: &'static str,
    /// Its bench target.
    pub(super) program: &'static str,
    /// The crate of the bench target.
    pub(super) package: &'static str,
    /// Arguments for every run.
    pub(super) args: &'static str,
}

/// The limits on the cost of one of our operations.
pub(super) struct Target {
    pub(super) instructions: Option<Limit>,
    /// Allocations; 0 allows for the rounding of growing tables.
    pub(super) allocations: Option<f64>,
    /// Time, as a multiple of the bound's. For memory-bound work, whose cost instructions do not show.
    pub(super) times: Option<f64>,
}

const NO_TARGET: Target = Target { instructions: None, allocations: None, times: None };

/// A limit on instructions.
pub(super) enum Limit {
    Below(f64),
    /// The bound's, plus this share: hash keys, addresses and buffers vary by chance.
    AboveBound(f64),
    /// Ours in another workload, plus this share.
    AboveOurs(&'static str, f64),
}

const HAND: Side = Side { label: "hand-written", program: "hand", package: "steelmill-sim", args: "" };

const SIM: Side = Side { label: "steelmill", program: "steelmill", package: "steelmill-sim", args: "" };

/// A workload of the simulator, by a name of its own on either side.
const fn sim(label: &'static str, args: &'static str) -> Side {
    Side { label, program: "steelmill", package: "steelmill-sim", args }
}

/// Another simulator and ours, with the same program.
const fn beside(label: &'static str, program: &'static str) -> Side {
    Side { label, program, package: "steelmill-beside", args: "" }
}

const fn hand(label: &'static str, args: &'static str) -> Side {
    Side { label, program: "hand", package: "steelmill-sim", args }
}

const fn plain(label: &'static str) -> Side {
    Side { label, program: "cost", package: "steelmill-runtime", args: "--side plain" }
}

const fn steelmill(label: &'static str) -> Side {
    Side { label, program: "cost", package: "steelmill-runtime", args: "--side steelmill" }
}

const fn lifecycle(label: &'static str, args: &'static str) -> Side {
    Side { label, program: "lifecycle", package: "steelmill-runtime", args }
}

/// With any number of clients, a round trip costs at most a third more than with one client.
const AS_ONE_CLIENT: Target =
    Target { instructions: Some(Limit::AboveOurs("W1", 1.0 / 3.0)), allocations: Some(0.0), ..NO_TARGET };

pub(super) const PLAN: &[Workload] = &[
    Workload {
        name: "W1",
        title: "ping-pong over a stream between two machines",
        op: "round trip",
        bound: HAND,
        ours: SIM,
        timed: "--workload w1 --n 100000",
        counted: ["--workload w1 --n 1000", "--workload w1 --n 6000"],
        target: Target { instructions: Some(Limit::Below(3000.0)), allocations: Some(0.0), ..NO_TARGET },
    },
    Workload {
        name: "W2-10",
        title: "10 clients, each with a connection of its own to one server",
        op: "round trip",
        bound: HAND,
        ours: SIM,
        timed: "--workload w2 --clients 10 --n 10000",
        counted: ["--workload w2 --clients 10 --n 100", "--workload w2 --clients 10 --n 600"],
        target: AS_ONE_CLIENT,
    },
    Workload {
        name: "W2-100",
        title: "100 clients, each with a connection of its own to one server",
        op: "round trip",
        bound: HAND,
        ours: SIM,
        timed: "--workload w2 --clients 100 --n 1000",
        counted: ["--workload w2 --clients 100 --n 10", "--workload w2 --clients 100 --n 60"],
        target: AS_ONE_CLIENT,
    },
    Workload {
        name: "W2-1000",
        title: "1000 clients, each with a connection of its own to one server",
        op: "round trip",
        bound: HAND,
        ours: SIM,
        timed: "--workload w2 --clients 1000 --n 100",
        counted: ["--workload w2 --clients 1000 --n 5", "--workload w2 --clients 1000 --n 25"],
        target: AS_ONE_CLIENT,
    },
    Workload {
        name: "W3",
        title: "30 machines, a datagram to the next one every second",
        op: "datagram",
        bound: HAND,
        ours: SIM,
        timed: "--workload w3 --hosts 30 --seconds 3600",
        counted: ["--workload w3 --hosts 30 --seconds 50", "--workload w3 --hosts 30 --seconds 250"],
        target: NO_TARGET,
    },
    Workload {
        name: "W4",
        title: "bulk: writes of 64 KiB over one stream",
        op: "MiB",
        bound: HAND,
        ours: SIM,
        timed: "--workload w4 --mb 2048",
        counted: ["--workload w4 --mb 16", "--workload w4 --mb 32"],
        target: Target { allocations: Some(0.0), times: Some(2.0), ..NO_TARGET },
    },
    Workload {
        name: "W5",
        title: "tasks that sleep again and again",
        op: "sleep",
        bound: HAND,
        ours: SIM,
        timed: "--workload w5 --tasks 10000 --reps 100",
        counted: ["--workload w5 --tasks 1000 --reps 5", "--workload w5 --tasks 1000 --reps 25"],
        target: Target { instructions: Some(Limit::Below(800.0)), allocations: Some(0.0), ..NO_TARGET },
    },
    Workload {
        name: "W6",
        title: "tasks that yield again and again",
        op: "poll",
        bound: HAND,
        ours: SIM,
        timed: "--workload w6 --tasks 1000 --reps 1000",
        counted: ["--workload w6 --tasks 100 --reps 50", "--workload w6 --tasks 100 --reps 300"],
        target: Target { instructions: Some(Limit::Below(250.0)), allocations: Some(0.0), ..NO_TARGET },
    },
    Workload {
        name: "W7",
        title: "three machines, a connection for each pair, torn down",
        op: "seed",
        bound: HAND,
        ours: SIM,
        timed: "--workload w7 --seeds 2000",
        counted: ["--workload w7 --seeds 50", "--workload w7 --seeds 300"],
        target: Target { instructions: Some(Limit::Below(45_000.0)), ..NO_TARGET },
    },
    Workload {
        name: "W8-1000",
        title: "1000 machines, each a factory that starts, sends heartbeats for a minute, and stops",
        op: "machine",
        bound: HAND,
        ours: SIM,
        timed: "--workload w8 --hosts 1000 --seconds 60",
        counted: ["--workload w8 --hosts 500 --seconds 60", "--workload w8 --hosts 1000 --seconds 60"],
        target: NO_TARGET,
    },
    Workload {
        name: "W8-10000",
        title: "10000 machines, each a factory that starts, sends heartbeats for a minute, and stops",
        op: "machine",
        bound: HAND,
        ours: SIM,
        timed: "--workload w8 --hosts 10000 --seconds 60",
        counted: ["--workload w8 --hosts 9000 --seconds 60", "--workload w8 --hosts 10000 --seconds 60"],
        // The cost per machine must not grow with their number, apart from that of a deeper tree.
        target: Target { instructions: Some(Limit::AboveOurs("W8-1000", 0.1)), ..NO_TARGET },
    },
    Workload {
        name: "P1",
        title: "as W1, by programs on tokio as they are",
        op: "round trip",
        bound: sim("a machine's stream", "--workload w1"),
        ours: sim("tokio::net", "--workload p1"),
        timed: "--n 100000",
        counted: ["--n 1000", "--n 6000"],
        target: Target { instructions: Some(Limit::AboveBound(3.0)), ..NO_TARGET },
    },
    Workload {
        name: "P5",
        title: "as W5, by a program on tokio as it is",
        op: "sleep",
        bound: sim("a machine's clock", "--workload w5"),
        ours: sim("tokio::time", "--workload p5"),
        timed: "--tasks 10000 --reps 100",
        counted: ["--tasks 1000 --reps 5", "--tasks 1000 --reps 25"],
        target: Target { times: Some(2.0), ..NO_TARGET },
    },
    Workload {
        name: "requests",
        title: "requests of reqwest to axum, at turmoil's default latency, 0 to 100 ms; there of hyper's client",
        op: "request",
        bound: beside("turmoil", "requests-turmoil"),
        ours: beside("steelmill", "requests"),
        timed: "--n 30000 --least 0 --greatest 100",
        counted: ["--n 500 --least 0 --greatest 100", "--n 1500 --least 0 --greatest 100"],
        target: Target { times: Some(0.2), ..NO_TARGET },
    },
    // What reqwest and axum take themselves is most of it, and turmoil has two steps of its clock to a request.
    Workload {
        name: "requests-near",
        title: "the same at a latency of 1 ms",
        op: "request",
        bound: beside("turmoil", "requests-turmoil"),
        ours: beside("steelmill", "requests"),
        timed: "--n 50000",
        counted: ["--n 500", "--n 1500"],
        target: NO_TARGET,
    },
    Workload {
        name: "turns",
        title: "two threads that yield to each other",
        op: "turn",
        bound: hand("real threads, by a futex", "--workload turns"),
        ours: sim("a program's threads", "--workload turns"),
        timed: "--n 200000",
        counted: ["--n 1000", "--n 6000"],
        target: Target { times: Some(0.5), ..NO_TARGET },
    },
    Workload {
        name: "starts",
        title: "a program that makes a runtime of tokio and ends",
        op: "program",
        bound: hand("a real thread", "--workload starts"),
        ours: sim("a machine", "--workload starts"),
        timed: "--n 5000",
        counted: ["--n 100", "--n 600"],
        target: Target { times: Some(0.6), ..NO_TARGET },
    },
    Workload {
        name: "writes",
        title: "a program that writes 4 KiB of a file and syncs",
        op: "write",
        bound: hand("real files in memory", "--workload writes"),
        ours: sim("a machine's disk", "--workload writes"),
        timed: "--n 200000",
        counted: ["--n 2000", "--n 12000"],
        target: NO_TARGET,
    },
    Workload {
        name: "files",
        title: "a program that makes files of 100 B",
        op: "file",
        bound: hand("real files in memory", "--workload files"),
        ours: sim("a machine's disk", "--workload files"),
        timed: "--n 100000",
        counted: ["--n 2000", "--n 12000"],
        target: NO_TARGET,
    },
    Workload {
        name: "redb",
        title: "redb's own benchmark: a bulk load, synced writes, reads, scans and removals, for each pair",
        op: "pair",
        bound: hand("real files in memory", "--workload redb"),
        ours: sim("a machine's disk", "--workload redb"),
        timed: "--n 200000",
        counted: ["--n 10000", "--n 30000"],
        target: NO_TARGET,
    },
    Workload {
        name: "call",
        title: "calling a daemon",
        op: "call",
        bound: plain("through &T"),
        ours: steelmill("through DaemonRef"),
        timed: "--workload call --n 100000000",
        counted: ["--workload call --n 10000", "--workload call --n 60000"],
        target: Target { instructions: Some(Limit::AboveBound(0.0)), allocations: Some(0.0), ..NO_TARGET },
    },
    Workload {
        name: "lookup",
        title: "looking a daemon up in a running factory",
        op: "lookup",
        bound: plain("a field of type &T"),
        ours: steelmill("RunningFactory::get"),
        timed: "--workload lookup --n 10000000",
        counted: ["--workload lookup --n 10000", "--workload lookup --n 60000"],
        target: Target { allocations: Some(0.0), ..NO_TARGET },
    },
    Workload {
        name: "coverage",
        title: "assert_always! and similar macros outside a simulation",
        op: "call",
        bound: plain("a method without"),
        ours: steelmill("with six of them"),
        timed: "--workload coverage --n 100000000",
        counted: ["--workload coverage --n 10000", "--workload coverage --n 60000"],
        target: Target { instructions: Some(Limit::AboveBound(0.0)), allocations: Some(0.0), ..NO_TARGET },
    },
    Workload {
        name: "echo",
        title: "an echo server on real loopback sockets",
        op: "round trip",
        bound: plain("plain tokio"),
        ours: steelmill("the runtime's Network"),
        timed: "--workload echo --n 20000",
        counted: ["--workload echo --n 500", "--workload echo --n 3500"],
        target: Target { instructions: Some(Limit::AboveBound(0.02)), allocations: Some(0.0), ..NO_TARGET },
    },
    Workload {
        name: "poll",
        title: "a poll of a task on a scope that does nothing, logging as `run` installs it",
        op: "poll",
        bound: lifecycle("tokio::spawn", "--side plain"),
        ours: lifecycle("Scope::spawn", "--side steelmill"),
        timed: "--workload poll --n 1000000",
        counted: ["--workload poll --n 1000", "--workload poll --n 201000"],
        // 14 instructions of 375: 7 attribute log lines (the context is moved into a thread-local and back), 5 see that the task may pass
        // the gate, and 2 that it has not ended. Catching a panic takes none.
        target: Target { instructions: Some(Limit::AboveBound(0.05)), allocations: Some(0.0), ..NO_TARGET },
    },
    Workload {
        name: "message",
        title: "a task on a scope receives a message and answers, logging as `run` installs it",
        op: "message",
        bound: lifecycle("tokio::spawn", "--side plain"),
        ours: lifecycle("Scope::spawn", "--side steelmill"),
        timed: "--workload message --n 1000000",
        counted: ["--workload message --n 1000", "--workload message --n 21000"],
        target: Target { instructions: Some(Limit::AboveBound(0.05)), allocations: Some(0.0), ..NO_TARGET },
    },
    Workload {
        name: "task",
        title: "spawning a task on a scope, and its end, logging as `run` installs it",
        op: "task",
        bound: lifecycle("tokio::spawn", "--side plain"),
        ours: lifecycle("Scope::spawn", "--side steelmill"),
        timed: "--workload task --n 100000",
        counted: ["--workload task --n 1000", "--workload task --n 6000"],
        // A place in the list of those to be aborted, and a larger task to move into its place. No allocation more than tokio's.
        target: Target { instructions: Some(Limit::AboveBound(0.4)), allocations: Some(2.0), ..NO_TARGET },
    },
    Workload {
        name: "turn",
        title: "one iteration of a waiting loop, with and without until_stopping",
        op: "iteration",
        bound: lifecycle("plain wait", "--side plain"),
        ours: lifecycle("until_stopping", "--side steelmill"),
        timed: "--workload turn --n 1000000",
        counted: ["--workload turn --n 1000", "--workload turn --n 6000"],
        target: Target { instructions: Some(Limit::AboveBound(0.6)), allocations: Some(0.0), ..NO_TARGET },
    },
    Workload {
        name: "daemons",
        title: "a factory of a thousand daemons, built, started and stopped",
        op: "daemon",
        bound: lifecycle("a task by hand", "--side plain"),
        ours: lifecycle("a daemon", "--side steelmill"),
        timed: "--workload daemons --n 100",
        counted: ["--workload daemons --n 1", "--workload daemons --n 3"],
        target: Target { instructions: Some(Limit::Below(35_000.0)), ..NO_TARGET },
    },
    Workload {
        name: "child",
        title: "a child factory with one daemon, made, started and stopped",
        op: "child",
        bound: lifecycle("a task by hand", "--side plain"),
        ours: lifecycle("a child", "--side steelmill"),
        timed: "--workload child --n 10000",
        counted: ["--workload child --n 100", "--workload child --n 600"],
        target: Target { instructions: Some(Limit::Below(42_000.0)), ..NO_TARGET },
    },
];
