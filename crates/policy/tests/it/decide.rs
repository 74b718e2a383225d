//! What policies say about one request.

use signet_core::PrincipalType;
use signet_policy::{Context, Policies, Target, Verdict};

use crate::world::*;

fn permitted(names: &[&str]) -> Verdict {
    Verdict::Permitted(names.iter().map(|name| (*name).to_owned()).collect())
}

fn forbidden(names: &[&str]) -> Verdict {
    Verdict::Forbidden(names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn without_policies_nothing_is_said() {
    let worker = Who::new(PrincipalType::Worker, "w-1");
    let tenant = &worker.tenant;
    assert_eq!(
        Policies::default().decide(&worker.subject(), "jobs:dequeue", &queue(tenant, &[]), &now()),
        Verdict::Silent
    );
    let other = policies(r#"permit (principal is Worker, action == Action::"jobs:submit", resource);"#);
    assert_eq!(other.decide(&worker.subject(), "jobs:dequeue", &queue(tenant, &[]), &now()), Verdict::Silent);
}

#[test]
fn types_roles_groups_owners_tags_and_circumstances_decide() {
    let policies = policies(
        r#"
        @id("owners") permit (principal, action == Action::"jobs:submit", resource is Resource)
        when { resource has owner && resource.owner == principal.id };
        @id("dispatchers") permit (principal in Role::"dispatcher", action in [Action::"jobs:submit", Action::"jobs:dequeue"], resource);
        @id("fleet") permit (principal is Device in Group::"fleet-a", action == Action::"connect", resource is Device)
        when { resource in Group::"fleet-a" };
        @id("not from outside") forbid (principal, action == Action::"jobs:submit", resource)
        unless { context has source && context.source.isInRange(ip("10.0.0.0/8")) };
        @id("frozen") forbid (principal, action, resource is Resource)
        when { resource.hasTag("frozen") && resource.getTag("frozen") == "yes" };
        @id("until new year") permit (principal is Service, action == Action::"jobs:dequeue", resource)
        when { context.now < datetime("2027-01-01T00:00:00Z") };
        "#,
    );
    // As a dual-stack listener has it.
    let inside = Context { source: "::ffff:10.1.2.3".parse().ok(), ..now() };
    let ann = Who::new(PrincipalType::User, "ann");
    let tenant = ann.tenant.clone();
    let ask = |who: &Who, action: &str, object: &Target<'_>, context: &Context<'_>| {
        policies.decide(&who.subject(), action, object, context)
    };
    assert_eq!(ask(&ann, "jobs:submit", &queue(&tenant, &[]), &inside), permitted(&["owners"]));
    assert_eq!(ask(&ann, "jobs:submit", &queue(&tenant, &[]), &now()), forbidden(&["not from outside"]));
    assert_eq!(ask(&ann, "jobs:submit", &queue(&tenant, &[("frozen", "yes")]), &inside), forbidden(&["frozen"]));
    let bob = Who::new(PrincipalType::User, "bob");
    assert_eq!(ask(&bob, "jobs:submit", &queue(&tenant, &[]), &inside), Verdict::Silent);
    let bob = bob.with_role("dispatcher");
    assert_eq!(ask(&bob, "jobs:dequeue", &Target::Tenant(&tenant), &now()), permitted(&["dispatchers"]));
    let near = Who::new(PrincipalType::Device, "a").in_group("fleet-a");
    let peer = Who::new(PrincipalType::Device, "b").in_group("fleet-a");
    let far = Who::new(PrincipalType::Device, "c");
    assert_eq!(ask(&near, "connect", &Target::Principal(peer.subject()), &now()), permitted(&["fleet"]));
    assert_eq!(ask(&near, "connect", &Target::Principal(near.subject()), &now()), permitted(&["fleet"]));
    assert_eq!(ask(&near, "connect", &Target::Principal(far.subject()), &now()), Verdict::Silent);
    let service = Who::new(PrincipalType::Service, "api");
    let before = Context::at(signet_core::Time::from_unix_seconds(1_798_000_000));
    assert_eq!(ask(&service, "jobs:dequeue", &queue(&tenant, &[]), &before), permitted(&["until new year"]));
    assert_eq!(ask(&service, "jobs:dequeue", &queue(&tenant, &[]), &now()), Verdict::Silent);
}

#[test]
fn a_forbid_that_fails_forbids_and_a_permit_that_fails_does_not_permit() {
    let policies = policies(
        r#"
        @id("all") permit (principal, action, resource);
        @id("sum") forbid (principal is Worker, action, resource is Resource)
        when { 9223372036854775807 + (if resource.kind == "queue" then 1 else 0) == 0 };
        @id("sum too") permit (principal is User, action, resource is Resource)
        when { 9223372036854775807 + (if resource.kind == "queue" then 1 else 0) == 0 };
        "#,
    );
    let worker = Who::new(PrincipalType::Worker, "w-1");
    let tenant = worker.tenant.clone();
    assert_eq!(policies.decide(&worker.subject(), "connect", &queue(&tenant, &[]), &now()), forbidden(&["sum"]));
    let user = Who::new(PrincipalType::User, "ann");
    assert_eq!(policies.decide(&user.subject(), "connect", &queue(&tenant, &[]), &now()), permitted(&["all"]));
}

#[test]
fn names_of_anything_are_no_code() {
    let policies = policies(
        r#"permit (principal, action == Action::"connect", resource is Resource) when { resource.id == "a\"b\\c" };"#,
    );
    let ann = Who::new(PrincipalType::User, "ann");
    let object = |id| {
        Target::Resource(signet_policy::ServiceResource { tenant: &ann.tenant, kind: "x", id, owner: None, tags: &[] })
    };
    assert_eq!(policies.decide(&ann.subject(), "connect", &object("a\"b\\c"), &now()), permitted(&["policy0"]));
    assert_eq!(policies.decide(&ann.subject(), "connect", &object("a"), &now()), Verdict::Silent);
    assert_eq!(policies.decide(&ann.subject(), "no\"such\n", &object("a"), &now()), Verdict::Silent);
}
