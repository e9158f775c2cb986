//! The command line of the runtime world: which daemons run, and their addresses.
//!
//! Errors of the command line itself are found here; the exit code is 2. Errors of the daemons are found by the
//! factory; the exit code is 1.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser, ValueEnum, error::ErrorKind};
use steelmill_core::{Factory, HealthChecks, Result};

use crate::daemons::{assemble, catalog};
use crate::settings::{ClientLimits, Settings};
use crate::world::runtime::{self, LogFormat, Options, Probes, ProbesAddress, RuntimeWorld};

/// The name of the process and of its factory.
const NAME: &str = "demo";

/// The daemons of the catalog, each with a description.
const DAEMONS: [(&str, &str); 3] = [
    ("store", "keeps keys and values (listens on 127.0.0.1:6380 without a gateway)"),
    ("lease", "grants the lease to one gateway at a time (listens on 127.0.0.1:6381 without a gateway)"),
    (
        "gateway",
        "serves Redis clients (RESP2 and RESP3; listens on 127.0.0.1:6379); needs a store and a lease, in any process",
    ),
];

const EXAMPLES: &str = "\
Everything in one process, and on disk:
  demo-app --daemons lease,store,gateway --data demo-data

In three:
  demo-app --daemons lease
  demo-app --daemons store
  demo-app --daemons gateway --connect lease=127.0.0.1:6381 --connect store=127.0.0.1:6380";

/// The bounds of `--lease-ttl`. A lease not much longer than a round trip could not be renewed in time.
const TTL_MIN: Duration = Duration::from_millis(100);
const TTL_MAX: Duration = Duration::from_secs(60);

/// The longest `--drain`.
const DRAIN_MAX: Duration = Duration::from_secs(3_600);

/// A small key-value service for Redis clients
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Args {
    /// The daemons to run in this process, separated by commas (see --list).
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = daemon, required_unless_present_any = ["list", "graph", "check"])]
    daemons: Vec<String>,

    /// The address that a daemon listens on. Beside a gateway, a store or lease listens only with this flag.
    #[arg(long, value_name = "NAME=HOST:PORT", value_parser = named_address)]
    listen: Vec<(String, String)>,

    /// The address of a store or lease in another process.
    #[arg(long, value_name = "NAME=HOST:PORT", value_parser = named_address)]
    connect: Vec<(String, String)>,

    /// The time to live of the lease: how long it takes until another gateway replaces a crashed one, and how long a
    /// lease daemon that was started again grants nothing. A lease daemon grants no longer one.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = time)]
    lease_ttl: Duration,

    /// The folder in which store and lease daemon keep their data: what they have acknowledged is there after any end of
    /// the process and after a power loss. It is made if it is missing. Without it they keep all in memory.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// The most clients of a gateway at a time.
    #[arg(long, value_name = "COUNT", default_value_t = ClientLimits::default().connections, value_parser = count)]
    max_clients: usize,

    /// Answers the probes /livez and /readyz, and /metrics for Prometheus, at this address, over HTTP.
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    probes: Option<String>,

    /// For how long a signal lets clients be served, after /readyz says no and before anything stops. A second signal
    /// ends it.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = drain)]
    drain: Duration,

    /// The format of the log.
    #[arg(long, value_enum, default_value = "text")]
    log_format: Format,

    /// Lists the daemons, and exits.
    #[arg(long)]
    list: bool,

    /// Prints the dependency graph of the daemons (all, unless some are named), and exits.
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "dot")]
    graph: Option<GraphFormat>,

    /// Builds the daemons (all, unless some are named) without starting them, and exits: with 0 if that succeeds, with
    /// 1 and all errors if not.
    #[arg(long, conflicts_with = "graph")]
    check: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum GraphFormat {
    Dot,
    Mermaid,
}

