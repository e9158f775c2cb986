//! The command line of the runtime world: which daemons run here, where they listen, whom they connect to.
//!
//! What is wrong with the words themselves is found here and exits with 2; what is wrong with the daemons they ask for is
//! found by the factory and exits with 1.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser, ValueEnum, error::ErrorKind};
use steelmill_core::{Factory, Result};

use crate::daemons::{assemble, catalog};
use crate::settings::{ClientLimits, Settings};
use crate::world::runtime::{self, LogFormat, Options, RuntimeWorld};

/// What the process, and its factory, is called.
const NAME: &str = "demo";

/// Each daemon of the catalog, with one line about it.
const DAEMONS: [(&str, &str); 3] = [
    ("store", "the data, and the truth about it (127.0.0.1:6380 when it runs without a gateway)"),
    ("lease", "says which gateway serves (127.0.0.1:6381 when it runs without a gateway)"),
    (
        "gateway",
        "speaks RESP2 with Redis clients (127.0.0.1:6379); needs a store and a lease, here or elsewhere",
    ),
];

const EXAMPLES: &str = "\
Everything in one process:
  demo-app --daemons lease,store,gateway

In three:
  demo-app --daemons lease
  demo-app --daemons store
  demo-app --daemons gateway --connect lease=127.0.0.1:6381 --connect store=127.0.0.1:6380";

/// How long a lease may be asked for. Much below a round trip to the lease daemon it could never be renewed in time.
const TTL_MIN: Duration = Duration::from_millis(100);
const TTL_MAX: Duration = Duration::from_secs(60);

/// A small key-value service that Redis clients talk to
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Args {
    /// The daemons to run in this process, separated by commas (see --list).
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = daemon, required_unless_present_any = ["list", "graph", "check"])]
    daemons: Vec<String>,

    /// Where a daemon listens. A store or lease beside a gateway listens only if this is given.
    #[arg(long, value_name = "NAME=HOST:PORT", value_parser = place)]
    listen: Vec<(String, String)>,

    /// Where a store or lease of another process is found.
    #[arg(long, value_name = "NAME=HOST:PORT", value_parser = place)]
    connect: Vec<(String, String)>,

    /// How long a gateway that dies holds up the others.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = time)]
    lease_ttl: Duration,

    /// How many clients a gateway takes at a time.
    #[arg(long, value_name = "COUNT", default_value_t = ClientLimits::default().connections, value_parser = count)]
    max_clients: usize,

    /// How the log is written.
    #[arg(long, value_enum, default_value = "text")]
    log_format: Format,

    /// Lists the daemons there are, and exits.
    #[arg(long)]
    list: bool,

    /// Prints what the daemons are built from, all of them unless some are named, and exits.
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "dot")]
    graph: Option<Drawing>,

    /// Puts the daemons together, all of them unless some are named, says whether that works, and exits without starting
    /// any: with 0 if it does, 1 if it does not.
    #[arg(long, conflicts_with = "graph")]
    check: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Drawing {
    Dot,
    Mermaid,
}

/// What `main` does in the runtime world.
pub fn main() -> ExitCode {
    let mut args = Args::parse();
    if args.list {
        let lines = DAEMONS.map(|(name, about)| format!("{name:8} {about}\n"));
        return print(&lines.concat());
    }
    let is_dry = args.graph.is_some() || args.check;
    if is_dry && args.daemons.is_empty() {
        args.daemons = DAEMONS.map(|(name, _)| name.to_owned()).into();
    }
    let settings = args.settings();
    if is_dry {
        let daemons = args.daemons.join(", ");
        return match draw(args.graph, settings) {
            Ok(Some(picture)) => print(&picture),
            Ok(None) => print(&format!("ok: {daemons} can be put together\n")),
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
    let options = Options { name: NAME.to_owned(), log, ..Options::default() };
    runtime::run(options, |factory| assemble(factory, settings))
}

/// Writes to standard output. A reader that has gone away has seen what it wanted.
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

/// Puts the daemons together without starting them, and draws them if asked to.
fn draw(drawing: Option<Drawing>, settings: Settings) -> Result<Option<String>> {
    let mut factory = Factory::root(NAME, RuntimeWorld);
    assemble(&mut factory, settings)?;
    Ok(drawing.map(|drawing| match drawing {
        Drawing::Dot => factory.graph().to_dot(),
        Drawing::Mermaid => factory.graph().to_mermaid(),
    }))
}

impl Args {
    fn settings(&self) -> Settings {
        for (name, address) in &self.listen {
            if !self.daemons.contains(name) {
                usage(&format!("--listen {name}={address}, but {name} is not among --daemons"));
            }
        }
        for (flag, places) in [("--listen", &self.listen), ("--connect", &self.connect)] {
            for (at, (name, _)) in places.iter().enumerate() {
                if places[..at].iter().any(|(other, _)| other == name) {
                    usage(&format!("{flag} says twice where {name} is"));
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
                usage(&format!("--connect {name}={address}: nobody can be found at port 0"));
            }
            if name == crate::gateway::NAME {
                usage(&format!(
                    "--connect {name}={address}: nothing here connects to a gateway, Redis clients do"
                ));
            }
        }
        Settings {
            daemons: self.daemons.clone(),
            listen: self.listen.iter().cloned().collect(),
            connect: self.connect.iter().cloned().collect(),
            lease_ttl: self.lease_ttl,
            clients: ClientLimits { connections: self.max_clients, ..ClientLimits::default() },
            ..Settings::default()
        }
    }
}

/// Says what is wrong with the command line, and exits with 2.
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

fn place(text: &str) -> Result<(String, String), String> {
    let example = "write NAME=HOST:PORT, for example store=127.0.0.1:6380";
    let (name, address) = text.split_once('=').ok_or(example)?;
    let (host, port) = address.rsplit_once(':').ok_or(example)?;
    if host.is_empty() {
        return Err(format!("there is no host before the port; {example}"));
    }
    if host.contains(':') && !host.starts_with('[') {
        return Err(format!("{host:?} is no host (an IPv6 address stands in brackets); {example}"));
    }
    port.parse::<u16>().map_err(|_| format!("{port:?} is not a port (0 to 65535); {example}"))?;
    Ok((daemon(name)?, address.to_owned()))
}

fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "a number of clients, at least 1".to_owned())
}

fn time(text: &str) -> Result<Duration, String> {
    let millis = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(millis), _) => millis.parse().ok(),
        (None, Some(seconds)) => seconds.parse::<u64>().ok().and_then(|seconds| seconds.checked_mul(1000)),
        (None, None) => None,
    };
    let time = Duration::from_millis(millis.ok_or("write for example 3s or 500ms")?);
    match (TTL_MIN..=TTL_MAX).contains(&time) {
        true => Ok(time),
        false => Err(format!("at least {TTL_MIN:?}, at most {TTL_MAX:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_daemon_is_listed() {
        assert!(catalog().names().eq(DAEMONS.map(|(name, _)| name)));
    }

    #[test]
    fn a_place_is_a_name_and_an_address() {
        assert_eq!(place("store=[::1]:7000"), Ok(("store".into(), "[::1]:7000".into())));
        assert!(place("store").is_err_and(|why| why.contains("NAME=HOST:PORT")));
        assert!(place("store=7000").is_err_and(|why| why.contains("NAME=HOST:PORT")));
        assert!(place("store=:7000").is_err_and(|why| why.contains("no host")));
        assert!(place("store=host:70000").is_err_and(|why| why.contains("not a port")));
        assert!(place("shop=host:7000").is_err_and(|why| why.contains("store, lease, gateway")));
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
    }
}
