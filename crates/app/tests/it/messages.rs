//! Secrets of devices and their messages: over time, on two nodes, and what faults and a restore make of them.

use std::sync::Arc;

use signet_app::{
    App, Call,
    messages::{self, AcceptedMessage, MessageQuestion, MessageVerdict, RotateMessageSecret, RotatedSecret},
    principals,
};
use signet_core::{
    Error, Lifetime, PrincipalId, PrincipalType, Store as _, Time,
    audit::AuditEvent,
    messages::{GRACE, LATE_AFTER, MessageKey, MessageSecret},
    store::{Body, Write, commit::Commit},
    trust::change::Notice,
};
use signet_messages::{MessageRefusal, SignedBy, SignedMessage, SigningSecret};
use signet_testkit::{
    faulty::{Fault, Op},
    fixtures::NOW,
};

use crate::world::*;

async fn device(world: &World, id: &str) {
    let input = new_principal(id, PrincipalType::Device, &[]);
    principals::create_principal(&world.app, &call("CreatePrincipal"), &acme(), input).await.unwrap();
}

async fn rotate_with(world: &World, call: Call, id: &str, at_once: bool) -> Result<RotatedSecret, Error> {
    let input = RotateMessageSecret { principal: pid(id), at_once };
    messages::rotate_message_secret(&world.app, &call, &admin(), &acme(), input).await
}

async fn rotate(world: &World, id: &str, now: Time) -> SigningSecret {
    rotate_with(world, at(call("RotateMessageSecret"), now), id, false).await.unwrap().secret
}

/// Has `app` verify a message that is signed with `secret` at `now`.
async fn verify_on(
    app: &App,
    call: Call,
    id: &str,
    secret: &SigningSecret,
    message: &str,
) -> Result<MessageVerdict, Error> {
    verify_of(app, call, "acme", id, secret, message, &|_| true).await
}

async fn verify_of(
    app: &App,
    call: Call,
    tenant: &str,
    id: &str,
    secret: &SigningSecret,
    message: &str,
    admits: &(dyn Fn(&PrincipalId) -> bool + Sync),
) -> Result<MessageVerdict, Error> {
    let seconds = call.now.unix_seconds();
    let (timestamp, signatures) = (seconds.to_string(), secret.sign(message, seconds, b"21.5"));
    let message = SignedMessage { id: message, timestamp: &timestamp, signatures: &signatures, body: b"21.5" };
    let (principal, scope) = (pid(id), scope(tenant));
    let question = MessageQuestion { principal: &principal, message };
    messages::verify_message(app, &call, &scope, admits, question).await
}

async fn verify(world: &World, id: &str, secret: &SigningSecret, message: &str, now: Time) -> MessageVerdict {
    verify_on(&world.app, at(call("VerifyMessage"), now), id, secret, message).await.unwrap()
}

fn by(verdict: MessageVerdict) -> Result<SignedBy, MessageRefusal> {
    verdict.map(|accepted| accepted.by)
}

#[tokio::test]
async fn the_secret_before_verifies_for_an_hour_and_its_late_use_is_in_the_log_once() {
    let world = World::new().await;
    device(&world, "d1").await;
    let first = rotate(&world, "d1", NOW).await;
    assert_eq!(by(verify(&world, "d1", &first, "a", NOW).await), Ok(SignedBy::Current));
    let second = rotate(&world, "d1", NOW).await;
    let until = NOW.plus(GRACE);
    let accepted = verify(&world, "d1", &first, "b", NOW).await.unwrap();
    assert_eq!(accepted, AcceptedMessage { by: SignedBy::Previous, grace_until: Some(until) });
    assert_eq!(by(verify(&world, "d1", &second, "c", NOW).await), Ok(SignedBy::Current));
    assert!(world.outcomes("VerifyMessage").is_empty(), "too early to be of interest");
    for (number, message) in [(0, "d"), (1, "e"), (2, "f")] {
        let late = NOW.plus(LATE_AFTER).plus(Lifetime::seconds(number));
        assert_eq!(by(verify(&world, "d1", &first, message, late).await), Ok(SignedBy::Previous));
    }
    assert_eq!(world.outcomes("VerifyMessage"), ["MESSAGE_SECRET_LATE"], "once");
    let over = verify(&world, "d1", &first, "g", until).await;
    assert_eq!(by(over), Err(MessageRefusal::WrongSignature));
}

