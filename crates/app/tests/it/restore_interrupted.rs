//! A restore that is cut off, that meets others, or that is of the wrong store.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use signet_app::{
    App, Call, Settings, certificates, principals,
    restore::{self, RestoreReport},
};
use signet_core::{
    Error, KeyManager, PrincipalType, Store, certificates::RevocationReason, principals::PrincipalStatus, store::Table,
};
use signet_testkit::{
    entropy::SeededEntropy,
    faulty::Fault,
    fixtures::{NOW, later},
    memory_store::MemoryStore,
};
use signet_x509::Environment;
use tokio::time::sleep;

use crate::{
    restore::{backup_of, earlier, restored},
    world::*,
};

async fn suspend(app: &App, id: &str, now: signet_core::Time) -> Result<(), Error> {
    let call = at(call("SuspendPrincipal"), now);
    principals::suspend_principal(app, &call, &admin(), &acme(), &pid(id)).await.map(|_| ())
}

/// Twelve workers, six of which are suspended after the backup; then all principals are as they were before.
async fn damaged() -> (World, Arc<MemoryStore>, MemoryStore) {
    let memory = Arc::new(MemoryStore::default());
    let world = World::on(Arc::<MemoryStore>::clone(&memory));
    world.bootstrap().await.unwrap();
    world.tenant("acme").await;
    for number in 0..12 {
        world.principal(&format!("worker-{number}")).await;
    }
    let backup = backup_of(&*memory).await;
    for number in 0..6 {
        suspend(&world.app, &format!("worker-{number}"), later(60)).await.unwrap();
    }
    for number in 0..12 {
        let key = signet_core::principals::Principal::key_of(&tid("acme"), &pid(&format!("worker-{number}")));
        let mut body = backup.body_of(&key).unwrap();
        body["display_name"] = serde_json::json!("wrong");
        memory.put_body(&key, &body);
    }
    (world, memory, backup)
}

