//! The first start of an environment.

use signet_app::{Bootstrap, Call};
use signet_core::{Error, PrincipalType, ca::CaState};
use signet_testkit::fixtures::NOW;

use crate::world::*;

fn bootstrap_call() -> Call {
    Call::process("bootstrap", NOW)
}

#[tokio::test]
async fn an_environment_has_its_authorities_a_server_and_an_admin() {
    let world = World::empty();
    let report = world.bootstrap().await.unwrap();
    let made: Vec<&str> = report.items.iter().filter(|item| item.made).map(|item| item.what.as_str()).collect();
    let expected = [
        "tenant system",
        "certificate authority root.1",
        "certificate authority system.1",
        "certificate authority shared.1",
        "certificate authority server.1",
        "server certificate",
        "admin root",
        "certificate of admin root",
    ];
    assert_eq!(made, expected);
    let cas = world.app.list_cas(&call("ListCas"), &scope("system")).await.unwrap();
    assert!(cas.len() == 4 && cas.iter().all(|ca| ca.state == CaState::Active));
    let admin = world.authenticate("system", &report.admin.chain_der[0], NOW).await.unwrap();
    assert_eq!((admin.principal, admin.principal_type), (pid("root"), PrincipalType::Admin));
    assert_eq!(report.server_chain_der.len(), 2);
}

#[tokio::test]
async fn a_second_bootstrap_changes_nothing() {
    let world = World::empty();
    let input = bootstrap_input();
    let first = world.app.bootstrap(&bootstrap_call(), &input).await.unwrap();
    let (events, signatures) = (world.store.events().len(), world.keys.signatures());
    let second = world.app.bootstrap(&bootstrap_call(), &input).await.unwrap();
    assert!(second.items.iter().all(|item| !item.made), "{:?}", second.items);
    assert_eq!((second.server_chain_der, second.admin), (first.server_chain_der, first.admin));
    assert_eq!((world.store.events().len(), world.keys.signatures()), (events, signatures));
}

#[tokio::test]
async fn a_bootstrap_with_new_keys_makes_only_their_certificates() {
    let world = World::empty();
    world.bootstrap().await.unwrap();
    let again = world.bootstrap().await.unwrap();
    let made: Vec<&str> = again.items.iter().filter(|item| item.made).map(|item| item.what.as_str()).collect();
    assert_eq!(made, ["server certificate", "certificate of admin root"]);
}

#[tokio::test]
async fn bad_input_makes_nothing() {
    let world = World::empty();
    let good = bootstrap_input();
    let no_names = signet_app::ServerIdentity { dns: Vec::new(), ip: Vec::new() };
    let bad_name = signet_app::ServerIdentity { dns: vec!["No Name".into()], ip: Vec::new() };
    let cases = [
        ("csr_der", Bootstrap { server_csr_der: vec![0; 9], ..good.clone() }),
        ("csr_der", Bootstrap { admin_csr_der: Vec::new(), ..good.clone() }),
        ("server", Bootstrap { server: no_names, ..good.clone() }),
        ("server.dns", Bootstrap { server: bad_name, ..good }),
    ];
    for (wrong, input) in cases {
        let refused = world.app.bootstrap(&bootstrap_call(), &input).await.unwrap_err();
        assert!(matches!(refused, Error::Invalid { field, .. } if field == wrong), "{wrong}: {refused:?}");
        assert!(world.store.events().is_empty() && world.keys.signatures() == 0, "{wrong}");
    }
}

#[tokio::test]
async fn an_operators_keys_are_used_where_given() {
    let world = World::empty();
    let label = |id: &str| signet_core::KeyLabel { tenant: tid("system"), ca: id.parse().unwrap() };
    let root = signet_core::KeyManager::create(&*world.keys, &label("root.77")).await.unwrap();
    let mut input = bootstrap_input();
    input.keys.root = Some(root.clone());
    world.app.bootstrap(&bootstrap_call(), &input).await.unwrap();
    assert_eq!(world.app.roots(NOW).await.unwrap()[0].key, root);
}