#[tokio::test]
async fn a_compromised_secret_ends_at_once_and_no_third_one_locks_a_device_out() {
    let world = World::new().await;
    device(&world, "d1").await;
    let first = rotate(&world, "d1", NOW).await;
    rotate(&world, "d1", NOW).await;
    let waits = rotate_with(&world, call("RotateMessageSecret"), "d1", false).await.unwrap_err();
    assert_eq!(waits.reason(), "SECRET_IN_GRACE");
    assert_eq!(by(verify(&world, "d1", &first, "a", NOW).await), Ok(SignedBy::Previous));
    let third = rotate_with(&world, call("RotateMessageSecret"), "d1", true).await.unwrap().secret;
    assert_eq!(by(verify(&world, "d1", &first, "b", NOW).await), Err(MessageRefusal::WrongSignature));
    assert_eq!(by(verify(&world, "d1", &third, "c", NOW).await), Ok(SignedBy::Current));
    messages::delete_message_secret(&world.app, &call("DeleteMessageSecret"), &admin(), &acme(), &pid("d1"))
        .await
        .unwrap();
    assert_eq!(by(verify(&world, "d1", &third, "d", NOW).await), Err(MessageRefusal::UnknownSender));
}

/// Only who asked, and with the same request id; and not once another secret has taken its place.
#[tokio::test]
async fn a_repetition_is_shown_the_same_secret_and_nobody_else_is() {
    let world = World::new().await;
    device(&world, "d1").await;
    let request = || call_with_id("RotateMessageSecret", "r-1");
    let text = |rotated: RotatedSecret| rotated.secret.to_text().to_string();
    let first = text(rotate_with(&world, request(), "d1", false).await.unwrap());
    assert_eq!(text(rotate_with(&world, request(), "d1", false).await.unwrap()), first);
    let other = Call { actor: signet_core::Actor::Process { name: "other" }, ..request() };
    let waits_not = rotate_with(&world, other, "d1", false).await.unwrap();
    assert_ne!(text(waits_not), first, "another caller's request is another one");
    let late = rotate_with(&world, request(), "d1", false).await.unwrap_err();
    assert_eq!(late.reason(), "SECRET_NOT_KEPT");
}

#[tokio::test]
async fn a_message_is_accepted_once_on_all_nodes_and_its_repeated_call_is_no_replay() {
    let world = World::new().await;
    device(&world, "d1").await;
    let secret = rotate(&world, "d1", NOW).await;
    let (node, other) = (Arc::clone(&world.app), world.other_node());
    let verify = |app: Arc<App>, request: &'static str| {
        let (secret, call) = (secret.clone(), call_with_id("VerifyMessage", request));
        async move { by(verify_on(&app, call, "d1", &secret, "a").await.unwrap()) }
    };
    let at_once: Vec<_> = (0..16)
        .map(|number| verify(Arc::clone(if number % 2 == 0 { &node } else { &other }), ["r-1", "r-2"][number % 2]))
        .collect();
    let accepted = futures::future::join_all(at_once).await;
    let of = |request: usize| accepted.iter().skip(request).step_by(2).filter(|answer| answer.is_ok()).count();
    assert_eq!([of(0), of(1)].iter().filter(|accepted| **accepted == 8).count(), 1, "{accepted:?}");
    assert_eq!([of(0), of(1)].iter().filter(|accepted| **accepted == 0).count(), 1, "{accepted:?}");
    let plain = verify_on(&other, call("VerifyMessage"), "d1", &secret, "a").await.unwrap();
    assert_eq!(by(plain), Err(MessageRefusal::Replayed));
}

