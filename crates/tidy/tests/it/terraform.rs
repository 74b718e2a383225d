//! Names that code and Terraform share.

use signet_core::store::Table;

use crate::{files, read, root};

/// The text of a file below the workspace's folder.
fn text(path: &str) -> String {
    read(&root().join(path))
}

/// All Rust sources below `folders`, but for tests.
fn code(folders: &[&str]) -> String {
    files(folders, &[".rs"])
        .iter()
        .filter(|path| !path.components().any(|part| part.as_os_str() == "tests"))
        .map(|path| read(path))
        .collect()
}

/// Names of the attributes in the block that the line `head` opens, one a line.
fn attributes(hcl: &str, head: &str) -> Vec<String> {
    let mut lines = hcl.lines().skip_while(|line| line.trim() != head);
    let indent = lines.next().map_or(0, |line| line.len() - line.trim_start().len());
    let end = format!("{}}}", " ".repeat(indent));
    let body = lines.take_while(|line| *line != end);
    let deep = indent + 2;
    let own = body.filter(|line| line.len() - line.trim_start().len() == deep);
    let found: Vec<_> = own
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.trim().trim_matches('"').to_owned())
        .filter(|name| !name.starts_with('#'))
        .collect();
    assert!(!found.is_empty(), "{head} has no attributes");
    found
}

/// The words in double quotes after `before`, e.g. `$.message = \"`.
fn quoted_after<'a>(hcl: &'a str, before: &str) -> Vec<&'a str> {
    hcl.split(before).skip(1).filter_map(|rest| rest.split("\\\"").next()).collect()
}

