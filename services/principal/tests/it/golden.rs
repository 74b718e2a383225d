//! Golden files: what is compared byte by byte. `UPDATE_GOLDEN=1 cargo test` writes them anew; read the difference
//! then.

use std::{env, fs, path::Path};

/// Compares `text` with `tests/golden/<name>`.
pub(crate) fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    // Trailing spaces would be lost in editors.
    let text: String = text.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{} differs; UPDATE_GOLDEN=1 writes it anew", path.display());
}
