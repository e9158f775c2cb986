//! Carrying out a program on a real directory, as a user without privileges.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::super::calls::Errno;
use super::course::Course;
use super::{Call, calls};

/// The user in whose name programs are carried out, if this process may choose: root may do what no permission allows.
const USER: u32 = 1000;

/// Where programs have their directories.
static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

/// Chooses the directory in which programs are carried out; whether it is of ext4, whose answers the simulation has.
///
/// # Errors
/// When nothing can be made there.
pub(crate) fn enter(directory: &Path) -> Result<bool, String> {
    std::fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let directory = directory.canonicalize().map_err(|error| error.to_string())?;
    let is_ext4 = calls::is_ext4(&directory.to_string_lossy());
    let is_ext4 = is_ext4.map_err(|errno| format!("{}: {errno}", directory.display()))?;
    let _ = DIRECTORY.set(directory);
    Ok(is_ext4)
}

/// The answers of Linux, one for each call.
pub(crate) fn answers(program: &[Call], number: u16, _: bool) -> Option<Vec<String>> {
    let directory = DIRECTORY.get().expect("it was chosen").join(format!("program-{number}"));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir(&directory).expect("the directory is this program's");
    std::os::unix::fs::chown(&directory, Some(USER), Some(USER)).unwrap_or_default();
    let before = calls::set_file_user(USER);
    let answers = carry_out(program, &directory);
    calls::set_file_user(before);
    // What the program took its own permissions from can be removed by root alone.
    let _ = std::fs::remove_dir_all(&directory);
    Some(answers.unwrap_or_else(|errno| vec![format!("there is no directory for it: {errno}")]))
}

fn carry_out(program: &[Call], directory: &Path) -> Result<Vec<String>, Errno> {
    let mut course = Course::in_new_directory(&directory.to_string_lossy())?;
    Ok(program.iter().map(|call| course.call(*call)).collect())
}
