//! A machine's disk, as programs use it; and what a power loss leaves.
#![expect(
    clippy::disallowed_methods,
    reason = "these are programs as people write them, with what clippy bans in code for the simulation"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::succeeds;
use steelmill_core::Result;
use steelmill_sim::{
    Campaign, DiskSettings, Durability, Machine, Seed, Settings, Sim, Verify, check, simulate,
};

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
    note(
        "rename of a directory over a file",
        fs::rename(path("d/e/f"), path("d/e/b")).map(|()| String::new()),
    );
    note("link", fs::hard_link(path("d/e/b"), path("c")).map(|()| String::new()));
    note("links", fs::metadata(path("c")).map(|metadata| metadata.nlink().to_string()));
    note("symlink", std::os::unix::fs::symlink("d/e", path("s")).map(|()| String::new()));
    note("through a symlink", fs::read_to_string(path("s/b")));
    note("of a symlink", fs::read_link(path("s")).map(|target| format!("{target:?}")));
    note(
        "lstat",
        fs::symlink_metadata(path("s")).map(|metadata| format!("{:o} {}", metadata.mode(), metadata.len())),
    );
    std::os::unix::fs::symlink("loop", path("loop")).expect("a new name");
    note("loop", fs::read(path("loop")).map(|_| String::new()));
    note(
        "canonical",
        fs::canonicalize(path("s/b"))
            .map(|path| format!("{:?}", path.strip_prefix(root.canonicalize().expect("it is there")))),
    );
    let mut names: Vec<String> = fs::read_dir(root)
        .expect("a directory")
        .map(|entry| entry.expect("an entry"))
        .map(|entry| format!("{:?} {:?}", entry.file_name(), entry.file_type().expect("known").is_dir()))
        .collect();
    names.sort();
    note("entries", Ok(format!("{names:?}")));
    note("a long name", fs::write(path(&"x".repeat(256)), "").map(|()| String::new()));
    note("exclusive", OpenOptions::new().write(true).create_new(true).open(path("c")).map(|_| String::new()));
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path("f"))
        .expect("a file");
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
    note(
        "write of what is read",
        File::open(path("f")).and_then(|mut file| file.write(b"x")).map(|n| n.to_string()),
    );
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

/// Starts a program, cuts the power at a time, and looks at what its disk has.
async fn cut(
    sim: &Sim,
    name: &str,
    after: Duration,
    main: impl Fn() + Send + Sync + 'static,
) -> Result<Machine> {
    let machine = sim.program(name, main).start().await?;
    sim.clock().sleep(after).await;
    machine.power_loss();
    Ok(machine)
}

const SECOND: Duration = Duration::from_secs(1);

fn sleep() {
    std::thread::sleep(SECOND * 1000);
}

/// What each of many seeds leaves, once each.
fn outcomes(
    seeds: u64,
    settings: DiskSettings,
    main: impl Fn() + Send + Sync + Clone + 'static,
    look: impl Fn(&Machine) -> String + Send + Sync + Copy + 'static,
) -> std::collections::BTreeMap<String, u64> {
    let scenario = move |sim: Sim| {
        let main = main.clone();
        async move {
            let program = sim.program("program", main);
            program.disk().set(settings);
            let program = program.start().await?;
            sim.clock().sleep(SECOND).await;
            program.power_loss();
            sim.count(look(&program).leak(), 1);
            Result::Ok(())
        }
    };
    let summary = Campaign::new(scenario).seeds(seeds).run();
    assert!(summary.passed(), "{summary}");
    summary.counts.iter().map(|(what, count)| ((*what).to_string(), count.total)).collect()
}

fn contents(machine: &Machine, path: &str) -> String {
    match machine.disk().read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).replace('\0', "0"),
        Err(error) => format!("{:?}", error.kind()),
    }
}

#[test]
fn what_was_synced_is_there_after_a_power_loss() {
    let main = || {
        fs::create_dir("/data").expect("new");
        let mut file = File::create("/data/log").expect("new");
        file.write_all(b"synced").expect("room");
        file.sync_data().expect("a disk");
        File::open("/data").and_then(|directory| directory.sync_all()).expect("a disk");
        File::open("/").and_then(|directory| directory.sync_all()).expect("a disk");
        file.write_all(b", lost").expect("room");
        sleep();
    };
    let outcomes = outcomes(100, DiskSettings::default(), main, |machine| contents(machine, "/data/log"));
    assert!(outcomes.keys().all(|left| left.starts_with("synced")), "{outcomes:?}");
    for left in ["synced", "synced, lost", "synced000000"] {
        assert!(outcomes.contains_key(left), "{left}: {outcomes:?}");
    }
    assert_eq!(outcomes.len(), 3, "the last six bytes are in one sector: {outcomes:?}");
}

