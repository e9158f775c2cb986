//! The recipes for batch systems in `docs/campaigns-in-ci.md`, carried out: those for SLURM by a cluster of one node, which is started
//! for that, and those for Kubernetes by a shell, as its pods would.
//!
//! The campaign is the demo's canary, some seeds of which are red: shards have to run, and the merge to keep what they found.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::is_on_path;
use crate::sim;
use crate::steps::{Outcome, Steps, wait};
use crate::workspace::Workspace;

const PAGE: &str = "docs/campaigns-in-ci.md";
const SHARDS: u32 = 8;

/// What a test changes in a recipe, which is for hours on many cores.
const CHANGES: [(&str, &str); 3] = [
    ("demo-app --seeds 100000", "demo-app --canary --seeds 40"),
    ("demo-app --merge", "demo-app --canary --merge"),
    ("--cpus-per-task=16", "--cpus-per-task=1"),
];

/// Where the recipes have the program.
const PROGRAM: &str = "target/sim-world/sim/demo-app";

/// What SLURM is made of, and what it authenticates by.
const OF_SLURM: [&str; 4] = ["sbatch", "slurmctld", "slurmd", "munged"];

/// How long a campaign, or the start of a cluster, may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs each recipe as a step; returns how many were skipped.
pub(super) fn run(workspace: &Workspace, filter: Option<&str>, steps: &mut Steps) -> usize {
    let is_wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter));
    if is_wanted("kubernetes") {
        steps.run("kubernetes", || {
            let recipes = Recipes::new(workspace, "kubernetes")?;
            kubernetes(&recipes)?;
            recipes.outcome()
        });
    }
    if !is_wanted("slurm") {
        return 0;
    }
    let mut skipped = 0;
    steps.run("slurm", || {
        if let Some(missing) = OF_SLURM.iter().find(|program| !is_on_path(program)) {
            skipped = 1;
            let note =
                format!("skipped, because {missing} is not on the PATH (Debian: apt-get install slurm-wlm)");
            println!("{note}");
            return Ok(Outcome { green: true, note });
        }
        let recipes = Recipes::new(workspace, "slurm")?;
        let _cluster = Cluster::start(&recipes.folder)?;
        slurm(&recipes)?;
        recipes.outcome()
    });
    skipped
}

/// The page, and the folder in which its recipes are carried out.
struct Recipes {
    page: String,
    folder: PathBuf,
    program: PathBuf,
}

impl Recipes {
    fn new(workspace: &Workspace, name: &str) -> Result<Self> {
        let mut page =
            fs::read_to_string(workspace.root.join(PAGE)).with_context(|| format!("cannot read {PAGE}"))?;
        for (from, to) in CHANGES {
            ensure!(page.contains(from), "{PAGE} has no {from:?}, which is changed here");
            page = page.replace(from, to);
        }
        let built = sim::built(workspace, &[])?.context("the demo does not build for the sim world")?;
        let folder = workspace.target.join("acceptance").join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { page, folder, program: built.get_program().into() })
    }

    /// The block of code that contains a text.
    fn block(&self, containing: &str) -> Result<&str> {
        let blocks = self.page.split("```").skip(1).step_by(2);
        let mut found = blocks.filter(|block| block.contains(containing));
        let block = found.next().with_context(|| format!("{PAGE} has no block with {containing:?}"))?;
        Ok(block.split_once('\n').map_or(block, |(_, code)| code))
    }

    fn write(&self, name: &str, script: &str) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Runs a shell's line in a folder; its exit code.
    fn shell(&self, folder: &Path, line: &str, environment: &[(&str, String)]) -> Result<Option<i32>> {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", line])
            .current_dir(folder)
            .envs(environment.iter().map(|(name, value)| (name, value)));
        let child = shell.spawn().with_context(|| format!("cannot run sh -c {line:?}"))?;
        let status = wait(child, Instant::now() + LIMIT)?
            .with_context(|| format!("it takes over {LIMIT:?}: {line}"))?;
        Ok(status.code())
    }

    /// Whether the merge kept red seeds, and wrote a report of them.
    fn outcome(&self) -> Result<Outcome> {
        let read = |name: &str| {
            fs::read_to_string(self.folder.join(name)).with_context(|| format!("no {name} was written"))
        };
        let kept = read("red.json")?.matches("\"seed\":").count();
        let reported = read("junit.xml")?.matches("<failure").count();
        ensure!(kept > 0 && kept == reported, "{kept} red seeds were kept, and {reported} reported");
        Ok(Outcome { green: true, note: format!("{kept} red seeds of {SHARDS} shards were kept") })
    }
}

