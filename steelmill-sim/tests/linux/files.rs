//! Files and their locks.

use super::*;

const NEW: Flags = Flags(libc::O_RDWR | libc::O_CREAT);

#[test]
fn the_flags_of_an_open_file_are_told_but_for_those_of_its_making() {
    files_answer(&[
        (Call::Open { id: 0, path: "a", flags: NEW | Flags::NONBLOCK | Flags::NO_FOLLOW, mode: 0o644 }, "ok"),
        (Call::GetFlags { id: 0 }, "Flags::LARGE | Flags::READ_WRITE | Flags::NO_FOLLOW | Flags::NONBLOCK"),
        (Call::Open { id: 1, path: ".", flags: Flags::TMPFILE | Flags::READ_WRITE, mode: 0o644 }, "ok"),
        (Call::GetFlags { id: 1 }, "Flags::LARGE | Flags::TMPFILE | Flags::READ_WRITE"),
        (Call::Open { id: 2, path: "a", flags: Flags::PATH | Flags::WRITE | Flags::TRUNCATE, mode: 0 }, "ok"),
        (Call::GetFlags { id: 2 }, "Flags::PATH"),
        (Call::LockWhole { id: 2, kind: Lock::Shared }, "EBADF"),
        (Call::SetModeOpen { id: 2, mode: 0o600 }, "EBADF"),
        (Call::Open { id: 3, path: "d", flags: Flags::CREATE | Flags::DIRECTORY, mode: 0o644 }, "EINVAL"),
        (Call::Open { id: 3, path: "a", flags: Flags::TRUNCATE, mode: 0 }, "ok"),
    ]);
}

#[test]
fn a_file_without_a_name_is_given_one_unless_it_had_one_before() {
    files_answer(&[
        (Call::Open { id: 0, path: ".", flags: Flags::TMPFILE | Flags::READ_WRITE, mode: 0o644 }, "ok"),
        (Call::LinkOpen { id: 0, to: "a" }, "ok"),
        (Call::LinkOpen { id: 0, to: "b" }, "ok"),
        (Call::Unlink { path: "a" }, "ok"),
        (Call::Unlink { path: "b" }, "ok"),
        (Call::LinkOpen { id: 0, to: "a" }, "ENOENT"),
        (
            Call::Open {
                id: 1,
                path: ".",
                flags: Flags::TMPFILE | Flags::READ_WRITE | Flags::EXCLUSIVE,
                mode: 0o644,
            },
            "ok",
        ),
        (Call::LinkOpen { id: 1, to: "b" }, "ENOENT"),
        (Call::Open { id: 2, path: "c", flags: NEW, mode: 0o644 }, "ok"),
        (Call::Unlink { path: "c" }, "ok"),
        (Call::LinkOpen { id: 2, to: "c" }, "ENOENT"),
    ]);
}

#[test]
fn what_is_reserved_takes_room_and_is_a_hole() {
    files_answer(&[
        (Call::Open { id: 0, path: "a", flags: NEW, mode: 0o644 }, "ok"),
        (Call::Allocate { id: 0, mode: Allocation::Grow, at: 0, length: 50_000 }, "ok"),
        (Call::WriteAt { id: 0, at: 8192, length: 100 }, "100"),
        (Call::StatusOpen { id: 0 }, "100644 1 links 50000 bytes 104 blocks"),
        (Call::Seek { id: 0, to: 0, whence: Whence::Data }, "8192"),
        (Call::Seek { id: 0, to: 8192, whence: Whence::Hole }, "12288"),
        (Call::Allocate { id: 0, mode: Allocation::Punch, at: 0, length: 100_000 }, "ok"),
        (Call::Seek { id: 0, to: 0, whence: Whence::Data }, "ENXIO"),
        (Call::Open { id: 1, path: "b", flags: NEW, mode: 0o644 }, "ok"),
        (Call::Allocate { id: 1, mode: Allocation::KeepSize, at: 4096, length: 8192 }, "ok"),
        (Call::StatusOpen { id: 1 }, "100644 1 links 0 bytes"),
        (Call::Truncate { id: 1, length: 0 }, "ok"),
    ]);
}

