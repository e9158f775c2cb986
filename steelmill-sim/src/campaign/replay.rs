//! Replay: the shell command that runs one test again. Cargo's variables name the package, the executable's file name the
//! target, and the thread's name the test.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// The unique name of the test that this thread runs: `package/target::module::test`. `None` on a thread that the test
/// harness did not name, such as a program's main thread.
pub(crate) fn current_test() -> Option<String> {
    let thread = std::thread::current();
    let test = thread.name().filter(|name| *name != "main")?;
    let program = std::env::current_exe().ok()?;
    let target = crate_of(&program).or_else(|| Some(program.file_stem()?.to_str()?.to_owned()))?;
    let package = std::env::var("CARGO_PKG_NAME").ok().filter(|package| package.replace('-', "_") != target);
    let package = package.map(|package| format!("{package}/")).unwrap_or_default();
    Some(format!("{package}{target}::{test}"))
}

/// The command that runs this thread's test and no other, even if it is ignored; `cargo`, if given, replaces
/// `cargo test -p PACKAGE`, or `cargo nextest run -p PACKAGE` under nextest.
pub(crate) fn test_command(cargo: Option<&str>) -> String {
    let program = std::env::current_exe().unwrap_or_default();
    let package = std::env::var("CARGO_PKG_NAME").ok();
    let folder = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let thread = std::thread::current();
    let test = thread.name().filter(|name| *name != "main");
    let cargo_test = match (cargo, &package) {
        (Some(cargo), _) => cargo.to_owned(),
        (None, Some(package)) => match std::env::var_os("NEXTEST") {
            Some(_) => format!("cargo nextest run -p {package}"),
            None => format!("cargo test -p {package}"),
        },
        // Not started by cargo.
        (None, None) => {
            let test = test.map(|test| format!(" {test} {EXACTLY}")).unwrap_or_default();
            return format!("{}{test}", quoted(&program.display().to_string()));
        }
    };
    let target = crate_of(&program).and_then(|name| target(&name, package.as_deref(), Path::new(&folder)));
    let target = target.map(|target| format!(" {target}")).unwrap_or_default();
    let test = test.map(|test| format!(" {test} -- {EXACTLY}")).unwrap_or_default();
    format!("{cargo_test}{target}{test}")
}

/// The flags of a test harness, and of nextest, to run only the test of that name, even if it is ignored.
const EXACTLY: &str = "--exact --include-ignored";

/// Quotes a word for a shell, if necessary (POSIX, Shell Command Language, section 2.2).
pub(crate) fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |character: char| character.is_alphanumeric() || "_-./=:,+@%".contains(character);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', "'\\''")).into(),
    }
}

/// The absolute path: cargo runs a test in its package's folder, not in the current one.
pub(crate) fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}

/// The crate of a test executable, which cargo names `deps/NAME-` and sixteen hexadecimal digits.
fn crate_of(program: &Path) -> Option<String> {
    let name = program.file_stem()?.to_str()?;
    let (name, hash) = name.rsplit_once('-')?;
    (hash.len() == 16 && hash.bytes().all(|digit| digit.is_ascii_hexdigit())).then(|| name.to_owned())
}

/// Cargo's flag for a test target, such as `--test NAME`, as far as the package's files show it.
fn target(name: &str, package: Option<&str>, folder: &Path) -> Option<String> {
    let as_crate = |name: &str| name.replace('-', "_");
    if package.map(as_crate).as_deref() == Some(name) {
        let has = |file| folder.join("src").join(file).is_file();
        return match (has("lib.rs"), has("main.rs")) {
            (true, false) => Some("--lib".to_owned()),
            (false, true) => Some("--bins".to_owned()),
            (true, true) => Some("--lib --bins".to_owned()),
            (false, false) => None,
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
            current_test().as_deref(),
            Some("steelmill_sim::campaign::replay::tests::a_test_of_the_library_is_found_again")
        );
        assert_eq!(
            test_command(None),
            "cargo test -p steelmill-sim --lib campaign::replay::tests::a_test_of_the_library_is_found_again -- --exact --include-ignored"
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
    fn a_test_executable_is_named_after_its_crate() {
        let name = |path| crate_of(Path::new(path));
        assert_eq!(name("/t/debug/deps/my_test-b572dd2af3f99ea5").as_deref(), Some("my_test"));
        assert_eq!(name("/t/release/demo-app"), None);
    }
}
