//! A restore from before a tenant was deleted does not bring it back, whatever the store has lost.

use signet_core::{
    Error,
    store::Table,
    tenants::{Isolation, Tenant},
};
use signet_testkit::fixtures::later;

use crate::{
    purge::{due, furnished, left, purged_by},
    restore::{backup_of, lose, overlay, restored, restored_at, sealed_through},
    tenant_deletion::GRACE,
    world::*,
};

async fn record(world: &World) -> Result<Tenant, Error> {
    signet_app::tenants::get_tenant(&world.app, &at(call("GetTenant"), due()), &acme()).await
}

/// What the store has lost, and whether old records were put over the new ones by hand.
const DAMAGES: [(&str, &[Table], bool); 5] = [
    ("nothing is lost", &[], false),
    ("old records over new ones", &[], true),
    ("tenants", &[Table::Tenants], false),
    ("tenants and principals", &[Table::Tenants, Table::Principals], false),
    ("the feed", &[Table::Changes], false),
];

/// A deletion that was neither taken back nor carried out yet.
#[tokio::test(start_paused = true)]
async fn invariant_14_a_deleted_tenant_stays_deleted_whatever_was_lost() {
    for (what, lost, overlaid) in DAMAGES {
        let world = World::new().await;
        world.principal("worker").await;
        let backup = backup_of(&*world.ledger).await;
        let deleted = world.delete_tenant("acme").await;
        if overlaid {
            overlay(&*world.ledger, &backup).await;
        }
        for table in lost {
            lose(&*world.ledger, *table).await;
        }
        restored(&world, &backup).await.unwrap();
        let now = record(&world).await.unwrap();
        assert_eq!((now.status, now.deletion), (deleted.status, deleted.deletion), "{what}");
        assert_eq!(world.get_principal("worker").await.id, pid("worker"), "{what}: what it has comes back with it");
        let back = world.undelete("acme", later(GRACE - 1)).await.unwrap();
        assert!(!back.is_deleted(), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn invariant_14_a_purged_tenant_stays_purged_whatever_was_lost() {
    for (what, lost, overlaid) in DAMAGES {
        let world = World::empty();
        furnished(&world, Isolation::Dedicated).await;
        let backup = backup_of(&*world.ledger).await;
        // The log is read from there on: where the tenants are lost, it tells of the purge alone.
        sealed_through(&backup, later(GRACE - 300)).await;
        world.delete_tenant("acme").await;
        assert_eq!(purged_by(&world.app, None, due()).await.failed, [], "{what}");
        if overlaid {
            overlay(&*world.ledger, &backup).await;
        }
        for table in lost {
            lose(&*world.ledger, *table).await;
        }
        let report = restored_at(&world, &backup, later(GRACE + 300)).await.unwrap();
        assert!(report.withheld.iter().any(|line| line.contains("acme")), "{what}: {report:?}");
        assert!(record(&world).await.unwrap().purge().is_some(), "{what}: nothing brings it back");
        if !overlaid {
            assert_eq!(left(&*world.ledger).await, ["tenant"].into(), "{what}");
        }
        // The purge removes what a hand has put back, and ends.
        let world = world.restarted(9);
        assert_eq!(purged_by(&world.app, None, due()).await.failed, [], "{what}");
        assert!(record(&world).await.unwrap().is_purged(), "{what}");
        assert_eq!(left(&*world.ledger).await, ["tenant"].into(), "{what}");
        let (call, again) = (call("CreateTenant"), new_tenant("acme"));
        let refused = signet_app::tenants::create_tenant(&world.app, &call, &environment(), again).await;
        assert_eq!(refused.unwrap_err().reason(), "TENANT_PURGED", "{what}");
    }
}
