//! Files stay short enough to be read in one go.

use crate::{files, name, read, root};

/// Everything that is compiled.
const SOURCES: &[&str] = &["benches", "crates", "fuzz", "lambdas", "proto", "services"];
const LONGEST: usize = 600;
const MEDIAN: usize = 150;
const NINE_OF_TEN: usize = 400;

#[test]
fn source_files_are_short() {
    let mut lengths: Vec<(usize, String)> =
        files(SOURCES, &[".rs"]).iter().map(|path| (read(path).lines().count(), name(path))).collect();
    lengths.sort();
    let at = |share: usize| lengths[(lengths.len() - 1) * share / 100].0;
    let too_long: Vec<_> = lengths.iter().filter(|(lines, _)| *lines > LONGEST).collect();
    assert!(too_long.is_empty(), "split these, none may have more than {LONGEST} lines: {too_long:#?}");
    assert!(at(50) <= MEDIAN, "half of the files have more than {} lines, want {MEDIAN}", at(50));
    assert!(at(90) <= NINE_OF_TEN, "one in ten has more than {} lines, want {NINE_OF_TEN}", at(90));
}

/// rustfmt wraps code at `max_width` and leaves comments as they are.
#[test]
fn comments_are_as_wide_as_code_may_be() {
    let settings = read(&root().join("rustfmt.toml"));
    let width = settings.lines().find_map(|line| line.strip_prefix("max_width = ")).unwrap().parse().unwrap();
    let mut wide = Vec::new();
    for path in files(SOURCES, &[".rs"]) {
        for (number, line) in (1..).zip(read(&path).lines()) {
            let text = line.trim_start();
            let is_row = ["//! |", "/// |"].iter().any(|start| text.starts_with(start));
            if text.starts_with("//") && !is_row && line.chars().count() > width {
                wide.push(format!("{}:{number}", name(&path)));
            }
        }
    }
    assert!(wide.is_empty(), "wrap these at {width} columns: {wide:#?}");
}
