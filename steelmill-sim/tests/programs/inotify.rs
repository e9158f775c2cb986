//! Watches on files (inotify(7)). Each program is carried out in simulations with several schedules, and on Linux itself if `ASK_LINUX`
//! is set.
#![expect(
    clippy::disallowed_methods,
    reason = "these are programs as people write them, with what clippy bans in code for the simulation"
)]
#![expect(unsafe_code, reason = "the C library's functions are called as C does")]

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{Error, ErrorKind, Read as _, Result as IoResult, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use steelmill_sim::{Seed, check};

use crate::both;

/// What happened, to which name of which watch.
type Event = (i32, u32, String);

struct Watcher(File);

impl Watcher {
    fn new() -> IoResult<Self> {
        // SAFETY: it takes flags, and gives a descriptor that nobody owns.
        match unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) } {
            -1 => Err(Error::last_os_error()),
            fd => Ok(Self(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))),
        }
    }

    fn add(&self, path: &Path, mask: u32) -> Result<i32, i32> {
        let path = CString::new(path.as_os_str().as_encoded_bytes()).expect("no zero");
        // SAFETY: the path is a string.
        match unsafe { libc::inotify_add_watch(self.0.as_raw_fd(), path.as_ptr(), mask) } {
            -1 => Err(Error::last_os_error().raw_os_error().unwrap_or(0)),
            watch => Ok(watch),
        }
    }

    fn remove(&self, watch: i32) -> Result<(), i32> {
        // SAFETY: it takes any number.
        match unsafe { libc::inotify_rm_watch(self.0.as_raw_fd(), watch) } {
            0 => Ok(()),
            _ => Err(Error::last_os_error().raw_os_error().unwrap_or(0)),
        }
    }

    /// All that waits to be read, with the cookies.
    fn read(&self) -> Vec<(Event, u32)> {
        let (mut buffer, mut events) = ([0; 4096], vec![]);
        let Ok(length) = (&self.0).read(&mut buffer) else { return events };
        let mut rest = &buffer[..length];
        while let Some((head, behind)) = rest.split_at_checked(16) {
            let word = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().expect("four bytes"));
            let (name, next) = behind.split_at(word(12) as usize);
            let name = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
            events.push(((word(0) as i32, word(4), name), word(8)));
            rest = next;
        }
        events
    }

    fn events(&self) -> Vec<Event> {
        self.read().into_iter().map(|(event, _)| event).collect()
    }
}

