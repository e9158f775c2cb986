//! What a program finds of files and of other processes, and what is refused.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::succeeds;
use steelmill_sim::{Campaign, Seed, Settings, Sim, SystemCall, check, simulate};

const OWN: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn a_machine_tells_of_itself_by_files() {
    check(Seed(1), |sim| async move {
        let client = sim.client("client").address();
        succeeds(sim, move || {
            let read = |path| fs::read_to_string(path).expect("it is there");
            assert_eq!(read("/etc/hostname"), "program\n");
            assert!(read("/etc/hosts").lines().any(|line| line == format!("{client} client")));
            assert_eq!(read("/etc/resolv.conf"), "nameserver 127.0.0.53\n");
            assert_eq!(std::env::current_dir().expect("the root"), Path::new("/"));
            assert_eq!(std::env::home_dir(), None, "its user has no entry");
            assert_eq!(std::os::unix::process::parent_id(), 1);
            assert_eq!(fs::metadata("/etc/hostname").expect("it is there").len(), 8);
            let mut file = File::open("/etc/../etc/hostname").expect("it is there");
            file.seek(SeekFrom::End(-4)).expect("it is long enough");
            let mut rest = String::new();
            file.read_to_string(&mut rest).expect("text");
            assert_eq!(rest, "ram\n");
            let mut null = OpenOptions::new().read(true).write(true).open("/dev/null").expect("a device");
            null.write_all(b"gone").expect("it takes anything");
            assert_eq!(null.read(&mut [0]).expect("it has nothing"), 0);
            let mut random = [[0; 16]; 2];
            let mut device = File::open("/dev/urandom").expect("a device");
            random.iter_mut().for_each(|some| device.read_exact(some).expect("there is always more"));
            assert_ne!(random[0], random[1]);
        })
        .await
    });
}

/// What symbolizes a backtrace, std's part of it or a crate's, keeps for the whole process what it read first.
#[test]
fn a_backtrace_that_a_program_prints_has_functions_and_lines() {
    fn here() {
        let backtrace = std::backtrace::Backtrace::force_capture().to_string();
        assert!(backtrace.contains("has_functions_and_lines"), "{backtrace}");
        assert!(backtrace.contains("programs/files.rs:"), "{backtrace}");
        let executable = std::env::current_exe().expect("it is told");
        assert!(File::open(&executable).is_ok());
        let written = OpenOptions::new().append(true).open(&executable).map(drop);
        assert_eq!(written.map_err(|error| error.kind()), Err(ErrorKind::ReadOnlyFilesystem));
    }
    let outcome = simulate(Settings::new(Seed(1)), &|sim| async move {
        sim.client("client").spawn("task", async { here() }).await?;
        succeeds(sim, here).await
    });
    assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
    assert!(outcome.counts.keys().all(|what| *what == "refused writes of files"), "{:?}", outcome.counts);
}

#[test]
fn real_files_and_programs_are_refused() {
    /// It has the name of such, and belongs to nothing that is loaded.
    fn debug_information() -> PathBuf {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("of-something-else.debug")
    }
    fs::write(debug_information(), "x").expect("a file of this test");
    let scenario = |sim: Sim| async move {
        succeeds(sim, || {
            let kind = |result: std::io::Result<()>| result.map_err(|error| error.kind());
            assert_eq!(kind(File::open("/etc/passwd").map(drop)), Err(ErrorKind::NotFound));
            assert!(!Path::new(OWN).exists());
            assert!(!debug_information().exists());
            // What it writes is on its disk, not here.
            fs::write("/tmp/steelmill-written", "x").expect("its own disk");
            assert_eq!(kind(fs::write("/etc/hosts", "x")), Err(ErrorKind::ReadOnlyFilesystem));
            assert_eq!(kind(fs::rename("/dev/null", "/dev/no")), Err(ErrorKind::ReadOnlyFilesystem));
            assert_eq!(kind(fs::remove_file("/etc/hostname")), Err(ErrorKind::ReadOnlyFilesystem));
            assert_eq!(kind(Command::new("true").status().map(drop)), Err(ErrorKind::Unsupported));
        })
        .await?;
        // The scenario is a part of the test.
        anyhow::ensure!(fs::exists(Path::new(OWN).join("Cargo.toml"))?);
        anyhow::ensure!(!Path::new("/tmp/steelmill-written").exists());
        Ok(())
    };
    let summary = Campaign::new(scenario).seeds(1).audit().run();
    assert!(summary.passed(), "{summary}");
    assert_eq!(summary.counts["refused writes of files"].total, 3);
    assert_eq!(summary.counts["refused processes"].total, 1);
    for call in [SystemCall::File, SystemCall::Process] {
        let by_program =
            summary.audit.iter().flatten().any(|used| used.call == call && used.machine == "program");
        assert!(by_program, "{:?}", summary.audit);
    }
}

