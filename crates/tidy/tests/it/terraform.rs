//! Names that code and Terraform share.

use signet_core::store::Table;

use crate::{files, read, root};

#[test]
fn terraform_makes_the_tables_and_indexes_of_the_code() {
    let module = root().join("infra/modules/tables");
    let hcl: String = files(&["infra/modules/tables"], &[".tf"])
        .iter()
        .filter(|path| path.starts_with(&module))
        .map(|path| read(path))
        .collect();
    for table in Table::ALL {
        let line = hcl
            .lines()
            .map(str::trim)
            .find(|line| line.strip_prefix(table.name()).is_some_and(|rest| rest.trim_start().starts_with('=')));
        let line = line.unwrap_or_else(|| panic!("infra/modules/tables has no table {}", table.name()));
        for index in table.indexes() {
            assert!(line.contains(&format!("\"{}\"", index.name())), "{}: no index {}", table.name(), index.name());
        }
        let quoted = line.matches('"').count() / 2;
        assert_eq!(
            quoted,
            table.indexes().len(),
            "{}: Terraform has indexes that the code does not know",
            table.name()
        );
    }
}
