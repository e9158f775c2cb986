//! The simulated sockets have tokio's methods. (That code which uses them works in both worlds is a test of core.)

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Methods of tokio's sockets that the simulated ones do not have, each with the reason.
const LEFT_OUT: [(&str, &str); 14] = [
    ("from_std", "a simulated socket has no descriptor"),
    ("from_std_stream", "a simulated socket has no descriptor"),
    ("new_v4", "of a TcpSocket: a machine's `Network` makes it, as below"),
    ("new_v6", "of a TcpSocket, as above"),
    ("into_std", "a simulated socket has no descriptor"),
    ("bind", "a machine's `Network` makes it: a function without a machine would not know where it is"),
    ("connect", "of a stream: a machine's `Network` makes it, as above"),
    ("device", "a machine has one interface, without a name"),
    ("bind_device", "a machine has one interface, without a name"),
    ("try_read_buf", "it takes a `BufMut` of the crate bytes, which the sim does without"),
    ("recv_buf", "it takes a `BufMut`, as above"),
    ("recv_buf_from", "it takes a `BufMut`, as above"),
    ("try_recv_buf", "it takes a `BufMut`, as above"),
    ("try_recv_buf_from", "it takes a `BufMut`, as above"),
];

/// The names of public methods in a source, without those that are deprecated.
fn methods(source: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut is_deprecated = false;
    for line in source.lines().map(str::trim_start) {
        is_deprecated |= line.starts_with("#[deprecated");
        let Some(rest) = line.strip_prefix("pub ") else { continue };
        let rest = rest.trim_start_matches("async ").trim_start_matches("const ");
        if let Some(rest) = rest.strip_prefix("fn ") {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !std::mem::take(&mut is_deprecated) {
                names.insert(name);
            }
        }
    }
    names
}

/// The folder of the tokio version in Cargo.lock: where cargo unpacks it, or else where cargo says. It is asked last, because
/// it then wants every package of the workspace, for every platform.
fn tokio_folder() -> PathBuf {
    let unpacked = unpacked(&format!("tokio-{}", tokio_version()));
    unpacked.unwrap_or_else(tokio_folder_by_cargo)
}

fn tokio_version() -> String {
    let lock = include_str!("../../Cargo.lock");
    let (_, after) = lock.split_once("name = \"tokio\"\nversion = \"").expect("tokio is a dependency");
    after.split('"').next().expect("a version").to_owned()
}

/// The folder of a package of a registry.
fn unpacked(package: &str) -> Option<PathBuf> {
    let of_home = |home| PathBuf::from(home).join(".cargo");
    let cargo_home =
        std::env::var_os("CARGO_HOME").map(PathBuf::from).or(std::env::var_os("HOME").map(of_home))?;
    let registries = fs::read_dir(cargo_home.join("registry/src")).ok()?;
    registries
        .filter_map(Result::ok)
        .map(|registry| registry.path().join(package))
        .find(|folder| folder.is_dir())
}

fn tokio_folder_by_cargo() -> PathBuf {
    let mut metadata = Command::new(env!("CARGO"));
    metadata.args(["metadata", "--format-version", "1", "--locked"]);
    let output = metadata.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = json["packages"].as_array().expect("packages");
    let tokio = packages.iter().find(|package| package["name"] == "tokio").expect("tokio is a dependency");
    let manifest = tokio["manifest_path"].as_str().expect("a path");
    PathBuf::from(manifest).parent().expect("a folder").to_owned()
}

#[test]
fn sockets_have_the_methods_of_tokios_in_cargo_lock() {
    let tokio = tokio_folder().join("src/net");
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/machine/net");
    let read = |folder: &Path, files: &[&str]| -> BTreeSet<String> {
        let read =
            |file| fs::read_to_string(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        files.iter().flat_map(|file| methods(&read(file))).collect()
    };
    let mut unused: BTreeSet<&str> = LEFT_OUT.iter().map(|(name, _)| *name).collect();
    for (theirs, mine) in [
        ("tcp/stream.rs", &["tcp.rs", "tcp/halves.rs"][..]),
        ("tcp/listener.rs", &["tcp.rs"]),
        ("tcp/socket.rs", &["tcp/socket.rs"]),
        ("tcp/split.rs", &["tcp/halves.rs"]),
        ("tcp/split_owned.rs", &["tcp/halves.rs"]),
        ("udp.rs", &["udp.rs", "udp/groups.rs", "udp/options.rs", "udp/peeking.rs"]),
    ] {
        let (theirs_all, mine) = (read(&tokio, &[theirs]), read(&ours, mine));
        assert!(theirs_all.len() > 3, "{theirs}: does this test still know how methods are written?");
        for name in theirs_all.difference(&mine) {
            assert!(LEFT_OUT.iter().any(|(left_out, _)| left_out == name), "{theirs}: {name} is missing");
            unused.remove(&**name);
        }
    }
    assert!(unused.is_empty(), "no longer missing: {unused:?}");
}