/// An empty directory.
fn directory() -> IoResult<PathBuf> {
    let path = std::env::temp_dir().join(format!("steelmill-inotify-{}", std::process::id()));
    let path = path.join(format!("{:?}", thread::current().id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path)?;
    Ok(path)
}

fn event(watch: i32, mask: u32, name: &str) -> Event {
    (watch, mask, name.to_owned())
}

#[test]
fn a_directory_tells_what_happens_to_its_files() {
    both(|| {
        let directory = directory()?;
        let watcher = Watcher::new()?;
        assert_eq!(watcher.add(&directory, libc::IN_ALL_EVENTS), Ok(1));
        let path = directory.join("file");
        let mut file = File::create(&path)?;
        file.write_all(b"one")?;
        file.write_all(b"two")?;
        file.set_len(1)?;
        drop(file);
        let expected = [
            event(1, libc::IN_CREATE, "file"),
            event(1, libc::IN_OPEN, "file"),
            event(1, libc::IN_MODIFY, "file"),
            event(1, libc::IN_CLOSE_WRITE, "file"),
        ];
        assert_eq!(watcher.events(), expected, "what happens twice is told once");
        assert_eq!(fs::read(&path)?, b"o");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        fs::write(&path, "")?;
        let expected = [
            event(1, libc::IN_OPEN, "file"),
            event(1, libc::IN_ACCESS, "file"),
            event(1, libc::IN_CLOSE_NOWRITE, "file"),
            event(1, libc::IN_ATTRIB, "file"),
            event(1, libc::IN_OPEN, "file"),
            event(1, libc::IN_MODIFY, "file"),
            event(1, libc::IN_CLOSE_WRITE, "file"),
        ];
        assert_eq!(watcher.events(), expected);
        let inner = directory.join("inner");
        fs::create_dir(&inner)?;
        fs::hard_link(&path, inner.join("other"))?;
        assert_eq!(fs::read_dir(&inner)?.count(), 1);
        std::os::unix::fs::symlink("file", directory.join("link"))?;
        fs::remove_file(inner.join("other"))?;
        fs::remove_dir(&inner)?;
        let is_directory = libc::IN_ISDIR;
        let expected = [
            event(1, libc::IN_CREATE | is_directory, "inner"),
            event(1, libc::IN_OPEN | is_directory, "inner"),
            event(1, libc::IN_ACCESS | is_directory, "inner"),
            event(1, libc::IN_CLOSE_NOWRITE | is_directory, "inner"),
            event(1, libc::IN_CREATE, "link"),
            event(1, libc::IN_DELETE | is_directory, "inner"),
        ];
        assert_eq!(watcher.events(), expected);
        assert_eq!((&watcher.0).read(&mut [0; 64]).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
        fs::remove_dir_all(&directory)
    });
}

#[test]
fn a_move_is_told_with_a_cookie_on_both_sides_and_by_what_is_moved() {
    both(|| {
        let directory = directory()?;
        let [one, other] = ["one", "other"].map(|name| directory.join(name));
        fs::create_dir(&one)?;
        fs::create_dir(&other)?;
        fs::write(one.join("file"), "x")?;
        fs::write(other.join("there"), "x")?;
        let watcher = Watcher::new()?;
        let moves =
            libc::IN_MOVE | libc::IN_MOVE_SELF | libc::IN_ATTRIB | libc::IN_DELETE_SELF | libc::IN_DELETE;
        for (n, path) in [&one, &other, &one.join("file"), &other.join("there")].into_iter().enumerate() {
            assert_eq!(watcher.add(path, moves), Ok(n as i32 + 1));
        }
        fs::rename(one.join("file"), other.join("there"))?;
        let told = watcher.read();
        let expected = [
            event(1, libc::IN_MOVED_FROM, "file"),
            event(2, libc::IN_MOVED_TO, "there"),
            event(4, libc::IN_ATTRIB, ""),
            event(3, libc::IN_MOVE_SELF, ""),
            event(4, libc::IN_DELETE_SELF, ""),
            event(4, libc::IN_IGNORED, ""),
        ];
        assert_eq!(told.iter().map(|(event, _)| event.clone()).collect::<Vec<_>>(), expected);
        assert!(told[0].1 != 0 && told[0].1 == told[1].1 && told[2..].iter().all(|(_, cookie)| *cookie == 0));
        fs::rename(&one, directory.join("new"))?;
        assert_eq!(watcher.events(), [event(1, libc::IN_MOVE_SELF, "")]);
        fs::remove_dir(directory.join("new"))?;
        assert_eq!(watcher.events(), [event(1, libc::IN_DELETE_SELF, ""), event(1, libc::IN_IGNORED, "")]);
        fs::remove_dir_all(&directory)
    });
}

#[test]
fn a_file_that_is_removed_while_it_is_open_is_gone_when_it_is_closed() {
    both(|| {
        let directory = directory()?;
        let path = directory.join("file");
        fs::write(&path, "x")?;
        let watcher = Watcher::new()?;
        assert_eq!(watcher.add(&path, libc::IN_ALL_EVENTS), Ok(1));
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        fs::remove_file(&path)?;
        assert_eq!(watcher.events(), [event(1, libc::IN_OPEN, ""), event(1, libc::IN_ATTRIB, "")]);
        drop(file);
        let expected = [
            event(1, libc::IN_CLOSE_WRITE, ""),
            event(1, libc::IN_DELETE_SELF, ""),
            event(1, libc::IN_IGNORED, ""),
        ];
        assert_eq!(watcher.events(), expected);
        assert_eq!(watcher.remove(1), Err(libc::EINVAL));
        fs::remove_dir_all(&directory)
    });
}

#[test]
fn watches_are_of_inodes_and_are_added_as_the_manual_says() {
    both(|| {
        let directory = directory()?;
        let path = directory.join("file");
        fs::write(&path, "x")?;
        std::os::unix::fs::symlink("file", directory.join("link"))?;
        let watcher = Watcher::new()?;
        let add = |path: &Path, mask| watcher.add(path, mask);
        assert_eq!(add(&path, 0), Err(libc::EINVAL));
        assert_eq!(add(&path, libc::IN_ONLYDIR), Err(libc::ENOTDIR));
        assert_eq!(add(&path, libc::IN_OPEN | libc::IN_ONLYDIR), Err(libc::ENOTDIR));
        assert_eq!(add(&directory.join("none"), libc::IN_OPEN), Err(libc::ENOENT));
        assert_eq!(add(&path, libc::IN_OPEN), Ok(1));
        assert_eq!(add(&directory.join("link"), libc::IN_ATTRIB | libc::IN_MASK_ADD), Ok(1));
        assert_eq!(add(&path, libc::IN_OPEN | libc::IN_MASK_CREATE), Err(libc::EEXIST));
        assert_eq!(add(&path, libc::IN_OPEN | libc::IN_MASK_CREATE | libc::IN_MASK_ADD), Err(libc::EINVAL));
        assert_eq!(add(&directory.join("link"), libc::IN_OPEN | libc::IN_DONT_FOLLOW), Ok(2));
        File::open(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        assert_eq!(watcher.events(), [event(1, libc::IN_OPEN, ""), event(1, libc::IN_ATTRIB, "")]);
        assert_eq!(add(&path, libc::IN_OPEN | libc::IN_ONESHOT), Ok(1));
        File::open(&path)?;
        File::open(&path)?;
        assert_eq!(watcher.events(), [event(1, libc::IN_OPEN, ""), event(1, libc::IN_IGNORED, "")]);
        assert_eq!(add(&path, libc::IN_OPEN), Ok(3), "numbers are not used again");
        assert_eq!(watcher.remove(3), Ok(()));
        assert_eq!(watcher.events(), [event(3, libc::IN_IGNORED, "")]);
        // Not even the first event fits.
        assert_eq!(watcher.add(&directory, libc::IN_OPEN), Ok(4));
        File::open(&path)?;
        assert_eq!(
            (&watcher.0).read(&mut [0; 20]).map_err(|error| error.kind()),
            Err(ErrorKind::InvalidInput)
        );
        let mut waiting = 0;
        // SAFETY: the place is valid for a write.
        assert_eq!(unsafe { libc::ioctl(watcher.0.as_raw_fd(), libc::FIONREAD, &raw mut waiting) }, 0);
        assert_eq!(waiting, 32);
        let file = File::open(&path)?;
        // SAFETY: the path is a string.
        let added = unsafe { libc::inotify_add_watch(file.as_raw_fd(), c"/".as_ptr(), libc::IN_OPEN) };
        assert_eq!((added, Error::last_os_error().raw_os_error()), (-1, Some(libc::EINVAL)));
        fs::remove_dir_all(&directory)
    });
}

/// A thread that waits by poll(2) is woken by another one's write.
#[test]
fn who_waits_for_an_event_is_woken() {
    both(|| {
        let directory = directory()?;
        let watcher = Watcher::new()?;
        assert_eq!(watcher.add(&directory, libc::IN_CLOSE_WRITE), Ok(1));
        let path = directory.join("file");
        let writer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            fs::write(path, "x")
        });
        let mut polled = libc::pollfd { fd: watcher.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: it is one, valid for reads and writes.
        assert_eq!(unsafe { libc::poll(&raw mut polled, 1, 5_000) }, 1);
        assert_eq!(
            (polled.revents, watcher.events()),
            (libc::POLLIN, vec![event(1, libc::IN_CLOSE_WRITE, "file")])
        );
        writer.join().expect("no panic")?;
        fs::remove_dir_all(&directory)
    });
}

/// The scenario changes a file of a program that watches it; the next process watches nothing.
#[test]
fn a_program_hears_of_what_the_scenario_does_to_its_disk() {
    fn main() -> IoResult<()> {
        let watcher = Watcher::new()?;
        assert_eq!(watcher.add(Path::new("/etc"), libc::IN_CLOSE_WRITE), Ok(1));
        // SAFETY: it takes flags.
        assert_eq!(unsafe { libc::fcntl(watcher.0.as_raw_fd(), libc::F_SETFL, 0) }, 0);
        let mut buffer = [0; 64];
        assert_eq!((&watcher.0).read(&mut buffer)?, 32);
        assert!(buffer[16..].starts_with(b"settings\0"));
        Ok(())
    }
    check(Seed(1), |sim| async move {
        let program = sim.program("program", main).start().await?;
        for _ in 0..2 {
            sim.clock().sleep(Duration::from_secs(1)).await;
            program.disk().write("/etc/settings", "new")?;
            anyhow::ensure!(program.ended().await.is_success());
            program.restart().await?;
        }
        Ok(())
    });
}
