//! What is answered to which path, from what is known of the factory.

use std::fmt::Write as _;

use steelmill_core::{DaemonHealth, FactoryHealth, State, Status as FactoryStatus};

use super::metrics;
use super::request::{Head, Status};

const TEXT: &str = "text/plain; charset=utf-8";

/// What is known of the factory.
pub(super) struct Known<'a> {
    pub(super) health: &'a FactoryHealth,
    /// `None` if the supervisors did not answer in time.
    pub(super) status: Option<&'a FactoryStatus>,
}

/// An answer to a request.
pub(super) struct Answer {
    status: Status,
    content_type: &'static str,
    body: String,
}

impl Answer {
    fn text(status: Status, body: String) -> Self {
        Answer { status, content_type: TEXT, body }
    }

    pub(super) fn error(status: Status) -> Self {
        Answer::text(status, format!("{}\n", status.1))
    }

    pub(super) fn to_bytes(&self, with_body: bool) -> Vec<u8> {
        let Answer { status: Status(code, phrase), content_type, body } = self;
        // RFC 9110, 15.5.6: which methods there are.
        let allow = if *code == 405 { "Allow: GET, HEAD\r\n" } else { "" };
        let mut text = format!(
            "HTTP/1.1 {code} {phrase}\r\n{allow}Content-Type: {content_type}\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
            body.len()
        );
        if with_body {
            text.push_str(body);
        }
        text.into_bytes()
    }
}

/// The answer to a request.
pub(super) fn to(head: &Head<'_>, known: &Known<'_>) -> Answer {
    match head.path {
        "/livez" => {
            let is_live = known.status.is_some() && known.health.is_live();
            probe("livez", head, known, is_live)
        }
        "/readyz" => probe("readyz", head, known, known.health.is_ready()),
        "/metrics" => match known.status {
            Some(status) => Answer {
                status: Status::OK,
                content_type: metrics::CONTENT_TYPE,
                body: metrics::exposition(status, known.health),
            },
            None => Answer::text(Status::UNAVAILABLE, "the supervisors do not answer\n".to_owned()),
        },
        _ => Answer::text(Status::NOT_FOUND, "there are /livez, /readyz and /metrics\n".to_owned()),
    }
}

/// `ok`, or a line for each check and a verdict, as Kubernetes has it.
fn probe(name: &str, head: &Head<'_>, known: &Known<'_>, passes: bool) -> Answer {
    if passes && !head.is_verbose {
        return Answer::text(Status::OK, "ok".to_owned());
    }
    let mut text = String::new();
    let is_liveness = name == "livez";
    if is_liveness {
        let (sign, word) = if known.status.is_some() { ('+', "ok") } else { ('-', "do not answer") };
        let _ = writeln!(text, "[{sign}]supervisors {word}");
    }
    for health in known.health.walk() {
        let path = &health.factory;
        if !is_liveness {
            let sign = if health.state == State::Running { '+' } else { '-' };
            let _ = writeln!(text, "[{sign}]{path} {}", health.state);
        }
        for daemon in &health.daemons {
            let holds =
                if is_liveness { DaemonHealth::is_live(daemon) } else { DaemonHealth::is_ready(daemon) };
            let sign = if holds { '+' } else { '-' };
            let problem = daemon.problem().unwrap_or_else(|| "ok".to_owned());
            let _ = writeln!(text, "[{sign}]{path}: {} {}", daemon.daemon, one_line(&problem));
        }
    }
    let (status, verdict) = match passes {
        true => (Status::OK, "passed"),
        false => (Status::UNAVAILABLE, "failed"),
    };
    let _ = writeln!(text, "{name} check {verdict}");
    Answer::text(status, text)
}

/// A reason is the daemon's own text, and a check is one line.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use steelmill_core::Health;

    use super::*;

    fn daemon(name: &str, health: Health) -> DaemonHealth {
        let mut daemon = DaemonHealth::new(name, State::Running);
        daemon.health = Some(health);
        daemon
    }

    fn factory(daemons: Vec<DaemonHealth>) -> FactoryHealth {
        let mut factory = FactoryHealth::new("demo", State::Running);
        factory.daemons = daemons;
        factory
    }

    fn ask(path: &str, health: &FactoryHealth, answers: bool) -> (u16, String) {
        let status = FactoryStatus::new("demo", State::Running, Instant::now());
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = Head::parse(request.as_bytes()).expect("it is valid");
        let answer = to(&head, &Known { health, status: answers.then_some(&status) });
        (answer.status.0, answer.body)
    }

    #[test]
    fn a_probe_that_passes_is_ok_or_lists_its_checks() {
        let health =
            factory(vec![daemon("Store", Health::Healthy), daemon("Gateway", Health::degraded("slow\nly"))]);
        assert_eq!(ask("/readyz", &health, true), (200, "ok".to_owned()));
        assert_eq!(
            ask("/readyz?verbose", &health, true).1,
            "[+]demo running\n[+]demo: Store ok\n[+]demo: Gateway degraded: slow ly\nreadyz check passed\n"
        );
        assert_eq!(
            ask("/livez?verbose", &health, true).1,
            "[+]supervisors ok\n[+]demo: Store ok\n[+]demo: Gateway degraded: slow ly\nlivez check passed\n"
        );
    }

    #[test]
    fn a_failing_daemon_is_not_ready_and_live_and_an_unresponsive_one_neither() {
        let failing = factory(vec![daemon("Store", Health::failing("the disk is full"))]);
        let (status, body) = ask("/readyz", &failing, true);
        assert_eq!(
            (status, body.as_str()),
            (503, "[+]demo running\n[-]demo: Store failing: the disk is full\nreadyz check failed\n")
        );
        assert_eq!(ask("/livez", &failing, true).0, 200);
        let hangs = factory(vec![daemon("Store", Health::Unresponsive("hangs".into()))]);
        assert_eq!((ask("/readyz", &hangs, true).0, ask("/livez", &hangs, true).0), (503, 503));
    }

    #[test]
    fn without_supervisors_nothing_is_live() {
        let health = factory(Vec::new());
        assert_eq!(ask("/livez", &health, false).0, 503);
        assert_eq!(ask("/metrics", &health, false).0, 503);
        assert_eq!(ask("/readyz", &health, false).0, 200, "it asks nobody");
    }

    #[test]
    fn a_factory_that_drains_is_live_but_not_ready() {
        let health = FactoryHealth::new("demo", State::Draining);
        assert_eq!(ask("/livez", &health, true).0, 200);
        assert_eq!(
            ask("/readyz", &health, true),
            (503, "[-]demo draining\nreadyz check failed\n".to_owned())
        );
    }

    #[test]
    fn children_are_listed_below_their_parent() {
        let mut child = factory(vec![daemon("Cache", Health::Unchecked)]);
        child.factory = "demo/lease-7".into();
        let mut health = factory(Vec::new());
        health.children = vec![Arc::new(child)];
        let body = ask("/readyz?verbose", &health, true).1;
        assert!(body.contains("[+]demo/lease-7 running\n[+]demo/lease-7: Cache ok\n"), "{body}");
    }

    #[test]
    fn other_paths_are_not_found_and_a_head_has_no_body() {
        assert_eq!(ask("/", &factory(Vec::new()), true).0, 404);
        let answer =
            String::from_utf8(Answer::error(Status::METHOD_NOT_ALLOWED).to_bytes(false)).expect("text");
        assert!(answer.contains("\r\nAllow: GET, HEAD\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    }
}