fn kubernetes(recipes: &Recipes) -> Result<()> {
    let campaign = recipes.folder.display().to_string();
    let job = recipes.block("kind: Job")?.replace("/campaign", &campaign);
    // A folded text of YAML: its lines are one.
    let (_, folded) = job.split_once(">-\n").context("the job's command is a folded text")?;
    let line: Vec<&str> =
        folded.lines().take_while(|line| !line.contains("volumeMounts")).map(str::trim).collect();
    let folder = recipes.program.parent().context("a program is in a folder")?;
    let path = std::env::join_paths(
        [folder.into()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )?;
    let path = ("PATH", path.to_string_lossy().into_owned());
    for index in 0..SHARDS {
        let index = ("JOB_COMPLETION_INDEX", index.to_string());
        // Each pod has a working directory of its own.
        let pod = recipes.folder.join(format!("pod-{}", index.1));
        fs::create_dir(&pod).with_context(|| format!("cannot make {}", pod.display()))?;
        let code = recipes.shell(&pod, &line.join(" "), &[path.clone(), index])?;
        ensure!(code == Some(0), "a pod ended with {code:?}");
    }
    let merge = recipes.block("--merge /campaign")?.replace("/campaign", &campaign);
    // Without seeds that were kept before.
    let merge = merge.lines().filter(|line| !line.starts_with("cp ")).collect::<Vec<_>>().join("\n");
    let code = recipes.shell(&recipes.folder, &merge, &[path])?;
    ensure!(code == Some(1), "the merge of red shards ended with {code:?}");
    Ok(())
}

fn slurm(recipes: &Recipes) -> Result<()> {
    let program = recipes.program.display().to_string();
    recipes.write("campaign.sh", &recipes.block("#SBATCH --array")?.replace(PROGRAM, &program))?;
    recipes.write("merge.sh", &recipes.block("# merge.sh")?.replace(PROGRAM, &program))?;
    let submit = recipes.block("sbatch --dependency")?.replacen("sbatch ", "sbatch --wait ", 1);
    let code = recipes.shell(&recipes.folder, &submit, &[(CONFIGURATION, configuration(&recipes.folder))])?;
    ensure!(code == Some(1), "the merge of red shards ended with {code:?}: see {}", recipes.folder.display());
    for shard in 1..=SHARDS {
        let file = recipes.folder.join(format!("shard-{shard}.json"));
        ensure!(file.exists(), "no task of the array wrote {}", file.display());
    }
    Ok(())
}

/// Where SLURM's programs find their configuration.
const CONFIGURATION: &str = "SLURM_CONF";

fn configuration(folder: &Path) -> String {
    folder.join("cluster/slurm.conf").display().to_string()
}

/// SLURM on this machine; ended when dropped.
struct Cluster {
    daemons: Vec<Child>,
}

impl Cluster {
    fn start(folder: &Path) -> Result<Self> {
        let of_cluster = folder.join("cluster");
        for name in ["state", "spool"] {
            fs::create_dir_all(of_cluster.join(name))
                .with_context(|| format!("cannot make {}", of_cluster.display()))?;
        }
        let host = fs::read_to_string("/proc/sys/kernel/hostname").context("this machine has no name")?;
        let host = host.trim().split('.').next().unwrap_or_default();
        let [control, node] = [free_port()?, free_port()?];
        let here = of_cluster.display();
        let text = format!(
            "ClusterName=acceptance\nSlurmctldHost={host}\nSlurmUser=root\nSlurmdUser=root\nAuthType=auth/munge\n\
             AuthInfo=socket={here}/munge.socket\nSlurmctldPort={control}\nSlurmdPort={node}\nStateSaveLocation={here}/state\n\
             SlurmdSpoolDir={here}/spool\nSlurmctldPidFile={here}/slurmctld.pid\nSlurmdPidFile={here}/slurmd.pid\n\
             SlurmctldLogFile={here}/slurmctld.log\nSlurmdLogFile={here}/slurmd.log\nProctrackType=proctrack/linuxproc\n\
             TaskPlugin=task/none\nSelectType=select/cons_tres\nSelectTypeParameters=CR_CPU\nReturnToService=2\n\
             NodeName={host} NodeAddr=127.0.0.1 CPUs={} State=UNKNOWN\n\
             PartitionName=all Nodes={host} Default=YES State=UP\n",
            std::thread::available_parallelism().map_or(1, usize::from)
        );
        fs::write(of_cluster.join("slurm.conf"), text).context("cannot write slurm.conf")?;
        write_key(&of_cluster.join("munge.key"))?;
        let mut cluster = Self { daemons: Vec::new() };
        let file = |name: &str| format!("{here}/{name}");
        let munged =
            ["--force", "--foreground", "--key-file", &file("munge.key"), "--socket", &file("munge.socket")];
        let beside = [
            "--pid-file",
            &file("munged.pid"),
            "--log-file",
            &file("munged.log"),
            "--seed-file",
            &file("seed"),
        ];
        cluster.daemon(folder, "munged", &[munged, beside].concat())?;
        until(|| of_cluster.join("munge.socket").exists())?;
        cluster.daemon(folder, "slurmctld", &["-D", "-i"])?;
        cluster.daemon(folder, "slurmd", &["-D"])?;
        until(|| {
            let mut sinfo = Command::new("sinfo");
            let state =
                sinfo.args(["--noheader", "--format=%T"]).env(CONFIGURATION, configuration(folder)).output();
            state.is_ok_and(|output| output.stdout.trim_ascii() == b"idle")
        })?;
        Ok(cluster)
    }

    fn daemon(&mut self, folder: &Path, name: &str, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(name);
        command.args(arguments).env(CONFIGURATION, configuration(folder));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.daemons.push(command.spawn().with_context(|| format!("cannot run {name}"))?);
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for daemon in self.daemons.iter_mut().rev() {
            // Fails if it has ended already.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0").context("no port is free")?.local_addr()?.port())
}

/// The key that munged wants: 1,024 bytes that nobody else may read.
fn write_key(path: &Path) -> Result<()> {
    use std::io::Read as _;
    #[cfg(unix)]
    use std::os::unix::fs::OpenOptionsExt as _;

    let mut options = fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    let mut key = options.open(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut entropy = fs::File::open("/dev/urandom").context("cannot read /dev/urandom")?.take(1024);
    std::io::copy(&mut entropy, &mut key).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

fn until(mut is_so: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        if Instant::now() > deadline {
            bail!("the cluster is not up after {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
