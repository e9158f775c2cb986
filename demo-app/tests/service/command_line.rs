//! The command line: output, error messages and exit codes.

use std::net::TcpListener;

use crate::process::{Demo, output};

/// The exit code, standard output and standard error of the program.
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
fn it_prints_the_dependency_graph() {
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
    assert!(!mermaid.contains("Gateway"), "only the named daemons: {mermaid}");
}

#[test]
fn it_checks_whether_the_daemons_can_be_assembled() {
    // Succeeds even if all ports are in use, because nothing is started.
    let (code, out, err) = run(&["--check"]);
    assert_eq!((code, &*out, &*err), (Some(0), "ok: store, lease, gateway can be assembled\n", ""));
    let (code, out, err) = run(&["--daemons", "lease,gateway", "--check"]);
    assert_eq!((code, &*out), (Some(1), ""));
    assert!(
        err.starts_with("error: failed: demo: building Gateway: ") && err.contains("--connect store="),
        "{err}"
    );
    let (code, ..) = run(&["--daemons", "shop", "--check"]);
    assert_eq!(code, Some(2));
}

#[test]
fn the_error_of_an_unknown_daemon_lists_the_known_ones() {
    let (code, _, err) = run(&["--daemons", "store,shop"]);
    assert_eq!(code, Some(2));
    assert!(err.contains(r#"no daemon is called "shop"; there are: store, lease, gateway"#), "{err}");
}

#[test]
fn the_error_of_a_malformed_address_shows_the_syntax() {
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
fn the_error_of_a_gateway_without_a_service_names_both_remedies() {
    for (missing, others) in [("store", "lease,gateway"), ("lease", "store,gateway")] {
        let (code, out, err) = run(&["--daemons", others, "--listen", "gateway=127.0.0.1:0"]);
        let output = out + &err;
        assert_eq!(code, Some(1), "{output}");
        assert!(output.contains(&format!("adding {missing} to --daemons")), "{output}");
        assert!(output.contains(&format!("--connect {missing}=HOST:PORT")), "{output}");
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
    assert!((out + &err).contains("store is both among --daemons and in --connect"));
}

#[test]
fn the_error_of_a_port_in_use_names_the_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let address = format!("gateway={}", taken.local_addr().expect("bound"));
    let mut demo = Demo::start(&["--daemons", "lease,store,gateway", "--listen", &address]);
    assert_eq!(demo.wait_for_exit().code(), Some(1));
    let line = demo.wait_for_line("--listen gateway=HOST:PORT");
    assert!(line.contains(&taken.local_addr().expect("bound").to_string()), "{line}");
    assert!(demo.log().contains("Gateway"), "the daemon is named: {}", demo.log());
    assert!(demo.log().to_lowercase().contains("address already in use"), "{}", demo.log());
}