#[test]
fn a_name_is_there_only_after_its_directory_was_synced() {
    let main = || {
        let file = File::create("/tmp/new").expect("new");
        file.sync_all().expect("a disk");
        sleep();
    };
    let posix = outcomes(60, DiskSettings::default(), main, |machine| contents(machine, "/tmp/new"));
    assert_eq!(posix.keys().collect::<Vec<_>>(), ["", "NotFound"], "{posix:?}");
    let ext4 = DiskSettings { durability: Durability::Ext4, ..DiskSettings::default() };
    let ext4 = outcomes(60, ext4, main, |machine| contents(machine, "/tmp/new"));
    assert_eq!(ext4.keys().collect::<Vec<_>>(), [""], "{ext4:?}");
}

#[test]
fn a_file_that_was_renamed_before_its_data_was_synced_may_be_empty() {
    fn main(syncs: bool) {
        let replace = |text: &str, syncs: bool| {
            let mut file = File::create("/tmp/new").expect("new");
            file.write_all(text.as_bytes()).expect("room");
            if syncs {
                file.sync_all().expect("a disk");
            }
            fs::rename("/tmp/new", "/tmp/config").expect("both are there");
            File::open("/tmp").and_then(|directory| directory.sync_all()).expect("a disk");
        };
        replace("old", true);
        replace("new", syncs);
        sleep();
    }
    let look = |machine: &Machine| contents(machine, "/tmp/config");
    let forgotten = outcomes(60, DiskSettings::default(), || main(false), look);
    assert!(forgotten.contains_key("") && forgotten.contains_key("000"), "{forgotten:?}");
    assert!(!forgotten.contains_key("old"), "the directory was synced: {forgotten:?}");
    let right = outcomes(60, DiskSettings::default(), || main(true), look);
    assert_eq!(right.keys().collect::<Vec<_>>(), ["new"], "{right:?}");
    let ext4 = DiskSettings { durability: Durability::Ext4, ..DiskSettings::default() };
    let ext4 = outcomes(60, ext4, || main(false), look);
    assert!(!ext4.contains_key("000"), "ext4 orders a length after its data: {ext4:?}");
}

#[test]
fn a_write_is_torn_at_sectors() {
    let main = || {
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).open("/tmp/file").expect("there");
        file.write_all_at(&[b'x'; 2048], 0).expect("room");
        sleep();
    };
    for (sector, wanted) in [(512, 16), (4096, 2)] {
        let main = move || {
            fs::write("/tmp/file", [b'-'; 2048]).expect("room");
            File::open("/tmp/file").and_then(|file| file.sync_all()).expect("a disk");
            File::open("/tmp").and_then(|file| file.sync_all()).expect("a disk");
            main();
        };
        let settings = DiskSettings { sector, ..DiskSettings::default() };
        let torn = outcomes(200, settings, main, |machine| {
            let bytes = machine.disk().read("/tmp/file").expect("its name was synced");
            assert_eq!(bytes.len(), 2048);
            let sectors = bytes.chunks(512).map(|sector| {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "torn within a sector");
                char::from(sector[0])
            });
            sectors.collect()
        });
        assert!(torn.len() >= wanted.min(12) && torn.len() <= wanted, "{torn:?}");
    }
}

#[test]
fn the_end_of_a_process_loses_nothing_and_what_a_sync_began_before_is_not_covered() {
    check(Seed(1), |sim| async move {
        let writer = sim.program("writer", || {
            fs::write("/tmp/file", "kept").expect("room");
            sleep();
        });
        let writer = writer.start().await?;
        sim.clock().sleep(SECOND).await;
        writer.exit();
        assert_eq!(writer.disk().read("/tmp/file")?, b"kept");
        assert!(!writer.disk().is_synced());
        writer.restart().await?;
        Ok(())
    });
    // The second write is made while the first one is being synced.
    let main = || {
        let file = File::create("/tmp/file").expect("new");
        File::open("/tmp").and_then(|directory| directory.sync_all()).expect("a disk");
        file.write_all_at(b"a", 0).expect("room");
        std::thread::scope(|scope| {
            scope.spawn(|| file.sync_data().expect("a disk"));
            std::thread::sleep(Duration::from_millis(5));
            file.write_all_at(b"b", 1).expect("room");
        });
        sleep();
    };
    let slow = DiskSettings {
        sync_min: Duration::from_millis(10),
        sync_max: Duration::from_millis(10),
        ..DiskSettings::default()
    };
    let left = outcomes(60, slow, main, |machine| contents(machine, "/tmp/file"));
    assert!(left.contains_key("a") && left.contains_key("ab"), "{left:?}");
    assert!(left.keys().all(|left| left.starts_with('a')), "{left:?}");
}

