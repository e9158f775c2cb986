//! Campaigns from the outside: as a test with environment variables, and as a program with flags.
//!
//! Most tests run this program again as a child process, for a "program" test that does nothing unless an environment
//! variable names it.
#![cfg(unix)]
#![expect(clippy::disallowed_methods, reason = "the programs that are watched run in real time")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, ExitCode, ExitStatus, Output, Stdio};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use steelmill_core::{Daemon, Factory, Result, Scope};
use steelmill_sim::fault::{Budget, Faults};
use steelmill_sim::{Campaign, Seed, Settings, Sim, Verify, check, cli, simulate};

/// The variable that names the program test to run.
const ASKED: &str = "TEST_PROGRAM";

/// The variable with the name of its campaign, if any.
const NAME: &str = "TEST_NAME";

fn is_asked_for(program: &str) -> bool {
    std::env::var(ASKED).is_ok_and(|asked| asked == program)
}

/// This program as a child process, with one of its program tests.
fn command(program: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test has a program"));
    command.args([program, "--exact", "--nocapture"]).env(ASKED, program).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STEELMILL_")) {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    command
}

fn run(program: &str, variables: &[(&str, &str)]) -> Output {
    command(program, variables).output().expect("the process starts")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], b"\n", &output.stderr].concat()).into_owned()
}

#[test]
fn program_that_says_what_it_runs() {
    if is_asked_for("program_that_says_what_it_runs") {
        let campaign = Campaign::new(|sim: Sim| async move {
            eprintln!("seed {}", sim.seed());
            tokio::task::yield_now().await;
            anyhow::ensure!(![Seed(13), Seed(31)].contains(&sim.seed()), "unlucky");
            Ok(())
        });
        let campaign = campaign.first_seed(Seed(10)).seeds(3).program("cargo xtask sim");
        match std::env::var(NAME) {
            Ok(name) => campaign.name(&name).check(),
            Err(_) => campaign.check(),
        }
    }
}

#[test]
fn the_environment_chooses_the_seeds() {
    let seeds = |variables: &[(&str, &str)]| {
        let output = run("program_that_says_what_it_runs", variables);
        let text = text(&output);
        let seeds = text.lines().filter_map(|line| line.strip_prefix("seed ")?.parse().ok());
        let mut seeds: Vec<u64> = seeds.collect();
        seeds.sort_unstable();
        seeds
    };
    assert_eq!(seeds(&[]), [10, 11, 12]);
    assert_eq!(seeds(&[("STEELMILL_SEED", "99")]), [99]);
    assert_eq!(seeds(&[("STEELMILL_SEEDS", "2")]), [10, 11]);
    assert_eq!(seeds(&[("STEELMILL_FIRST_SEED", "20"), ("STEELMILL_JOBS", "1")]), [20, 21, 22]);
    assert_eq!(seeds(&[("STEELMILL_SEEDS", "2"), ("STEELMILL_VERIFY", "twice")]), [10, 10, 11, 11]);
    assert_eq!(seeds(&[("STEELMILL_SEEDS", "3"), ("STEELMILL_SHARD", "1/2")]), [10, 12]);
    assert_eq!(seeds(&[("STEELMILL_SHARD", "9/9")]), [0; 0], "an empty shard passes");
}

#[test]
fn a_wrong_value_in_the_environment_is_an_error() {
    let output = run("program_that_says_what_it_runs", &[("STEELMILL_SCHEDULE", "fair")]);
    let text = text(&output);
    assert!(!output.status.success(), "{text}");
    assert!(
        text.contains("STEELMILL_SCHEDULE=\"fair\": ") && text.contains("uniform, fifo, walk, pct:D"),
        "{text}"
    );
}

#[test]
fn a_red_seed_says_how_to_run_it_again_as_a_test_and_as_a_program() {
    let variables =
        [("STEELMILL_SEEDS", "10"), ("STEELMILL_SCHEDULE", "pct:2"), ("STEELMILL_TIME_LIMIT", "60")];
    let output = run("program_that_says_what_it_runs", &variables);
    let text = text(&output);
    let test = "STEELMILL_SCHEDULE=pct:2 STEELMILL_TIME_LIMIT=60 STEELMILL_SEED=13 cargo test -p steelmill-sim \
                --test campaign program_that_says_what_it_runs -- --exact --include-ignored";
    for line in [
        "seed 13 failed at 0.000000000 s: unlucky",
        &format!("explain it: STEELMILL_EXPLAIN=red {test}"),
        &format!("run it again with: {test}"),
        "               or: cargo xtask sim --schedule=pct:2 --time-limit=60 --seed 13",
    ] {
        assert!(
            text.lines().any(|said| said.trim_end() == line || said.ends_with(line)),
            "{line:?} in: {text}"
        );
    }
}

#[test]
fn a_test_names_all_its_red_seeds() {
    let folder = Folder::new("also-red");
    let file = folder.file("red.json");
    let variables = [("STEELMILL_SEEDS", "30"), ("STEELMILL_MAX_FAILURES", "5"), ("STEELMILL_KEEP", &file)];
    let said = text(&run("program_that_says_what_it_runs", &variables));
    assert!(said.contains("\nalso red: seed 31 failed at 0.000000000 s: unlucky\n"), "{said}");
    let said = text(&run("program_that_says_what_it_runs", &variables));
    for seed in ["kept seed 31", "seed 13", "seed 31"] {
        assert!(said.contains(&format!("\nalso red: {seed} failed at")), "{seed} in {said}");
    }
}

#[test]
fn a_red_seed_of_a_test_is_explained_in_a_folder_of_its_own() {
    let folder = Folder::new("explained-test");
    let explained = folder.file("red");
    let variables = [
        ("STEELMILL_SEEDS", "10"),
        ("STEELMILL_SCHEDULE", "fifo"),
        ("STEELMILL_EXPLAIN", explained.as_str()),
    ];
    let said = text(&run("program_that_says_what_it_runs", &variables));
    let seed = "red/steelmill-sim-campaign-program_that_says_what_it_runs-seed-13";
    let again = format!(
        "run it again with: STEELMILL_FAULTS={} STEELMILL_SCHEDULE=fifo STEELMILL_SEED=13 cargo test -p steelmill-sim",
        folder.file(&format!("{seed}/plan.json"))
    );
    assert!(said.contains("The minimal plan that fails") && said.contains(&again), "{said}");
    assert!(folder.read(&format!("{seed}/summary.txt")).contains("unlucky"));
    assert!(folder.read(&format!("{seed}/picture.html")).starts_with("<!doctype html>"));
    let said = text(&run("program_that_says_what_it_runs", &[("STEELMILL_EXPLAIN_RUNS", "9")]));
    assert!(said.contains("name its folder with --explain"), "{said}");
}

