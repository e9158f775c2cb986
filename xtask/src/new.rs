//! `cargo xtask new DIR`: a project of two daemons, with its tests, its campaign and CI file, copied from `template/`.
//!
//! The template's files have `{{project-name}}`, `{{crate_name}}` and `{{steelmill}}` in place of what differs. `cargo xtask
//! package` makes the same project, and has its commands run.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::workspace::Workspace;

/// Names that a crate of the project would hide, or that Rust has for itself.
const RESERVED: &[&str] = &[
    "alloc",
    "anyhow",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "steelmill_core",
    "steelmill_runtime",
    "steelmill_sim",
    "struct",
    "super",
    "test",
    "tokio",
    "tracing",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The project's folder, which is made; its last part is the name of the crate.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Makes the project, and prints what to do next.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    let folder = env::current_dir().context("there is no current folder")?.join(&options.folder);
    create(workspace, &folder, &workspace.root)?;
    let shown = options.folder.display();
    println!("{shown} is a service of two daemons. Next:\n");
    println!("  cd {shown}");
    println!("  cargo run     # serves on 127.0.0.1:7000, until Ctrl-C");
    println!("  cargo test    # a unit test, and a campaign over a hundred seeds");
    println!("\nIts README.md says what is where, and how to make a seed red.");
    Ok(true)
}

/// Makes a project in `folder` that takes steelmill's crates from the folders of their names in `crates`.
pub(crate) fn create(workspace: &Workspace, folder: &Path, crates: &Path) -> Result<()> {
    let name = project_name(folder)?;
    refuse_occupied(folder)?;
    // Not canonical as a whole: it does not exist yet.
    let parent = folder.parent().unwrap_or(Path::new("/"));
    let existing = parent.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let existing = existing.canonicalize().with_context(|| format!("cannot read {}", existing.display()))?;
    if existing.starts_with(workspace.root.canonicalize()?) {
        bail!(
            "{} is inside steelmill's workspace, to which cargo would count the project; name a folder outside, as ../{name}",
            folder.display()
        );
    }
    let crates = crates.to_str().with_context(|| format!("{} is not UTF-8", crates.display()))?;
    let crates = crates.replace('\\', "\\\\").replace('"', "\\\"");
    let values =
        [("{{project-name}}", name), ("{{crate_name}}", &name.replace('-', "_")), ("{{steelmill}}", &crates)];
    copy(&workspace.root.join("template"), folder, &values)
}

/// The last part of the path, if a crate may be called so.
fn project_name(folder: &Path) -> Result<&str> {
    let name = folder.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{} does not end with a name", folder.display()))?;
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
    ensure!(
        is_plain,
        "{name:?} cannot be the name of a crate: it takes small letters, digits, - and _, and begins with a letter, as my-service"
    );
    let is_reserved = RESERVED.contains(&name.replace('-', "_").as_str());
    ensure!(
        !is_reserved,
        "{name:?} cannot be the name of a crate: Rust or a crate that the project uses is called so"
    );
    Ok(name)
}

fn refuse_occupied(folder: &Path) -> Result<()> {
    match fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => bail!(
                "{} is not empty; nothing was written. Name an empty folder, or one that is not there yet",
                folder.display()
            ),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            bail!("{} is a file, or inside one; nothing was written", folder.display())
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", folder.display())),
    }
}

fn copy(from: &Path, to: &Path, values: &[(&str, &str)]) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?.path();
        let to = to.join(entry.file_name().context("an entry has a name")?);
        if entry.is_dir() {
            copy(&entry, &to, values)?;
            continue;
        }
        let text = fs::read_to_string(&entry).with_context(|| format!("cannot read {}", entry.display()))?;
        fs::write(&to, filled(&text, values)).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

fn filled(text: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(text.to_owned(), |text, (placeholder, value)| text.replace(placeholder, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_called_as_its_folder() {
        let name =
            |path: &str| project_name(Path::new(path)).map(str::to_owned).map_err(|error| error.to_string());
        assert_eq!(name("../my-service"), Ok("my-service".into()));
        assert_eq!(name("a/b2_c"), Ok("b2_c".into()));
        for wrong in ["My-Service", "2b", "a b", "-x", "ümlaut"] {
            let error = name(wrong).expect_err(wrong);
            assert!(error.contains("as my-service"), "{wrong}: {error}");
        }
        for reserved in ["match", "test", "steelmill-sim", "tokio"] {
            assert!(name(reserved).expect_err(reserved).contains("is called so"), "{reserved}");
        }
        assert!(name("..").expect_err("no name").contains("does not end with a name"));
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let folder = env::temp_dir().join(format!("steelmill-xtask-new-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        assert!(refuse_occupied(&folder).is_ok());
        assert!(refuse_occupied(&folder.join("not-there")).is_ok());
        fs::write(folder.join("mine"), "text").expect("a file");
        let error = refuse_occupied(&folder).expect_err("not empty").to_string();
        assert!(error.contains("is not empty; nothing was written"), "{error}");
        let error = refuse_occupied(&folder.join("mine")).expect_err("a file").to_string();
        assert!(error.contains("is a file"), "{error}");
        fs::remove_dir_all(folder).expect("it is there");
    }

    #[test]
    fn placeholders_are_filled() {
        let values = [("{{project-name}}", "my-service"), ("{{crate_name}}", "my_service")];
        assert_eq!(
            filled("use {{crate_name}}; // {{project-name}}", &values),
            "use my_service; // my-service"
        );
    }
}
