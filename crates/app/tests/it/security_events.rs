//! How far receivers were told of security events: across nodes, gaps of the feed, long absences and feeds put back.

use std::sync::Arc;

use signet_app::{
    App, Settings,
    principals::deletion,
    trust::security_events::{OpenEvents, PollSecurityEvents, poll_security_events, revoked_facts},
};
use signet_core::{
    PrincipalType, Store, Time,
    store::{
        Entity as _,
        commit::{Commit, Write},
    },
    trust::{
        EventPlace, RevokedSession, SecurityEvent, SecurityEventStream, Trust,
        change::{Change, ChangeEntry, ChangeHead},
    },
};
use signet_testkit::{
    faulty::{FaultyStore, Hidden},
    fixtures::{NOW, later},
};

use crate::{
    feed::{announce, enrolled, revoke, suspend},
    nodes::{Node, Site},
    world::{acme, admin, at, call, environment, pid, tid},
};

async fn poll(app: &App, trust: &Trust, now: Time, acknowledged: &[String]) -> OpenEvents {
    let poll = PollSecurityEvents { acknowledged: acknowledged.to_vec(), most: 100, ..Default::default() };
    let call = at(call("PollSecurityEvents"), now);
    poll_security_events(app, trust, &call, (&acme(), &pid("api")), &poll).await.unwrap()
}

/// A node that knows all that there is at `now`.
async fn node(site: &Site, now: Time) -> Node {
    let mut node = site.node();
    follow(&mut node, now).await;
    node
}

async fn follow(node: &mut Node, now: Time) {
    node.uptime.follow(now);
    node.follower.poll(now).await.unwrap();
}

fn of(open: &OpenEvents) -> Vec<RevokedSession> {
    open.events.iter().map(|event| event.of.clone()).collect()
}

fn ids(open: &OpenEvents) -> Vec<String> {
    open.events.iter().map(|event| open.stream.token_id(event)).collect()
}

async fn stored(site: &Site) -> SecurityEventStream {
    let key = SecurityEventStream::key_of(&tid("acme"), &pid("api"));
    environment().get::<SecurityEventStream>(&*site.store, &key, NOW).await.unwrap().unwrap().value
}

#[tokio::test]
async fn a_new_receiver_hears_of_what_comes_and_not_of_what_was() {
    let site = Site::new().await;
    let (first, second) = (enrolled(&site, "w-1").await, enrolled(&site, "w-2").await);
    revoke(&site, &first, NOW).await;
    let mut node = node(&site, NOW).await;
    let begun = poll(&site.app, &node.trust, NOW, &[]).await;
    assert!(begun.events.is_empty() && !begun.more && !begun.stream.is_known);
    revoke(&site, &second, NOW).await;
    suspend(&site, "w-2", NOW).await;
    follow(&mut node, later(1)).await;
    let open = poll(&site.app, &node.trust, later(1), &[]).await;
    let revoked = RevokedSession::Certificate { serial: second.serial, issuer: None };
    assert_eq!(open.events.len(), 2);
    assert!(of(&open).contains(&revoked) && of(&open).contains(&RevokedSession::Principal(pid("w-2"))));
    for event in &open.events {
        let facts = revoked_facts(&site.app, &node.trust, &acme(), event, NOW).await.unwrap();
        assert_eq!(facts.holder, Some((PrincipalType::Worker, pid("w-2"))));
        let certificate = Some(format!("{}/{}", second.issuer, second.serial));
        assert_eq!(facts.certificate, certificate.filter(|_| event.of == revoked));
    }
    // Told again until it is acknowledged, each time by the same name; the beginning too.
    assert_eq!(ids(&poll(&site.app, &node.trust, later(2), &[]).await), ids(&open));
    let known = [ids(&open), vec![open.stream.first_token_id()]].concat();
    let done = poll(&site.app, &node.trust, later(3), &known).await;
    assert_eq!((of(&done), done.acknowledged, done.stream.is_known), (vec![], 3, true));
    assert_eq!(stored(&site).await, done.stream);
    // Another's, or one that is long gone.
    let again = poll(&site.app, &node.trust, later(3), &[ids(&open)[0].clone(), "x".repeat(32)]).await;
    assert_eq!((again.acknowledged, again.stream), (0, done.stream));
}

