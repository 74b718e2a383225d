//! What must not stand in the sources.

use std::path::Path;

use crate::{files, name, read, root};

const EVERYWHERE: &[&str] = &[
    "benches",
    "crates",
    "docs",
    "fuzz",
    "infra",
    "lambdas",
    "localstack",
    "proto",
    "runbooks",
    "scripts",
    "services",
    ".ci",
];

#[test]
fn no_test_is_switched_off() {
    let marker = concat!("#[", "ignore");
    let off: Vec<_> =
        files(EVERYWHERE, &[".rs"]).iter().filter(|path| read(path).contains(marker)).map(|p| name(p)).collect();
    assert!(off.is_empty(), "a test that does not run proves nothing: {off:?}");
}

#[test]
fn nothing_is_left_for_later() {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!("), concat!("unimplemented", "!(")];
    let mut found = Vec::new();
    for path in files(EVERYWHERE, &[".rs", ".tf", ".sh", ".proto", ".md"]) {
        let text = read(&path);
        found.extend(words.iter().filter(|word| text.contains(**word)).map(|word| format!("{}: {word}", name(&path))));
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Where work begins that nobody asked for. Whoever serves a caller has the caller's scope.
const CHORES_BEGIN: &[&str] =
    &["crates/app/src/call.rs", "lambdas/rotate/src/lib.rs", "services/control-plane/src/upkeep/"];

#[test]
fn housekeepers_are_appointed_by_who_starts_background_work() {
    let makers = ["Housekeeper::appoint()", "Chore::new("];
    let makes = |path: &Path| makers.iter().any(|maker| read(path).contains(maker));
    let sources = files(&["crates", "services", "lambdas"], &[".rs"]);
    let is_shipped = |name: &str| name.contains("/src/") && !name.starts_with("crates/fuzz/");
    let shipped = sources.iter().map(|path| (path, name(path))).filter(|(_, name)| is_shipped(name));
    let making: Vec<_> = shipped.filter(|(path, _)| makes(path)).map(|(_, name)| name).collect();
    let other: Vec<_> =
        making.iter().filter(|name| CHORES_BEGIN.iter().all(|known| !name.starts_with(known))).collect();
    assert!(other.is_empty(), "these take the right to every tenant's records: {other:?}");
    assert!(CHORES_BEGIN.iter().all(|known| making.iter().any(|name| name.starts_with(known))), "{making:?}");
}

/// The one crate that may be unsafe, in one file: its lints are the workspace's otherwise.
#[test]
fn the_plugin_is_as_strict_as_all_others_outside_of_one_file() {
    let lints = |path: &str, section: &str| -> Vec<String> {
        let text = read(&root().join(path));
        let (_, rest) = text.split_once(section).unwrap_or_else(|| panic!("{path} has no {section}"));
        let lines = rest.lines().skip(1).take_while(|line| !line.starts_with('['));
        lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    let plugin = "services/mosquitto-plugin/Cargo.toml";
    for kind in ["rust", "clippy"] {
        let workspace = lints("Cargo.toml", &format!("[workspace.lints.{kind}]"));
        let own = lints(plugin, &format!("[lints.{kind}]"));
        let missing: Vec<_> =
            workspace.iter().filter(|line| !own.contains(line) && !line.starts_with("unsafe_code")).collect();
        assert!(missing.is_empty(), "{plugin} lacks {missing:?}");
    }
    let marker = "#![expect(unsafe_code";
    let sources = files(&["crates", "services", "lambdas"], &[".rs"]);
    let marked = sources.iter().filter(|path| read(path).contains(marker)).map(|path| name(path));
    let marked: Vec<_> = marked.filter(|name| !name.starts_with("crates/tidy/")).collect();
    assert_eq!(marked, ["services/mosquitto-plugin/src/ffi/mod.rs"]);
}

#[test]
fn scripts_can_be_run() {
    use std::os::unix::fs::PermissionsExt;
    for path in files(&["scripts", ".ci"], &[""]) {
        if read(&path).starts_with("#!") {
            let mode = path.metadata().unwrap().permissions().mode();
            assert!(mode & 0o111 != 0, "chmod +x {}", name(&path));
        }
    }
}

#[test]
fn the_change_log_knows_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    let log = read(&root().join("CHANGELOG.md"));
    let newest = log.lines().find(|line| line.starts_with("## ")).unwrap_or_default();
    assert!(newest.contains(version), "CHANGELOG.md begins with {newest:?}, and this is {version}");
}

#[test]
fn links_between_documents_lead_somewhere() {
    for path in files(&["."], &[".md"]) {
        let text = read(&path);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
                continue;
            }
            let there = path.parent().unwrap().join(file);
            assert!(there.exists(), "{} links to {target}, which is not there", name(&path));
        }
    }
}

/// `crate: test` in the threat model, or `crate: module` for all tests of a file.
#[test]
fn the_threat_model_names_tests_that_exist() {
    let text = read(&root().join("THREAT_MODEL.md"));
    let quoted = text.split('`').skip(1).step_by(2);
    let named: Vec<_> = quoted.filter_map(|quoted| quoted.split_once(": ")).collect();
    assert!(named.len() > 30, "{named:?}");
    for (owner, test) in named {
        let folders = ["crates", "services", "lambdas"].map(|folder| format!("{folder}/{owner}"));
        let folders: Vec<_> =
            folders.iter().map(String::as_str).filter(|folder| root().join(folder).is_dir()).collect();
        let sources = files(&folders, &[".rs"]);
        let is_module = |path: &Path| path.file_stem().is_some_and(|stem| stem == test);
        let function = test.strip_suffix('…').map_or_else(|| format!("fn {test}("), |start| format!("fn {start}"));
        let is_there = sources.iter().any(|path| is_module(path) || read(path).contains(&function));
        assert!(is_there, "THREAT_MODEL.md names {owner}: {test}, which is not there");
    }
}
