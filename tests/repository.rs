//! Rules of the repository: which crate may use which, what no source may hold, and what every
//! file has.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which crates of the workspace each crate may use: inward only.
const MAY_USE: &[(&str, &[&str])] = &[
    ("ffrtmp-core", &[]),
    ("ffrtmp-engines", &["ffrtmp-core"]),
    ("ffrtmp-store", &["ffrtmp-core"]),
    ("ffrtmp-transport", &["ffrtmp-core"]),
    ("ffrtmp-governor", &["ffrtmp-core"]),
    ("ffrtmp", &["ffrtmp-core", "ffrtmp-engines", "ffrtmp-store", "ffrtmp-transport", "ffrtmp-governor"]),
    ("ffrtmp-py", &["ffrtmp"]),
    ("ffrtmp-cli", &["ffrtmp"]),
    ("ffrtmp-master", &["ffrtmp"]),
    ("ffrtmp-agent", &["ffrtmp"]),
    // Every attempt is forked from one, so it carries an engine, its sandbox and nothing else.
    ("ffrtmp-runner", &["ffrtmp-core", "ffrtmp-engines", "ffrtmp-governor"]),
];

/// Words that say nothing about what a module holds.
const EMPTY_NAMES: [&str; 5] = ["utils", "helpers", "common", "manager", "misc"];

const MAX_LINES: usize = 900;

#[test]
fn crates_depend_inward_only() {
    let root = root();
    let manifests: Vec<_> = files(&root).into_iter().filter(|path| path.ends_with("Cargo.toml")).collect();
    let mut seen = BTreeSet::new();
    for manifest in &manifests {
        let text = read(manifest);
        let name = package_name(&text).unwrap_or_else(|| panic!("{} names no package", manifest.display()));
        let (_, allowed) = MAY_USE
            .iter()
            .find(|(known, _)| *known == name)
            .unwrap_or_else(|| panic!("{name} is new: say here what it may use"));
        for used in own_dependencies(&text) {
            assert!(allowed.contains(&used.as_str()), "{name} uses {used}, which points outward or sideways");
        }
        seen.insert(name);
    }
    assert_eq!(seen.len(), MAY_USE.len(), "a crate of the list is gone: {seen:?}");
}

#[test]
fn no_source_holds_what_does_not_belong_there() {
    let root = root();
    let own = root.join("tests/repository.rs");
    for path in files(&root).into_iter().filter(|path| *path != own && is_text(path)) {
        let text = read(&path);
        for (number, line) in (1..).zip(text.lines()) {
            let place = format!("{}:{number}: {line}", path.display());
            for word in ["todo!(", "unimplemented!(", "FIXME", "XXX:"] {
                assert!(!line.contains(word), "unfinished: {place}");
            }
            for trace in ["/work/", "/home/", "/Users/", "/root/"] {
                assert!(!line.contains(trace), "a path of one machine: {place}");
            }
            for trace in ["BEGIN PRIVATE KEY", "BEGIN RSA PRIVATE", "BEGIN EC PRIVATE"] {
                assert!(!line.contains(&format!("-----{trace}")), "a private key: {place}");
            }
        }
    }
}

#[test]
fn every_source_says_what_lives_there() {
    for path in files(&root()).into_iter().filter(|path| is_rust(path)) {
        let text = read(&path);
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let inner = first.starts_with("#![");
        let header = if inner { text.lines().any(|line| line.starts_with("//!")) } else { first.starts_with("//!") };
        assert!(header, "{} does not begin with what lives there (//!)", path.display());
        let lines = text.lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines: split it by subject", path.display());
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
        for name in EMPTY_NAMES {
            assert!(stem != name && folder != name, "{} has a name that says nothing", path.display());
        }
    }
}

#[test]
fn unsafe_code_has_an_address() {
    for path in files(&root()).into_iter().filter(|path| is_rust(path)) {
        let text = read(&path);
        let code = |line: &&str| !line.trim_start().starts_with("//") && !line.contains('"');
        let is_unsafe = text.lines().filter(code).any(|line| line.contains("unsafe {") || line.contains("unsafe fn"));
        if is_unsafe && path != root().join("tests/repository.rs") {
            let reasoned = text.contains("allow(unsafe_code, reason") || inherits_permission(&path);
            assert!(reasoned, "{} holds unsafe code without saying why", path.display());
            assert!(text.contains("SAFETY:") || text.contains("# Safety"), "{} proves nothing", path.display());
        }
    }
}

/// Whether the module that holds this file says why its files may be unsafe.
fn inherits_permission(path: &Path) -> bool {
    let Some(folder) = path.parent() else { return false };
    let beside = folder.with_extension("rs");
    [folder.join("mod.rs"), beside]
        .iter()
        .any(|module| fs::read_to_string(module).is_ok_and(|text| text.contains("allow(unsafe_code, reason")))
}

#[test]
fn the_front_page_shows_both_commands() {
    let readme = read(&root().join("README.md"));
    for command in ["make demo", "make test"] {
        assert!(readme.contains(command), "README.md does not mention `{command}`");
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the repository, less what is built or fetched.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let skipped = matches!(name, ".git" | "target" | "Cargo.lock" | "__pycache__" | ".venv" | "node_modules")
            || name.starts_with("target-")
            || (path.is_dir() && path.join("CACHEDIR.TAG").exists());
        if !skipped && path.is_dir() {
            found.extend(files(&path));
        } else if !skipped {
            found.push(path);
        }
    }
    found
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

fn is_text(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| std::str::from_utf8(&bytes).is_ok())
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn package_name(manifest: &str) -> Option<String> {
    let package = manifest.split("[package]").nth(1)?;
    let line = package.lines().find_map(|line| line.strip_prefix("name"))?;
    Some(line.split('"').nth(1)?.to_owned())
}

/// Crates of this workspace in `[dependencies]`; those for tests and builds may point anywhere.
fn own_dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut counts = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            counts = line == "[dependencies]" || (line.starts_with("[target.") && line.ends_with(".dependencies]"));
        } else if counts && line.starts_with("ffrtmp") {
            let end = line.find(['.', ' ', '=']).unwrap_or(line.len());
            names.push(line[..end].to_owned());
        }
    }
    names
}
