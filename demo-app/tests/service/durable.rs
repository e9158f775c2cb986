//! Data on disk: kills in the middle of writing, restarts, and folders that cannot be used.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use redis::{Commands as _, RedisError};

use crate::process::{ALL, Demo, gateway, program};

/// How many kills the program survives here. `cargo xtask acceptance` sets the variable to fifty.
const KILLS: &str = "DEMO_KILLS";
const KILLS_BY_DEFAULT: u32 = 3;

const WRITERS: u64 = 8;

/// A folder of a test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Relaxed);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("the folder of tests can be written");
        Self(path)
    }

    fn data(&self) -> String {
        self.0.join("data").to_str().expect("text").to_owned()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join("data").join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// All daemons in one process, with their data in `folder`, when it holds the lease.
fn serving(folder: &Folder) -> Demo {
    let demo = Demo::start(&[&ALL[..], &["--data", &folder.data()]].concat());
    demo.wait_for_line("holds the lease, token");
    demo
}

/// The exit code and the log of a program that does not start.
fn refused(args: &[&str]) -> String {
    let mut demo = Demo::start(args);
    assert_eq!(demo.wait_for_exit().code(), Some(1), "{}", demo.log());
    demo.log()
}

/// A client with keys of its own: what each must have, by what was acknowledged.
struct Writer {
    number: u64,
    random: u64,
    /// For each key its value, and another one that it may have: the write was not acknowledged.
    keys: BTreeMap<String, (Option<String>, Option<Option<String>>)>,
    acknowledged: u64,
}

impl Writer {
    fn new(number: u64) -> Self {
        Self { number, random: number, keys: BTreeMap::new(), acknowledged: 0 }
    }

    fn below(&mut self, below: u64) -> u64 {
        // Knuth's MMIX generator.
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    /// Writes until the connection breaks.
    fn write(&mut self, redis: &mut redis::Connection) {
        while self.write_once(redis).is_ok() {
            self.acknowledged += 1;
        }
    }

    fn write_once(&mut self, redis: &mut redis::Connection) -> Result<(), RedisError> {
        let (choice, count, text) = (self.below(10), self.below(5), self.below(20));
        let length = self.below(3_000) as usize;
        // Every third key is written once alone.
        let key = match choice {
            0..3 => format!("{}-once-{}", self.number, self.keys.len()),
            3..6 => format!("{}-count-{}", self.number, count),
            _ => format!("{}-text-{}", self.number, text),
        };
        let before = self.keys.get(&key).and_then(|(value, _)| value.clone());
        let after = match choice {
            3..6 => Some(
                (before.as_ref().map_or(0, |count| count.parse::<u64>().expect("a count")) + 1).to_string(),
            ),
            9 => None,
            _ => Some(format!("{}.{}", self.random, "x".repeat(length))),
        };
        self.keys.insert(key.clone(), (before, Some(after.clone())));
        match (choice, &after) {
            (3..6, _) => {
                let count: u64 = redis.incr(&key, 1)?;
                assert_eq!(Some(count.to_string()), after, "{key}");
            }
            (_, Some(value)) => redis.set::<_, _, ()>(&key, value)?,
            (_, None) => redis.del::<_, ()>(&key)?,
        }
        self.keys.insert(key, (after, None));
        Ok(())
    }

    /// Checks all that was acknowledged; what was not has been decided now.
    fn check(&mut self, redis: &mut redis::Connection) {
        for (key, (value, other)) in &mut self.keys {
            let found: Option<String> = redis.get(key).expect("it serves");
            assert!(
                found == *value || other.as_ref() == Some(&found),
                "{key} was {value:?}, or {other:?} was not acknowledged; it is {found:?}"
            );
            (*value, *other) = (found, None);
        }
    }
}

#[test]
fn what_was_acknowledged_survives_kills_in_the_middle_of_writing() {
    let kills = match std::env::var(KILLS) {
        Ok(kills) => kills.parse().expect("a number of kills"),
        Err(_) => KILLS_BY_DEFAULT,
    };
    let folder = Folder::new();
    let mut writers: Vec<Writer> = (1..=WRITERS).map(Writer::new).collect();
    for kill in 0..=kills {
        let mut demo = serving(&folder);
        std::thread::scope(|scope| {
            for writer in &mut writers {
                let demo = &demo;
                scope.spawn(move || writer.check(&mut demo.redis()));
            }
        });
        if kill == kills {
            break;
        }
        std::thread::scope(|scope| {
            for writer in &mut writers {
                let demo = &demo;
                scope.spawn(move || writer.write(&mut demo.redis()));
            }
            std::thread::sleep(Duration::from_millis(100 + u64::from(kill) * 37 % 300));
            demo.signal("KILL");
        });
        demo.wait_for_exit();
    }
    let acknowledged: u64 = writers.iter().map(|writer| writer.acknowledged).sum();
    println!("{acknowledged} acknowledged writes survived {kills} kills");
    assert!(acknowledged > u64::from(kills), "it was hardly used");
}

#[test]
fn a_clean_stop_keeps_what_expires_and_what_has_expired_stays_gone() {
    let folder = Folder::new();
    let mut demo = serving(&folder);
    let mut redis = demo.redis();
    redis.set::<_, _, ()>("kept", "value").expect("it serves");
    for (key, unit, time) in [("long", "EX", 1_000), ("short", "PX", 50)] {
        let set = redis::cmd("SET").arg(key).arg("value").arg(unit).arg(time).query::<()>(&mut redis);
        set.expect("it serves");
    }
    demo.signal("TERM");
    assert_eq!(demo.wait_for_exit().code(), Some(0), "{}", demo.log());
    std::thread::sleep(Duration::from_millis(100));
    let demo = serving(&folder);
    let mut redis = demo.redis();
    assert_eq!(redis.get::<_, Option<String>>("kept").expect("it serves").as_deref(), Some("value"));
    let left: i64 = redis.ttl("long").expect("it serves");
    assert!((900..=1_000).contains(&left), "{left}");
    assert_eq!(redis.get::<_, Option<String>>("short").expect("it serves"), None);
}

#[test]
fn without_a_folder_it_says_that_nothing_is_kept() {
    Demo::serving().wait_for_line("keeps its keys in memory alone");
}

/// A store in memory, a lease daemon with its data in `folder`, and their addresses.
fn back_end(folder: &Folder, ttl: &str) -> (Demo, Demo, [String; 2]) {
    let store = Demo::start(&["--daemons", "store", "--listen", "store=127.0.0.1:0"]);
    let lease = lease(folder, "127.0.0.1:0", ttl);
    let addresses =
        [format!("store={}", store.address("store")), format!("lease={}", lease.address("lease"))];
    (store, lease, addresses)
}

fn lease(folder: &Folder, address: &str, ttl: &str) -> Demo {
    let listen = format!("lease={address}");
    Demo::start(&["--daemons", "lease", "--listen", &listen, "--data", &folder.data(), "--lease-ttl", ttl])
}

#[test]
fn a_lease_survives_a_kill_of_its_daemon_and_its_holder_serves_on() {
    let folder = Folder::new();
    let (_store, mut first, addresses) = back_end(&folder, "3s");
    first.wait_for_line("grants no lease for 3s");
    let gateway = gateway(&addresses, "3s");
    gateway.wait_for_line("holds the lease, token");
    first.signal("KILL");
    first.wait_for_exit();
    let address = addresses[1].split_once('=').expect("a named address").1;
    let second = lease(&folder, address, "3s");
    second.wait_for_line("lease has 2 entries in ");
    // Longer than the lease lasts without the second daemon.
    std::thread::sleep(Duration::from_millis(3_500));
    assert_eq!(gateway.connect().ask(b"SET key value\r\n"), "+OK");
    assert!(!gateway.log().contains("no longer holds the lease"), "{}", gateway.log());
    assert!(!second.log().contains("granted the lease"), "{}", second.log());
}

#[test]
fn a_lease_that_nobody_held_is_granted_at_once_after_a_kill() {
    let folder = Folder::new();
    let (_store, mut first, addresses) = back_end(&folder, "1s");
    let mut holder = gateway(&addresses, "1s");
    holder.wait_for_line("holds the lease, token");
    holder.signal("TERM");
    holder.wait_for_exit();
    // It may be held by a daemon for which nobody waits, so that a commit follows the release for sure.
    let mut other = gateway(&addresses, "1s");
    other.wait_for_line("holds the lease, token");
    other.signal("TERM");
    other.wait_for_exit();
    first.signal("TERM");
    first.wait_for_exit();
    let address = addresses[1].split_once('=').expect("a named address").1;
    let second = lease(&folder, address, "60s");
    gateway(&addresses, "60s").wait_for_line("holds the lease, token");
    assert!(!second.log().contains("grants no lease for"), "{}", second.log());
}

#[test]
fn a_folder_in_use_is_refused_and_its_user_goes_on() {
    let folder = Folder::new();
    let demo = serving(&folder);
    let log = refused(&["--daemons", "store", "--listen", "store=127.0.0.1:0", "--data", &folder.data()]);
    assert!(log.contains("another process uses the store in "), "{log}");
    assert_eq!(demo.connect().ask(b"SET key value\r\n"), "+OK");
}

#[test]
fn a_folder_that_cannot_be_used_is_named_with_the_reason() {
    let folder = Folder::new();
    let store =
        |data: &str| refused(&["--daemons", "store", "--listen", "store=127.0.0.1:0", "--data", data]);
    fs::write(folder.0.join("data"), "text").expect("it can be written");
    let log = store(&folder.data());
    assert!(log.contains("data is no folder"), "{log}");
    let log = store(&format!("{}/missing/data", folder.0.display()));
    assert!(log.contains("cannot make the folder") && log.contains("there is no "), "{log}");
    let log = store("/proc/data");
    assert!(log.contains("cannot make the folder /proc/data"), "{log}");
    let output = crate::process::output(&["--daemons", "gateway", "--data", "x"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("neither is among --daemons"), "{error}");
}

#[test]
fn a_file_that_is_damaged_or_foreign_is_refused_and_not_touched() {
    let folder = Folder::new();
    let mut demo = serving(&folder);
    let mut redis = demo.redis();
    for number in 0..300 {
        redis
            .set::<_, _, ()>(format!("key{number}"), "the value that is damaged ".repeat(9))
            .expect("it serves");
    }
    demo.signal("KILL");
    demo.wait_for_exit();
    let path = folder.file("store.redb");
    let whole = fs::read(&path).expect("it is there");
    let refuse = |bytes: &[u8], reason: &str| {
        fs::write(&path, bytes).expect("it can be written");
        let log = refused(&[&ALL[..], &["--data", &folder.data()]].concat());
        assert!(log.contains(reason) && log.contains("store.redb"), "{log}");
        assert!(fs::read(&path).expect("it is there") == bytes, "the file was changed");
    };

    let text = b"the value that is damaged";
    let places: Vec<usize> =
        (0..whole.len() - text.len()).filter(|at| whole[*at..].starts_with(text)).collect();
    let mut damaged = whole.clone();
    places.iter().for_each(|at| damaged[*at] ^= 1);
    refuse(&damaged, "is damaged");
    refuse(b"REDIS0011 and so on: no database at all", "is damaged, or no database");
    refuse(&whole[..4_096], "is damaged");
    refuse(&[], "is damaged");

    fs::remove_file(&path).expect("it is there");
    let table = redb::TableDefinition::<&str, u64>::new("format");
    for (name, version, reason) in
        [("store", 2, "has version 2 of the format"), ("shop", 1, "is a database of another program")]
    {
        let database = redb::Database::create(&path).expect("room");
        let transaction = database.begin_write().expect("it is open");
        transaction.open_table(table).expect("room").insert(name, version).expect("room");
        transaction.commit().expect("room");
        drop(database);
        refuse(&fs::read(&path).expect("it is there"), reason);
        fs::remove_file(&path).expect("it is there");
    }

    fs::write(&path, &whole).expect("room");
    assert_eq!(serving(&folder).connect().ask(b"EXISTS key0 key299\r\n"), ":2");
}

#[test]
fn a_file_that_cannot_grow_ends_the_process_and_loses_nothing() {
    let folder = Folder::new();
    drop(serving(&folder));
    // 8 MiB, in blocks of 512 bytes; a write beyond fails, instead of killing the process.
    let mut limited = Command::new("sh");
    let demo = program(&[&ALL[..], &["--data", &folder.data()]].concat());
    limited.args(["-c", "trap '' XFSZ; ulimit -f 16384; exec \"$0\" \"$@\""]);
    limited.arg(demo.get_program()).args(demo.get_args());
    let mut demo = Demo::run(limited);
    demo.wait_for_line("holds the lease, token");
    let mut redis = demo.redis();
    let value = "x".repeat(100_000);
    let acknowledged =
        (0..1_000).take_while(|number| redis.set::<_, _, ()>(format!("key{number}"), &value).is_ok()).count();
    assert!((10..1_000).contains(&acknowledged), "{acknowledged}");
    assert_eq!(demo.wait_for_exit().code(), Some(1), "{}", demo.log());
    demo.wait_for_line("cannot write ");
    let demo = serving(&folder);
    let mut redis = demo.redis();
    for number in 0..acknowledged {
        let found: Option<String> = redis.get(format!("key{number}")).expect("it serves");
        assert!(found.as_ref() == Some(&value), "key{number}");
    }
}