/// What a node that has just started does not remember it finds in the feed, a part at a time.
#[tokio::test]
async fn who_was_away_for_long_hears_of_all_that_still_matters() {
    let site = Site::in_memory().await;
    let start = node(&site, NOW).await;
    poll(&site.app, &start.trust, NOW, &[]).await;
    // Of another tenant, or none at all, and more than one poll reads.
    let denied = |id: String| (Change::PrincipalDenied { principal: pid(&id), until: later(86_400) }, later(86_400));
    announce(&site, &[denied("first".into())]).await;
    let roles = Change::PrincipalRoles { principal: pid("w"), roles: Vec::new(), until: later(86_400) };
    for _ in 0..45 {
        announce(&site, &vec![(roles.clone(), later(86_400)); 100]).await;
    }
    announce(&site, &[denied("last".into())]).await;
    let fresh = node(&site, later(3600)).await;
    let (mut found, mut polls) = (Vec::new(), 0);
    loop {
        let open = poll(&site.app, &fresh.trust, later(3600), &[]).await;
        found.extend(of(&open));
        polls += 1;
        let more = open.more;
        poll(&site.app, &fresh.trust, later(3600), &ids(&open)).await;
        if !more {
            break;
        }
        assert!(polls < 10);
    }
    assert_eq!(found, ["first", "last"].map(|id| RevokedSession::Principal(pid(id))));
    assert!(polls > 1, "a part at a time");
    println!("{polls} polls for {} entries", 45 * 100 + 2);
    // It has read on, though nothing was acknowledged of most: the next node has little to read.
    assert!(stored(&site).await.read.iter().sum::<u64>() >= 4_500);
}

/// A query may show what was committed later, and not what was committed before.
#[tokio::test]
async fn what_turns_up_late_is_told_though_later_events_are_acknowledged() {
    let site = Site::new().await;
    let faulty = FaultyStore::new(Arc::clone(&site.store));
    let mut node = site.node_on(&(faulty.clone() as Arc<dyn Store>));
    follow(&mut node, NOW).await;
    poll(&site.app, &node.trust, NOW, &[]).await;
    let denied = |id: &str| (Change::PrincipalDenied { principal: pid(id), until: later(86_400) }, later(86_400));
    announce(&site, &[denied("late"), denied("soon")]).await;
    let shard = ChangeHead::shard_of(&tid("acme"));
    let (entries, _) =
        environment().list::<ChangeEntry>(&*site.store, &ChangeEntry::newest_first(shard), NOW).await.unwrap();
    faulty.hide(Hidden::Record(entries[1].value.key()));
    follow(&mut node, later(1)).await;
    let open = poll(&site.app, &node.trust, later(1), &[]).await;
    assert_eq!(of(&open), [RevokedSession::Principal(pid("soon"))]);
    let done = poll(&site.app, &node.trust, later(1), &ids(&open)).await;
    assert!(done.events.is_empty());
    faulty.show_all();
    follow(&mut node, later(2)).await;
    let open = poll(&site.app, &node.trust, later(2), &[]).await;
    assert_eq!(of(&open), [RevokedSession::Principal(pid("late"))]);
    let done = poll(&site.app, &node.trust, later(2), &ids(&open)).await;
    assert!(done.events.is_empty() && done.stream.ahead.is_empty());
}

/// Whoever put the feed back has other entries with the same numbers.
#[tokio::test]
async fn a_feed_that_ends_before_what_was_read_is_told_from_its_beginning() {
    let site = Site::new().await;
    let node = node(&site, NOW).await;
    let mut stream = poll(&site.app, &node.trust, NOW, &[]).await.stream;
    stream.read = [u64::MAX - 1; 4];
    let version = {
        let key = stream.key();
        environment().get::<SecurityEventStream>(&*site.store, &key, NOW).await.unwrap().unwrap().version
    };
    let commit = Commit::bookkeeping(NOW).write(Write::replace(stream, version));
    site.store.transact(commit.to_transaction(None)).await.unwrap();
    suspend_nobody(&site).await;
    let fresh = self::node(&site, later(1)).await;
    let open = poll(&site.app, &fresh.trust, later(1), &[]).await;
    assert_eq!(of(&open), [RevokedSession::Principal(pid("somebody"))]);
    assert!(stored(&site).await.read.iter().all(|read| *read < u64::MAX - 1));
}

/// Its receiver is told that it begins anew, and nobody has to mend anything.
#[tokio::test]
async fn a_stream_that_cannot_be_read_is_a_lost_one() {
    let site = Site::new().await;
    let faulty = FaultyStore::new(Arc::clone(&site.store));
    let app = site.app_on(&(faulty.clone() as Arc<dyn Store>), Settings::default());
    let node = node(&site, NOW).await;
    let first = poll(&app, &node.trust, NOW, &[]).await.stream;
    poll(&app, &node.trust, NOW, &[first.first_token_id()]).await;
    faulty.damage(first.key());
    let second = poll(&app, &node.trust, later(1), &[]).await.stream;
    assert!(second.id != first.id && !second.is_known);
    faulty.mend_all();
    assert_eq!(stored(&site).await, second);
}

async fn suspend_nobody(site: &Site) {
    announce(site, &[(Change::PrincipalDenied { principal: pid("somebody"), until: later(86_400) }, later(86_400))])
        .await;
}

