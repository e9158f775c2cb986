//! The commands in `docs/` are valid for a campaign.

use clap::{CommandFactory as _, Parser as _};
use steelmill_sim::cli;

const CAMPAIGNS_IN_CI: &str = include_str!("../../docs/campaigns-in-ci.md");

#[derive(clap::Parser)]
struct Flags {
    #[command(flatten)]
    _args: cli::Args,
}

/// Example values of the batch systems' variables.
const VARIABLES: [(&str, &str); 6] = [
    ("${{ matrix.shard }}", "3"),
    ("$((JOB_COMPLETION_INDEX + 1))", "1"),
    ("$JOB_COMPLETION_INDEX", "0"),
    ("$SLURM_ARRAY_TASK_ID", "8"),
    ("$SLURM_ARRAY_TASK_COUNT", "8"),
    ("shard-*.json", "shard-1.json shard-2.json"),
];

/// The arguments after the program's name, without shell syntax.
fn flags(page: &str, program: &str) -> Vec<Vec<String>> {
    let mut page = page.replace("\\\n", " ");
    for (variable, value) in VARIABLES {
        page = page.replace(variable, value);
    }
    let mut commands = Vec::new();
    let start = format!("{program} --");
    let runs = page.match_indices(&start).filter(|(at, _)| !page[..*at].ends_with("-p "));
    for (at, _) in runs {
        // A folded YAML line continues on the next.
        let rest = page[at + program.len()..].replace("\n              ", " ");
        let words = rest.lines().next().unwrap_or_default().split_whitespace();
        let ours = words.take_while(|word| !word.starts_with(['>', ';', '`', '|', '&']));
        commands.push(ours.map(|word| word.trim_matches(['"', ';', '`']).to_owned()).collect());
    }
    commands
}

#[test]
fn a_campaign_takes_every_command_of_the_page() {
    let commands = [flags(CAMPAIGNS_IN_CI, "cargo xtask sim"), flags(CAMPAIGNS_IN_CI, "demo-app")].concat();
    assert_eq!(commands.len(), 7, "{commands:#?}");
    for command in commands {
        let line = ["program".to_owned()].into_iter().chain(command.iter().cloned());
        if let Err(error) = Flags::try_parse_from(line) {
            panic!("{}: {error}", command.join(" "));
        }
    }
}

#[test]
fn every_flag_of_the_page_is_one() {
    let known: Vec<String> = Flags::command()
        .get_arguments()
        .filter_map(|flag| flag.get_long().map(|long| format!("--{long}")))
        .collect();
    // Inline code that begins with a flag; code blocks are checked above.
    let inline = CAMPAIGNS_IN_CI.split('`').skip(1).step_by(2).filter(|code| code.starts_with("--"));
    let flags: Vec<&str> = inline.filter_map(|code| code.split_whitespace().next()).collect();
    assert!(flags.len() > 8, "{flags:?}");
    for flag in flags {
        assert!(known.iter().any(|known| known == flag), "{flag} is no flag");
    }
}

#[test]
fn the_file_of_red_seeds_on_the_page_can_be_read() {
    let json = CAMPAIGNS_IN_CI.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
    let json = json.expect("there is a block of JSON");
    let path = std::env::temp_dir().join(format!("steelmill-docs-{}.json", std::process::id()));
    std::fs::write(&path, json).expect("a file");
    let campaign = steelmill_sim::Campaign::new(|sim: steelmill_sim::Sim| async move {
        let machine = sim.machine("gateway-1", |_| Ok(())).start().await?;
        sim.inject_faults(steelmill_sim::fault::Budget::of(&[machine])).run().await.map(drop)
    });
    let summary = campaign.name("demo cluster").seeds(1).keep(&path).run();
    let kept = summary.kept.expect("there is a file");
    assert_eq!((kept.ran, kept.passed.len()), (1, 1), "{:?}", kept.failed);
    std::fs::remove_file(path).expect("the file exists");
}