async fn assert_restored(world: &World) {
    for number in 0..12 {
        let found = world.get_principal(&format!("worker-{number}")).await;
        let expected = if number < 6 { PrincipalStatus::Suspended } else { PrincipalStatus::Active };
        assert_eq!((found.status, found.display_name.as_str()), (expected, ""), "worker-{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_is_cut_off_keeps_others_from_writing_until_it_has_ended() {
    for write in 0.. {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            let (world, _memory, backup) = damaged().await;
            let other = world.other_node();
            world.store.arm(write, fault.clone());
            let first = restored(&world, &backup).await;
            let crashed = world.store.restart();
            if !crashed {
                assert!(first.is_ok(), "{first:?}");
                assert_restored(&world).await;
                assert!(write > 1, "there were writes to cut off");
                return;
            }
            assert!(first.is_err());
            // Whoever has looked before looks again by then.
            sleep(Duration::from_secs(2)).await;
            let marked = restore::under_way(&other, later(1300)).await.unwrap().is_some();
            let written = suspend(&other, "worker-7", later(1300)).await;
            match written {
                Ok(()) => assert!(!marked, "write {write}: others write while the marker is there"),
                Err(error) => {
                    assert!(marked, "{error}");
                    let Error::Restoring { cause } = error else { panic!("{error:?}") };
                    assert!(cause.contains("a restore from backup is under way"), "{cause}");
                }
            }
            let world = world.restarted(u64::try_from(write).unwrap() + 10);
            restored(&world, &backup).await.unwrap();
            assert_eq!(restore::under_way(&other, later(1300)).await.unwrap(), None);
            sleep(Duration::from_secs(2)).await;
            if marked {
                assert_restored(&world).await;
            }
            suspend(&other, "worker-8", later(1400)).await.unwrap();
        }
    }
}

/// What the first run has written hides the loss from the second.
#[tokio::test(start_paused = true)]
async fn a_run_that_goes_on_says_that_the_audit_log_was_lost_too() {
    for write in 1.. {
        let (world, (_, _, backup)) = (World::empty(), damaged().await);
        world.store.arm(write, Fault::CrashAfter);
        let first = restored(&world, &backup).await;
        if !world.store.restart() {
            assert!(first.unwrap().audit_lost && write > 3);
            return;
        }
        if restore::under_way(&world.app, later(1300)).await.unwrap().is_none() {
            continue;
        }
        let second = restored(&world.restarted(u64::try_from(write).unwrap()), &backup).await.unwrap();
        assert!(second.audit_lost, "cut off after write {write}: {second:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_later_run_takes_over_and_giving_up_lets_others_write() {
    let (world, _memory, backup) = damaged().await;
    world.store.arm(1, Fault::CrashBefore);
    restored(&world, &backup).await.unwrap_err();
    world.store.restart();
    let other = world.other_node();
    let source = earlier("another", &backup, &[]);
    let call = Call::process("restore", later(1300));
    let refused = restore::restore(&other, &call, &source, &RestoreReport::default()).await.unwrap_err();
    assert_eq!(refused.reason(), "RESTORE_UNDER_WAY");
    assert_eq!(restore::survey(&other, &call, &source).await.unwrap_err().reason(), "RESTORE_UNDER_WAY");
    assert!(restore::give_up(&other, &call).await.unwrap());
    assert!(!restore::give_up(&other, &call).await.unwrap(), "once");
    sleep(Duration::from_secs(2)).await;
    suspend(&world.restarted(3).app, "worker-9", later(1400)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_of_another_environment_or_none_is_refused_and_nothing_changes() {
    let (world, memory, backup) = damaged().await;
    let before = memory.copy();
    let call = Call::process("restore", later(1200));
    let other = World::new().await;
    let foreign = backup_of(&*other.ledger).await;
    for (source, reason) in [(&foreign, "RESTORE_WRONG_ENVIRONMENT"), (&MemoryStore::default(), "RESTORE_SOURCE_EMPTY")]
    {
        assert_eq!(restored(&world, source).await.unwrap_err().reason(), reason);
        let named = earlier("backup", source, &[]);
        assert_eq!(restore::survey(&world.app, &call, &named).await.unwrap_err().reason(), reason);
    }
    // A store that has lost its root is told by the published one.
    let empty = World::empty();
    let published = vec![b"the root of this environment".to_vec()];
    let source = earlier("backup", &backup, &published);
    let refused = restore::restore(&empty.app, &call, &source, &RestoreReport::default()).await.unwrap_err();
    assert_eq!(refused.reason(), "RESTORE_WRONG_ENVIRONMENT");
    // Of another name, though nothing is there to compare with.
    let suffix = Environment::with_default_arc("other.example.com".parse().unwrap()).unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let keys = Arc::clone(&empty.keys) as Arc<dyn KeyManager>;
    let app = App::new(store, keys, Arc::new(SeededEntropy::new(5)), suffix, Settings::default());
    let source = earlier("backup", &backup, &[]);
    assert_eq!(
        restore::restore(&app, &call, &source, &RestoreReport::default()).await.unwrap_err().reason(),
        "RESTORE_WRONG_ENVIRONMENT"
    );
    restore::survey(&world.app, &call, &source).await.unwrap();
    assert!(memory.is_as(&before, Table::Audit) && memory.is_as(&before, Table::Changes), "nothing has changed");
}

/// A writer that cannot look whether it may write does not write.
#[tokio::test(start_paused = true)]
async fn who_cannot_look_for_a_restore_does_not_write() {
    let (world, memory, backup) = damaged().await;
    world.store.arm(1, Fault::CrashBefore);
    restored(&world, &backup).await.unwrap_err();
    world.store.restart();
    let marker = signet_core::restore::Restoration::key_of();
    memory.put_body(&marker, &serde_json::json!({ "entity": "of a later release" }));
    let refused = suspend(&world.other_node(), "worker-7", later(1300)).await.unwrap_err();
    assert!(matches!(refused, Error::Restoring { .. }), "{refused:?}");
}

/// Nodes that nobody stopped: what they have answered holds.
#[tokio::test(start_paused = true)]
async fn under_load_every_refusal_that_was_answered_holds_afterwards() {
    let (world, _memory, backup) = damaged().await;
    let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(BTreeSet::new())));
    let revoked = {
        let input = new_principal("holder", PrincipalType::Worker, &[]);
        principals::create_principal(&world.app, &call("CreatePrincipal"), &acme(), input).await.unwrap();
        world.issue("holder").await
    };
    let mut writers = Vec::new();
    for seed in 0..3 {
        let (app, done, answered) = (world.other_node(), Arc::clone(&done), Arc::clone(&answered));
        writers.push(tokio::spawn(async move {
            for number in (6..12).cycle().skip(seed) {
                let id = format!("worker-{number}");
                if suspend(&app, &id, later(1200)).await.is_ok() {
                    answered.lock().unwrap().insert(id);
                }
                sleep(Duration::from_millis(700)).await;
                if done.load(Ordering::Acquire) {
                    return;
                }
            }
        }));
    }
    sleep(Duration::from_millis(10)).await;
    let (issuer, serial) = (revoked.certificate.issuer.clone(), revoked.certificate.serial);
    let revocation = at(call("RevokeCertificate"), NOW);
    let reason = RevocationReason::KeyCompromise;
    certificates::revoke_certificate(&world.app, &revocation, &admin(), &acme(), &issuer, &serial, reason)
        .await
        .unwrap();
    restored(&world, &backup).await.unwrap();
    done.store(true, Ordering::Release);
    for writer in writers {
        writer.await.unwrap();
    }
    let answered = answered.lock().unwrap().clone();
    assert!(!answered.is_empty(), "somebody wrote");
    for id in answered {
        assert_eq!(world.get_principal(&id).await.status, PrincipalStatus::Suspended, "{id}");
    }
    let record = world.record(&issuer, &serial).await;
    assert!(matches!(record.state, signet_core::certificates::CertificateState::Revoked { .. }));
}
