//! Tenants' own rules: what a repetition answers, and what is done about a model that cannot be read.

use std::sync::Arc;

use signet_app::{PrincipalPatch, SetModel, Settings, authorization, principals};
use signet_core::{
    Error, PrincipalType, Store,
    authorization::model::{AuthorizationModel, AuthorizationVersion, Rules},
    trust::KnownModel,
};
use signet_testkit::{faulty::FaultyStore, fixtures::NOW, fixtures::later};

use crate::{
    nodes::Site,
    world::{World, acme, at, call, call_with_id, new_principal, pid, roles, scope, tid},
};

fn rules(permission: &str) -> Rules {
    Rules { permissions: [(permission.to_owned(), String::new())].into(), ..Rules::default() }
}

fn set(permission: &str, base_version: u32, force: bool) -> SetModel {
    SetModel { rules: rules(permission), base_version, note: String::new(), force }
}

#[tokio::test]
async fn a_repetition_answers_with_the_version_that_it_made() {
    let world = World::new().await;
    let set_model = async |id: &str, input| {
        authorization::set_model(&world.app, &call_with_id("SetAuthorizationModel", id), &acme(), input).await.unwrap()
    };
    let first = set_model("request-1", set("jobs:submit", 0, false)).await;
    let second = set_model("request-2", set("jobs:cancel", 1, false)).await;
    assert_eq!((first.version, second.version), (1, 2));
    assert_eq!(set_model("request-1", set("jobs:submit", 0, false)).await, first);
    assert_eq!(set_model("request-2", set("jobs:cancel", 1, false)).await, second);
    // One that changed nothing made none.
    let same = set_model("request-3", set("jobs:cancel", 2, false)).await;
    assert_eq!((&same, &set_model("request-3", set("jobs:cancel", 2, false)).await), (&second, &second));
}

#[tokio::test]
async fn a_model_that_cannot_be_read_grants_nothing_is_counted_and_is_replaced_by_force() {
    let site = Site::new().await;
    let flaky = FaultyStore::new(Arc::clone(&site.store));
    let store = Arc::clone(&flaky) as Arc<dyn Store>;
    let (app, scope) = (site.app_on(&store, Settings::default()), scope("acme"));
    let set_model = async |input| authorization::set_model(&app, &call("SetAuthorizationModel"), &scope, input).await;
    set_model(set("jobs:submit", 0, false)).await.unwrap();
    flaky.damage(AuthorizationModel::key_of(&tid("acme")));
    let mut node = site.node_on(&store);
    node.poll(NOW).await.unwrap();
    assert_eq!(node.trust.model(&tid("acme")), Some(KnownModel::Unreadable));
    assert_eq!(node.trust.unreadable_len(), 1, "somebody has to see it");
    let refused = set_model(set("jobs:cancel", 1, false)).await.unwrap_err();
    assert!(matches!(refused, Error::Unreadable { .. }), "{refused:?}");
    flaky.damage(AuthorizationVersion::key_of(&tid("acme"), 1));
    let anew = set_model(set("jobs:cancel", 0, true)).await.unwrap();
    assert_eq!(anew.version, 2, "no version is given twice, one that cannot be read neither");
    flaky.mend_all();
    assert_eq!(authorization::get_model(&app, &call("Get"), &scope, None).await.unwrap(), Some(anew));
    node.poll(later(20)).await.unwrap();
    assert!(matches!(node.trust.model(&tid("acme")), Some(KnownModel::Read(model)) if model.version == 2));
    assert_eq!(node.trust.unreadable_len(), 0);
}

#[tokio::test]
async fn the_audit_event_of_a_principal_names_its_groups() {
    let world = World::new().await;
    let input = new_principal("worker", PrincipalType::Worker, &[]);
    principals::create_principal(&world.app, &call("CreatePrincipal"), &acme(), input).await.unwrap();
    let update = async |patch, second| {
        let call = at(call("UpdatePrincipal"), later(second));
        principals::update_principal(&world.app, &call, &acme(), &pid("worker"), patch).await.unwrap();
        world.ledger.events().pop().unwrap().payload
    };
    let groups = PrincipalPatch { groups: Some(roles(&["fleet-b", "fleet-a"])), ..PrincipalPatch::default() };
    let event = update(groups, 1).await;
    assert!(event.contains(r#""groups":"fleet-a,fleet-b""#), "{event}");
    let name = PrincipalPatch { display_name: Some("w".into()), ..PrincipalPatch::default() };
    let event = update(name, 2).await;
    assert!(!event.contains("groups"), "they did not change: {event}");
}