#[test]
fn a_user_may_have_a_quota() {
    check(Seed(1), |sim| async move {
        let program = sim.program("program", || {
            let written = fs::write("/tmp/file", vec![7; 20_000]);
            assert_eq!(written.expect_err("no room").raw_os_error(), Some(libc::EDQUOT));
            assert_eq!(fs::read("/tmp/file").expect("what had room").len(), 16_384);
            fs::write("/tmp/file", vec![7; 20_000]).expect_err("still no room");
            fs::write("/tmp/file", "less").expect("there is room again");
        });
        program.disk().set(DiskSettings { quota: Some(16_384), ..DiskSettings::default() });
        let program = program.start().await?;
        anyhow::ensure!(program.ended().await.is_success());
        Ok(())
    });
}

#[test]
fn a_disk_may_be_full_wiped_swapped_and_corrupt() {
    check(Seed(1), |sim| async move {
        let full = |machine: &str| {
            sim.program(machine, || {
                let written = fs::write("/tmp/file", vec![7; 20_000]);
                assert_eq!(written.expect_err("the disk is full").raw_os_error(), Some(28));
                assert_eq!(fs::read("/tmp/file").expect("what had room").len(), 16_384);
                fs::remove_file("/tmp/file").expect("it is there");
                fs::write("/tmp/file", vec![7; 16_000]).expect("there is room again");
            })
        };
        let (one, other) = (full("one"), sim.program("other", || ()));
        one.disk().set(DiskSettings { capacity: 16_384, ..DiskSettings::default() });
        one.disk().write("/etc/conf", "")?;
        let one = one.start().await?;
        anyhow::ensure!(one.ended().await.is_success());
        one.disk().corrupt("/tmp/file", 100, |byte| byte ^ 1)?;
        one.disk().swap(&other);
        let bytes = other.disk().read("/tmp/file")?;
        assert_eq!((bytes[99], bytes[100], bytes.len()), (7, 6, 16_000));
        assert_eq!(other.disk().settings().capacity, 16_384);
        assert_eq!(other.disk().files("/")?, [PathBuf::from("/etc/conf"), PathBuf::from("/tmp/file")]);
        assert_eq!(one.disk().read("/tmp/file").expect_err("swapped").kind(), ErrorKind::NotFound);
        other.disk().wipe();
        assert_eq!(other.disk().files("/")?, [] as [PathBuf; 0]);
        Ok(())
    });
}

#[test]
fn a_mapped_file_is_one_with_what_is_read_and_written() {
    #[expect(unsafe_code, reason = "a program that maps a file")]
    fn map(file: &File, length: usize) -> &'static mut [u8] {
        // SAFETY: mmap(2): a new mapping, which is never unmapped.
        unsafe {
            let at = libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            );
            assert_ne!(at, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
            std::slice::from_raw_parts_mut(at.cast(), length)
        }
    }
    let main = || {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open("/tmp/mapped");
        let file = file.expect("new");
        file.set_len(8192).expect("room");
        let one = map(&file, 8192);
        let other = map(&file, 8192);
        one[5000] = b'm';
        assert_eq!(other[5000], b'm');
        let mut read = [0];
        file.read_exact_at(&mut read, 5000).expect("within");
        assert_eq!(read, *b"m");
        file.write_all_at(b"w", 0).expect("room");
        assert_eq!(one[0], b'w');
        file.sync_all().expect("a disk");
        File::open("/tmp").and_then(|directory| directory.sync_all()).expect("a disk");
        one[1] = b'u';
        sleep();
    };
    let left = outcomes(60, DiskSettings::default(), main, |machine| {
        let bytes = machine.disk().read("/tmp/mapped").expect("its name was synced");
        assert_eq!((bytes.len(), bytes[0], bytes[5000]), (8192, b'w', b'm'));
        format!("{}", bytes[1])
    });
    assert_eq!(left.keys().collect::<Vec<_>>(), ["0", "117"], "{left:?}");
}

#[test]
fn tokio_and_daemons_have_the_disk_too() {
    let scenario = |sim: Sim| async move {
        let program = sim.tokio_program("program", || async {
            tokio::fs::create_dir_all("/data/a").await?;
            tokio::fs::write("/data/a/file", "text").await?;
            let file = tokio::fs::File::open("/data/a/file").await?;
            file.sync_all().await?;
            anyhow::ensure!(tokio::fs::read_to_string("/data/a/file").await? == "text");
            Result::Ok(())
        });
        anyhow::ensure!(program.start().await?.ended().await.is_success());
        let client = sim.client("client");
        let task = client.spawn("task", async {
            fs::write("/tmp/by-task", "task")?;
            File::open("/tmp/by-task")?.sync_all()?;
            tokio::fs::read_to_string("/tmp/by-task").await
        });
        anyhow::ensure!(task.await?? == "task");
        anyhow::ensure!(!Path::new("/tmp/by-task").exists(), "the scenario has the real files");
        anyhow::ensure!(client.disk().read("/tmp/by-task")? == b"task");
        Result::Ok(())
    };
    Campaign::new(scenario).seeds(5).verify(Verify::Twice).check();
}

