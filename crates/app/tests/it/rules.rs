//! Making, listing, deleting and testing enrollment rules.

use signet_app::{CreateRule, PageRequest, enrollment::rules};
use signet_core::{
    Error, PrincipalType,
    authorization::Denial,
    enrollment::rule::{Condition, RuleTemplate, Source},
};
use signet_testkit::{fixtures, pki::Pki};

use crate::{
    attestor::{ISSUER, aws, oidc},
    world::*,
};

pub(crate) fn rule(id: &str, source: Source, conditions: &[(&str, &str)], template: &str) -> CreateRule {
    let condition =
        |(fact, pattern): &(&str, &str)| Condition { fact: (*fact).to_owned(), patterns: vec![(*pattern).to_owned()] };
    CreateRule {
        id: id.parse().unwrap(),
        source,
        conditions: conditions.iter().map(condition).collect(),
        template: RuleTemplate { principal_type: PrincipalType::Worker, id: template.into(), roles: Vec::new() },
    }
}

/// Workers of one role of Acme's AWS account, each by its session.
pub(crate) fn aws_rule(id: &str) -> CreateRule {
    rule(id, Source::AwsIam, &[("account", "123456789012"), ("role", "worker")], "{session}")
}

/// Whom Acme's issuer calls `ci-…`.
pub(crate) fn oidc_rule(id: &str) -> CreateRule {
    let source = Source::Oidc { issuer: ISSUER.into(), audience: "signet".into() };
    rule(id, source, &[("sub", "ci-*")], "{sub}")
}

impl World {
    pub(crate) async fn rule(&self, input: CreateRule) {
        rules::create_rule(&self.app, &call("CreateEnrollmentRule"), &admin(), &acme(), input).await.unwrap();
    }
}

#[tokio::test]
async fn a_rule_is_made_listed_in_order_and_deleted() {
    let world = World::new().await;
    world.rule(aws_rule("b-workers")).await;
    world.rule(oidc_rule("a-ci")).await;
    let list = async || {
        let (mut ids, mut page) = (Vec::new(), PageRequest { size: 1, token: String::new() });
        loop {
            let found = rules::list_rules(&world.app, &call("List"), &acme(), &page).await.unwrap();
            ids.extend(found.items.into_iter().map(|rule| rule.id.to_string()));
            page.token = found.next_page_token;
            if page.token.is_empty() {
                return ids;
            }
        }
    };
    assert_eq!(list().await, ["a-ci", "b-workers"]);
    let again = rules::create_rule(&world.app, &call("Create"), &admin(), &acme(), aws_rule("a-ci")).await.unwrap_err();
    assert!(matches!(again, Error::AlreadyExists { .. }), "{again:?}");
    let id = "a-ci".parse().unwrap();
    rules::delete_rule(&world.app, &call("DeleteEnrollmentRule"), &admin(), &acme(), &id).await.unwrap();
    let gone = rules::delete_rule(&world.app, &call("Delete"), &admin(), &acme(), &id).await.unwrap_err();
    assert!(matches!(gone, Error::NotFound { .. }), "{gone:?}");
    assert_eq!(list().await, ["b-workers"]);
    assert_eq!(world.outcomes("CreateEnrollmentRule"), ["OK", "OK"]);
    assert_eq!(world.outcomes("DeleteEnrollmentRule"), ["OK"]);
}

/// Whoever asks later what was let in by what finds it in the audit log, even when the rule is gone.
#[tokio::test]
async fn the_audit_event_of_a_rule_says_all_that_it_says() {
    let world = World::new().await;
    world.rule(oidc_rule("ci")).await;
    let event = world.ledger.events().pop().unwrap().payload;
    for part in ["CreateEnrollmentRule", "\"ci\"", ISSUER, "signet", "sub=ci-*", "worker", "{sub}"] {
        assert!(event.contains(part), "{part} is missing in {event}");
    }
}

#[tokio::test]
async fn a_rule_that_is_too_wide_or_no_ca_is_refused_and_changes_nothing() {
    let world = World::new().await;
    let pki = Pki::new(fixtures::NOW);
    let x509 = |der: &[u8]| Source::X509 { anchors_der: vec![der.to_vec()] };
    let leaf = {
        world.principal("worker").await;
        world.issue("worker").await.chain_der.remove(0)
    };
    let before = world.store.transactions();
    for (source, field, reason) in [
        (Source::AwsIam, "rule.conditions", "TOO_WIDE"),
        (x509(b"nothing"), "rule.x509.anchors_der", "NOT_A_CA"),
        (x509(&leaf), "rule.x509.anchors_der", "NOT_A_CA"),
        (Source::Oidc { issuer: "http://x".into(), audience: "a".into() }, "rule.oidc.issuer", "INVALID_ISSUER"),
    ] {
        let input = rule("r", source, &[], "x");
        let refused = rules::create_rule(&world.app, &call("Create"), &admin(), &acme(), input).await.unwrap_err();
        let Error::Invalid { field: found, reason: why, .. } = refused else { panic!("{refused:?}") };
        assert_eq!((found, why), (field, reason));
    }
    assert_eq!(world.store.transactions(), before);
    world.rule(rule("devices", x509(&pki.root.ca.certificate_der), &[], "{cn}")).await;
}

/// As with tokens: nobody hands out rights that it does not have the right to manage.
#[tokio::test]
async fn an_operator_makes_rules_for_plain_principals_at_most() {
    let world = World::new().await;
    let mut input = aws_rule("admins");
    input.template.principal_type = PrincipalType::Admin;
    let denied = rules::create_rule(&world.app, &call("Create"), &operator(), &acme(), input).await.unwrap_err();
    assert_eq!(denied, Error::Denied(Denial::Permission));
}

#[tokio::test]
async fn a_test_says_which_rule_would_match_and_why_the_others_do_not() {
    let world = World::new().await;
    world.rule(oidc_rule("a-ci")).await;
    world.rule(aws_rule("b-workers")).await;
    let test = async |facts| rules::test_rules(&world.app, &call("Test"), &acme(), &facts).await.unwrap();
    let found = test(aws("i-1")).await;
    let (rule, id) = found.granted.unwrap();
    assert_eq!((rule.id.as_str(), id.as_str()), ("b-workers", "i-1"));
    assert_eq!((found.missed[0].0.as_str(), found.missed[0].1.reason), ("a-ci", "OTHER_PROOF"));
    let none = test(oidc("me")).await;
    assert!(none.granted.is_none());
    let reasons: Vec<_> = none.missed.iter().map(|(_, miss)| miss.reason).collect();
    assert_eq!(reasons, ["FACT_DIFFERS", "OTHER_PROOF"]);
    assert!(world.attestor.asked().is_empty() && world.outcomes("Test").is_empty());
}

/// A rule is its tenant's own, also where another has one of the same name.
#[tokio::test]
async fn rules_of_another_tenant_are_not_there() {
    let world = World::new().await;
    world.tenant("globex").await;
    world.rule(aws_rule("workers")).await;
    let listed = rules::list_rules(&world.app, &call("List"), &scope("globex"), &PageRequest::default()).await.unwrap();
    assert!(listed.items.is_empty());
    let tested = rules::test_rules(&world.app, &call("Test"), &scope("globex"), &aws("i-1")).await.unwrap();
    assert!(tested.granted.is_none() && tested.missed.is_empty());
    let id = "workers".parse().unwrap();
    let gone = rules::delete_rule(&world.app, &call("Delete"), &admin(), &scope("globex"), &id).await.unwrap_err();
    assert!(matches!(gone, Error::NotFound { .. }));
}
