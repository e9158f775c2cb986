//! The smoke tests of the demo with real Redis clients: redis-py, node-redis, ioredis and redis-cli.
//!
//! What they need is installed in a folder under `target/`, with pip, npm and apt-get. Where one of these is missing, or
//! cannot install, for lack of a network say, its clients are reported and counted as skipped, and the result is green.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::is_on_path;
use crate::steps::{Outcome, Steps, wait};
use crate::workspace::Workspace;

/// The versions that are installed.
const REDIS_PY: &str = "redis==8.1.0";
const NODE_PACKAGES: [&str; 2] = ["redis@5.12.1", "ioredis@5.11.1"];
/// redis-cli and the libraries that it needs beside those of every system.
const DEBIAN_PACKAGES: [&str; 3] = ["redis-tools", "libjemalloc2", "liblzf1"];

/// The scripts, in the folder of the demo.
const SCRIPTS: &str = "tests/clients";

/// A client whose script is run.
struct Client {
    name: &'static str,
    /// Installs it in a folder, and returns the command that runs its script from another, but for the port.
    prepare: fn(&Path, &Path) -> Result<Prepared>,
}

enum Prepared {
    Ready(Command),
    /// A program that it takes is not on the PATH.
    Missing(&'static str),
}

const CLIENTS: [Client; 4] = [
    Client { name: "redis-py", prepare: redis_py },
    Client { name: "node-redis", prepare: |folder, scripts| node(folder, &scripts.join("node-redis.cjs")) },
    Client { name: "ioredis", prepare: |folder, scripts| node(folder, &scripts.join("ioredis.cjs")) },
    Client { name: "redis-cli", prepare: redis_cli },
];

/// How long a client's script, or a line of the server, may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs the clients whose name contains `filter`, each as a step; returns how many were skipped.
pub(super) fn run(workspace: &Workspace, filter: Option<&str>, steps: &mut Steps) -> usize {
    let clients: Vec<&Client> =
        CLIENTS.iter().filter(|client| filter.is_none_or(|filter| client.name.contains(filter))).collect();
    if clients.is_empty() {
        return 0;
    }
    let mut server = None;
    steps.run("a server for Redis clients", || {
        server = Some(Server::start(workspace)?);
        Ok(true.into())
    });
    let Some(server) = server else { return clients.len() };
    let folder = workspace.target.join("acceptance-clients");
    let scripts = workspace.root.join("demo-app").join(SCRIPTS);
    let mut skipped = 0;
    for client in clients {
        steps.run(client.name, || {
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            let reason = match (client.prepare)(&folder, &scripts) {
                Ok(Prepared::Ready(mut command)) => {
                    let script = command.arg(server.port.to_string()).spawn();
                    let script =
                        script.with_context(|| format!("cannot run the script of {}", client.name))?;
                    let status = wait(script, Instant::now() + LIMIT)?;
                    ensure!(status.is_some(), "the script was still running after {LIMIT:?}");
                    return Ok(status.is_some_and(|status| status.success()).into());
                }
                Ok(Prepared::Missing(program)) => format!("{program} is not on the PATH"),
                Err(error) => format!("it cannot be installed: {error:#}"),
            };
            skipped += 1;
            let note = format!("skipped, because {reason}");
            println!("{note}");
            Ok(Outcome { green: true, note })
        });
    }
    skipped
}

/// The demo with all daemons, on a free port; killed when dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(workspace: &Workspace) -> Result<Self> {
        // As `cargo xtask test` has built it.
        let program = workspace.build(workspace.whole(["build", "--bin", "demo-app"]), "demo-app")?;
        let program = program.context("the demo does not build")?;
        let mut command = Command::new(&program);
        command.args(["--daemons", "lease,store,gateway", "--listen", "gateway=127.0.0.1:0"]);
        command.env_remove("RUST_LOG").env("NO_COLOR", "1").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
        let pipe = child.stderr.take().context("stderr is piped")?;
        let mut server = Self { child, port: 0 };
        let (lines, log) = std::sync::mpsc::channel();
        // Reads to the end, or the server would block on a full pipe; a line that nobody wants is dropped.
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        while let Ok(line) = log.recv_timeout(LIMIT) {
            if let Some(port) = port_of(&line) {
                server.port = port;
            }
            if line.contains("holds the lease") {
                ensure!(server.port != 0, "the server did not say where it listens");
                return Ok(server);
            }
        }
        bail!("the server ended, or said nothing for {LIMIT:?}, before it served")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The port in a line such as `gateway listens on 127.0.0.1:41233`.
fn port_of(line: &str) -> Option<u16> {
    line.split_once("gateway listens on ")?.1.rsplit_once(':')?.1.trim().parse().ok()
}

fn redis_py(folder: &Path, scripts: &Path) -> Result<Prepared> {
    if !is_on_path("python3") {
        return Ok(Prepared::Missing("python3"));
    }
    let venv = folder.join("venv");
    once(folder, REDIS_PY, || {
        succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        succeed(Command::new(venv.join("bin/pip")).args(["install", "--quiet", REDIS_PY]))
    })?;
    let mut command = Command::new(venv.join("bin/python"));
    command.arg(scripts.join("smoke.py"));
    Ok(Prepared::Ready(command))
}

fn node(folder: &Path, script: &Path) -> Result<Prepared> {
    for program in ["node", "npm"] {
        if !is_on_path(program) {
            return Ok(Prepared::Missing(program));
        }
    }
    let prefix = folder.join("npm");
    once(folder, &NODE_PACKAGES.join(","), || {
        fs::create_dir_all(&prefix).with_context(|| format!("cannot make {}", prefix.display()))?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-fund", "--no-audit", "--prefix"])
            .arg(&prefix)
            .args(NODE_PACKAGES);
        succeed(&mut npm)
    })?;
    let mut command = Command::new("node");
    command.env("NODE_PATH", prefix.join("node_modules")).arg(script);
    Ok(Prepared::Ready(command))
}

/// The system's redis-cli, or one from Debian's packages, which are unpacked and not installed.
fn redis_cli(folder: &Path, scripts: &Path) -> Result<Prepared> {
    let mut command = Command::new("sh");
    command.arg(scripts.join("redis-cli.sh"));
    if is_on_path("redis-cli") {
        return Ok(Prepared::Ready(command));
    }
    if !is_on_path("apt-get") || !is_on_path("dpkg-deb") {
        return Ok(Prepared::Missing("redis-cli"));
    }
    let root = folder.join("debian");
    once(folder, &DEBIAN_PACKAGES.join(","), || {
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        let mut download = Command::new("apt-get");
        succeed(download.args(["-qq", "download"]).args(DEBIAN_PACKAGES).current_dir(&root))?;
        for package in files_in(&root)?.iter().filter(|file| file.extension() == Some(OsStr::new("deb"))) {
            succeed(Command::new("dpkg-deb").arg("-x").arg(package).arg(&root))?;
        }
        Ok(())
    })?;
    // The libraries are in a folder that is named after the processor.
    let libraries = std::env::join_paths(files_in(&root.join("usr/lib"))?)?;
    command.env("LD_LIBRARY_PATH", libraries).env("REDIS_CLI", root.join("usr/bin/redis-cli"));
    Ok(Prepared::Ready(command))
}

/// Installs `what` unless it was installed before.
fn once(folder: &Path, what: &str, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let done = folder.join(format!("{}.installed", what.replace(['/', '=', '@', ','], "-")));
    if done.exists() {
        return Ok(());
    }
    println!("installs {what} in {}", folder.display());
    install().with_context(|| format!("cannot install {what} in {}", folder.display()))?;
    fs::write(&done, "").with_context(|| format!("cannot write {}", done.display()))
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_the_log() {
        assert_eq!(port_of("12:00:01 INFO gateway listens on 127.0.0.1:41233"), Some(41233));
        assert_eq!(port_of("12:00:01 INFO store listens on 127.0.0.1:6380"), None);
    }

    #[test]
    fn what_was_installed_is_not_installed_again() {
        let folder = std::env::temp_dir().join(format!("steelmill-once-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("it can be made");
        let mut times = 0;
        for _ in 0..2 {
            once(&folder, "redis==8.1.0", || {
                times += 1;
                Ok(())
            })
            .expect("it installs");
        }
        assert!(once(&folder, "redis==9", || bail!("no network")).is_err());
        assert!(once(&folder, "redis==9", || Ok(())).is_ok(), "a failure is tried again");
        fs::remove_dir_all(&folder).expect("it can be removed");
        assert_eq!(times, 1);
    }
}