#[test]
fn a_program_waits_for_a_lock_on_a_file() {
    check(Seed(1), |sim| async move {
        succeeds(sim, || {
            let file = File::create("/tmp/lock").expect("new");
            file.lock().expect("free");
            let other = File::open("/tmp/lock").expect("there");
            let locked = std::thread::spawn(move || {
                other.lock_shared().expect("it is unlocked");
                std::time::Instant::now()
            });
            let before = {
                std::thread::sleep(SECOND);
                std::time::Instant::now()
            };
            drop(file);
            assert!(locked.join().expect("it waited") >= before);
        })
        .await
    });
}

#[test]
fn open_flags_are_those_of_linux() {
    check(Seed(1), |sim| async move {
        succeeds(sim, || {
            fs::write("/tmp/file", "").expect("room");
            let open =
                |flags: i32| OpenOptions::new().read(true).write(true).custom_flags(flags).open("/tmp/file");
            open(libc::O_DSYNC).expect("there").write_all(b"durable").expect("room");
            let append = open(libc::O_APPEND).expect("there");
            // pwrite(2), BUGS: with O_APPEND it appends.
            append.write_all_at(b"!", 0).expect("room");
            assert_eq!(fs::read("/tmp/file").expect("there"), b"durable!");
            let directory =
                OpenOptions::new().write(true).read(true).custom_flags(libc::O_TMPFILE).open("/tmp");
            directory.expect("no name").write_all(b"x").expect("room");
            assert_eq!(fs::read_dir("/tmp").expect("there").count(), 1);
            let mode = fs::Permissions::from_mode(0o400);
            fs::set_permissions("/tmp/file", mode).expect("its owner");
            assert_eq!(open(0).expect_err("read-only").kind(), ErrorKind::PermissionDenied);
        })
        .await
    });
}

#[test]
fn a_file_is_where_the_scenario_put_it() {
    let outcome = simulate(Settings::new(Seed(1)), &|sim| async move {
        let program = sim.program("program", || {
            assert_eq!(fs::read_to_string("/etc/app/conf.toml").expect("there"), "port = 80");
            std::env::set_current_dir("/etc/app").expect("a directory");
            assert_eq!(fs::read_to_string("conf.toml").expect("there"), "port = 80");
            assert_eq!(std::env::current_dir().expect("known"), Path::new("/etc/app"));
        });
        program.disk().write("/etc/app/conf.toml", "port = 80")?;
        anyhow::ensure!(program.disk().is_synced());
        anyhow::ensure!(program.start().await?.ended().await.is_success());
        cut(&sim, "other", SECOND, || ()).await?;
        Ok(())
    });
    assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
}

#[test]
fn after_a_sync_that_failed_the_next_one_succeeds_and_the_data_is_gone() {
    use steelmill_sim::fault::{DiskCall, DiskTrouble};
    check(Seed(1), |sim| async move {
        let program = sim.program("program", || {
            let wait = || std::thread::sleep(2 * SECOND);
            let file = File::create("/tmp/file").expect("new");
            File::open("/tmp").and_then(|directory| directory.sync_all()).expect("a disk");
            file.set_len(1).expect("room");
            file.sync_all().expect("a disk");
            wait();
            file.write_all_at(b"x", 0).expect("room");
            assert_eq!(file.sync_all().expect_err("a bad disk").raw_os_error(), Some(libc::EIO));
            wait();
            file.sync_all().expect("nothing is left to be synced");
            assert_eq!(fs::read("/tmp/file").expect("it is there"), b"x");
            sleep();
        });
        let program = program.start().await?;
        sim.clock().sleep(SECOND).await;
        assert!(program.disk().is_synced());
        let trouble = program.disk().trouble(DiskTrouble::Errors { of: DiskCall::Sync, ppm: 1_000_000 });
        sim.clock().sleep(2 * SECOND).await;
        drop(trouble);
        sim.clock().sleep(3 * SECOND).await;
        anyhow::ensure!(program.is_up());
        program.power_loss();
        assert_eq!(program.disk().read("/tmp/file")?, [0]);
        Ok(())
    });
}

