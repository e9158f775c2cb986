//! What to type to run one test again: cargo says which package it is, the program's own name which target, and the
//! harness which test.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// The name of the test this thread runs, as no other test has it: `package/target::module::test`. `None` on a thread that
/// a harness did not name, such as a program's first.
pub(crate) fn this_test() -> Option<String> {
    let thread = std::thread::current();
    let test = thread.name().filter(|name| *name != "main")?;
    let program = std::env::current_exe().ok()?;
    let target = crate_of(&program).or_else(|| Some(program.file_stem()?.to_str()?.to_owned()))?;
    let package = std::env::var("CARGO_PKG_NAME").ok().filter(|package| package.replace('-', "_") != target);
    let package = package.map(|package| format!("{package}/")).unwrap_or_default();
    Some(format!("{package}{target}::{test}"))
}

/// The command for the test this thread runs; `cargo` stands for `cargo test -p PACKAGE` where it is given.
pub(crate) fn test_command(cargo: Option<&str>) -> String {
    let program = std::env::current_exe().unwrap_or_default();
    let package = std::env::var("CARGO_PKG_NAME").ok();
    let folder = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let thread = std::thread::current();
    let test = thread.name().filter(|name| *name != "main");
    let place = match (cargo, &package) {
        (Some(cargo), _) => cargo.to_owned(),
        (None, Some(package)) => format!("cargo test -p {package}"),
        // Nobody's cargo has started it.
        (None, None) => {
            let test = test.map(|test| format!(" {test} --exact")).unwrap_or_default();
            return format!("{}{test}", quoted(&program.display().to_string()));
        }
    };
    let target = crate_of(&program).and_then(|name| target(&name, package.as_deref(), Path::new(&folder)));
    let target = target.map(|target| format!(" {target}")).unwrap_or_default();
    let test = test.map(|test| format!(" {test} -- --exact")).unwrap_or_default();
    format!("{place}{target}{test}")
}

/// A word as a shell reads it back, in quotes where it needs some (POSIX, Shell Command Language, section 2.2).
pub(crate) fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |letter: char| letter.is_alphanumeric() || "_-./=:,+@%".contains(letter);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', "'\\''")).into(),
    }
}

/// The way to a file from the root: cargo does not start a test where it was started itself.
pub(crate) fn from_anywhere(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}

/// The crate that cargo built a test's program from: it calls it `deps/NAME-` and sixteen digits.
fn crate_of(program: &Path) -> Option<String> {
    let name = program.file_stem()?.to_str()?;
    let (name, hash) = name.rsplit_once('-')?;
    (hash.len() == 16 && hash.bytes().all(|digit| digit.is_ascii_hexdigit())).then(|| name.to_owned())
}

/// The flag that picks a crate among those of its package, as far as the package's files tell.
fn target(name: &str, package: Option<&str>, folder: &Path) -> Option<String> {
    let as_crate = |name: &str| name.replace('-', "_");
    if package.map(as_crate).as_deref() == Some(name) {
        let has = |file| folder.join("src").join(file).is_file();
        return match (has("lib.rs"), has("main.rs")) {
            (true, false) => Some("--lib".to_owned()),
            (false, true) => Some("--bins".to_owned()),
            _ => None,
        };
    }
    let mut entries = std::fs::read_dir(folder.join("tests")).ok()?.filter_map(|entry| {
        let path = entry.ok()?.path();
        let is_test = path.extension().is_some_and(|kind| kind == "rs") || path.join("main.rs").is_file();
        is_test.then(|| path.file_stem()?.to_str().map(str::to_owned))?
    });
    entries.find(|test| as_crate(test) == name).map(|test| format!("--test {test}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_of_the_library_is_found_again() {
        assert_eq!(
            this_test().as_deref(),
            Some("steelmill_sim::campaign::replay::tests::a_test_of_the_library_is_found_again")
        );
        assert_eq!(
            test_command(None),
            "cargo test -p steelmill-sim --lib campaign::replay::tests::a_test_of_the_library_is_found_again -- --exact"
        );
    }

    #[test]
    fn a_target_is_found_by_its_file() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = |name| target(name, Some("steelmill-sim"), folder);
        assert_eq!(target("determinism").as_deref(), Some("--test determinism"));
        assert_eq!(target("history").as_deref(), Some("--test history"), "a folder");
        assert_eq!(target("steelmill_sim").as_deref(), Some("--lib"));
        assert_eq!(target("elsewhere"), None);
    }

    #[test]
    #[cfg(unix)]
    fn a_shell_reads_every_word_back() {
        for plain in ["/tmp/red.json", "a=b:c,d", "1h", "Grün_1@2%+"] {
            assert_eq!(quoted(plain), plain);
        }
        for word in
            ["", "a b", "it's", "''", "a\\b", "$HOME", "~/x", "`x`", "a;b&c|d>e", "*?[a]{b}!#", "\"a\"\n\tb"]
        {
            let script = format!("printf %s {}", quoted(word));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().expect("a shell");
            assert_eq!(String::from_utf8(output.stdout).expect("text"), word, "{script}");
        }
    }

    #[test]
    fn a_program_of_cargos_tells_its_crate() {
        let name = |path| crate_of(Path::new(path));
        assert_eq!(name("/t/debug/deps/my_test-b572dd2af3f99ea5").as_deref(), Some("my_test"));
        assert_eq!(name("/t/release/demo-app"), None);
    }
}
