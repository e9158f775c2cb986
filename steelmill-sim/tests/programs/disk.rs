//! A machine's disk, as programs use it; and what a power loss leaves.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::succeeds;
use steelmill_core::Result;
use steelmill_sim::{Campaign, DiskSettings, Durability, Machine, Seed, Settings, Sim, Verify, check, simulate};

/// What a program does with files in a directory, and what it gets: the same on a real disk as on a machine's.
fn use_files(root: &Path) -> Vec<String> {
    let mut got = Vec::new();
    let mut note = |what: &str, result: std::io::Result<String>| {
        got.push(format!("{what}: {:?}", result.map_err(|error| error.raw_os_error())));
    };
    let path = |name: &str| root.join(name);
    note("read of nothing", fs::read_to_string(path("a")));
    note("write", fs::write(path("a"), "hello").map(|()| String::new()));
    note("read", fs::read_to_string(path("a")));
    let metadata = fs::metadata(path("a")).expect("it was written");
    note("metadata", Ok(format!("{} {} {:o}", metadata.len(), metadata.nlink(), metadata.mode())));
    note("a directory of a file", fs::create_dir(path("a")).map(|()| String::new()));
    note("below a file", fs::write(path("a/b"), "x").map(|()| String::new()));
    note("below nothing", fs::write(path("no/b"), "x").map(|()| String::new()));
    note("directories", fs::create_dir_all(path("d/e/f")).map(|()| String::new()));
    note("directory once more", fs::create_dir(path("d")).map(|()| String::new()));
    note("a directory as a file", fs::read(path("d")).map(|_| String::new()));
    note("a directory written", fs::write(path("d"), "x").map(|()| String::new()));
    note("not empty", fs::remove_dir(path("d")).map(|()| String::new()));
    note("unlink of a directory", fs::remove_file(path("d")).map(|()| String::new()));
    note("rmdir of a file", fs::remove_dir(path("a")).map(|()| String::new()));
    note("rename", fs::rename(path("a"), path("d/e/b")).map(|()| String::new()));
    note("renamed away", fs::read_to_string(path("a")));
    note("renamed", fs::read_to_string(path("d/e/../e/./b")));
    note("rename into itself", fs::rename(path("d"), path("d/e/g")).map(|()| String::new()));
    note("rename over a directory", fs::rename(path("d/e/b"), path("d/e/f")).map(|()| String::new()));
    note("rename of a directory over a file", fs::rename(path("d/e/f"), path("d/e/b")).map(|()| String::new()));
    note("link", fs::hard_link(path("d/e/b"), path("c")).map(|()| String::new()));
    note("links", fs::metadata(path("c")).map(|metadata| metadata.nlink().to_string()));
    note("symlink", std::os::unix::fs::symlink("d/e", path("s")).map(|()| String::new()));
    note("through a symlink", fs::read_to_string(path("s/b")));
    note("of a symlink", fs::read_link(path("s")).map(|target| format!("{target:?}")));
    note("lstat", fs::symlink_metadata(path("s")).map(|metadata| format!("{:o} {}", metadata.mode(), metadata.len())));
    std::os::unix::fs::symlink("loop", path("loop")).expect("a new name");
    note("loop", fs::read(path("loop")).map(|_| String::new()));
    note("canonical", fs::canonicalize(path("s/b")).map(|path| format!("{:?}", path.strip_prefix(root.canonicalize().expect("it is there")))));
    let mut names: Vec<String> = fs::read_dir(root)
        .expect("a directory")
        .map(|entry| entry.expect("an entry"))
        .map(|entry| format!("{:?} {:?}", entry.file_name(), entry.file_type().expect("known").is_dir()))
        .collect();
    names.sort();
    note("entries", Ok(format!("{names:?}")));
    note("a long name", fs::write(path(&"x".repeat(256)), "").map(|()| String::new()));
    note("exclusive", OpenOptions::new().write(true).create_new(true).open(path("c")).map(|_| String::new()));
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path("f")).expect("a file");
    file.write_all(&[1; 10_000]).expect("room");
    note("seek", file.seek(SeekFrom::Current(-10)).map(|at| at.to_string()));
    note("seek before", file.seek(SeekFrom::End(-20_000)).map(|at| at.to_string()));
    file.write_all_at(b"abc", 20_000).expect("room");
    note("length", file.metadata().map(|metadata| metadata.len().to_string()));
    let mut hole = [9; 8];
    file.read_exact_at(&mut hole, 15_000).expect("within");
    note("hole", Ok(format!("{hole:?}")));
    note("past the end", file.read_at(&mut hole, 30_000).map(|n| n.to_string()));
    file.set_len(5).expect("shorter");
    file.set_len(8).expect("longer");
    let mut all = Vec::new();
    file.seek(SeekFrom::Start(0)).expect("the beginning");
    file.read_to_end(&mut all).expect("read");
    note("truncated", Ok(format!("{all:?}")));
    note("sync", file.sync_all().map(|()| String::new()));
    let mut appended = OpenOptions::new().append(true).open(path("f")).expect("a file");
    appended.write_all(b"xy").expect("room");
    note("appended", fs::read(path("f")).map(|bytes| format!("{bytes:?}")));
    note("read of what is appended to", appended.read(&mut hole).map(|n| n.to_string()));
    note("write of what is read", File::open(path("f")).and_then(|mut file| file.write(b"x")).map(|n| n.to_string()));
    note("lock", file.try_lock().map_err(std::io::Error::from).map(|()| String::new()));
    let other = File::open(path("f")).expect("a file");
    note("locked", other.try_lock_shared().map_err(std::io::Error::from).map(|()| String::new()));
    note("unlock", file.unlock().map(|()| String::new()));
    note("lock again", other.try_lock_shared().map_err(std::io::Error::from).map(|()| String::new()));
    fs::remove_file(path("f")).expect("it is there");
    note("unlinked", file.metadata().map(|metadata| format!("{} {}", metadata.len(), metadata.nlink())));
    note("unlinked, read", file.read_at(&mut hole, 8).map(|n| n.to_string()));
    fs::set_permissions(path("c"), fs::Permissions::from_mode(0o600)).expect("its owner");
    note("mode", fs::metadata(path("c")).map(|metadata| format!("{:o}", metadata.mode())));
    note("copy", fs::copy(path("c"), path("copy")).map(|n| n.to_string()));
    note("copied", fs::read_to_string(path("copy")));
    note("remove all", fs::remove_dir_all(path("d")).map(|()| String::new()));
    note("empty path", fs::read("").map(|_| String::new()));
    note("slash of a file", fs::metadata(path("c/")).map(|_| String::new()));
    note("made with a slash", File::create(path("new/")).map(|_| String::new()));
    got
}

#[test]
fn files_are_as_on_a_real_disk() {
    let real = Path::new(env!("CARGO_TARGET_TMPDIR")).join("files_are_as_on_a_real_disk");
    let _ = fs::remove_dir_all(&real);
    fs::create_dir_all(&real).expect("a directory of this test");
    let expected = use_files(&real);
    check(Seed(1), |sim| {
        let expected = expected.clone();
        async move {
            succeeds(sim, move || {
                fs::create_dir("/data").expect("the root is its own");
                let got = use_files(Path::new("/data"));
                for (expected, got) in expected.iter().zip(&got) {
                    assert_eq!(expected, got);
                }
            })
            .await
        }
    });
}
