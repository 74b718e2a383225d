//! Alarms and their runbooks, roles and the page that explains them.

use std::collections::BTreeSet;

use crate::{files, read, root};

fn text(path: &str) -> String {
    read(&root().join(path))
}

/// Alarms of `infra/modules/observability/alarms.tf`: CamelCase attributes of its two maps.
fn alarms() -> BTreeSet<String> {
    let hcl = text("infra/modules/observability/alarms.tf");
    let attributes = hcl.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(" = "));
    let found: BTreeSet<_> = attributes
        .map(|(name, _)| name.trim())
        .filter(|name| {
            name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(|c| c.is_ascii_alphanumeric())
        })
        .map(str::to_owned)
        .collect();
    assert!(found.len() > 10, "alarms.tf is not read rightly: {found:?}");
    found
}

/// First cells of a Markdown table's rows.
fn first_cells(markdown: &str) -> impl Iterator<Item = &str> {
    markdown.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
}

#[test]
fn every_alarm_has_a_runbook() {
    let missing: Vec<_> =
        alarms().into_iter().filter(|alarm| !root().join(format!("runbooks/{alarm}.md")).exists()).collect();
    assert!(missing.is_empty(), "write a runbook with the alarm's name: {missing:?}");
    let names_it =
        |alarm: &String| text(&format!("runbooks/{alarm}.md")).contains(&format!("**Symptom.** Alarm `{alarm}"));
    let silent: Vec<_> = alarms().into_iter().filter(|alarm| !names_it(alarm)).collect();
    assert!(silent.is_empty(), "name the alarm in the symptom: {silent:?}");
}

#[test]
fn every_runbook_has_the_four_sections() {
    for path in files(&["runbooks"], &[".md"]) {
        let page = read(&path);
        for heading in ["**Symptom.**", "**Impact.**", "**Action.**", "**Verify.**"] {
            let has_it = path.ends_with("README.md") || page.contains(heading);
            assert!(has_it, "{} lacks {heading}", path.display());
        }
    }
}

#[test]
fn the_list_of_alarms_is_complete() {
    let page = text("infra/modules/observability/README.md");
    let listed: BTreeSet<_> = page
        .lines()
        .filter(|line| line.contains("runbooks/") && line.starts_with("| "))
        .flat_map(first_cells)
        .filter(|cell| *cell != "alarm")
        .map(str::to_owned)
        .collect();
    assert_eq!(alarms(), listed, "infra/modules/observability/README.md lists other alarms than alarms.tf");
}

#[test]
fn every_runbook_is_in_the_list() {
    let index = text("runbooks/README.md");
    for path in files(&["runbooks"], &[".md"]) {
        let file = path.file_name().unwrap().to_str().unwrap();
        assert!(file == "README.md" || index.contains(&format!("({file})")), "runbooks/README.md does not list {file}");
    }
}

/// Role → table → letters, from `matrix` in the module tables.
#[test]
fn the_roles_page_has_the_tables_of_the_policies() {
    let hcl = text("infra/modules/tables/access.tf");
    let page = text("infra/ROLES.md");
    let header = page.lines().find(|line| line.starts_with("| role | ")).unwrap();
    let tables: Vec<_> = header.split(" | ").skip(1).map(|cell| cell.trim_end_matches(" |")).collect();
    let matrix = hcl.split("matrix = {").nth(1).unwrap().split("\n  }\n").next().unwrap();
    let mut roles = 0;
    for block in matrix.split("\n    }") {
        let Some(head) = block.lines().find(|line| line.ends_with(" = {")) else { continue };
        let role = head.trim().trim_end_matches(" = {").replace('_', "-");
        let cells: Vec<_> = tables.iter().map(|table| letters(block, table)).collect();
        let row = format!("| {role} | {} |", cells.join(" | "));
        assert!(page.contains(&row), "infra/ROLES.md lacks the row {row}");
        roles += 1;
    }
    assert_eq!(roles, 5, "access.tf is not read rightly");
}