#[test]
fn ranges_are_taken_out_of_files_and_put_into_them() {
    files_answer(&[
        (Call::Open { id: 0, path: "a", flags: NEW, mode: 0o644 }, "ok"),
        (Call::Write { id: 0, length: 10_000 }, "10000"),
        (Call::Allocate { id: 0, mode: Allocation::Insert, at: 4096, length: 8192 }, "ok"),
        (Call::Allocate { id: 0, mode: Allocation::Insert, at: 40_960, length: 4096 }, "EINVAL"),
        (Call::Allocate { id: 0, mode: Allocation::Collapse, at: 0, length: 100 }, "EINVAL"),
        (Call::Allocate { id: 0, mode: Allocation::Collapse, at: 0, length: 4096 }, "ok"),
        (Call::StatusOpen { id: 0 }, "100644 1 links 14096 bytes 16 blocks"),
    ]);
}

#[test]
fn permissions_of_directories_count() {
    files_answer(&[
        (Call::MakeDirectory { path: "d", mode: 0o755 }, "ok"),
        (Call::MakeDirectory { path: "d/e", mode: 0o755 }, "ok"),
        (Call::SetMode { path: "d", mode: 0o555 }, "ok"),
        (Call::MakeDirectory { path: "d/e", mode: 0o755 }, "EEXIST"),
        (Call::MakeDirectory { path: "d/f", mode: 0o755 }, "EACCES"),
        (Call::RemoveDirectory { path: "d/e" }, "EACCES"),
        (Call::Rename { from: "d/e", to: "e", how: Renaming::Plain }, "EACCES"),
        (Call::SetMode { path: "d", mode: 0o600 }, "ok"),
        (Call::Status { path: "d/e", follows: true }, "EACCES"),
        (Call::SetMode { path: "d", mode: 0o300 }, "ok"),
        (Call::List { path: "d" }, "EACCES"),
        (Call::Status { path: "d/e", follows: true }, "40755 2 links 4096 bytes 8 blocks"),
    ]);
}

#[test]
fn renames_fail_in_the_order_of_linux() {
    files_answer(&[
        (Call::Symlink { target: "d/e", path: "t" }, "ok"),
        (Call::Rename { from: "no", to: "t", how: Renaming::Both }, "EINVAL"),
        (Call::Rename { from: "no", to: "t", how: Renaming::NoReplace }, "ENOENT"),
        (Call::Rename { from: "t/", to: "no", how: Renaming::Exchange }, "ENOENT"),
        (Call::MakeDirectory { path: "d", mode: 0o755 }, "ok"),
        (Call::Rename { from: "t/", to: "d", how: Renaming::Exchange }, "ENOTDIR"),
        (Call::Rename { from: "d", to: "d/e", how: Renaming::Plain }, "EINVAL"),
        (Call::Rename { from: "t", to: "d", how: Renaming::Exchange }, "ok"),
        (Call::Rename { from: ".", to: "no", how: Renaming::Plain }, "EBUSY"),
        (Call::Rename { from: "t", to: "..", how: Renaming::NoReplace }, "EEXIST"),
    ]);
}

#[test]
fn copies_within_the_kernel_check_what_they_are_given() {
    files_answer(&[
        (Call::Open { id: 0, path: "a", flags: NEW, mode: 0o644 }, "ok"),
        (Call::Write { id: 0, length: 76 }, "76"),
        (Call::CopyRange { from: 0, at: 0, to: 0, to_at: 20_000, length: 8_000 }, "76 76 20076"),
        (Call::CopyRange { from: 0, at: 0, to: 0, to_at: 10, length: 100 }, "EINVAL"),
        (Call::Open { id: 1, path: "b", flags: NEW | Flags::APPEND, mode: 0o644 }, "ok"),
        (Call::CopyRange { from: 0, at: 0, to: 1, to_at: -1, length: 10 }, "EBADF"),
        (Call::SendFile { from: 0, at: 0, to: 1, length: 10 }, "EINVAL"),
        (Call::SendFile { from: 1, at: (1 << 44) - 4096, to: 0, length: 10 }, "EOVERFLOW"),
        (Call::SendFile { from: 0, at: (1 << 44) - 4096, to: 1, length: 10 }, "EOVERFLOW"),
        (Call::Open { id: 2, path: "b", flags: Flags::WRITE | Flags::PATH, mode: 0 }, "ok"),
        (Call::Truncate { id: 2, length: -4096 }, "EINVAL"),
        (Call::Truncate { id: 2, length: 4096 }, "EBADF"),
        (Call::ReadAt { id: 0, at: i64::MAX, length: 10 }, "EINVAL"),
        (Call::WriteAt { id: 0, at: i64::MAX, length: 10 }, "EINVAL"),
    ]);
}