#[test]
fn a_file_is_copied_to_a_stream() {
    check(Seed(1), |sim| async move {
        sim.allow_reading(Path::new(OWN).join("Cargo.toml"));
        let server = sim.program("server", || {
            let (mut stream, _) =
                TcpListener::bind("0.0.0.0:80").and_then(|listener| listener.accept()).expect("a client");
            // std tries sendfile(2) first.
            std::io::copy(
                &mut File::open(Path::new(OWN).join("Cargo.toml")).expect("it was allowed"),
                &mut stream,
            )
            .expect("the client reads");
        });
        let server = server.start().await?;
        sim.clock().sleep(Duration::from_secs(1)).await;
        succeeds(sim, || {
            let mut text = String::new();
            TcpStream::connect("server:80")
                .and_then(|mut stream| stream.read_to_string(&mut text))
                .expect("the server");
            assert!(text.contains("steelmill-sim"), "{text}");
        })
        .await?;
        anyhow::ensure!(server.ended().await.is_success());
        Ok(())
    });
}

#[test]
fn what_the_scenario_allows_is_read_and_not_written() {
    check(Seed(1), |sim| async move {
        sim.allow_reading(Path::new(OWN).join("src"));
        succeeds(sim, || {
            let source = Path::new(OWN).join("src/lib.rs");
            let text = fs::read_to_string(&source).expect("it was allowed");
            assert_eq!(fs::metadata(&source).expect("it was allowed").len(), text.len() as u64);
            assert!(fs::read_dir(Path::new(OWN).join("src")).expect("it was allowed").count() > 3);
            assert!(fs::read(Path::new(OWN).join("src/../Cargo.toml")).is_err());
            let written = OpenOptions::new().append(true).open(&source).expect_err("it may only be read");
            assert_eq!(written.kind(), ErrorKind::ReadOnlyFilesystem);
        })
        .await
    });
}

/// dprintf(3), mktemp(3), tempnam(3), memfd_create(2), eventfd_write(3).
#[test]
#[expect(unsafe_code, reason = "they are foreign functions")]
fn what_the_c_library_makes_of_calls_of_its_own_is_on_the_machine() {
    use std::ffi::{CStr, c_char};
    use std::os::fd::{AsRawFd as _, FromRawFd as _};
    unsafe extern "C" {
        fn mktemp(template: *mut c_char) -> *mut c_char;
        fn tempnam(directory: *const c_char, prefix: *const c_char) -> *mut c_char;
        fn dprintf(fd: i32, format: *const c_char, ...) -> i32;
        fn eventfd_write(fd: i32, count: u64) -> i32;
        fn eventfd_read(fd: i32, count: *mut u64) -> i32;
    }
    check(Seed(1), |sim| async move {
        succeeds(sim, || {
            // SAFETY: all pointers are valid; descriptors are given to whom closes them.
            unsafe {
                let mut name = *b"/tmp/one-XXXXXX\0";
                assert!(!mktemp(name.as_mut_ptr().cast()).is_null());
                let name = CStr::from_bytes_with_nul(&name).expect("a string").to_str().expect("letters");
                assert!(
                    name.starts_with("/tmp/one-") && !name.ends_with("XXXXXX") && !Path::new(name).exists()
                );
                let other = tempnam(c"/tmp".as_ptr(), c"other-long".as_ptr());
                let other_name = CStr::from_ptr(other).to_str().expect("letters");
                assert!(other_name.starts_with("/tmp/other") && other_name.len() == "/tmp/other".len() + 6);
                libc::free(other.cast());
                let file = File::create_new(name).expect("the name is free");
                let text = c"%d %s %ld %d %d %d %s %.1f\n";
                let written = dprintf(
                    file.as_raw_fd(),
                    text.as_ptr(),
                    1,
                    c"two".as_ptr(),
                    3_i64,
                    4,
                    5,
                    6,
                    c"seven".as_ptr(),
                    8.5,
                );
                let expected = "1 two 3 4 5 6 seven 8.5\n";
                assert_eq!(written, expected.len() as i32);
                assert_eq!(fs::read_to_string(name).expect("it was written"), expected);
                let mut memory = File::from_raw_fd(libc::memfd_create(c"m".as_ptr(), libc::MFD_CLOEXEC));
                memory.write_all(b"kept").expect("its own disk");
                memory.seek(SeekFrom::Start(1)).expect("there");
                let mut rest = String::new();
                memory.read_to_string(&mut rest).expect("text");
                assert_eq!(rest, "ept");
                let (event, mut count) = (libc::eventfd(0, 0), 0);
                assert_eq!((eventfd_write(event, 5), eventfd_read(event, &raw mut count), count), (0, 0, 5));
                assert_eq!(libc::close(event), 0);
            }
        })
        .await
    });
}