fn letters(block: &str, table: &str) -> String {
    let line = block.lines().map(str::trim).find(|line| line.split_whitespace().next() == Some(table));
    let verbs = ["read", "scan", "write", "delete"]
        .into_iter()
        .filter(|verb| line.is_some_and(|line| line.contains(&format!("\"{verb}\""))));
    let letters: String = verbs.filter_map(|verb| verb.chars().next()).collect();
    if letters.is_empty() { "–".to_owned() } else { letters }
}

/// Purpose → who signs, from `signers` in the module ca-keys.
#[test]
fn the_roles_page_has_the_signers_of_the_keys() {
    let hcl = text("infra/modules/ca-keys/access.tf");
    let page = text("infra/ROLES.md");
    let signers = hcl.split("signers = {").nth(1).unwrap().split("\n  }\n").next().unwrap();
    let bootstrap = hcl.lines().find(|line| line.contains("bootstrap_signs = ")).unwrap();
    let mut purposes = 0;
    for line in signers.lines().filter(|line| line.contains(" = [")) {
        let purpose = line.split_whitespace().next().unwrap();
        let mark = |signs: bool| if signs { "signs" } else { "–" };
        let cells = ["control_plane", "enroll", "rotate"].map(|role| mark(line.contains(&format!("\"{role}\""))));
        let last = mark(bootstrap.contains(&format!("\"{purpose}\"")));
        let row = format!("| {purpose} | {} | {last} |", cells.join(" | "));
        assert!(page.contains(&row), "infra/ROLES.md lacks the row {row}");
        purposes += 1;
    }
    assert_eq!(purposes, 6, "access.tf is not read rightly");
}

#[test]
fn the_roles_page_explains_every_role() {
    let page = text("infra/ROLES.md");
    let mut roles = BTreeSet::new();
    for path in files(&["infra/modules"], &[".tf"]) {
        let hcl = read(&path);
        for block in hcl.split("resource \"aws_iam_role\" ").skip(1) {
            let name = block.lines().map(str::trim).find(|line| line.starts_with("name ")).unwrap();
            let suffix = name.split("${var.name_prefix}-").nth(1).unwrap().trim_end_matches('"');
            match suffix {
                "${each.key}" => {
                    roles.extend(hcl.lines().filter(|line| line.contains("{ principals = ")).map(first_word))
                }
                suffix => assert!(roles.insert(suffix.to_owned()), "two roles are called {suffix}"),
            }
        }
    }
    let explained: BTreeSet<_> = page.lines().filter_map(|line| line.strip_prefix("### ")).map(str::to_owned).collect();
    assert_eq!(roles, explained, "infra/ROLES.md explains other roles than the modules make");
}

fn first_word(line: &str) -> String {
    line.split_whitespace().find(|word| *word != "{").unwrap_or_default().to_owned()
}

/// Of what checkov is not to say.
#[test]
fn every_skipped_policy_has_its_reason() {
    let mut skips = 0;
    for path in files(&["infra"], &[".tf"]) {
        for skip in read(&path).split("checkov:skip=").skip(1).filter_map(|rest| rest.lines().next()) {
            let reason = skip.split_once(':').map_or("", |(_, reason)| reason.trim());
            assert!(
                reason.len() > 20 && reason.ends_with('.'),
                "{}: checkov:skip={skip} has no reason",
                path.display()
            );
            skips += 1;
        }
    }
    assert!(skips > 10, "only {skips} skips found");
    let config = text("infra/.checkov.yaml");
    let listed = config.split("skip-check:").nth(1).unwrap();
    let mut before = "";
    for line in listed.lines().filter(|line| !line.trim().is_empty()) {
        let item = line.trim().starts_with("- ");
        assert!(
            !item || before.trim().starts_with('#'),
            "infra/.checkov.yaml: {line} has no reason in the line before"
        );
        before = line;
    }
}