#[test]
fn lines_to_run_a_seed_again_say_all_it_takes_and_a_shell_can_read_them() {
    let folder = Folder::new("it's quoted");
    let (file, plan) = (folder.file("red.json"), folder.file("plan.json"));
    let quoted = |path: &str| format!("'{}'", path.replace('\'', "'\\''"));
    std::fs::write(&plan, r#"{"faults": []}"#).expect("a file");
    let named = |variables: &[(&str, &str)]| {
        let variables = [&[(NAME, "the same"), ("STEELMILL_SEEDS", "9")], variables].concat();
        text(&run("program_that_says_what_it_runs", &variables))
    };
    let first = named(&[("STEELMILL_FAULTS", &plan), ("STEELMILL_KEEP", &file)]);
    for line in [
        format!("run it again with: STEELMILL_FAULTS={} STEELMILL_SEED=13 cargo test", quoted(&plan)),
        format!("or: cargo xtask sim --time-limit=86400 --faults={} --seed 13", quoted(&plan)),
    ] {
        assert!(first.contains(&line), "no {line:?} in {first}");
    }
    // A kept seed runs with its own settings, whatever those of the test are.
    let explained = folder.file("explained");
    let again = named(&[
        ("STEELMILL_KEEP", &file),
        ("STEELMILL_SCHEDULE", "fifo"),
        ("STEELMILL_TIME_LIMIT", "60"),
        ("STEELMILL_EXPLAIN", &explained),
        ("STEELMILL_EXPLAIN_RUNS", "9"),
    ]);
    let seed = "steelmill-sim-campaign-program_that_says_what_it_runs-the-same-seed-13";
    let plan = quoted(&format!("{explained}/{seed}/plan.json"));
    for line in [
        format!("run it again with: STEELMILL_KEEP={} STEELMILL_SEED=13 cargo test", quoted(&file)),
        format!("or: cargo xtask sim --keep={} --seed 13", quoted(&file)),
        format!(
            "STEELMILL_FAULTS={plan} STEELMILL_SCHEDULE=weighted STEELMILL_TIME_LIMIT=86400 STEELMILL_SEED=13 cargo test"
        ),
    ] {
        assert!(again.contains(&line), "no {line:?} in {again}");
    }
}

#[test]
fn a_plan_that_cannot_be_saved_hides_no_failure() {
    let folder = Folder::new("unsaved");
    let [plan, junit, file, explained] =
        ["plan.json", "junit.xml", "red.json", "explained"].map(|name| folder.file(name));
    let error = "plan.json: the run injected no faults";
    let said = text(&run(
        "program_that_says_what_it_runs",
        &[("STEELMILL_SEED", "13"), ("STEELMILL_SAVE_FAULTS", &plan)],
    ));
    assert!(said.contains(error) && said.contains("seed 13 failed at 0.000000000 s: unlucky"), "{said}");
    let output =
        run("program_that_says_what_it_runs", &[("STEELMILL_SEED", "12"), ("STEELMILL_SAVE_FAULTS", &plan)]);
    assert!(!output.status.success() && text(&output).contains("the plan is not saved"), "{}", text(&output));

    let flags = format!(
        "--seed 7 --save-faults {plan} --json --junit {junit} --keep {file} --explain {explained} --explain-runs 50"
    );
    let (code, json, errors) = with_flags(&flags);
    assert!(code == Some(1) && errors.contains(error), "{errors}");
    assert_eq!(steelmill_sim::Record::from_json(&json).expect("a record").failed.len(), 1);
    assert!(folder.read("junit.xml").contains("a seven in 7"));
    assert!(folder.read("explained/summary.txt").contains("a seven in 7"));
    assert!(folder.read("red.json").contains("\"plan\""), "the smallest plan is kept");
    let (code, output, errors) = with_flags(&format!("--seed 6 --save-faults {plan}"));
    assert!(code == Some(1) && output.contains("1 passed") && errors.contains(error), "{errors}");
}

#[test]
fn program_that_draws_to_log() {
    if is_asked_for("program_that_draws_to_log") {
        use rand_core::Rng as _;
        let campaign = Campaign::new(|sim: Sim| async move {
            let mut rng = sim.client("client").entropy().rng();
            tracing::info!(id = rng.next_u64(), "what is drawn to be logged");
            anyhow::ensure!(!rng.next_u64().is_multiple_of(3), "unlucky");
            Ok(())
        });
        campaign.seeds(30).failures_max(4).check();
    }
}

#[test]
fn a_red_seed_of_a_program_that_draws_to_log_is_red_again_and_shows_its_log() {
    let said = text(&run("program_that_draws_to_log", &[]));
    assert!(!said.contains("what is drawn"), "of many seeds nothing is logged: {said}");
    let seeds: Vec<&str> = said
        .lines()
        .filter_map(|line| {
            line.strip_prefix("also red: seed ").or(line.strip_prefix("seed "))?.split(' ').next()
        })
        .collect();
    assert_eq!(seeds.len(), 4, "{said}");
    for seed in seeds {
        let said = text(&run("program_that_draws_to_log", &[("STEELMILL_SEED", seed)]));
        assert!(said.contains(&format!("seed {seed} failed at 0.000000000 s: unlucky")), "{said}");
        assert!(said.contains(" client ") || said.contains(" scenario "), "{said}");
        assert!(said.contains("what is drawn to be logged id="), "{said}");
    }
}

#[test]
fn program_that_is_green() {
    if is_asked_for("program_that_is_green") {
        let campaign = Campaign::new(|sim: Sim| async move {
            let machine = sim.machine("node", |_| Ok(())).start().await?;
            sim.inject_faults(Budget::of(&[machine])).run().await?;
            steelmill_core::assert_sometimes!(sim.seed() == Seed(99), "a seed of 99");
            Ok(())
        });
        campaign.seeds(20).check();
        check(Seed(5), |_| async { Ok(()) });
    }
}

#[test]
fn a_green_test_says_what_it_did() {
    let output = run("program_that_is_green", &[]);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    for part in [
        "program_that_is_green: 20 seed(s), 20 passed, 0 failed\n",
        " faults struck (at least ",
        " faults skipped (at least ",
        "coverage points never reached\n",
        "a seed of 99",
        "program_that_is_green #2: 1 seed(s), 1 passed, 0 failed\n",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}

#[test]
fn the_replay_command_is_one_of_nextest_under_nextest() {
    let command = |runner: &str| {
        let mut command = command("program_that_checks_one_seed", &[]);
        command.env_remove("NEXTEST").env(runner, "1");
        text(&command.output().expect("the process starts"))
    };
    let test = "-p steelmill-sim --test campaign program_that_checks_one_seed -- --exact --include-ignored";
    for (runner, line) in [("NOTHING", "cargo test"), ("NEXTEST", "cargo nextest run")] {
        let said = command(runner);
        assert!(said.contains(&format!("run it again with: {line} {test}")), "{said}");
    }
}

#[test]
fn program_that_checks_one_seed() {
    if is_asked_for("program_that_checks_one_seed") {
        check(Seed(5), |sim| async move {
            eprintln!("seed {}", sim.seed());
            anyhow::bail!("always")
        });
    }
}

#[test]
fn a_test_of_one_seed_keeps_it() {
    let output =
        run("program_that_checks_one_seed", &[("STEELMILL_SEED", "99"), ("STEELMILL_SCHEDULE", "fifo")]);
    let text = text(&output);
    assert!(text.contains("seed 5 failed") && !text.contains("seed 99"), "{text}");
    let again =
        "STEELMILL_SCHEDULE=fifo cargo test -p steelmill-sim --test campaign program_that_checks_one_seed";
    assert!(text.contains(&format!("run it again with: {again} -- --exact --include-ignored")), "{text}");
}

/// Sleeps in real time, not virtual time.
struct Stubborn;

impl Daemon for Stubborn {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Self)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        scope.spawn("busy", async { spin() });
        Ok(())
    }
}

