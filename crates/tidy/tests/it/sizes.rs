//! Files stay short enough to be read in one go.

use crate::{files, name, read};

const LONGEST: usize = 600;
const MEDIAN: usize = 150;
const NINE_OF_TEN: usize = 400;

#[test]
fn source_files_are_short() {
    let mut lengths: Vec<(usize, String)> = files(&["crates", "services", "proto"], &[".rs"])
        .iter()
        .map(|path| (read(path).lines().count(), name(path)))
        .collect();
    lengths.sort();
    let at = |share: usize| lengths[(lengths.len() - 1) * share / 100].0;
    let too_long: Vec<_> = lengths.iter().filter(|(lines, _)| *lines > LONGEST).collect();
    assert!(too_long.is_empty(), "split these, none may have more than {LONGEST} lines: {too_long:#?}");
    assert!(at(50) <= MEDIAN, "half of the files have more than {} lines, want {MEDIAN}", at(50));
    assert!(at(90) <= NINE_OF_TEN, "one in ten has more than {} lines, want {NINE_OF_TEN}", at(90));
}
