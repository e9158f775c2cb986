//! The metrics of a factory and all factories below it, in the text format of
//! [OpenMetrics 1.0](https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md).
//!
//! What always holds: a family's samples follow its metadata without others in between, each label set is there once, and the last
//! line is `# EOF`. Two children of one name would have the same labels, so a number is added to the second.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use steelmill_core::{DaemonStatus, FactoryHealth, Health, State, Status};

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const STATES: [State; 11] = [
    State::Waiting,
    State::Preparing,
    State::Prepared,
    State::Running,
    State::Finished,
    State::WindingDown,
    State::Pausing,
    State::Down,
    State::Draining,
    State::Stopping,
    State::Ended,
];

const HEALTHS: [&str; 5] = ["unchecked", "healthy", "degraded", "failing", "unresponsive"];

/// The whole answer.
pub(super) fn exposition(status: &Status, health: &FactoryHealth) -> String {
    let factories = labelled(status);
    let mut out = Families(String::new());

    out.family("steelmill_ready", "gauge", "Whether requests should be sent to the factory.");
    out.sample("steelmill_ready", &label("factory", &status.factory), u8::from(health.is_ready()));
    out.family("steelmill_live", "gauge", "Whether no daemon of the factory is unresponsive.");
    out.sample("steelmill_live", &label("factory", &status.factory), u8::from(health.is_live()));

    out.family("steelmill_factory_state", "stateset", "The state of a factory as a whole.");
    for (labels, factory, _) in &factories {
        for state in STATES {
            let labels = format!("{labels},{}", label("steelmill_factory_state", &state.to_string()));
            out.sample("steelmill_factory_state", &labels, u8::from(factory.state == state));
        }
    }

    let daemons: Vec<_> = factories.iter().flat_map(|(_, _, daemons)| daemons).collect();
    out.family("steelmill_daemon_state", "stateset", "The state of a daemon.");
    for (labels, daemon) in &daemons {
        for state in STATES {
            let labels = format!("{labels},{}", label("steelmill_daemon_state", &state.to_string()));
            out.sample("steelmill_daemon_state", &labels, u8::from(daemon.state == state));
        }
    }
    out.family(
        "steelmill_daemon_health",
        "stateset",
        "What a daemon answered last when it was asked for its health.",
    );
    for (labels, daemon) in &daemons {
        let Some(health) = &daemon.health else { continue };
        for word in HEALTHS {
            let labels = format!("{labels},{}", label("steelmill_daemon_health", word));
            out.sample("steelmill_daemon_health", &labels, u8::from(Health::word(health) == word));
        }
    }
    out.family(
        "steelmill_daemon_restarts",
        "counter",
        "How often a daemon was restarted after a failed run.",
    );
    for (labels, daemon) in &daemons {
        out.sample("steelmill_daemon_restarts_total", labels, daemon.runs.saturating_sub(1));
    }
    out.family("steelmill_daemon_tasks", "gauge", "The live tasks of a daemon.");
    for (labels, daemon) in &daemons {
        out.sample("steelmill_daemon_tasks", labels, daemon.tasks_alive());
    }
    let durations: [(&str, &str, DurationOf); 3] = [
        ("steelmill_daemon_build_seconds", "How long a daemon's build took.", |daemon| Some(daemon.build)),
        ("steelmill_daemon_prepare_seconds", "How long a daemon's prepare took.", |daemon| daemon.prepare),
        ("steelmill_daemon_stop_seconds", "How long a daemon's stop took.", |daemon| daemon.stop),
    ];
    for (name, help, of) in durations {
        out.family(name, "gauge", help);
        for (labels, daemon) in &daemons {
            if let Some(duration) = of(daemon) {
                out.sample(name, labels, duration.as_secs_f64());
            }
        }
    }
    out.0.push_str("# EOF\n");
    out.0
}

/// Picks one of the durations of a daemon.
type DurationOf = fn(&DaemonStatus) -> Option<Duration>;

