//! What the program says to whoever types.

use std::net::TcpListener;

use crate::process::{Demo, output};

/// Exit code, standard output and standard error of the program.
fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let output = output(args);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn it_lists_its_daemons() {
    let (code, out, _) = run(&["--list"]);
    assert_eq!(code, Some(0));
    let names: Vec<_> = out.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["store", "lease", "gateway"]);
}

#[test]
fn it_draws_what_the_daemons_are_built_from() {
    let (code, dot, _) = run(&["--daemons", "lease,store,gateway", "--graph"]);
    assert_eq!(code, Some(0));
    assert!(dot.starts_with("digraph"), "{dot}");
    for name in ["Gateway", "Link<Store>", "Link<Lease>", "Clock"] {
        assert!(dot.contains(name), "no {name} in {dot}");
    }
    assert_eq!(dot, run(&["--graph", "dot", "--daemons", "lease,store,gateway"]).1);
    let (code, mermaid, _) = run(&["--daemons", "store", "--graph=mermaid"]);
    assert_eq!(code, Some(0));
    assert!(mermaid.starts_with("flowchart") || mermaid.starts_with("graph"), "{mermaid}");
    assert!(!mermaid.contains("Gateway"), "only what was asked for: {mermaid}");
}

#[test]
fn it_checks_whether_the_daemons_can_be_put_together() {
    // Although all ports may be taken: nothing is started.
    let (code, out, err) = run(&["--check"]);
    assert_eq!((code, &*out, &*err), (Some(0), "ok: store, lease, gateway can be put together\n", ""));
    let (code, out, err) = run(&["--daemons", "lease,gateway", "--check"]);
    assert_eq!((code, &*out), (Some(1), ""));
    assert!(err.starts_with("error: demo: building Gateway: ") && err.contains("--connect store="), "{err}");
    let (code, ..) = run(&["--daemons", "shop", "--check"]);
    assert_eq!(code, Some(2));
}

#[test]
fn an_unknown_daemon_is_answered_with_the_known_ones() {
    let (code, _, err) = run(&["--daemons", "store,shop"]);
    assert_eq!(code, Some(2));
    assert!(err.contains(r#"no daemon is called "shop"; there are: store, lease, gateway"#), "{err}");
}

#[test]
fn a_malformed_place_is_answered_with_what_to_type() {
    for args in [["--listen", "6379"], ["--listen", "gateway=6379"], ["--connect", "store"]] {
        let (code, _, err) = run(&[&["--daemons", "gateway"][..], &args].concat());
        assert_eq!(code, Some(2), "{args:?}");
        assert!(err.contains("write NAME=HOST:PORT, for example store=127.0.0.1:6380"), "{err}");
    }
    let (code, _, err) = run(&["--daemons", "store", "--listen", "lease=127.0.0.1:0"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("lease is not among --daemons"), "{err}");
    let (code, _, err) = run(&[]);
    assert_eq!(code, Some(2));
    assert!(err.contains("--daemons"), "{err}");
}

#[test]
fn a_gateway_alone_is_told_both_remedies() {
    for (missing, others) in [("store", "lease,gateway"), ("lease", "store,gateway")] {
        let (code, out, err) = run(&["--daemons", others, "--listen", "gateway=127.0.0.1:0"]);
        let said = out + &err;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("adding {missing} to --daemons")), "{said}");
        assert!(said.contains(&format!("--connect {missing}=HOST:PORT")), "{said}");
    }
    let (code, out, err) = run(&[
        "--daemons",
        "lease,store,gateway",
        "--connect",
        "store=127.0.0.1:1",
        "--listen",
        "gateway=127.0.0.1:0",
    ]);
    assert_eq!(code, Some(1));
    assert!((out + &err).contains("which store?"));
}

#[test]
fn a_taken_port_is_named_with_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let place = format!("gateway={}", taken.local_addr().expect("bound"));
    let mut demo = Demo::start(&["--daemons", "lease,store,gateway", "--listen", &place]);
    assert_eq!(demo.ended().code(), Some(1));
    let said = demo.line("--listen gateway=HOST:PORT");
    assert!(said.contains(&taken.local_addr().expect("bound").to_string()), "{said}");
    assert!(demo.log().contains("Gateway"), "the daemon is named: {}", demo.log());
    assert!(demo.log().to_lowercase().contains("address already in use"), "{}", demo.log());
}