/// Never comes to an end.
#[inline(never)]
fn spin() {
    let mut n = 1_u64;
    while std::hint::black_box(n) != 0 {
        n = n.wrapping_mul(3);
    }
}

/// Never comes to an end, and says so all the time.
fn talks() {
    loop {
        println!("still here");
    }
}

/// Never comes to an end either.
struct StubbornInDrop;

impl Drop for StubbornInDrop {
    fn drop(&mut self) {
        spin();
    }
}

const HALF_A_SECOND: Duration = Duration::from_millis(500);

#[test]
#[cfg(target_os = "linux")]
fn an_endless_poll_fails_its_seed_and_no_other() {
    let campaign = Campaign::new(|sim: Sim| {
        if sim.seed() == Seed(2) {
            spin();
        }
        async move {
            let machine = sim.machine("m", |_| Ok(())).start().await?;
            match sim.seed() {
                Seed(3) => {
                    let stubborn = sim.machine("n", |factory| factory.with::<Stubborn>()).start().await?;
                    stubborn.get::<Stubborn>()?;
                    std::future::pending().await
                }
                Seed(4) => drop(machine.spawn("leaves", async {
                    let _held = StubbornInDrop;
                    std::future::pending::<()>().await;
                })),
                _ => {}
            }
            sim.clock().sleep(Duration::from_secs(1)).await;
            Ok(())
        }
    });
    let campaign = campaign.seeds(6).failures_max(6).jobs(2).poll_time_limit(HALF_A_SECOND);
    let summary = campaign.run();
    let failed: Vec<(Seed, String)> = summary
        .failed
        .iter()
        .map(|outcome| (outcome.seed, outcome.failure.as_ref().expect("it is red").to_string()))
        .collect();
    let [(Seed(2), begins), (Seed(3), polls), (Seed(4), drops)] = &failed[..] else { panic!("{summary}") };
    assert!(begins.contains("the scenario, before its first await, has lasted for 500ms"), "{begins}");
    assert!(polls.contains("one poll of \"n: Stubborn: busy\" has lasted for 500ms of real time"), "{polls}");
    assert!(drops.contains("a destructor, when the run was over, has lasted for 500ms"), "{drops}");
    for text in [begins, polls, drops] {
        assert!(text.contains("in campaign::spin at steelmill-sim/tests/campaign.rs"), "its stack: {text}");
    }
    assert_eq!(summary.seeds, 6);
    assert!(campaign.shrink(Seed(3), |_| ()).is_none(), "nothing is known of it that could be shrunk");
}

