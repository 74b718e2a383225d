//! Who may call what: asked of a running node, RPC by RPC, and compared with a golden file that is reviewed like code.
//! After a wanted change: `UPDATE_GOLDEN=1 cargo nextest run -p signet-control-plane matrix`.

use std::{collections::BTreeMap, path::Path};

use signet_client::Credentials;
use signet_core::PrincipalType;
use signet_proto::v1::Isolation;
use tonic::{Status, transport::Channel};

use crate::{
    dynamic::{self, Fields},
    world::{Node, World, reason},
};

/// Answers of the authorization; everything else means that the call got past it.
const REFUSALS: [&str; 5] =
    ["CERTIFICATE_REQUIRED", "CALLER_TYPE_DENIED", "PERMISSION_MISSING", "OWN_RESOURCES_ONLY", "NOT_FOUND"];

const LEGEND: &str = "\
Who may call what, and for whom. `any`: in every tenant; `tenant`: in its own; `itself`: for itself only;
`others`: in its tenant, but not for itself; `yes`: the call names no tenant; `-`: refused.

";

struct Subject {
    label: &'static str,
    tenant: &'static str,
    fields: Fields,
    channel: Channel,
}

/// The values of a principal and its certificate.
fn fields(tenant: &str, id: &str, issuer: &str, credentials: &Credentials) -> Fields {
    Fields {
        tenant_id: tenant.into(),
        principal_id: id.into(),
        issuer_id: issuer.into(),
        serial_number: credentials.facts().serial_number.clone(),
        ..Fields::default()
    }
}

/// Reads get whole requests, since their data decide; changes get only names, so that the callers survive the table.
fn for_method(name: &str, fields: &Fields) -> Fields {
    Fields { whole: name.starts_with("Get"), ..fields.clone() }
}

async fn subjects(world: &World, node: &Node) -> Vec<Subject> {
    let mut subjects = Vec::new();
    let described: [(&str, PrincipalType, &[&str]); 7] = [
        ("admin", PrincipalType::Admin, &[]),
        ("user", PrincipalType::User, &[]),
        ("user+viewer", PrincipalType::User, &["viewer"]),
        ("user+operator", PrincipalType::User, &["operator"]),
        ("worker", PrincipalType::Worker, &[]),
        ("service", PrincipalType::Service, &[]),
        ("device", PrincipalType::Device, &[]),
    ];
    for (label, principal_type, roles) in described {
        let id = label.replace('+', "-");
        let credentials = world.principal(node, "acme", &id, principal_type, roles).await;
        let channel = world.channel(node, &credentials);
        let fields = fields("acme", &id, "shared.1", &credentials);
        subjects.push(Subject { label, tenant: "acme", fields, channel });
    }
    let channel = world.connector(node, None).channel();
    let nobody = Fields { tenant_id: "acme".into(), principal_id: "nobody".into(), ..Fields::default() };
    subjects.push(Subject { label: "anonymous", tenant: "acme", fields: nobody, channel });
    // Last, since it may suspend the others' tenants.
    let (channel, fields) = (world.admin(node), fields("system", "root-admin", "system.1", &world.admin));
    subjects.push(Subject { label: "system admin", tenant: "system", fields, channel });
    subjects
}

/// Whether the call got past the authorization, whatever came of it then.
fn passed(result: Result<Vec<u8>, Status>) -> bool {
    let Err(status) = result else { return true };
    let reason = reason(&status);
    assert!(!reason.is_empty(), "an answer without ErrorInfo: {status:?}");
    !REFUSALS.contains(&reason.as_str())
}

#[tokio::test]
async fn the_matrix_is_as_reviewed() {
    // The caller without a certificate asks more often than one address may.
    let world = World::with_config("limits = { anonymous_calls_per_second_per_address = 1000 }").await;
    let node = world.node().await;
    let mut theirs = BTreeMap::new();
    for (tenant, issuer) in [("acme", "shared.1"), ("globex", "shared.1"), ("system", "system.1")] {
        if tenant != "system" {
            world.tenant_with_limit(&node, tenant, Isolation::Shared, 0).await;
        }
        let somebody = world.principal(&node, tenant, "somebody", PrincipalType::Worker, &[]).await;
        theirs.insert(tenant, fields(tenant, "somebody", issuer, &somebody));
    }
    let (somebody, victim) = (&theirs["acme"], &theirs["globex"]);
    let subjects = subjects(&world, &node).await;
    let mut rows: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for subject in &subjects {
        let others = if subject.tenant == "system" { &theirs["system"] } else { somebody };
        for method in dynamic::methods() {
            let mut passes = Vec::new();
            for fields in [&subject.fields, others, victim] {
                let message = dynamic::request(&method, &for_method(method.name(), fields));
                passes.push(passed(dynamic::call(&subject.channel, &method, &message).await));
            }
            let names_tenant = dynamic::names_tenant(&method.input());
            let reach = match (passes[0], passes[1], passes[2]) {
                (false, false, false) => "-",
                (true, true, true) if !names_tenant => "yes",
                (true, true, true) => "any",
                (true, true, false) => "tenant",
                (true, false, false) => "itself",
                (false, true, false) => "others",
                other => panic!("{} {}: {other:?}", method.name(), subject.label),
            };
            rows.entry(method.name().to_owned()).or_default().push(reach);
        }
    }
    node.end().await;
    let line = |name: &str, cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = cells.map(|cell| format!("{cell:<14}")).collect();
        format!("{name:<28}{}", cells.concat()).trim_end().to_owned() + "\n"
    };
    let mut text = LEGEND.to_owned();
    text.push_str(&line("", &mut subjects.iter().map(|subject| subject.label)));
    for (name, cells) in &rows {
        text.push_str(&line(name, &mut cells.iter().copied()));
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/authorization.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &text).unwrap();
    }
    let reviewed = std::fs::read_to_string(&golden).unwrap();
    assert!(text == reviewed, "the authorization matrix changed; review the difference to {golden:?}:\n{text}");
}