#[test]
fn locks_of_open_files_and_of_the_process_see_each_other() {
    let lock = |id, is_of_file, kind| Call::LockRange {
        id,
        is_of_file,
        kind,
        at: 0,
        length: 10,
        whence: Whence::Start,
    };
    let in_the_way = |id, is_of_file, kind| Call::LockInTheWay { id, is_of_file, kind, at: 5, length: 10 };
    files_answer(&[
        (Call::Open { id: 0, path: "a", flags: NEW, mode: 0o644 }, "ok"),
        (Call::Open { id: 1, path: "a", flags: NEW, mode: 0o644 }, "ok"),
        (lock(0, false, Lock::Exclusive), "ok"),
        (lock(1, true, Lock::Shared), "EAGAIN"),
        (in_the_way(1, true, Lock::Shared), "exclusive 0 0 10 own"),
        (in_the_way(0, false, Lock::Unlock), "EINVAL"),
        (Call::Close { id: 1 }, "ok"),
        (Call::Open { id: 1, path: "a", flags: NEW, mode: 0o644 }, "ok"),
        // The process has lost its lock with the other descriptor.
        (lock(1, true, Lock::Exclusive), "ok"),
        (in_the_way(1, true, Lock::Unlock), "exclusive 0 0 10 a file's"),
        (in_the_way(0, false, Lock::Exclusive), "exclusive 0 0 10 a file's"),
    ]);
}

#[test]
fn what_a_mapping_stores_behind_the_end_is_not_of_the_file() {
    files_answer(&[
        (Call::Open { id: 0, path: "b", flags: NEW, mode: 0o644 }, "ok"),
        (Call::Write { id: 0, length: 4096 }, "4096"),
        (Call::Map { id: 0, map: 0, is_shared: true, is_writable: true, at: 0, length: 10_000 }, "ok"),
        (Call::WriteAt { id: 0, at: 4096, length: 31 }, "31"),
        (Call::Store { map: 0, at: 5628, length: 5211 }, "2564"),
        (Call::Truncate { id: 0, length: 27_928 }, "ok"),
        (Call::ReadAt { id: 0, at: 5628, length: 4 }, "4 00000000"),
    ]);
}

#[test]
fn what_a_mapping_stores_behind_the_end_is_gone_after_a_sync() {
    files_answer(&[
        (Call::Open { id: 0, path: "b", flags: NEW, mode: 0o644 }, "ok"),
        (Call::Write { id: 0, length: 7_856 }, "7856"),
        (Call::Map { id: 0, map: 0, is_shared: true, is_writable: true, at: 0, length: 8_192 }, "ok"),
        (Call::Store { map: 0, at: 7_626, length: 1_012 }, "566"),
        (Call::SyncMap { map: 0 }, "ok"),
        (Call::Load { map: 0, at: 7_856, length: 8 }, "8 00000000"),
    ]);
}

#[test]
fn a_link_that_is_not_followed_is_no_directory() {
    let open = |flags| Call::Open { id: 0, path: "s", flags, mode: 0o644 };
    files_answer(&[
        (Call::Symlink { target: "a", path: "s" }, "ok"),
        (open(Flags::READ_WRITE | Flags::NO_FOLLOW), "ELOOP"),
        (open(Flags::READ_WRITE | Flags::NO_FOLLOW | Flags::DIRECTORY), "ENOTDIR"),
        (open(Flags::READ_WRITE | Flags::NO_FOLLOW | Flags::TMPFILE), "ENOTDIR"),
    ]);
}