#[tokio::test]
async fn what_cannot_be_noted_is_not_accepted_and_may_come_again() {
    let world = World::new().await;
    device(&world, "d1").await;
    let secret = rotate(&world, "d1", NOW).await;
    for (fault, message) in Fault::of_writes().into_iter().skip(2).zip(["a", "b"]) {
        world.store.arm(0, fault.clone());
        let first = verify_on(&world.app, call_with_id("VerifyMessage", "r-1"), "d1", &secret, message).await;
        assert!(world.store.restart(), "the fault did not happen");
        assert_eq!(by(first.unwrap()), Ok(SignedBy::Current), "{fault:?}");
        let again = verify_on(&world.app, call_with_id("VerifyMessage", "r-1"), "d1", &secret, message).await;
        assert_eq!(by(again.unwrap()), Ok(SignedBy::Current), "{fault:?}");
    }
    // The call knows its own write, without a request id, too; a second call does not.
    world.store.arm(0, Fault::lost_answer());
    assert_eq!(by(verify(&world, "d1", &secret, "c", NOW).await), Ok(SignedBy::Current));
    assert_eq!(by(verify(&world, "d1", &secret, "c", NOW).await), Err(MessageRefusal::Replayed));
    assert!(world.store.restart());
    world.store.set_down(true);
    assert!(verify_on(&world.app, call("VerifyMessage"), "d1", &secret, "d").await.is_err());
    world.store.restart();
    assert_eq!(by(verify(&world, "d1", &secret, "d", NOW).await), Ok(SignedBy::Current));
}

/// What is bad costs nothing, or one read: never a write.
#[tokio::test]
async fn a_bad_message_costs_a_read_at_most() {
    let world = World::new().await;
    device(&world, "d1").await;
    let secret = rotate(&world, "d1", NOW).await;
    verify(&world, "d1", &secret, "warm", NOW).await.unwrap();
    let other = SigningSecret::new([7; 32]);
    let late = NOW.plus(Lifetime::seconds(301));
    let long = "m".repeat(65);
    let at_now = |message: &str, secret: &SigningSecret, seconds: i64| {
        (message.to_owned(), seconds.to_string(), secret.sign(message, seconds, b"x"))
    };
    let now = NOW.unix_seconds();
    for ((id, timestamp, signatures), device, at_time, reads, refusal) in [
        (at_now("a", &secret, now), "d1", late, 0, MessageRefusal::TooOld),
        (at_now("a", &secret, now + 301), "d1", NOW, 0, MessageRefusal::TooNew),
        (at_now(&long, &secret, now), "d1", NOW, 0, MessageRefusal::Malformed),
        (("a".into(), "soon".into(), String::new()), "d1", NOW, 0, MessageRefusal::Malformed),
        (("a".into(), now.to_string(), "v1,".repeat(1000)), "d1", NOW, 0, MessageRefusal::Malformed),
        (at_now("a", &other, now), "d1", NOW, 1, MessageRefusal::WrongSignature),
        (at_now("a", &secret, now), "d2", NOW, 1, MessageRefusal::UnknownSender),
        (at_now("a", &secret, now), "suspended", NOW, 0, MessageRefusal::SenderRefused),
    ] {
        let before = (world.store.count(Op::READS), world.store.transactions());
        let message = SignedMessage { id: &id, timestamp: &timestamp, signatures: &signatures, body: b"x" };
        let principal = pid(device);
        let question = MessageQuestion { principal: &principal, message };
        let call = at(call("VerifyMessage"), at_time);
        let admits = |of: &PrincipalId| of.as_str() != "suspended";
        let verdict = messages::verify_message(&world.app, &call, &acme(), &admits, question).await.unwrap();
        assert_eq!(by(verdict), Err(refusal), "{id} {timestamp}");
        let cost = (world.store.count(Op::READS) - before.0, world.store.transactions() - before.1);
        assert_eq!(cost, (reads, 0), "{refusal:?}");
    }
}

#[tokio::test]
async fn a_device_that_is_suspended_deleted_or_anothers_sends_nothing() {
    let world = World::new().await;
    world.tenant("globex").await;
    device(&world, "d1").await;
    let secret = rotate(&world, "d1", NOW).await;
    let foreign = verify_of(&world.app, call("VerifyMessage"), "globex", "d1", &secret, "a", &|_| true).await.unwrap();
    assert_eq!(by(foreign), Err(MessageRefusal::UnknownSender));
    let (suspend, activate) = (call("SuspendPrincipal"), call("ActivatePrincipal"));
    principals::suspend_principal(&world.app, &suspend, &admin(), &acme(), &pid("d1")).await.unwrap();
    assert_eq!(by(verify(&world, "d1", &secret, "a", NOW).await), Err(MessageRefusal::SenderRefused));
    principals::activate_principal(&world.app, &activate, &admin(), &acme(), &pid("d1")).await.unwrap();
    assert_eq!(by(verify(&world, "d1", &secret, "a", NOW).await), Ok(SignedBy::Current), "it was not accepted before");
    let delete = call("DeletePrincipal");
    principals::deletion::delete_principal(&world.app, &delete, &admin(), &acme(), &pid("d1")).await.unwrap();
    assert_eq!(by(verify(&world, "d1", &secret, "b", NOW).await), Err(MessageRefusal::UnknownSender));
    let gone = messages::get_message_secret(&world.app, &call("GetMessageSecret"), &acme(), &pid("d1")).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
}