/// A program that writes, syncs and reads again, and tells what fails.
fn troubled(trouble: steelmill_sim::fault::DiskTrouble) -> std::collections::BTreeMap<String, u64> {
    let scenario = move |sim: Sim| async move {
        let (told, tell) = (std::sync::Arc::new(std::sync::Mutex::new(String::new())), ());
        let program = sim.program("program", {
            let told = told.clone();
            move || {
                let path = Path::new("/tmp/file");
                let pages: Vec<u8> = (0..4_u8).flat_map(|page| [page + 1; 4096]).collect();
                let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
                let file = file.expect("a name");
                let mut got = vec![0; pages.len()];
                let result = (|| {
                    let written = file.write_at(&pages, 0)?;
                    file.sync_all()?;
                    let read = file.read_at(&mut got, 0)?;
                    std::io::Result::Ok((written, read))
                })();
                *told.lock().expect("no panic") = match result {
                    Err(error) => format!("{:?}", error.kind()),
                    Ok((16_384, 16_384)) if got == pages => "right".into(),
                    Ok((16_384, 16_384)) => "wrong".into(),
                    Ok(_) => "short".into(),
                };
            }
        });
        program.disk().write("/tmp/file", vec![9; 16_384])?;
        let trouble = program.disk().trouble(trouble);
        let program = program.start().await?;
        anyhow::ensure!(program.ended().await.is_success());
        drop((trouble, tell));
        let told = told.lock().expect("no panic").clone();
        sim.count(told.leak(), 1);
        Result::Ok(())
    };
    let summary = Campaign::new(scenario).seeds(40).run();
    assert!(summary.passed(), "{summary}");
    summary.counts.iter().map(|(what, count)| ((*what).to_string(), count.total)).collect()
}

#[test]
fn each_trouble_of_a_disk_is_seen() {
    use steelmill_sim::fault::{DiskCall, DiskTrouble};
    let keys = |trouble| troubled(trouble).into_keys().collect::<Vec<_>>();
    let half = 500_000;
    for of in [DiskCall::Read, DiskCall::Write, DiskCall::Sync] {
        assert_eq!(keys(DiskTrouble::Errors { of, ppm: half }), ["Uncategorized", "right"], "{of:?}");
    }
    assert_eq!(keys(DiskTrouble::Short { ppm: half }), ["right", "short"]);
    assert_eq!(keys(DiskTrouble::Full), ["right"], "it has the pages already");
    assert_eq!(keys(DiskTrouble::OverQuota), ["right"], "it has the pages already");
    assert_eq!(keys(DiskTrouble::BadSectors { sectors: 1 }), ["right"], "it writes them again");
    assert_eq!(keys(DiskTrouble::BitRot { sectors: 1 }), ["right"], "it writes them again");
    assert_eq!(keys(DiskTrouble::MisdirectedWrites { ppm: half }), ["right", "wrong"]);
    assert_eq!(keys(DiskTrouble::MisdirectedReads { ppm: half }), ["right", "wrong"]);
    assert_eq!(keys(DiskTrouble::LostWrites { ppm: half }), ["right"], "until the power is lost");
    assert_eq!(keys(DiskTrouble::Slow { delay_max: SECOND }), ["right"]);
}

#[test]
fn sectors_that_rot_or_go_bad_are_seen_by_the_next_read() {
    use steelmill_sim::fault::DiskTrouble;
    check(Seed(1), |sim| async move {
        let program = sim.program("program", || {
            let read = fs::read("/tmp/file").map_err(|error| error.raw_os_error());
            let expected: Vec<u8> = vec![7; 1000];
            match fs::read("/tmp/what").as_deref() {
                Ok(b"bad") => assert_eq!(read, Err(Some(libc::EIO))),
                _ => assert_eq!(
                    read.expect("no error").iter().zip(&expected).filter(|(a, b)| a != b).count(),
                    1
                ),
            }
        });
        let disk = program.disk();
        disk.write("/tmp/file", vec![7; 1000])?;
        drop(disk.trouble(DiskTrouble::BitRot { sectors: 1 }));
        let program = program.start().await?;
        anyhow::ensure!(program.ended().await.is_success());
        drop(disk.trouble(DiskTrouble::BadSectors { sectors: 20 }));
        disk.write("/tmp/what", "bad")?;
        program.restart().await?;
        anyhow::ensure!(program.ended().await.is_success());
        Ok(())
    });
}

/// Appends numbers to a file and syncs each; after a start it goes on behind the last one.
fn append_numbers() {
    let mut file =
        OpenOptions::new().read(true).append(true).create(true).open("/var/lib/log").expect("a name");
    File::open("/var/lib").and_then(|directory| directory.sync_all()).expect("a disk");
    let mut all = Vec::new();
    file.read_to_end(&mut all).expect("a disk");
    let whole = all.len() / 8 * 8;
    file.set_len(whole as u64).expect("shorter");
    let next = (whole / 8) as u64;
    for number in next.. {
        // A power loss may have left zeros.
        file.write_all(&(number + 1).to_be_bytes()).expect("room");
        file.sync_data().expect("a disk");
    }
}

