//! Histories as text diagrams: one line per client; `[` invokes, `]` returns, `?` has an unknown outcome, `!` fails. A
//! column is a millisecond. `[set 1]`, `[get nil]`, `[del 0]` are on the key `a`; `[b:get 1]` is on `b`.

use std::collections::BTreeMap;
use std::time::Duration;

use steelmill_sim::history::{History, KvOp, KvReply, Verdict, Violation};

pub(crate) fn linearizable(drawing: &str) {
    let verdict = read(drawing).check();
    assert!(verdict.is_linearizable(), "{drawing}\n{verdict}");
}

pub(crate) fn not_linearizable(drawing: &str) -> Violation {
    match read(drawing).check() {
        Verdict::NotLinearizable(violation) => *violation,
        verdict => panic!("{drawing}\n{verdict}"),
    }
}

/// The operations of a violation, in the notation of the diagrams.
pub(crate) fn culprits(violation: &Violation) -> Vec<String> {
    let plain = |c: char| {
        if c.is_alphanumeric() || c == ' ' { Some(c.to_ascii_lowercase()) } else { None }
    };
    let words = |what: &str| what.replace(" ->", "").chars().filter_map(plain).collect();
    violation.operations.iter().map(|operation| words(&operation.what)).collect()
}

fn read(drawing: &str) -> History {
    let history = History::default();
    let mut events = Vec::new();
    for (row, line) in drawing.lines().map(str::trim_start).enumerate() {
        let (client, _) = line.split_once(' ').expect("a client and its operations");
        for (start, _) in line.match_indices('[') {
            let end = start + line[start..].find([']', '?', '!']).expect("an end");
            events.push((start, row, client, &line[start + 1..end], '['));
            events.push((
                end,
                row,
                client,
                "",
                line[end..].chars().next().expect("a character at this index"),
            ));
        }
    }
    events.sort();
    let mut calls = BTreeMap::new();
    for (column, row, client, text, kind) in events {
        let now = Duration::from_millis(column as u64);
        if kind == '[' {
            let (key, command) = text.split_once(':').unwrap_or(("a", text));
            let mut words = command.split_whitespace();
            let name = words.next().expect("a command");
            let (op, reply) = parse(name, words.next().unwrap_or(""));
            calls.insert(row, (history.invoke(now, client, key, op), reply));
            continue;
        }
        let (call, reply) = calls.remove(&row).expect("a pending invocation");
        match kind {
            ']' => call.returned(now, reply),
            '!' => call.failed(),
            _ => call.unknown(),
        }
    }
    history
}

fn parse(name: &str, rest: &str) -> (KvOp, KvReply) {
    let integer = || rest.parse().map_or(KvReply::NotAnInteger, KvReply::Integer);
    match name {
        "get" => (KvOp::Get, KvReply::Value((rest != "nil").then(|| rest.into()))),
        "set" => (KvOp::Set(rest.into()), KvReply::Ok),
        "del" => (KvOp::Del, integer()),
        "exists" => (KvOp::Exists, integer()),
        "incr" => (KvOp::Incr, integer()),
        "lose" => (KvOp::Lose, KvReply::Ok),
        _ => panic!("{name}?"),
    }
}