#[tokio::test]
async fn nodes_that_make_the_first_secret_at_once_make_one_key() {
    let world = World::new().await;
    for number in 0..8 {
        device(&world, &format!("d{number}")).await;
    }
    // Each on a node of its own: what one node announces at once, it commits together.
    let rotated = (0..8).map(|number| {
        let app = world.restarted(100 + number).app;
        async move {
            let input = RotateMessageSecret { principal: pid(&format!("d{number}")), at_once: false };
            let call = call("RotateMessageSecret");
            messages::rotate_message_secret(&app, &call, &admin(), &acme(), input).await.unwrap().secret
        }
    });
    let rotated = futures::future::join_all(rotated).await;
    for (number, secret) in rotated.iter().enumerate() {
        let verdict = verify(&world, &format!("d{number}"), secret, "a", NOW).await;
        assert_eq!(by(verdict), Ok(SignedBy::Current));
    }
    let keys = world.ledger.applied().into_iter().flatten();
    let made = keys.filter(|write| matches!(write, Write::Create(Body::MessageKey(_)))).count();
    assert_eq!(made, 1);
}

#[tokio::test]
async fn neither_the_store_nor_the_log_has_a_secret_and_anothers_place_does_not_open_it() {
    let world = World::new().await;
    for id in ["d1", "d2"] {
        device(&world, id).await;
    }
    let secret = rotate(&world, "d1", NOW).await;
    rotate(&world, "d2", NOW).await;
    let written = format!("{:?}", world.ledger.applied());
    let text = secret.to_text();
    let numbers = format!("{:?}", &secret.as_bytes()[..8]);
    assert!(
        !written.contains(text.trim_start_matches("whsec_")) && !written.contains(numbers.trim_matches(['[', ']']))
    );
    // What is d1's, as d2's.
    let (of_d1, of_d2) = (acme_record(&world, "d1").await, acme_record(&world, "d2").await);
    let moved = MessageSecret { current: of_d1.value.current, ..of_d2.value };
    let event = world.ledger.events().pop().unwrap();
    let event = AuditEvent { id: "test".into(), ..event };
    let commit = Commit::audited(event, NOW).write(Write::replace(moved, of_d2.version));
    world.store.transact(commit.to_transaction(None)).await.unwrap();
    assert_eq!(by(verify(&world, "d2", &secret, "a", NOW).await), Err(MessageRefusal::Unknown));
}

async fn acme_record(world: &World, id: &str) -> signet_core::store::Versioned<MessageSecret> {
    acme().get(&*world.store, &MessageSecret::key_of(&tid("acme"), &pid(id)), NOW).await.unwrap().unwrap()
}