/// Each factory, the parent first, with its labels; and its daemons, with theirs.
type Labelled<'a> = Vec<(String, &'a Status, Vec<(String, &'a DaemonStatus)>)>;

fn labelled(status: &Status) -> Labelled<'_> {
    let mut times: BTreeMap<&str, u32> = BTreeMap::new();
    let factories = status.walk().map(|factory| {
        let nth = times.entry(&factory.factory).or_default();
        *nth += 1;
        let mut labels = label("factory", &factory.factory);
        if *nth > 1 {
            let _ = write!(labels, ",{}", label("nth", &nth.to_string()));
        }
        let mut of_daemons: BTreeMap<&str, u32> = BTreeMap::new();
        let daemons = factory.daemons.iter().map(|daemon| {
            let nth = of_daemons.entry(&daemon.daemon).or_default();
            *nth += 1;
            let name = if *nth > 1 { format!("{}#{nth}", daemon.daemon) } else { daemon.daemon.clone() };
            (format!("{labels},{}", label("daemon", &name)), daemon)
        });
        let daemons = daemons.collect();
        (labels, factory, daemons)
    });
    factories.collect()
}

/// `name="value"`, with the value escaped.
fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}

struct Families(String);

impl Families {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# TYPE {name} {kind}");
        if name.ends_with("_seconds") {
            let _ = writeln!(self.0, "# UNIT {name} seconds");
        }
        let _ = writeln!(self.0, "# HELP {name} {help}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name}{{{labels}}} {value}");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn daemon(name: &str) -> DaemonStatus {
        let mut daemon = DaemonStatus::new(name, State::Running, Instant::now());
        daemon.build = Duration::from_millis(2);
        daemon.prepare = Some(Duration::from_millis(1500));
        daemon.runs = 3;
        daemon.health = Some(Health::failing("full"));
        daemon.tasks = vec![("client", 2), ("flush", 1)];
        daemon
    }

    fn factory(name: &str, daemons: Vec<DaemonStatus>) -> Status {
        let mut factory = Status::new(name, State::Running, Instant::now());
        factory.daemons = daemons;
        factory
    }

    fn health() -> FactoryHealth {
        FactoryHealth::new("demo", State::Running)
    }

    #[test]
    fn states_restarts_tasks_and_durations_are_there() {
        let text = exposition(&factory("demo", vec![daemon("Store")]), &health());
        for line in [
            r#"steelmill_ready{factory="demo"} 1"#,
            r#"steelmill_factory_state{factory="demo",steelmill_factory_state="running"} 1"#,
            r#"steelmill_daemon_state{factory="demo",daemon="Store",steelmill_daemon_state="running"} 1"#,
            r#"steelmill_daemon_state{factory="demo",daemon="Store",steelmill_daemon_state="winding down"} 0"#,
            r#"steelmill_daemon_health{factory="demo",daemon="Store",steelmill_daemon_health="failing"} 1"#,
            r#"steelmill_daemon_restarts_total{factory="demo",daemon="Store"} 2"#,
            r#"steelmill_daemon_tasks{factory="demo",daemon="Store"} 3"#,
            r#"steelmill_daemon_build_seconds{factory="demo",daemon="Store"} 0.002"#,
            r#"steelmill_daemon_prepare_seconds{factory="demo",daemon="Store"} 1.5"#,
            "# TYPE steelmill_daemon_restarts counter",
            "# UNIT steelmill_daemon_stop_seconds seconds",
        ] {
            assert!(text.lines().any(|other| other == line), "no {line} in:\n{text}");
        }
        assert!(text.ends_with("\n# EOF\n"));
    }

    #[test]
    fn label_sets_are_unique_and_escaped() {
        let mut demo = factory("demo", vec![daemon("Store[\"a\\b\n\"]"), daemon("Store"), daemon("Store")]);
        demo.children = vec![factory("demo/x", vec![daemon("Y")]), factory("demo/x", vec![daemon("Y")])];
        let text = exposition(&demo, &health());
        let mut samples: Vec<_> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.rsplit_once(' ').expect("a value").0)
            .collect();
        let count = samples.len();
        samples.sort_unstable();
        samples.dedup();
        assert_eq!(samples.len(), count);
        assert!(text.contains(r#"daemon="Store[\"a\\b\n\"]""#), "{text}");
        assert!(text.contains(r#"{factory="demo/x",nth="2",daemon="Y"}"#), "{text}");
    }
}
