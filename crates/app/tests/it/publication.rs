//! What is published: only what changed, each list with a higher number, and whatever runs at once.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use signet_app::{
    Chore, Object, ObjectMeta, ObjectStore, Put, TaskReport, authorities::lifecycle, certificates, trust::publication,
};
use signet_core::{
    Error, Lifetime, PrincipalType, Serial, Time,
    authorities::RevocationList,
    certificates::{Certificate, RevocationReason},
    store::{Entity, scope::Books},
};
use signet_testkit::{faulty::Hidden, fixtures::NOW};

use crate::world::{World, acme, at, call, identity, permit_of};

/// A bucket in memory.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    objects: Mutex<BTreeMap<String, (u32, Object)>>,
    puts: AtomicU32,
    broken: Mutex<Option<&'static str>>,
}

impl Bucket {
    fn names(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        self.objects.lock().unwrap()[name].1.content.clone()
    }

    pub(crate) fn lists(&self, name: &str, serial: &Serial) -> bool {
        self.content(name).windows(16).any(|window| window == serial.as_bytes())
    }

    fn number(&self, name: &str) -> u64 {
        self.objects.lock().unwrap()[name].1.notes["crl-number"].parse().unwrap()
    }
}

#[async_trait]
impl ObjectStore for Bucket {
    async fn look(&self, name: &str) -> Result<Option<ObjectMeta>, Error> {
        let objects = self.objects.lock().unwrap();
        let meta = |(tag, object): &(u32, Object)| ObjectMeta { tag: tag.to_string(), notes: object.notes.clone() };
        Ok(objects.get(name).map(meta))
    }

    async fn put(&self, object: Object, replaces: Option<&str>) -> Result<Put, Error> {
        if self.broken.lock().unwrap().is_some_and(|name| object.name == name) {
            return Err(Error::Unavailable { what: "the publication bucket", cause: "SlowDown".into() });
        }
        let mut objects = self.objects.lock().unwrap();
        let there = objects.get(&object.name).map(|(tag, _)| tag.to_string());
        if there.as_deref() != replaces {
            return Ok(Put::Superseded);
        }
        let tag = self.puts.fetch_add(1, Ordering::AcqRel);
        objects.insert(object.name.clone(), (tag, object));
        Ok(Put::Done)
    }
}

pub(crate) async fn publish(world: &World, bucket: &Bucket, now: Time) -> TaskReport {
    publication::publish(&world.app, &Chore::new("publish", now), bucket, &|| Some(now)).await.unwrap()
}

#[tokio::test]
async fn a_run_puts_what_changed_and_nothing_else() {
    let (world, bucket) = (World::new().await, Bucket::default());
    let first = publish(&world, &bucket, NOW).await;
    assert!(first.failed.is_empty() && !first.unfinished, "{first:?}");
    let expected = [
        "bundles/acme.json",
        "bundles/acme.pem",
        "bundles/system.json",
        "bundles/system.pem",
        "crl/acme.1.crl",
        "crl/root.1.crl",
        "crl/server.1.crl",
        "crl/shared.1.crl",
        "crl/system.1.crl",
        "root.pem",
        "server-anchor.pem",
    ];
    assert_eq!(bucket.names(), expected);
    assert_eq!(first.done.len(), expected.len());
    assert!(publish(&world, &bucket, NOW.plus(Lifetime::hours(1))).await.done.is_empty(), "all is as it was");

    world.principal("w-1").await;
    let leaf = world.issue("w-1").await.certificate;
    let (permit, later) = (
        permit_of(identity("system", "root", PrincipalType::Admin, &[]), "certificates.revoke"),
        NOW.plus(Lifetime::hours(2)),
    );
    let revoked = at(call("RevokeCertificate"), later);
    certificates::revoke_certificate(
        &world.app,
        &revoked,
        &permit,
        &acme(),
        &leaf.issuer,
        &leaf.serial,
        RevocationReason::KeyCompromise,
    )
    .await
    .unwrap();
    let before = bucket.number("crl/acme.1.crl");
    assert_eq!(publish(&world, &bucket, later).await.done, ["crl/acme.1.crl"]);
    assert!(bucket.number("crl/acme.1.crl") > before);
    let serial = hex::decode(leaf.serial.to_string()).unwrap();
    let crl = bucket.content("crl/acme.1.crl");
    assert!(crl.windows(serial.len()).any(|window| window == serial), "the serial number is on the list");
    // A day later every list is made anew, a day before the old one ends.
    let aged = publish(&world, &bucket, NOW.plus(Lifetime::hours(27))).await;
    assert_eq!(aged.done.iter().filter(|name| name.starts_with("crl/")).count(), 5, "{aged:?}");
    assert_eq!(world.outcomes("publish").len(), 6, "an event for each list but the first ones");
}

/// Revokes a certificate of the new principal `id`.
pub(crate) async fn revoke_one(world: &World, id: &str, now: Time) -> Certificate {
    world.principal(id).await;
    let leaf = world.issue(id).await.certificate;
    let permit = permit_of(identity("system", "root", PrincipalType::Admin, &[]), "certificates.revoke");
    let (revoked, reason) = (at(call("RevokeCertificate"), now), RevocationReason::KeyCompromise);
    certificates::revoke_certificate(&world.app, &revoked, &permit, &acme(), &leaf.issuer, &leaf.serial, reason)
        .await
        .unwrap();
    leaf
}

const LIST: &str = "crl/acme.1.crl";

