//! Enrollment and renewal.

use std::time::Duration;

use secrecy::SecretString;
use signet_client::{ClientError, Credentials, CredentialsError, Retry, enroll, renew};
use signet_x509::KeyPair;
use tonic::{Code, Status};

use crate::server::World;

fn token() -> SecretString {
    SecretString::from("the-token")
}

fn quick() -> Retry {
    Retry { attempts: 5, first_pause: Duration::from_millis(1), longest_pause: Duration::from_millis(5) }
}

#[tokio::test]
async fn a_token_becomes_an_identity_which_renews_itself_with_new_keys() {
    let world = World::new();
    let address = world.start(true).await;
    let anonymous = world.connector(address, None).channel();
    let first = enroll(&anonymous, &token(), Some("w-7"), quick()).await.unwrap();
    assert_eq!(first.facts().subject, "CN=w-7,O=acme");
    let channel = world.connector(address, Some(&first)).connect().await.unwrap();
    let second = renew(&channel, quick()).await.unwrap();
    assert_eq!(second.facts().subject, first.facts().subject);
    assert_ne!(second.facts().serial_number, first.facts().serial_number);
    assert_ne!(second.key().public_key(), first.key().public_key());
    world.connector(address, Some(&second)).connect().await.unwrap();
}

#[tokio::test]
async fn a_repeated_enrollment_is_the_same_request() {
    let world = World::new();
    let address = world.start(true).await;
    let failures = [Status::unavailable("a"), Status::deadline_exceeded("b"), Status::aborted("c")];
    world.script.lock().unwrap().extend(failures);
    let channel = world.connector(address, None).channel();
    enroll(&channel, &token(), Some("w-7"), quick()).await.unwrap();
    let seen = world.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|request| *request == seen[0]), "the same request id and the same key");
    assert_eq!(seen[0].0.len(), 32);
    // Another enrollment is another request, with another key.
    enroll(&channel, &token(), Some("w-8"), quick()).await.unwrap();
    let last = world.seen.lock().unwrap()[4].clone();
    assert!(last.0 != seen[0].0 && last.1 != seen[0].1);
}

#[tokio::test]
async fn patience_ends_and_refusals_are_not_repeated() {
    let world = World::new();
    let address = world.start(true).await;
    let channel = world.connector(address, None).channel();
    world.script.lock().unwrap().extend((0..5).map(|_| Status::unavailable("the store is not available")));
    let ClientError::Rpc(error) = enroll(&channel, &token(), None, quick()).await.unwrap_err() else {
        panic!("no RPC error")
    };
    assert_eq!((error.code, world.seen.lock().unwrap().len()), (Code::Unavailable, 5));
    let wrong = SecretString::from("another-token");
    let ClientError::Rpc(error) = enroll(&channel, &wrong, None, quick()).await.unwrap_err() else {
        panic!("no RPC error")
    };
    assert_eq!((error.code, world.seen.lock().unwrap().len()), (Code::PermissionDenied, 6));
}

#[test]
fn credentials_that_do_not_belong_together_are_refused() {
    let world = World::new();
    let (good, holder) = world.worker("w-1");
    let make = |chain: &[Vec<u8>], roots: &[Vec<u8>], key: KeyPair| {
        Credentials::new(chain.to_vec(), roots.to_vec(), key).unwrap_err()
    };
    let key = || KeyPair::from_pkcs8_der(holder.key.pkcs8_der()).unwrap();
    assert_eq!(make(good.chain_der(), good.root_der(), KeyPair::generate().unwrap()), CredentialsError::Mismatch);
    assert_eq!(make(&[], good.root_der(), key()), CredentialsError::Certificates("the chain"));
    assert_eq!(make(good.chain_der(), &[], key()), CredentialsError::Certificates("the root"));
    assert_eq!(make(good.chain_der(), &[vec![0]], key()), CredentialsError::Certificates("the root"));
    let shown = format!("{good:?}");
    let secret = good.key_pem();
    assert!(shown.contains("CN=w-1") && !shown.contains(&secret[40..60]), "{shown}");
}