pub fn main() -> ExitCode {
    let mut args = Args::parse();
    if args.list {
        let lines = DAEMONS.map(|(name, about)| format!("{name:8} {about}\n"));
        return print(&lines.concat());
    }
    let without_start = args.graph.is_some() || args.check;
    if without_start && args.daemons.is_empty() {
        args.daemons = DAEMONS.map(|(name, _)| name.to_owned()).into();
    }
    let settings = args.settings();
    if without_start {
        let daemons = args.daemons.join(", ");
        return match assemble_only(args.graph, settings) {
            Ok(Some(picture)) => print(&picture),
            Ok(None) => print(&format!("ok: {daemons} can be assembled\n")),
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let log = match args.log_format {
        Format::Text => LogFormat::Text,
        Format::Json => LogFormat::Json,
    };
    let options = Options { name: NAME.to_owned(), log, drain: args.drain, ..Options::default() };
    runtime::run(options, |factory| {
        assemble(factory, settings)?;
        if let Some(address) = args.probes {
            // A gateway gets the lease a moment after the start.
            let every = Duration::from_secs(1);
            factory.health_checks(HealthChecks { every, ..HealthChecks::default() });
            factory.provide_value(ProbesAddress(address))?;
            factory.with::<Probes>()?;
        }
        Ok(())
    })
}

/// Prints to standard output. A closed pipe is no error, because the reader has read what it wanted.
fn print(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("error: cannot write to standard output: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Builds the daemons without starting them; returns their graph, if a format is given.
fn assemble_only(format: Option<GraphFormat>, settings: Settings) -> Result<Option<String>> {
    let mut factory = Factory::root(NAME, RuntimeWorld);
    factory.validate(|factory| assemble(factory, settings))?;
    Ok(format.map(|format| match format {
        GraphFormat::Dot => factory.graph().to_dot(),
        GraphFormat::Mermaid => factory.graph().to_mermaid(),
    }))
}

impl Args {
    fn settings(&self) -> Settings {
        for (name, address) in &self.listen {
            if !self.daemons.contains(name) {
                usage(&format!("--listen {name}={address}, but {name} is not among --daemons"));
            }
        }
        for (flag, addresses) in [("--listen", &self.listen), ("--connect", &self.connect)] {
            for (at, (name, _)) in addresses.iter().enumerate() {
                if addresses[..at].iter().any(|(other, _)| other == name) {
                    usage(&format!("{flag} is given twice for {name}"));
                }
            }
        }
        for (name, address) in &self.connect {
            if !self.daemons.iter().any(|daemon| daemon == crate::gateway::NAME) {
                usage(&format!(
                    "--connect {name}={address}, but only a gateway connects, and none is among --daemons"
                ));
            }
            if address.ends_with(":0") {
                usage(&format!("--connect {name}={address}: nothing can connect to port 0"));
            }
            if name == crate::gateway::NAME {
                usage(&format!(
                    "--connect {name}={address}: nothing here connects to a gateway, Redis clients do"
                ));
            }
        }
        if let Some(folder) = &self.data
            && !self.daemons.iter().any(|daemon| daemon != crate::gateway::NAME)
        {
            let folder = folder.display();
            usage(&format!(
                "--data {folder}, but only a store and a lease keep data, and neither is among --daemons"
            ));
        }
        Settings {
            daemons: self.daemons.clone(),
            listen: self.listen.iter().cloned().collect(),
            connect: self.connect.iter().cloned().collect(),
            lease_ttl: self.lease_ttl,
            data: self.data.clone(),
            clients: ClientLimits { connections: self.max_clients, ..ClientLimits::default() },
            ..Settings::default()
        }
    }
}

/// Prints an error of the command line, and exits with 2.
fn usage(what: &str) -> ! {
    Args::command().error(ErrorKind::ValueValidation, what).exit()
}

fn daemon(name: &str) -> Result<String, String> {
    let known: Vec<_> = catalog().names().collect();
    match known.contains(&name) {
        true => Ok(name.to_owned()),
        false => Err(format!("no daemon is called {name:?}; there are: {}", known.join(", "))),
    }
}

fn named_address(text: &str) -> Result<(String, String), String> {
    let example = "write NAME=HOST:PORT, for example store=127.0.0.1:6380";
    let (name, text) = text.split_once('=').ok_or(example)?;
    let address = host_and_port(text, example)?;
    Ok((daemon(name)?, address))
}

fn address(text: &str) -> Result<String, String> {
    host_and_port(text, "write HOST:PORT, for example 127.0.0.1:9100")
}

fn host_and_port(address: &str, example: &str) -> Result<String, String> {
    let (host, port) = address.rsplit_once(':').ok_or(example)?;
    if host.is_empty() {
        return Err(format!("no host before the port; {example}"));
    }
    if host.contains(':') && !host.starts_with('[') {
        return Err(format!("{host:?} is not a host (write an IPv6 address in brackets); {example}"));
    }
    port.parse::<u16>().map_err(|_| format!("{port:?} is not a port (0 to 65535); {example}"))?;
    Ok(address.to_owned())
}

fn count(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(|| "must be a number of clients, at least 1".to_owned())
}

/// The bounds of the lease's time to live.
fn time(text: &str) -> Result<Duration, String> {
    within(text, TTL_MIN, TTL_MAX)
}

fn drain(text: &str) -> Result<Duration, String> {
    within(text, Duration::ZERO, DRAIN_MAX)
}

fn within(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let millis = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(millis), _) => millis.parse().ok(),
        (None, Some(seconds)) => seconds.parse::<u64>().ok().and_then(|seconds| seconds.checked_mul(1000)),
        (None, None) => None,
    };
    let time = Duration::from_millis(millis.ok_or("write a number with a unit, for example 3s or 500ms")?);
    match (least..=most).contains(&time) {
        true => Ok(time),
        false => Err(format!("must be at least {least:?} and at most {most:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_valid() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_daemon_is_listed() {
        assert!(catalog().names().eq(DAEMONS.map(|(name, _)| name)));
    }

    #[test]
    fn a_named_address_is_a_name_and_an_address() {
        assert_eq!(named_address("store=[::1]:7000"), Ok(("store".into(), "[::1]:7000".into())));
        assert!(named_address("store").is_err_and(|reason| reason.contains("NAME=HOST:PORT")));
        assert!(named_address("store=7000").is_err_and(|reason| reason.contains("NAME=HOST:PORT")));
        assert!(named_address("store=:7000").is_err_and(|reason| reason.contains("no host")));
        assert!(named_address("store=host:70000").is_err_and(|reason| reason.contains("not a port")));
        assert!(
            named_address("shop=host:7000").is_err_and(|reason| reason.contains("store, lease, gateway"))
        );
    }

    #[test]
    fn a_time_has_a_unit_and_bounds() {
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(time("3s"), Ok(Duration::from_secs(3)));
        for wrong in
            ["3", "", "s", "-1s", "1m", "1ms", "61s", "99999999999999999999s", "18446744073709551615s"]
        {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        assert_eq!(drain("0s"), Ok(Duration::ZERO));
        assert!(drain("3601s").is_err());
    }
}