#[test]
fn a_swarm_cuts_the_power_in_the_middle_of_syncs() {
    use steelmill_sim::fault::{Budget, Family, Moment, Plan, When};
    let scenario = |sim: Sim| async move {
        let program = sim.program("program", append_numbers).start().await?;
        sim.clock().sleep(Duration::from_millis(20)).await;
        let budget = Budget {
            lasts: SECOND,
            ends: vec![program.clone()],
            families: vec![Family::PowerLoss, Family::SlowDisk],
            disks: vec![program.clone()],
            fault_max: Duration::from_millis(100),
            ..Budget::default()
        };
        sim.inject_faults(budget).run().await?;
        sim.clock().sleep(Duration::from_millis(20)).await;
        anyhow::ensure!(program.is_up());
        Result::Ok(())
    };
    let mut tied = 0;
    for seed in 1..=20 {
        let outcome = simulate(Settings::new(Seed(seed)), &scenario);
        assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
        let plan = outcome.faults.expect("faults were injected");
        let is_tied = |when: &When| matches!(when, When::On { moment: Moment::Syncing, .. });
        tied += plan.faults.iter().filter(|fault| is_tied(&fault.when)).count();
        assert_eq!(Plan::from_json(&plan.to_json()).expect("its own text"), plan);
    }
    assert!(tied > 0);
}

#[test]
fn no_more_disks_are_damaged_than_the_budget_says() {
    use steelmill_sim::fault::{Budget, Family};
    let scenario = |sim: Sim| async move {
        let machines = ["a", "b", "c"].map(|name| sim.client(name));
        for machine in &machines {
            machine.disk().write("/data/file", vec![0; 100_000])?;
        }
        let budget = Budget {
            corruptible: machines.to_vec(),
            corrupted_max: 1,
            families: vec![Family::Corruption],
            faults_min: 4,
            ..Budget::default()
        };
        sim.inject_faults(budget).run().await?;
        let is_damaged = |machine: &&Machine| {
            machine.disk().read("/data/file").is_ok_and(|bytes| bytes.iter().any(|byte| *byte != 0))
        };
        let damaged = machines.iter().filter(is_damaged).count();
        sim.count("damaged", damaged as u64);
        anyhow::ensure!(damaged <= 1, "{damaged}");
        Result::Ok(())
    };
    let summary = Campaign::new(scenario).seeds(30).run();
    assert!(summary.passed(), "{summary}");
    assert!(summary.counts["damaged"].total > 5, "{summary}");
}

#[test]
fn the_path_of_a_unix_socket_is_a_name_on_the_disk() {
    use std::os::unix::net::{UnixListener, UnixStream};
    check(Seed(1), |sim| async move {
        let server = sim.program("server", || {
            let path = Path::new("/run/socket");
            let bind = || UnixListener::bind(path).map_err(|error| error.kind());
            let existed = path.exists();
            if existed {
                assert_eq!(bind().map(drop), Err(ErrorKind::AddrInUse), "the former process left it");
                assert_eq!(
                    UnixStream::connect(path).map_err(|error| error.kind()).map(drop),
                    Err(ErrorKind::ConnectionRefused)
                );
                fs::remove_file(path).expect("it is there");
            }
            let listener = bind().expect("a new name");
            fs::rename(path, "/run/renamed").expect("it is there");
            assert_eq!(
                UnixStream::connect(path).map_err(|error| error.kind()).map(drop),
                Err(ErrorKind::NotFound)
            );
            let client = UnixStream::connect("/run/../run/renamed").expect("it listens");
            listener.accept().expect("a client");
            drop(client);
            fs::rename("/run/renamed", path).expect("it is there");
            fs::write("/tmp/file", "").expect("room");
            assert_eq!(
                UnixStream::connect("/tmp/file").map_err(|error| error.kind()).map(drop),
                Err(ErrorKind::ConnectionRefused)
            );
        });
        for _ in 0..2 {
            let server = server.clone().start().await?;
            let life = server.ended().await;
            anyhow::ensure!(life.is_success(), "{life}");
        }
        // Nothing of it was synced.
        server.power_loss();
        anyhow::ensure!(server.start().await?.ended().await.is_success());
        Ok(())
    });
}

/// What formats a log line of a traced run alone may look at files.
#[test]
fn a_log_line_that_looks_at_files_changes_nothing() {
    struct Looking;

    impl std::fmt::Display for Looking {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{}", (0..50).filter(|_| fs::metadata("/etc/localtime").is_ok()).count())
        }
    }

    let scenario = |sim: Sim| async move {
        succeeds(sim, || {
            let main = || (0..20).for_each(|_| tracing::info!(looking = %Looking, "it looks"));
            let other = std::thread::spawn(main);
            main();
            other.join().expect("no panic");
        })
        .await
    };
    Campaign::new(scenario).seeds(20).verify(Verify::Twice).check();
}