#[test]
fn a_write_of_nothing_does_not_go_to_the_end_to_append() {
    files_answer(&[
        (Call::Open { id: 0, path: "a", flags: NEW | Flags::APPEND, mode: 0o644 }, "ok"),
        (Call::WriteAt { id: 0, at: 0, length: 10 }, "10"),
        (Call::Write { id: 0, length: 0 }, "0"),
        (Call::Seek { id: 0, to: 0, whence: Whence::Current }, "0"),
        (Call::Write { id: 0, length: 1 }, "1"),
        (Call::Seek { id: 0, to: 0, whence: Whence::Current }, "11"),
    ]);
}

#[test]
fn locks_of_an_owner_are_told_by_their_start_and_as_one_where_they_touch() {
    let lock = |id, is_of_file, kind, at, length| Call::LockRange {
        id,
        is_of_file,
        kind,
        at,
        length,
        whence: Whence::Start,
    };
    files_answer(&[
        (Call::Open { id: 0, path: "a", flags: NEW, mode: 0o644 }, "ok"),
        (Call::Open { id: 1, path: "a", flags: NEW, mode: 0o644 }, "ok"),
        (lock(0, true, Lock::Exclusive, 0, 10), "ok"),
        (lock(0, true, Lock::Exclusive, 10, 50), "ok"),
        (
            Call::LockInTheWay { id: 1, is_of_file: true, kind: Lock::Exclusive, at: 0, length: 50 },
            "exclusive 0 0 60 a file's",
        ),
        (lock(0, false, Lock::Shared, 4_841, 50), "ok"),
        (lock(0, false, Lock::Exclusive, 100, 50), "ok"),
        (
            Call::LockInTheWay { id: 1, is_of_file: true, kind: Lock::Exclusive, at: 70, length: 0 },
            "exclusive 0 100 50 own",
        ),
    ]);
}

#[test]
fn a_file_is_not_made_by_a_link_that_says_it_is_a_directory() {
    files_answer(&[
        (Call::Symlink { target: "d/", path: "s" }, "ok"),
        (Call::Symlink { target: "d/e", path: "d" }, "ok"),
        (Call::Open { id: 0, path: "s", flags: NEW, mode: 0o644 }, "EISDIR"),
        (Call::Open { id: 0, path: "s", flags: Flags::READ, mode: 0o644 }, "ELOOP"),
    ]);
}

#[test]
fn nothing_is_read_of_a_directory_by_a_vector_without_room() {
    files_answer(&[
        (Call::MakeDirectory { path: "d", mode: 0o755 }, "ok"),
        (Call::Open { id: 0, path: "d", flags: Flags::READ, mode: 0 }, "ok"),
        (Call::ReadParts { id: 0, at: 20_356, lengths: [0, 0] }, "0 00000000"),
        (Call::ReadParts { id: 0, at: -1, lengths: [0, 0] }, "0 00000000"),
        (Call::ReadParts { id: 0, at: -1, lengths: [0, 1] }, "EISDIR"),
        (Call::Read { id: 0, length: 0 }, "EISDIR"),
    ]);
}

#[test]
fn a_block_of_a_files_extents_is_no_difference() {
    let agree = crate::linux::files::agree;
    assert!(agree("10 bytes 80 blocks as 0", "10 bytes 72 blocks as 0"));
    assert!(agree("80 blocks; .: 8 blocks", "72 blocks; .: 8 blocks"));
    for other in [
        "10 bytes 64 blocks as 0",
        "10 bytes 88 blocks as 0",
        "18 bytes 80 blocks as 0",
        "10 bytes 72 blocks",
    ] {
        assert!(!agree("10 bytes 80 blocks as 0", other), "{other}");
    }
    assert!(!agree("8 blocks", "0 blocks"), "a file without data has no extents");
}
