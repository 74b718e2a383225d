//! Who may call what: asked of a running node, RPC by RPC, and compared with a golden file that is reviewed like code.
//! After a wanted change: `UPDATE_GOLDEN=1 cargo nextest run -p signet-control-plane matrix`.

use std::{collections::BTreeMap, fmt::Write, path::Path};

use signet_core::PrincipalType;
use signet_proto::v1::Isolation;
use tonic::{Status, transport::Channel};

use crate::{
    dynamic::{self, Fields},
    world::{Node, World, reason},
};

/// Answers of the authorization; everything else means that the call got past it.
const REFUSALS: [&str; 6] = [
    "CERTIFICATE_REQUIRED",
    "CALLER_TYPE_DENIED",
    "PERMISSION_MISSING",
    "OWN_RESOURCES_ONLY",
    "NOT_FOUND",
    "ENROLLMENT_REFUSED",
];

struct Subject {
    label: &'static str,
    tenant: &'static str,
    id: String,
    channel: Channel,
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
        let channel = world.connector(node, Some(&credentials)).channel();
        subjects.push(Subject { label, tenant: "acme", id, channel });
    }
    let channel = world.connector(node, None).channel();
    subjects.push(Subject { label: "anonymous", tenant: "acme", id: "nobody".into(), channel });
    // Last, since it may suspend the others' tenants.
    let channel = world.admin(node);
    subjects.push(Subject { label: "system admin", tenant: "system", id: "root-admin".into(), channel });
    subjects
}

fn verdict(result: Result<Vec<u8>, Status>) -> String {
    match result {
        Ok(_) => "yes".into(),
        Err(status) => {
            let reason = reason(&status);
            assert!(!reason.is_empty(), "an answer without ErrorInfo: {status:?}");
            if REFUSALS.contains(&reason.as_str()) { reason } else { "yes".into() }
        }
    }
}

#[tokio::test]
async fn the_matrix_is_as_reviewed() {
    let world = World::new().await;
    let node = world.node().await;
    for tenant in ["acme", "globex"] {
        world.tenant(&node, tenant, Isolation::Shared).await;
        world.principal(&node, tenant, "somebody", PrincipalType::Worker, &[]).await;
    }
    world.principal(&node, "system", "somebody", PrincipalType::Worker, &[]).await;
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for subject in subjects(&world, &node).await {
        for method in dynamic::methods() {
            let own =
                Fields { tenant_id: subject.tenant.into(), principal_id: subject.id.clone(), ..Fields::default() };
            let others = Fields { principal_id: "somebody".into(), ..own.clone() };
            let foreign = Fields { tenant_id: "globex".into(), ..others.clone() };
            let mut cells = Vec::new();
            for fields in [own, others, foreign] {
                let message = dynamic::request(&method, &fields);
                cells.push(verdict(dynamic::call(&subject.channel, &method, &message).await));
            }
            let row =
                format!("{:<28} {:<14} {:<22} {:<22} {}", method.name(), subject.label, cells[0], cells[1], cells[2]);
            rows.entry(method.name().to_owned()).or_default().push(row);
        }
    }
    node.end().await;
    let mut text = format!("{:<28} {:<14} {:<22} {:<22} {}\n", "RPC", "CALLER", "ITSELF", "OWN TENANT", "OTHER TENANT");
    for row in rows.values().flatten() {
        writeln!(text, "{row}").unwrap();
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/authorization.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &text).unwrap();
    }
    let reviewed = std::fs::read_to_string(&golden).unwrap();
    assert!(text == reviewed, "the authorization matrix changed; review the difference to {golden:?}:\n{text}");
}