#[test]
#[expect(unsafe_code, reason = "a program as C code is written")]
fn streams_and_temporary_files_of_c_are_on_the_disk() {
    fn use_them() {
        let errno = || std::io::Error::last_os_error().raw_os_error();
        let mut buffer = [0_u8; 64];
        let mut template = *b"/tmp/file-XXXXXX.txt\0";
        let mut directory = *b"/tmp/directory-XXXXXX\0";
        // SAFETY: stdio(3), mkstemp(3), dup2(2), statvfs(3): all pointers are valid, and strings end with zeros.
        unsafe {
            assert!(libc::fopen(c"/tmp/no".as_ptr(), c"r".as_ptr()).is_null());
            assert_eq!(errno(), Some(libc::ENOENT));
            assert!(libc::fopen(c"/tmp/no".as_ptr(), c"x".as_ptr()).is_null());
            assert_eq!(errno(), Some(libc::EINVAL));
            let stream = libc::fopen(c"/tmp/stream".as_ptr(), c"w+".as_ptr());
            assert_eq!(libc::fputs(c"hello, ".as_ptr(), stream), 1);
            assert_eq!(fs::read("/tmp/stream").expect("there"), b"", "it is in the C library's buffer");
            assert_eq!(libc::fputs(c"disk\n".as_ptr(), stream), 1);
            assert_eq!(libc::fflush(stream), 0);
            assert_eq!(fs::read("/tmp/stream").expect("there"), b"hello, disk\n");
            assert_eq!((libc::fseek(stream, 7, libc::SEEK_SET), libc::ftell(stream)), (0, 7));
            assert!(!libc::fgets(buffer.as_mut_ptr().cast(), 64, stream).is_null());
            assert!(buffer.starts_with(b"disk\n\0"));
            let fd = libc::fileno(stream);
            assert_eq!(libc::fsync(fd), 0);
            assert_eq!(libc::fclose(stream), 0);
            assert_eq!((libc::close(fd), errno()), (-1, Some(libc::EBADF)));

            let hosts = libc::fopen(c"/etc/hosts".as_ptr(), c"r".as_ptr());
            assert!(!libc::fgets(buffer.as_mut_ptr().cast(), 64, hosts).is_null());
            assert!(buffer.starts_with(b"127.0.0.1 localhost"));
            libc::fclose(hosts);

            let fd = libc::mkstemps(template.as_mut_ptr().cast(), 4);
            assert!(fd >= 0 && !template.contains(&b'X'), "{template:?}");
            assert!(!libc::mkdtemp(directory.as_mut_ptr().cast()).is_null());
            assert!(libc::mkstemp(directory.as_mut_ptr().cast()) < 0, "there is no X any more");
            let names = fs::read_dir("/tmp").expect("there").count();
            assert_eq!(names, 3, "the stream, the file and the directory");
            let stream = libc::fdopen(fd, c"w".as_ptr());
            libc::fputs(c"x".as_ptr(), stream);
            libc::fclose(stream);
            let nameless = libc::tmpfile();
            assert_eq!((libc::fputs(c"x".as_ptr(), nameless), libc::fclose(nameless)), (1, 0));
            assert_eq!(libc::remove(directory.as_ptr().cast()), 0);
            assert_eq!(libc::remove(template.as_ptr().cast()), 0);
            assert_eq!(fs::read_dir("/tmp").expect("there").count(), 1);
            let reopened = libc::freopen(c"/tmp/a".as_ptr(), c"w".as_ptr(), std::ptr::null_mut());
            assert!(reopened.is_null() && errno() == Some(libc::ENOSYS));

            let file = File::open("/tmp/stream").expect("there");
            assert_eq!(libc::dup2(file.as_raw_fd(), 700), 700);
            assert_eq!(libc::read(700, buffer.as_mut_ptr().cast(), 5), 5);
            assert_eq!(libc::dup3(file.as_raw_fd(), file.as_raw_fd(), 0), -1);
            assert_eq!((libc::close(700), errno()), (0, Some(libc::EINVAL)));
            let mut space: libc::statvfs = std::mem::zeroed();
            assert_eq!(libc::statvfs(c"/tmp".as_ptr(), &raw mut space), 0);
            assert_eq!(space.f_blocks - space.f_bfree, 1);
        }
    }
    let outcome = simulate(Settings::new(Seed(1)), &|sim| async move {
        let program = sim.program("program", use_them);
        program.disk().set(DiskSettings { capacity: 1 << 20, ..DiskSettings::default() });
        let life = program.start().await?.ended().await;
        anyhow::ensure!(life.is_success(), "{life}");
        anyhow::ensure!(!Path::new("/tmp/stream").exists(), "the scenario has the real files");
        Ok(())
    });
    assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
    assert_eq!(outcome.counts["refused streams"], 1);
}