#[test]
fn terraform_makes_the_tables_and_indexes_of_the_code() {
    let hcl = text("infra/modules/tables/schema.tf");
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

#[test]
fn terraform_makes_the_keys_of_the_code() {
    let kms = text("crates/kms/src/lib.rs");
    for purpose in attributes(&text("infra/modules/ca-keys/main.tf"), "purposes = {") {
        assert!(kms.contains(&format!("=> \"{purpose}\"")), "crates/kms knows no key for {purpose}");
    }
    let known = kms.matches("=> \"").count();
    assert_eq!(known, attributes(&text("infra/modules/ca-keys/main.tf"), "purposes = {").len(), "Terraform lacks keys");
    let (made, access) = (text("crates/kms/src/create.rs"), text("infra/modules/ca-keys/access.tf"));
    for tag in ["environment", "tenant", "ca"] {
        assert!(made.contains(&format!("(\"{tag}\", ")), "crates/kms does not tag keys with {tag}");
        assert!(access.contains(&format!("signet:{tag}")), "infra/modules/ca-keys knows no tag {tag}");
    }
    // Or what serves the internet could sign with a later root.
    let (policies, policy) = (text("crates/kms/src/policies.rs"), text("infra/modules/ca-keys/policy.tf"));
    assert!(policies.contains("\"SignersSignForTenants\"") && policy.contains("= \"SignersSignForTenants\""));
    assert!(kms.contains("alias/{prefix}-tenant-") && access.contains("alias/${var.name_prefix}-tenant-*"));
}

#[test]
fn schedules_name_tasks_of_the_lambda() {
    let rotate = code(&["lambdas/rotate"]);
    for task in attributes(&text("infra/modules/rotate/schedules.tf"), "tasks = {") {
        assert!(rotate.contains(&format!("\"{task}\"")), "lambdas/rotate knows no task {task}");
    }
}

#[test]
fn terraform_makes_the_secret_and_parameters_of_the_code() {
    let hcl = text("infra/modules/rotate/secret.tf");
    let aws = text("services/control-plane/src/server_identity/aws.rs");
    assert!(hcl.contains("${var.parameter_prefix}/server\"") && aws.contains("format!(\"{}/server\""));
    let parameters = attributes(&hcl, "parameters = {");
    for parameter in &parameters {
        assert!(aws.contains(&format!("=> \"{parameter}\"")), "the code knows no parameter {parameter}");
    }
    assert_eq!(aws.matches("PublicMaterial::").count(), parameters.len(), "Terraform lacks parameters");
    assert!(hcl.contains("= \"pending\"") && aws.contains("PENDING: &str = \"pending\""));
}

#[test]
fn what_is_published_may_be_written_and_read() {
    let publication = code(&["crates/app/src"]);
    for (pattern, in_code) in [
        ("server-anchor.pem", "\"server-anchor.pem\""),
        ("root.pem", "\"root.pem\""),
        ("bundles/*", "\"bundles/{"),
        ("crl/*", "\"crl/{"),
    ] {
        assert!(publication.contains(in_code), "nothing publishes {pattern}");
        for module in ["infra/modules/publication/main.tf", "infra/modules/rotate/role.tf"] {
            assert!(text(module).contains(&format!("\"{pattern}\"")), "{module} does not know {pattern}");
        }
    }
}

#[test]
fn settings_are_keys_of_the_configuration() {
    let sample = text("services/control-plane/signet.sample.toml");
    let environment = text("infra/modules/environment/settings.tf");
    let task = text("infra/modules/control-plane/task.tf");
    let lambdas = ["keymaker", "rotate"].map(|lambda| text(&format!("infra/modules/{lambda}/main.tf"))).concat();
    let mut known = 0;
    for name in [environment, task, lambdas].iter().flat_map(|hcl| {
        hcl.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map(str::to_owned).collect::<Vec<_>>()
    }) {
        let Some((section, key)) = name.strip_prefix("SIGNET_").and_then(|name| name.split_once("__")) else {
            continue;
        };
        let (section, key) = (section.to_lowercase(), key.to_lowercase());
        let (_, below) =
            sample.split_once(&format!("[{section}]\n")).unwrap_or_else(|| panic!("{name}: no [{section}]"));
        let keys = below.split("\n[").next().unwrap_or_default();
        assert!(keys.contains(&format!("{key} = ")), "{name}: [{section}] has no {key}");
        known += 1;
    }
    assert!(known > 10, "only {known} settings found");
}

/// A metric of a log line that nobody writes stays at zero, and its alarm silent.
#[test]
fn metric_filters_look_for_what_the_code_logs() {
    let hcl = text("infra/modules/observability/metrics.tf");
    let sources = files(&["crates", "services", "lambdas"], &[".rs"]);
    let sources: Vec<_> = sources.iter().map(|path| read(path)).collect();
    let messages = quoted_after(&hcl, "$.message = \\\"");
    assert!(messages.len() >= 8, "only {} messages found", messages.len());
    for line in hcl.lines().filter(|line| line.contains("$.message = ")) {
        let message = quoted_after(line, "$.message = \\\"")[0];
        let fields =
            line.split("$.").skip(1).filter_map(|rest| rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next());
        let fields: Vec<_> = fields.filter(|field| *field != "message").collect();
        let logs = |text: &&String| {
            text.contains(&format!("\"{message}\"")) && fields.iter().all(|field| text.contains(field))
        };
        assert!(sources.iter().any(|text| logs(&text)), "nothing logs {message:?} with {fields:?}");
    }
}

#[test]
fn events_are_those_of_the_lambda() {
    let rotate = code(&["lambdas/rotate"]);
    let hcl = text("infra/modules/observability/metrics.tf");
    for kind in quoted_after(&hcl, "$.detail-type = \\\"") {
        assert!(rotate.contains(&format!("\"{kind}\"")), "lambdas/rotate sends no event {kind:?}");
    }
    let role = text("infra/modules/rotate/role.tf");
    assert!(rotate.contains("\"signet\"") && role.contains("values   = [\"signet\"]"), "the source of events differs");
}

/// Tests take one provider for all modules, so that nothing else would see a module which asks for another.
#[test]
fn all_modules_ask_for_the_same_versions() {
    let mut asked = 0;
    for path in files(&["infra", "localstack"], &[".tf"]) {
        let hcl = read(&path);
        if hcl.contains("required_version") {
            for line in ["required_version = \">= 1.11\"", "version = \">= 5.100, < 7\""] {
                assert!(hcl.contains(line), "{}: the others say {line}", path.display());
            }
            asked += 1;
        }
    }
    assert!(asked >= 13, "only {asked} modules ask for a version");
}