#[test]
fn program_that_prints_without_end() {
    if is_asked_for("program_that_prints_without_end") {
        let campaign = Campaign::new(|sim: Sim| async move {
            if sim.seed() == Seed(2) {
                talks();
            }
            println!("seed {} is done", sim.seed());
            Ok(())
        });
        let summary = campaign.seeds(4).failures_max(4).poll_time_limit(HALF_A_SECOND).run();
        println!("{summary}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_thread_is_not_stopped_while_it_holds_a_stream() {
    let output = run("program_that_prints_without_end", &[]);
    let text = text(&output);
    // It is stopped between two lines, or the process ends: it never hangs.
    let is_stopped = text.contains("seed 4 is done") && text.contains("3 passed, 1 failed");
    assert!(
        is_stopped || text.contains("The process ends here"),
        "{}",
        &text[text.len().saturating_sub(3000)..]
    );
}

#[test]
fn program_that_never_reaches_an_await() {
    if is_asked_for("program_that_never_reaches_an_await") {
        let settings = Settings { poll_time_limit: Some(HALF_A_SECOND), ..Settings::new(Seed(42)) };
        simulate(settings, &|sim: Sim| async move {
            let machine = sim.machine("m", |factory| factory.with::<Stubborn>()).start().await?;
            machine.get::<Stubborn>()?;
            std::future::pending().await
        });
    }
}

#[test]
fn an_endless_poll_of_a_run_on_the_callers_thread_ends_the_process_and_names_its_task() {
    let begun = Instant::now();
    let output = run("program_that_never_reaches_an_await", &[]);
    let text = text(&output);
    assert!(
        begun.elapsed() < Duration::from_secs(25),
        "the watchdog waits for half a second, not the default half minute"
    );
    assert!(!output.status.success(), "{text}");
    assert!(
        text.contains("seed 42: one poll of \"m: Stubborn: busy\" has lasted for 500ms of real time"),
        "{text}"
    );
    assert!(text.contains("in campaign::spin at steelmill-sim/tests/campaign.rs"), "its stack: {text}");
}

/// Runs seeds of 20 ms of real time each; from the sixth on all are red.
fn program(args: &[&str], failing: bool) -> ExitCode {
    let args = <Flags as clap::Parser>::parse_from([&["program"], args].concat()).args;
    cli::main(&args, "slow", "the program", move |sim| async move {
        if sim.seed() == Seed(1) {
            eprintln!("begun");
        }
        pause_in_real_time(Duration::from_millis(20));
        anyhow::ensure!(!failing || sim.seed() < Seed(6), "too far");
        Ok(())
    })
}

#[derive(clap::Parser)]
struct Flags {
    #[command(flatten)]
    args: cli::Args,
}

#[test]
fn program_with_many_slow_seeds() {
    if is_asked_for("program_with_many_slow_seeds") {
        let code = program(&["--seeds", "100000"], false);
        eprintln!("ended with {code:?}, is interrupted: {}", code == ExitCode::from(130));
    }
}

/// Starts a program, waits until it reports its start, and interrupts it (SIGINT) the given number of times.
fn interrupt(program: &str, times: u32) -> (ExitStatus, String, String) {
    let mut command = command(program, &[]);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the process starts");
    let mut errors = BufReader::new(child.stderr.take().expect("the stream is piped"));
    let mut line = String::new();
    while !line.contains("begun") {
        line.clear();
        assert_ne!(errors.read_line(&mut line).expect("UTF-8"), 0, "it has ended");
    }
    for _ in 0..times {
        std::thread::sleep(Duration::from_millis(300));
        let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(killed.expect("kill is installed").success());
    }
    let (mut output, mut said) = (String::new(), String::new());
    errors.read_to_string(&mut said).expect("UTF-8");
    child.stdout.take().expect("the stream is piped").read_to_string(&mut output).expect("UTF-8");
    (child.wait().expect("the process ends"), output, said)
}

#[test]
fn ctrl_c_ends_a_campaign_with_its_summary() {
    let (status, output, said) = interrupt("program_with_many_slow_seeds", 1);
    assert!(status.success() && said.contains("is interrupted: true"), "{said}");
    assert!(
        output.contains("stopped early: ") && output.contains(" of 100000 seeds did not run"),
        "{output}"
    );
}

#[test]
fn program_with_a_seed_that_does_not_end() {
    if is_asked_for("program_with_a_seed_that_does_not_end") {
        let args = <Flags as clap::Parser>::parse_from(["program", "--seeds", "1"]).args;
        cli::main(&args, "stuck", "the program", |_| async {
            eprintln!("begun");
            pause_in_real_time(Duration::from_secs(20));
            Ok(())
        });
    }
}

#[test]
fn a_second_ctrl_c_ends_the_process_at_once() {
    let (status, output, _) = interrupt("program_with_a_seed_that_does_not_end", 2);
    assert_eq!(status.code(), Some(130), "{output}");
}

#[test]
fn max_failures_limits_the_reported_red_seeds() {
    for max in [1, 3] {
        let summary = Campaign::new(|_| async { anyhow::bail!("red") }).jobs(8).failures_max(max).run();
        assert_eq!((summary.failed.len(), summary.seeds), (max, max as u64));
    }
}

#[test]
fn program_that_fails_many_seeds() {
    if is_asked_for("program_that_fails_many_seeds") {
        program(&["--seeds", "50", "--max-failures", "2", "--schedule", "pct:3", "--verify"], true);
    }
}

#[test]
fn a_program_repeats_its_flags_with_each_red_seed() {
    let output = run("program_that_fails_many_seeds", &[]);
    let text = text(&output);
    let again =
        text.lines().filter(|line| line.starts_with("the program --schedule=pct:3 --verify=twice --seed "));
    assert_eq!(again.count(), 2, "{text}");
    let explained = "to explain it: the program --schedule=pct:3 --verify=twice --seed ";
    assert_eq!(text.matches(explained).count(), 1, "{text}");
}

#[test]
fn the_lowest_red_seeds_are_named_whatever_the_number_of_threads() {
    let with = |jobs| {
        let campaign = Campaign::new(|sim: Sim| async move {
            if sim.seed() == Seed(3) {
                pause_in_real_time(Duration::from_millis(300)); // the others find their failures meanwhile
            }
            sim.count("runs", 1);
            anyhow::ensure!([1, 2, 4].contains(&sim.seed().0), "red");
            Ok(())
        });
        let mut order = Vec::new();
        let summary =
            campaign.jobs(jobs).seeds(100).failures_max(2).run_with(|summary| order.push(summary.seeds));
        let red: Vec<u64> = summary.failed.iter().map(|failed| failed.seed.0).collect();
        assert_eq!(order, [1, 2, 3, 4, 5], "reported one by one");
        (red, summary.seeds, summary.digest, summary.counts["runs"].total)
    };
    let alone = with(1);
    assert_eq!((&*alone.0, alone.1), (&[3, 5][..], 5));
    for jobs in [2, 8] {
        assert_eq!(with(jobs), alone, "{jobs} threads");
    }
}

#[test]
fn program_with_flags() {
    if is_asked_for("program_with_flags") {
        let flags = std::env::var(FLAGS).expect("set by the test");
        let args =
            <Flags as clap::Parser>::parse_from(["program"].into_iter().chain(flags.split_whitespace()));
        let is_fixed = std::env::var_os(FIXED).is_some();
        let code = cli::main(&args.args, "flags", "the program", move |sim| async move {
            sim.count("steps", sim.seed().0 % 3);
            sim.clock().sleep(Duration::from_secs(sim.seed().0)).await;
            anyhow::ensure!(is_fixed || sim.seed().0 % 10 != 7, "a seven in {}", sim.seed());
            Ok(())
        });
        let code = (0..=u8::MAX).find(|number| ExitCode::from(*number) == code);
        std::process::exit(code.expect("an exit code is a byte").into());
    }
}

/// The flags of the program above, and whether its bug is fixed.
const FLAGS: &str = "TEST_FLAGS";
const FIXED: &str = "TEST_FIXED";

/// Runs it; returns exit code, standard output without that of the test harness, and standard error.
fn with_flags(flags: &str) -> (Option<i32>, String, String) {
    with_flags_and(flags, &[])
}

fn with_flags_and(flags: &str, variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let output = run("program_with_flags", &[&[(FLAGS, flags)], variables].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout);
    let said = said.trim_start_matches(['\n', '\r']);
    let said = said.strip_prefix("running 1 test\n").unwrap_or(said);
    (output.status.code(), said.to_owned(), text(&output.stderr))
}

/// A temporary folder, removed on drop.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("steelmill-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn merged_shards_have_the_summary_of_one_run() {
    let folder = Folder::new("shards");
    let mut files = Vec::new();
    for shard in 1..=3 {
        let file = folder.file(&format!("shard-{shard}.json"));
        let (code, json, _) = with_flags(&format!("--seeds 20 --json --shard {shard}/3"));
        let has_red = ["7", "17"].iter().any(|seed| json.contains(&format!("--seed {seed}\"")));
        assert_eq!(code, Some(i32::from(has_red)), "{json}");
        assert_eq!(json.lines().count(), 1, "{json}");
        std::fs::write(&file, json).expect("a file");
        files.push(file);
    }
    let junit = folder.file("junit.xml");
    let (code, whole, whole_errors) = with_flags("--seeds 20 --jobs 1");
    let (merged_code, merged, errors) = with_flags(&format!("--junit {junit} --merge {}", files.join(" ")));
    assert_eq!((code, merged_code), (Some(1), Some(1)), "{errors}");
    let without_wall = |text: &str| {
        let line = |line: &str| line.split_once("seeds a minute").map_or(line, |(_, rest)| rest).to_owned();
        text.lines().map(line).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(without_wall(&merged), without_wall(&whole));
    let red = "flags: 20 seed(s), 18 passed, 2 failed\n  first failed: seed 7 at 7.000 s: a seven in 7\n";
    assert!(merged.starts_with(red), "{merged}");
    assert!(merged.contains("(the longest of 3 shards)"), "{merged}");
    assert_eq!(errors, whole_errors, "red seeds with their replay commands");
    assert!(errors.contains("a seven in 17\nthe program --seed 17\n"), "{errors}");
    assert!(folder.read("junit.xml").contains("<failure message=\"a seven in 17\">"));

    let (code, _, errors) = with_flags(&format!("--merge {} {}", files[0], files[2]));
    assert_eq!(code, Some(2), "an error of the merge");
    assert!(errors.contains("error: 1 of 3 shards missing: 2/3"), "{errors}");
    let (code, json, _) = with_flags(&format!("--json --merge {}", files.join(" ")));
    assert_eq!((code, json.lines().count()), (Some(1), 1));
    let record = steelmill_sim::Record::from_json(&json).expect("a record");
    assert_eq!((record.seeds, record.merged), (20, Some(3)));
}

#[test]
fn a_merge_rejects_the_flags_of_a_run() {
    for flags in
        ["--seeds 3", "--seed 3", "--shard 1/2", "--faults none", "--verify", "--explain x", "--jobs 2"]
    {
        let line = format!("program --merge shard.json {flags}");
        let parsed = <Flags as clap::Parser>::try_parse_from(line.split(' '));
        let error = parsed.map(|_| ()).expect_err(flags).to_string();
        assert!(error.contains("cannot be used with"), "{error}");
    }
    for flags in ["--seed 3 --shard 1/2", "--merge"] {
        let line = format!("program {flags}");
        assert!(<Flags as clap::Parser>::try_parse_from(line.split(' ')).is_err(), "{flags}");
    }
}

fn seeds_in(folder: &Folder, file: &str) -> Vec<u64> {
    let json: serde_json::Value = serde_json::from_str(&folder.read(file)).expect("JSON");
    let kept = json["kept"].as_array().expect("a list");
    kept.iter().map(|kept| kept["seed"].as_u64().expect("a number")).collect()
}

#[test]
fn red_seeds_are_kept_tried_first_and_dropped_when_they_pass() {
    let folder = Folder::new("kept");
    let file = folder.file("red.json");
    let (code, _, errors) = with_flags(&format!("--seeds 30 --schedule fifo --keep {file}"));
    assert_eq!(code, Some(1));
    assert!(errors.contains(&format!("3 red seed(s) of this campaign are kept in {file}")), "{errors}");
    assert_eq!(seeds_in(&folder, "red.json"), [7, 17, 27]);
    let line =
        r#"{"scenario":"flags","seed":17,"schedule":"fifo","time_limit":"1h","failure":"a seven in 17"},"#;
    assert!(folder.read("red.json").contains(line), "{}", folder.read("red.json"));

    // Other seeds, all green; kept seeds are counted separately.
    let (code, output, errors) = with_flags(&format!("--seeds 6 --keep {file}"));
    assert_eq!(code, Some(1), "{errors}");
    assert!(
        output.starts_with("flags: 6 seed(s), 6 passed, 0 failed\n  kept: 3 seed(s), 0 passed, 3 failed\n")
    );
    let again = format!(
        "kept seed 17 failed at 17.000000000 s: a seven in 17\nthe program --keep={file} --seed 17\n"
    );
    assert!(errors.contains(&again), "{errors}");

    let (code, output, _) = with_flags(&format!("--keep={file} --seed 17"));
    assert_eq!(code, Some(1));
    assert!(
        output.starts_with("flags: 0 seed(s), 0 passed, 0 failed\n  kept: 1 seed(s), 0 passed, 1 failed\n")
    );

    // A kept seed of another campaign is left alone.
    let other = folder.read("red.json").replacen("\"scenario\":\"flags\"", "\"scenario\":\"other\"", 1);
    std::fs::write(&file, other).expect("a file");
    let junit = folder.file("junit.xml");
    let (code, output, errors) =
        with_flags_and(&format!("--seeds 6 --keep {file} --junit {junit}"), &[(FIXED, "1")]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(output.contains("  kept: 2 seed(s), 2 passed, 0 failed\n"), "{output}");
    assert!(errors.contains("kept seed 27 passes now and is dropped: a seven in 27"), "{errors}");
    assert_eq!(seeds_in(&folder, "red.json"), [7], "the seed of the other campaign");
    assert!(folder.read("junit.xml").contains("failures=\"0\""));
}

#[test]
fn a_file_that_holds_something_else_ends_a_campaign_before_it_begins() {
    let folder = Folder::new("malformed");
    let file = folder.file("red.json");
    std::fs::write(&file, "my notes").expect("a file");
    let (code, output, errors) = with_flags(&format!("--seeds 30 --keep {file}"));
    assert_eq!((code, &*output), (Some(2), ""));
    assert!(errors.contains("red.json is no file of kept seeds, and is left as it is"), "{errors}");
    assert_eq!(folder.read("red.json"), "my notes");
}

#[test]
fn a_failure_to_keep_seeds_is_reported_with_the_first_red_seed() {
    let folder = Folder::new("unkept");
    let file = folder.file("red.json");
    std::fs::create_dir(format!("{file}.lock")).expect("a folder in place of the lock file");
    let (code, output, errors) = with_flags(&format!("--seeds 30 --keep {file}"));
    assert!(code == Some(1) && output.contains("3 failed"), "{errors}");
    assert!(errors.starts_with("error: red seeds are not kept so far: cannot lock "), "{errors}");
    assert_eq!(errors.matches("not kept").count(), 2, "once more at the end: {errors}");
}

#[test]
fn changes_of_kept_seeds_are_in_the_json_of_shards() {
    let folder = Folder::new("shards-keep");
    let file = folder.file("red.json");
    // Seeds 7, 17 and 27 are kept; now 37 is red as well, and 17 is fixed.
    with_flags(&format!("--seeds 30 --keep {file}"));
    let kept = folder.read("red.json");
    let mut files = Vec::new();
    for shard in 1..=4 {
        // Each shard on a machine of its own, with the committed file.
        let own = folder.file(&format!("own-{shard}.json"));
        std::fs::write(&own, &kept).expect("a file");
        let fixed: &[_] = if shard == 17 % 4 + 1 { &[(FIXED, "1")] } else { &[] };
        let flags = format!("--first-seed 34 --seeds 5 --json --shard {shard}/4 --keep {own}");
        let (_, json, errors) = with_flags_and(&flags, fixed);
        let record =
            steelmill_sim::Record::from_json(&json).unwrap_or_else(|error| panic!("{error}: {errors}"));
        let ran = record.kept.as_ref().map(|kept| kept.ran);
        assert_eq!(ran, Some([7, 17, 27].iter().filter(|seed| **seed % 4 == shard - 1).count() as u64));
        let name = folder.file(&format!("shard-{shard}.json"));
        std::fs::write(&name, json).expect("a file");
        files.push(name);
    }
    let (code, output, errors) = with_flags(&format!("--keep {file} --merge {}", files.join(" ")));
    assert_eq!(code, Some(1));
    let both = "flags: 5 seed(s), 4 passed, 1 failed\n  kept: 3 seed(s), 1 passed, 2 failed\n";
    assert!(output.starts_with(both), "{output}");
    assert!(errors.contains("kept seed 17 passes now and is dropped"), "{errors}");
    assert_eq!(seeds_in(&folder, "red.json"), [7, 27, 37]);
}

#[test]
fn an_explained_seed_is_kept_with_the_least_that_it_takes() {
    let folder = Folder::new("explained");
    let (file, explained) = (folder.file("red.json"), folder.file("explained"));
    with_flags(&format!("--seeds 20 --keep {file}"));
    assert!(!folder.read("red.json").contains("\"plan\""), "the scenario injects no faults");
    let (code, _, errors) =
        with_flags(&format!("--keep {file} --seed 17 --explain {explained} --explain-runs 50"));
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("run it again with: the program --seed 17 --faults="), "{errors}");
    assert!(folder.read("explained/summary.txt").contains("a seven in 17"));
    let lines: Vec<String> = folder.read("red.json").lines().map(str::to_owned).collect();
    assert!(lines[1].contains("\"seed\":7,") && !lines[1].contains("\"plan\""), "{lines:?}");
    assert!(lines[2].contains("\"seed\":17,") && lines[2].ends_with(r#""plan":{"faults":[]}}"#), "{lines:?}");

    // Each explained seed has its folder; a kept seed that the campaign also runs has one folder.
    let (_, _, errors) =
        with_flags(&format!("--seeds 8 --keep {file} --explain {explained} --explain-runs 50"));
    for name in ["kept-seed-7", "kept-seed-17", "seed-7"] {
        assert!(folder.read(&format!("explained/{name}/summary.txt")).contains("a seven in"), "{errors}");
    }
    assert_eq!(seeds_in(&folder, "red.json"), [7, 17]);
    assert_eq!(folder.read("red.json").matches("\"plan\"").count(), 2);
}

#[test]
fn an_order_is_not_ignored_by_a_schedule() {
    let folder = Folder::new("order");
    let plan = folder.file("plan.json");
    std::fs::write(&plan, r#"{"faults": [], "order": []}"#).expect("a file");
    let (code, _, errors) = with_flags(&format!("--seed 6 --faults {plan} --schedule fifo"));
    assert!(code == Some(2) && errors.contains("which the schedule fifo does not follow"), "{errors}");
    assert_eq!(with_flags(&format!("--seed 6 --faults {plan} --schedule uniform")).0, Some(0));
    let variables = [("STEELMILL_FAULTS", &*plan), ("STEELMILL_SCHEDULE", "pct:2"), ("STEELMILL_SEED", "12")];
    let said = text(&run("program_that_says_what_it_runs", &variables));
    assert!(said.contains("which the schedule pct:2 does not follow"), "{said}");
}

#[test]
fn a_merge_creates_the_file_of_kept_seeds() {
    let folder = Folder::new("merged-kept");
    let (shard, merged) = (folder.file("shard.json"), folder.file("merged.json"));
    with_flags(&format!("--seeds 30 --keep {}", folder.file("red.json")));
    let (_, json, _) = with_flags(&format!("--seeds 5 --json --keep {}", folder.file("red.json")));
    std::fs::write(&shard, json).expect("a file");
    let merge = || with_flags(&format!("--keep {merged} --merge {shard}")).2;
    let errors = merge();
    assert!(errors.contains("3 red seed(s) of this campaign are kept"), "{errors}");
    assert_eq!(folder.read("merged.json"), folder.read("red.json"));
    // A seed missing in an existing file was removed by somebody.
    let all = folder.read("merged.json");
    let without: Vec<&str> = all.lines().filter(|line| !line.contains(":17,")).collect();
    std::fs::write(&merged, without.join("\n")).expect("a file");
    let errors = merge();
    assert_eq!(seeds_in(&folder, "merged.json"), [7, 27]);
    let told = format!("kept seed 17 fails, but is not kept: it was removed from {merged}");
    assert!(errors.contains(&told), "{errors}");
}

#[test]
fn a_seed_that_is_kept_twice_is_explained_in_two_folders() {
    let folder = Folder::new("twice");
    let (file, explained) = (folder.file("red.json"), folder.file("explained"));
    for schedule in ["fifo", "pct:2"] {
        let other = folder.file(schedule);
        with_flags(&format!("--seed 17 --schedule {schedule} --keep {other}"));
    }
    let line = |name: &str| folder.read(name).lines().nth(1).expect("a seed").to_owned();
    let both = format!("{{\"version\": 1, \"kept\": [{},{}]}}", line("fifo"), line("pct:2"));
    std::fs::write(&file, both).expect("a file");
    let flags = format!("--keep {file} --explain {explained} --explain-runs 9");
    for (seeds, folders) in [
        ("--seed 17", &["kept-seed-17", "kept-seed-17-2"][..]),
        ("--first-seed 17 --seeds 1", &["kept-seed-17", "kept-seed-17-2", "seed-17"]),
    ] {
        let (_, _, errors) = with_flags(&format!("{seeds} {flags}"));
        for (name, schedule) in folders.iter().zip([" --schedule=fifo", " --schedule=pct:2", ""]) {
            let summary = folder.read(&format!("explained/{name}/summary.txt"));
            assert!(summary.contains(&format!("the program{schedule} --seed 17 --faults=")), "{errors}");
        }
        std::fs::remove_dir_all(&explained).expect("the folder exists");
    }
    let plan = folder.file("plan.json");
    let (_, _, errors) = with_flags(&format!("--seed 17 --keep {file} --save-faults {plan}"));
    assert!(errors.contains("has the seed 3 times"), "{errors}");
}

#[test]
fn program_that_fails_if_paused() {
    if is_asked_for("program_that_fails_if_paused") {
        let flags = std::env::var(FLAGS).expect("set by the test");
        let flags = ["program"].into_iter().chain(flags.split_whitespace());
        let args = <Flags as clap::Parser>::parse_from(flags);
        let (interrupts, pressed) = (std::env::var_os(INTERRUPTS), Once::new());
        let code = cli::main(&args.args, "pauses", "the program", move |sim| {
            if interrupts.as_ref().is_some_and(|there| std::path::Path::new(there).exists()) {
                pressed.call_once(|| {
                    let own = std::process::id().to_string();
                    let killed = Command::new("kill").args(["-INT", &own]).status();
                    assert!(killed.expect("kill is installed").success());
                });
            }
            fails_if_paused(sim)
        });
        eprintln!("ended with {code:?}");
    }
}

/// The program above interrupts itself (SIGINT) in the first run that finds this file.
const INTERRUPTS: &str = "TEST_INTERRUPTS";

#[test]
fn ctrl_c_ends_explaining_with_the_seed_that_is_explained_at_the_moment() {
    let folder = Folder::new("interrupted");
    let (file, explained) = (folder.file("red.json"), folder.file("explained"));
    let flags = format!(
        "--seeds 100 --max-failures 3 --jobs 1 --keep {file} --explain {explained} --explain-runs 200"
    );
    let said = text(&run("program_that_fails_if_paused", &[(FLAGS, &flags), (INTERRUPTS, &explained)]));
    let seeds = seeds_in(&folder, "red.json");
    let [first, second, third] = seeds[..] else { panic!("{seeds:?}: {said}") };
    let summary = |seed| folder.read(&format!("explained/seed-{seed}/summary.txt"));
    assert!(summary(first).contains("\n- 1 of "), "{said}");
    assert!(summary(second).contains("when the search was interrupted"), "{said}");
    assert!(!folder.0.join(format!("explained/seed-{third}")).exists(), "{said}");
    assert!(said.contains("1 red seed(s) are not explained, because of Ctrl-C"), "{said}");
    let faults: Vec<usize> =
        folder.read("red.json").lines().map(|line| line.matches("\"when\"").count()).collect();
    assert!(faults[1] == 1 && faults[2] > 1 && faults[3] > 1, "the results so far are kept: {faults:?}");
}

#[test]
fn a_search_that_was_cut_short_takes_no_kept_plan_away() {
    let folder = Folder::new("cut-short");
    let (file, explained) = (folder.file("red.json"), folder.file("explained"));
    let with = |flags: &str| {
        let flags = format!("--keep {file} {flags}");
        text(&run("program_that_fails_if_paused", &[(FLAGS, &flags)]))
    };
    with("--seeds 100 --max-failures 1 --jobs 1");
    let (seed, drawn) = (seeds_in(&folder, "red.json")[0], folder.read("red.json"));
    let faults = |text: &str| text.matches("\"when\"").count();
    assert!(faults(&drawn) > 1, "{drawn}");
    let both = format!("--first-seed {seed} --seeds 1 --explain {explained}");
    let said = with(&format!("{both} --explain-runs 1 --json"));
    assert!(said.contains("The smallest failing plan found in ") && !said.contains("\"least\":{"), "{said}");
    assert_eq!(folder.read("red.json"), drawn, "unchanged");
    let said = with(&both);
    let least = folder.read("red.json");
    assert_eq!(faults(&least), 1, "{said}");
    with(&format!("{both} --explain-runs 1"));
    assert_eq!(folder.read("red.json"), least, "not replaced by the larger plan of the same seed");

    // A smaller plan with another failure must not replace it.
    let otherwise = drawn.replace("it was paused", "it fell over");
    std::fs::write(&file, &otherwise).expect("a file");
    let said = with(&format!("--seed {seed} --explain {explained}"));
    assert!(said.contains("- 1 of "), "{said}");
    assert_eq!(folder.read("red.json"), otherwise);
}

#[test]
fn program_that_is_killed() {
    if is_asked_for("program_that_is_killed") {
        let file = std::env::var(FLAGS).expect("set by the test");
        program(&["--seeds", "100000", "--max-failures", "1000", "--keep", &file], true);
    }
}

#[test]
fn a_reported_red_seed_is_kept_even_if_the_process_is_killed() {
    let folder = Folder::new("killed");
    let mut command = command("program_that_is_killed", &[(FLAGS, &folder.file("red.json"))]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the process starts");
    let mut errors = BufReader::new(child.stderr.take().expect("the stream is piped"));
    let mut line = String::new();
    while !line.starts_with("seed 6 failed") {
        line.clear();
        assert_ne!(errors.read_line(&mut line).expect("UTF-8"), 0, "it has ended");
    }
    child.kill().expect("the process runs");
    child.wait().expect("the process ends");
    assert!(seeds_in(&folder, "red.json").contains(&6));
}

/// Fails if a machine was paused, which only the plan decides.
async fn fails_if_paused(sim: Sim) -> Result {
    let machine = sim.machine("node", |_| Ok(())).start().await?;
    let watched = machine.clone();
    let watch = sim.spawn("watch", async move {
        while !watched.is_paused() {
            watched.clock().sleep(Duration::from_millis(1)).await;
        }
    });
    sim.inject_faults(Budget::of(&[machine])).run().await?;
    anyhow::ensure!(!watch.is_finished(), "it was paused");
    Ok(())
}

#[test]
fn a_kept_seed_fails_though_its_faults_are_drawn_otherwise_now() {
    let folder = Folder::new("plans");
    let file = folder.file("red.json");
    let campaign = |faults| {
        let all = Campaign::new(fails_if_paused).name("pauses").seeds(30).failures_max(1000);
        all.faults(faults).keep(&file).run()
    };
    let first = campaign(Faults::Swarm);
    let red = first.failed.len();
    assert!(red > 0, "{first}");
    // As if the drawing of faults had changed, and no seed drew one.
    let second = campaign(Faults::None);
    assert!(second.failed.is_empty() && !second.passed(), "{second}");
    let kept = second.kept.expect("there is a file");
    assert_eq!((kept.ran, kept.failed.len()), (red as u64, red));
    for (kept, outcome) in &kept.failed {
        let before = first.failed.iter().find(|failed| failed.seed == kept.seed).expect("the seed failed");
        assert_eq!((outcome.digest, &outcome.faults), (before.digest, &before.faults), "the same run");
    }
}

#[test]
fn a_kept_seed_is_verified_as_it_was_kept() {
    let folder = Folder::new("verified");
    let kept = r#"{"version": 1, "kept": [{"scenario": "verified", "seed": 3, "schedule": "fifo", "time_limit": "1h",
        "failure": "it was paused", "plan": {"faults": [
            {"when": {"at": "1s"}, "lasts": "1s", "what": {"pause": {"machine": "node"}}}]}}]}"#;
    std::fs::write(folder.file("red.json"), kept).expect("a file");
    for verify in [Verify::Twice, Verify::Process] {
        let campaign = Campaign::new(fails_if_paused).name("verified").seeds(1).faults(Faults::None);
        let summary = campaign.verify(verify).keep(folder.file("red.json")).run();
        let kept = summary.kept.as_ref().expect("there is a file");
        let [(_, failed)] = &kept.failed[..] else { panic!("{summary}") };
        let failure = failed.failure.as_ref().expect("the run failed").to_string();
        assert!(failure.ends_with("it was paused"), "{failure}");
    }
}

#[test]
fn a_test_keeps_its_seeds_under_its_own_name() {
    let folder = Folder::new("test");
    let file = folder.file("red.json");
    let first =
        text(&run("program_that_says_what_it_runs", &[("STEELMILL_KEEP", &file), ("STEELMILL_SEEDS", "9")]));
    assert!(first.contains("run it again with: STEELMILL_SEED=13 cargo test"), "{first}");
    let name = "\"scenario\":\"steelmill-sim/campaign::program_that_says_what_it_runs\",\"seed\":13";
    assert!(folder.read("red.json").contains(name), "{}", folder.read("red.json"));
    let again =
        text(&run("program_that_says_what_it_runs", &[("STEELMILL_KEEP", &file), ("STEELMILL_JOBS", "1")]));
    for part in [
        "kept seed 13 failed at 0.000000000 s: unlucky".to_owned(),
        format!("run it again with: STEELMILL_KEEP={file} STEELMILL_SEED=13 cargo test"),
    ] {
        assert!(again.contains(&part), "no {part:?} in {again}");
    }
    assert!(
        !again.contains("or: cargo xtask sim"),
        "the program would not find it, by its own name: {again}"
    );
    assert!(!again.contains("seed 10\n"), "the campaign ends after the red kept seed: {again}");
    let only =
        text(&run("program_that_says_what_it_runs", &[("STEELMILL_KEEP", &file), ("STEELMILL_SEED", "13")]));
    assert_eq!(
        only.lines().filter(|line| *line == "seed 13").count(),
        1,
        "runs once, with its kept settings: {only}"
    );
}

#[test]
fn campaigns_without_a_name_are_named_by_their_test() {
    let name = || Campaign::new(|_| async { Ok(()) }).seeds(1).run().campaign.name;
    let test = "steelmill-sim/campaign::campaigns_without_a_name_are_named_by_their_test";
    assert_eq!((name(), name()), (test.to_owned(), format!("{test} #2")));
}

#[test]
#[should_panic = "needs a name to find them again"]
fn a_seed_that_cannot_be_replayed_is_not_kept() {
    let run = || Campaign::new(|_| async { Ok(()) }).seeds(1).keep("red.json").run();
    // On a thread without the name of a test.
    let ended = std::thread::scope(|scope| scope.spawn(run).join());
    ended.map(drop).unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// Keeps the thread busy for so long in real time: `std::thread::sleep` would fail the run.
fn pause_in_real_time(duration: Duration) {
    let mut sleep = std::process::Command::new("sleep");
    // It must not keep open what this process prints to.
    let (output, errors) = (std::process::Stdio::null(), std::process::Stdio::null());
    let slept = sleep.arg(duration.as_secs_f64().to_string()).stdout(output).stderr(errors).status();
    assert!(slept.expect("sleep is installed").success());
}