/// exit(3) flushes streams, a kill does not; fdopen(3) of what is at its end, or may not be written.
#[test]
#[expect(unsafe_code, reason = "a program as C code is written")]
fn streams_end_with_their_process_and_are_of_files_alone() {
    fn use_them() {
        let errno = || std::io::Error::last_os_error().raw_os_error();
        let all = std::ptr::null_mut();
        // SAFETY: stdio(3): strings end with zeros, and each stream is there.
        unsafe {
            if Path::new("/after-exit").exists() {
                // The third life.
                assert_eq!(fs::read("/after-exit").expect("there"), b"kept");
                return;
            }
            if Path::new("/killed").exists() {
                // The second life: its file has the number of that of the first.
                let file = File::create("/other").expect("a file");
                assert_eq!(libc::fflush(all), 0);
                assert_eq!(fs::read("/other").expect("there"), b"");
                assert_eq!(fs::read("/killed").expect("there"), b"");
                drop(file);

                fs::write("/log", "0123456789").expect("written");
                let log = libc::fopen(c"/log".as_ptr(), c"a".as_ptr());
                assert_eq!(libc::ftell(log), 10);
                libc::fclose(log);
                let log = libc::open(c"/log".as_ptr(), libc::O_RDWR);
                let log = libc::fdopen(log, c"a".as_ptr());
                libc::fputs(c"abc".as_ptr(), log);
                libc::fclose(log);
                assert_eq!(fs::read("/log").expect("there"), b"0123456789abc");
                let read_only = File::open("/log").expect("there");
                assert!(libc::fdopen(read_only.as_raw_fd(), c"w".as_ptr()).is_null());
                assert_eq!(errno(), Some(libc::EINVAL));
                let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
                assert!(libc::fdopen(socket.as_raw_fd(), c"r".as_ptr()).is_null());
                assert_eq!(errno(), Some(libc::ENOSYS));
                assert_eq!(
                    (libc::utimes(c"/log".as_ptr(), std::ptr::null()), errno()),
                    (-1, Some(libc::ENOSYS))
                );
                let log = File::open("/log").expect("there");
                assert_eq!(
                    (libc::lockf(log.as_raw_fd(), libc::F_TEST, 0), errno()),
                    (-1, Some(libc::ENOSYS))
                );

                let buffered = libc::fopen(c"/buffered".as_ptr(), c"w".as_ptr());
                (0..5000).for_each(|_| assert_eq!(libc::fputc(120, buffered), 120));
                assert_eq!(fs::metadata("/buffered").expect("there").len(), 4096);
                libc::fputs(c"kept".as_ptr(), libc::fopen(c"/after-exit".as_ptr(), c"w".as_ptr()));
                return;
            }
            libc::fputs(c"lost".as_ptr(), libc::fopen(c"/killed".as_ptr(), c"w".as_ptr()));
        }
        thread::sleep(Duration::from_secs(3600));
    }
    check(Seed(1), |sim| async move {
        let program = sim.program("program", use_them);
        program.clone().start().await?;
        sim.clock().sleep(Duration::from_secs(1)).await;
        program.exit();
        for _ in 0..2 {
            let life = program.clone().start().await?.ended().await;
            anyhow::ensure!(life.is_success(), "{life}");
        }
        Ok(())
    });
}

#[test]
fn what_is_reserved_takes_room_and_costs_nothing() {
    #[expect(unsafe_code, reason = "std has no function for it")]
    fn reserve(file: &File, mode: i32, at: i64, length: i64) -> std::io::Result<()> {
        // SAFETY: it takes no pointer.
        match unsafe { libc::fallocate(file.as_raw_fd(), mode, at, length) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
    const TERABYTE: i64 = 1 << 40;
    check(Seed(1), |sim| async move {
        let program = sim.program("program", || {
            let file =
                File::options().read(true).write(true).create_new(true).open("/tmp/file").expect("new");
            for number in 0..1000 {
                reserve(&file, 0, 0, TERABYTE).expect("there is room");
                file.write_all_at(b"x", number * 1_000_000_000).expect("it has its room");
            }
            let metadata = file.metadata().expect("it is open");
            assert_eq!((metadata.len(), metadata.blocks()), (TERABYTE as u64, TERABYTE as u64 / 512));
            let other = File::create("/tmp/other").expect("a name");
            let full = reserve(&other, 0, 0, TERABYTE).expect_err("there is no room for another one");
            assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));
            reserve(&file, libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, 4096, TERABYTE)
                .expect("a hole");
            assert_eq!(file.metadata().expect("it is open").blocks(), 8);
            reserve(&other, 0, 0, TERABYTE).expect("now there is");
        });
        let capacity = TERABYTE as u64 + (1 << 20);
        program.disk().set(DiskSettings { capacity, ..DiskSettings::default() });
        anyhow::ensure!(program.start().await?.ended().await.is_success());
        Ok(())
    });
}