#[tokio::test]
async fn a_tenant_has_a_hundred_receivers_at_most() {
    let site = Site::new().await;
    let node = node(&site, NOW).await;
    let ask = |id: String| {
        let (app, trust) = (&site.app, &node.trust);
        async move {
            let poll = PollSecurityEvents { most: 1, ..Default::default() };
            poll_security_events(app, trust, &call("PollSecurityEvents"), (&acme(), &pid(&id)), &poll).await
        }
    };
    for number in 0..100 {
        ask(format!("r-{number}")).await.unwrap();
    }
    assert_eq!(ask("one-more".into()).await.unwrap_err().reason(), "TOO_MANY_RECEIVERS");
    assert!(ask("r-7".into()).await.is_ok());
    // One who is deleted makes room for one.
    enrolled(&site, "r-8").await;
    delete(&site, "r-8").await;
    assert!(ask("one-more".into()).await.is_ok());
    assert_eq!(ask("another".into()).await.unwrap_err().reason(), "TOO_MANY_RECEIVERS");
}

async fn delete(site: &Site, id: &str) {
    deletion::delete_principal(&site.app, &call("DeletePrincipal"), &admin(), &acme(), &pid(id)).await.unwrap();
}

/// Whoever leaves an old event open is told of what comes, but does not have the feed read for it again and again: all
/// nodes follow it.
#[tokio::test]
async fn the_feed_is_not_read_without_end_for_receivers_that_leave_old_events_open() {
    let site = Site::new().await;
    let start = node(&site, NOW).await;
    poll(&site.app, &start.trust, NOW, &[]).await;
    suspend_nobody(&site).await;
    // It does not remember what came before it.
    let fresh = node(&site, later(60)).await;
    let ask = async |now| {
        let call = at(call("PollSecurityEvents"), now);
        let poll = PollSecurityEvents { most: 100, ..Default::default() };
        poll_security_events(&site.app, &fresh.trust, &call, (&acme(), &pid("api")), &poll).await
    };
    for _ in 0..30 {
        assert_eq!(ask(later(60)).await.unwrap().events.len(), 1);
    }
    assert_eq!(ask(later(60)).await.unwrap_err().reason(), "TOO_MANY_OLD_EVENTS");
    assert_eq!(ask(later(62)).await.unwrap().events.len(), 1);
}

/// What is told as acknowledged is, and what changes nothing is not written.
#[tokio::test]
async fn more_than_may_be_ahead_of_an_open_event_is_not_taken_for_acknowledged() {
    let site = Site::in_memory().await;
    let mut node = node(&site, NOW).await;
    poll(&site.app, &node.trust, NOW, &[]).await;
    suspend_nobody(&site).await;
    let denied = |id: usize| {
        (Change::PrincipalDenied { principal: pid(&format!("w-{id}")), until: later(86_400) }, later(86_400))
    };
    for hundred in 0..11 {
        announce(&site, &(0..100).map(|one| denied(hundred * 100 + one)).collect::<Vec<_>>()).await;
    }
    follow(&mut node, later(1)).await;
    let all = PollSecurityEvents { most: 2000, ..Default::default() };
    let call = at(call("PollSecurityEvents"), later(1));
    let open = poll_security_events(&site.app, &node.trust, &call, (&acme(), &pid("api")), &all).await.unwrap();
    assert_eq!(open.events.len(), 1101);
    let but_the_first = &ids(&open)[1..];
    let mut acknowledged = 0;
    for part in but_the_first.chunks(100) {
        acknowledged += poll(&site.app, &node.trust, later(1), part).await.acknowledged;
    }
    assert_eq!(acknowledged, stored(&site).await.ahead.len());
    let before = stored(&site).await;
    assert_eq!(poll(&site.app, &node.trust, later(2), but_the_first).await.acknowledged, 0);
    assert_eq!(stored(&site).await, before, "nothing changed, so nothing is written");
}

/// Unlike all others: also of the same event on another stream, and of another event in the same place.
#[test]
fn names_of_tokens_say_nothing_and_are_unlike_all_others() {
    let event = |sequence: u64, at: Time, id: &str| SecurityEvent {
        tenant: tid("acme"),
        place: EventPlace { shard: 0, sequence, change: 0 },
        at,
        of: RevokedSession::Principal(pid(id)),
    };
    let stream = |id: &str| SecurityEventStream::new(tid("acme"), pid("api"), id.into(), [0; 4], NOW);
    let (one, two) = (stream("1"), stream("2"));
    let first = event(7, NOW, "w-1");
    let names = [
        one.token_id(&first),
        two.token_id(&first),
        one.token_id(&event(8, NOW, "w-1")),
        one.token_id(&event(7, later(1), "w-1")),
        one.token_id(&event(7, NOW, "w-2")),
        one.first_token_id(),
        two.first_token_id(),
    ];
    assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len());
    assert_eq!(one.token_id(&first), one.token_id(&first.clone()));
    assert!(names.iter().all(|name| name.len() == 32));
    // A feed that was put back has other events in the places of those that were acknowledged.
    let mut known = one.clone();
    assert!(known.acknowledge(&first) && !known.acknowledge(&first));
    assert!(
        !known.is_open(&first) && known.is_open(&event(7, later(1), "w-1")) && known.is_open(&event(7, NOW, "w-2"))
    );
}