/// An index lags behind its table for some time, and is empty while it is made anew.
#[tokio::test]
async fn a_revocation_that_the_index_lost_stays_on_the_list_until_its_certificate_ended() {
    let (world, bucket) = (World::new().await, Bucket::default());
    let leaf = revoke_one(&world, "w-1", NOW).await;
    publish(&world, &bucket, NOW).await;
    assert!(bucket.lists(LIST, &leaf.serial));
    let number = bucket.number(LIST);
    world.store.hide(Hidden::Indexed(leaf.key()));
    publish(&world, &bucket, NOW.plus(Lifetime::minutes(1))).await;
    assert!(bucket.lists(LIST, &leaf.serial), "the index does not show it any more");
    assert_eq!(bucket.number(LIST), number, "the same entries: no new list");

    let other = revoke_one(&world, "w-2", NOW.plus(Lifetime::minutes(2))).await;
    publish(&world, &bucket, NOW.plus(Lifetime::minutes(2))).await;
    assert!(bucket.lists(LIST, &leaf.serial) && bucket.lists(LIST, &other.serial));
    let both = bucket.number(LIST);
    assert!(both > number);
    world.store.show_all();
    publish(&world, &bucket, NOW.plus(Lifetime::minutes(3))).await;
    assert_eq!(bucket.number(LIST), both, "what the index shows again is what was kept, reason and time included");

    world.store.hide(Hidden::Indexed(leaf.key()));
    let kept = leaf.not_after.plus(Lifetime::hours(47));
    publish(&world, &bucket, kept).await;
    assert!(bucket.lists(LIST, &leaf.serial), "until 48 hours after its end");
    publish(&world, &bucket, leaf.not_after.plus(Lifetime::hours(48))).await;
    assert!(!bucket.lists(LIST, &leaf.serial), "the table says that it ended");
}

#[tokio::test]
async fn a_revocation_without_a_record_stays_on_the_list_as_long_as_a_certificate_may_live() {
    let (world, bucket) = (World::new().await, Bucket::default());
    let leaf = revoke_one(&world, "w-1", NOW).await;
    publish(&world, &bucket, NOW).await;
    world.store.hide(Hidden::Indexed(leaf.key()));
    world.store.damage(leaf.key());
    // Nobody publishes for a week.
    for day in (1..=91).filter(|day| !(10..17).contains(day)) {
        publish(&world, &bucket, NOW.plus(Lifetime::days(day))).await;
    }
    assert!(bucket.lists(LIST, &leaf.serial));
    publish(&world, &bucket, NOW.plus(Lifetime::days(93))).await;
    assert!(!bucket.lists(LIST, &leaf.serial));
}

#[tokio::test]
async fn a_list_whose_bytes_are_damaged_is_made_anew_from_the_index() {
    let (world, bucket) = (World::new().await, Bucket::default());
    let leaf = revoke_one(&world, "w-1", NOW).await;
    publish(&world, &bucket, NOW).await;
    let head = Books.get::<RevocationList>(&*world.store, &RevocationList::key_of(&leaf.issuer), NOW).await.unwrap();
    let head = head.unwrap().value;
    head.part_keys().for_each(|key| world.store.damage(key));
    let report = publish(&world, &bucket, NOW.plus(Lifetime::minutes(1))).await;
    assert_eq!((report.done.as_slice(), report.failed.as_slice()), ([LIST.to_owned()].as_slice(), [].as_slice()));
    assert!(bucket.lists(LIST, &leaf.serial) && bucket.number(LIST) > head.number);
}

#[tokio::test]
async fn two_runs_at_once_put_each_object_once() {
    let (world, bucket) = (World::new().await, Bucket::default());
    let (one, other) = tokio::join!(publish(&world, &bucket, NOW), publish(&world, &bucket, NOW));
    let mut put = [one.done, other.done].concat();
    put.sort();
    assert_eq!(put, bucket.names(), "each by one of them");
    assert!(one.failed.is_empty() && other.failed.is_empty());
}

#[tokio::test]
async fn a_piece_that_fails_stops_no_other_and_time_that_is_over_stops_the_run() {
    let (world, bucket) = (World::new().await, Bucket::default());
    *bucket.broken.lock().unwrap() = Some("crl/acme.1.crl");
    let report = publish(&world, &bucket, NOW).await;
    assert_eq!((report.done.len(), report.failed.len()), (10, 1), "{report:?}");
    assert_eq!(report.failed[0].0, "crl/acme.1.crl");
    *bucket.broken.lock().unwrap() = None;
    let stopped = publication::publish(&world.app, &Chore::new("publish", NOW), &bucket, &|| None).await.unwrap();
    assert!(stopped.unfinished && stopped.done.is_empty());
    assert_eq!(publish(&world, &bucket, NOW).await.done, ["crl/acme.1.crl"]);
}

#[tokio::test]
async fn a_rotation_reaches_the_bundle() {
    let (world, bucket) = (World::new().await, Bucket::default());
    publish(&world, &bucket, NOW).await;
    let half_life = NOW.plus(Lifetime::days(370));
    let rotated =
        lifecycle::rotate_due_cas(&world.app, &Chore::new("rotate-cas", half_life), &|| Some(half_life)).await.unwrap();
    assert!(rotated.done.iter().any(|step| step == "prepared acme.2") && rotated.failed.is_empty(), "{rotated:?}");
    let again =
        lifecycle::rotate_due_cas(&world.app, &Chore::new("rotate-cas", half_life), &|| Some(half_life)).await.unwrap();
    assert_eq!(again, TaskReport::default(), "nothing is due any more");
    let published = publish(&world, &bucket, half_life).await;
    assert!(published.done.contains(&"bundles/acme.pem".to_owned()), "{published:?}");
    let pem = String::from_utf8(bucket.content("bundles/acme.pem")).unwrap();
    assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 2);
    let bundle: serde_json::Value = serde_json::from_slice(&bucket.content("bundles/acme.json")).unwrap();
    assert_eq!((bundle["spiffe_sequence"].as_u64(), bundle["keys"].as_array().unwrap().len()), (Some(3), 2));
}