#[tokio::test]
async fn verifiers_get_secrets_that_hold_and_the_log_says_whose() {
    let world = World::new().await;
    for id in ["d1", "d2", "d3"] {
        device(&world, id).await;
    }
    let (first, second) = (rotate(&world, "d1", NOW).await, rotate(&world, "d1", NOW).await);
    rotate(&world, "d2", NOW).await;
    principals::suspend_principal(&world.app, &call("SuspendPrincipal"), &admin(), &acme(), &pid("d2")).await.unwrap();
    let devices = ["d1", "d2", "d3", "ghost"].map(pid).to_vec();
    let fetch = call("FetchMessageSecrets");
    let found = messages::fetch_message_secrets(&world.app, &fetch, &acme(), &|_| true, devices, &[]).await.unwrap();
    let (current, previous) = found[0].secrets.as_ref().unwrap();
    assert_eq!(current.as_bytes(), second.as_bytes());
    let (previous, until) = previous.as_ref().unwrap();
    assert_eq!((previous.as_bytes(), *until), (first.as_bytes(), NOW.plus(GRACE)));
    let refused: Vec<_> = found[1..].iter().map(|of| *of.secrets.as_ref().unwrap_err()).collect();
    let expected = [MessageRefusal::SenderRefused, MessageRefusal::UnknownSender, MessageRefusal::UnknownSender];
    assert_eq!(refused, expected);
    let payload = world.ledger.events().pop().unwrap().payload;
    assert!(payload.contains(r#""operation":"FetchMessageSecrets""#) && payload.contains(r#""devices":"d1""#));
    let ghosts = vec![pid("ghost")];
    let events = world.ledger.events().len();
    messages::fetch_message_secrets(&world.app, &fetch, &acme(), &|_| true, ghosts, &[]).await.unwrap();
    assert_eq!(world.ledger.events().len(), events, "nothing was given");
}

/// A verifier of its own tells of it, any number of times.
#[tokio::test]
async fn late_use_that_a_verifier_tells_of_is_in_the_log_once() {
    let world = World::new().await;
    device(&world, "d1").await;
    rotate(&world, "d1", NOW).await;
    rotate(&world, "d1", NOW).await;
    let tell = async |now| {
        let fetch = at(call("FetchMessageSecrets"), now);
        let late = ["d1", "ghost"].map(pid);
        messages::fetch_message_secrets(&world.app, &fetch, &acme(), &|_| true, Vec::new(), &late).await.unwrap();
    };
    tell(NOW).await;
    assert!(world.outcomes("FetchMessageSecrets").is_empty(), "it is early");
    for _ in 0..3 {
        tell(NOW.plus(LATE_AFTER)).await;
    }
    assert_eq!(world.outcomes("FetchMessageSecrets"), ["MESSAGE_SECRET_LATE"]);
}

#[tokio::test]
async fn each_change_tells_verifiers_and_no_node_of_an_earlier_release_refuses_anybody_for_it() {
    let world = World::new().await;
    device(&world, "d1").await;
    rotate(&world, "d1", NOW).await;
    let entries = world.ledger.applied().into_iter().flatten().filter_map(|write| match write {
        Write::Create(Body::Change(entry)) if !entry.notices.is_empty() => Some(entry),
        _ => None,
    });
    let entry = entries.last().unwrap();
    assert_eq!(entry.notices, [Notice::MessageSecretChanged { principal: pid("d1") }]);
    assert!(entry.changes.is_empty(), "an earlier release reads an entry without changes");
    let later = r#"{"notice":"of_a_later_release","x":1}"#;
    assert!(matches!(serde_json::from_str(later).unwrap(), Notice::Unknown(_)));
}

#[tokio::test]
async fn many_are_verified_at_once_in_their_order_and_twice_the_same_is_one() {
    let world = World::new().await;
    device(&world, "d1").await;
    let secret = rotate(&world, "d1", NOW).await;
    let now = NOW.unix_seconds();
    let (timestamp, ghost, d1) = (now.to_string(), pid("ghost"), pid("d1"));
    let signed: Vec<_> = ["a", "b", "a"].map(|id| (id, secret.sign(id, now, b"x"))).to_vec();
    let of = |principal, (id, signatures): &'static (&str, String)| {
        let timestamp: &'static str = timestamp.clone().leak();
        MessageQuestion { principal, message: SignedMessage { id, timestamp, signatures, body: b"x" } }
    };
    let signed: &'static [_] = signed.leak();
    let (d1, ghost): (&'static PrincipalId, &'static PrincipalId) =
        (Box::leak(Box::new(d1)), Box::leak(Box::new(ghost)));
    let questions = [of(d1, &signed[0]), of(d1, &signed[1]), of(ghost, &signed[0]), of(d1, &signed[2])];
    let call = call("BatchVerifyMessages");
    let answers = messages::verify_messages(&world.app, &call, &acme(), &|_| true, &questions).await.unwrap();
    let answers: Vec<_> = answers.into_iter().map(by).collect();
    let once = |answer: &Result<SignedBy, MessageRefusal>| answer.is_ok();
    assert_eq!([&answers[0], &answers[3]].into_iter().filter(|answer| once(answer)).count(), 1);
    assert_eq!((&answers[1], &answers[2]), (&Ok(SignedBy::Current), &Err(MessageRefusal::UnknownSender)));
    // The same with a request id, and the same answers again to who repeats the call.
    let signed: &'static _ = Box::leak(Box::new(("c", secret.sign("c", now, b"x"))));
    let questions = [of(d1, signed), of(d1, signed), of(d1, signed)];
    let call = call_with_id("BatchVerifyMessages", "one");
    let mut told = Vec::new();
    for _ in 0..2 {
        let answers = messages::verify_messages(&world.app, &call, &acme(), &|_| true, &questions).await.unwrap();
        told.push(answers.into_iter().map(by).collect::<Vec<_>>());
    }
    assert_eq!(told[0].iter().filter(|answer| once(answer)).count(), 1, "{told:?}");
    assert_eq!(told[0], told[1]);
    // A record that cannot be read is no trouble of the others.
    device(&world, "d2").await;
    rotate(&world, "d2", NOW).await;
    world.store.damage(MessageSecret::key_of(&tid("acme"), &pid("d2")));
    let d2: &'static PrincipalId = Box::leak(Box::new(pid("d2")));
    let signed: &'static _ = Box::leak(Box::new(("d", secret.sign("d", now, b"x"))));
    let questions = [of(d2, signed), of(d1, signed)];
    let answers = messages::verify_messages(&world.app, &call, &acme(), &|_| true, &questions).await.unwrap();
    let answers: Vec<_> = answers.into_iter().map(by).collect();
    assert_eq!(answers, [Err(MessageRefusal::Unknown), Ok(SignedBy::Current)]);
}

#[tokio::test]
async fn a_restore_brings_back_no_secret_that_was_replaced_since() {
    use signet_core::restore::{
        merge::{Merged, merge},
        since::Since,
    };
    let world = World::new().await;
    device(&world, "d1").await;
    rotate(&world, "d1", NOW).await;
    let kept: Body = acme_record(&world, "d1").await.value.into();
    let mut since = Since::default();
    assert!(matches!(merge(&kept, None, &since, NOW), Merged::Changed(_)), "it was lost");
    assert!(matches!(merge(&kept, Some(&kept), &since, NOW), Merged::Same));
    rotate_with(&world, call("RotateMessageSecret"), "d1", true).await.unwrap();
    since.audited(&world.ledger.events().pop().unwrap());
    assert!(matches!(merge(&kept, None, &since, NOW), Merged::Same), "it may be known to others");
    let key = MessageKey::key_of(&tid("acme"));
    let key: Body = acme().get::<MessageKey>(&*world.store, &key, NOW).await.unwrap().unwrap().value.into();
    assert!(matches!(merge(&key, None, &since, NOW), Merged::Changed(_)), "nothing opens without it");
    assert_eq!(key.key(), MessageKey::key_of(&tid("acme")));
}

#[tokio::test]
async fn who_may_not_manage_a_device_makes_no_secret_of_it_and_only_devices_have_one() {
    let world = World::new().await;
    let input = new_principal("d1", PrincipalType::Device, &["gateway"]);
    principals::create_principal(&world.app, &call("CreatePrincipal"), &acme(), input).await.unwrap();
    let rotate = async |permit, id: &str| {
        let input = RotateMessageSecret { principal: pid(id), at_once: false };
        let made =
            messages::rotate_message_secret(&world.app, &call("RotateMessageSecret"), &permit, &acme(), input).await;
        made.map(drop).map_err(|error| error.reason())
    };
    assert_eq!(rotate(operator(), "d1").await, Err("PERMISSION_MISSING"));
    let own = permit_of(identity("acme", "d1", PrincipalType::Device, &["gateway"]), "message_secrets.rotate");
    assert_eq!(rotate(own.clone(), "d1").await, Ok(()));
    // Whoever has a copy of its certificate gets no secret by it.
    assert_eq!(rotate(own, "d1").await, Err("SECRET_HELD"));
    world.principal("w1").await;
    assert_eq!(rotate(admin(), "w1").await, Err("NOT_A_DEVICE"));
    assert_eq!(rotate(admin(), "ghost").await, Err("NOT_FOUND"));
}
