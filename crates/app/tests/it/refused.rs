//! What was refused stays refused, whatever else happens and by whatever clock.

use std::collections::BTreeSet;

use proptest::{prelude::*, test_runner::TestCaseError};
use signet_app::{
    IssuedLeaf, TenantPatch,
    certificates::{self, issuance, renewal},
    principals::{self, deletion},
    tenants,
};
use signet_core::{Error, Lifetime, PrincipalType, Time, certificates::RevocationReason};
use signet_testkit::fixtures::NOW;

use crate::{lineage::renew_at, world::*};

/// Refusals that nothing takes back.
const FINAL: [&str; 6] = [
    "CLONE_DETECTED",
    "INSTANCE_LOCKED",
    "PRINCIPAL_DELETED",
    "PRINCIPAL_REPLACED",
    "SUCCESSOR_REVOKED",
    "CERTIFICATE_REVOKED",
];

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The certificate at this place asks for the next one.
    Renew(usize),
    Confirm(usize),
    Compromised(usize),
    Delete,
    /// Another takes the name, if it is free, and gets a certificate.
    Recreate,
    /// The clock is set, hours forth or back.
    Clock(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0_usize..6).prop_map(Step::Renew),
        1 => (0_usize..6).prop_map(Step::Confirm),
        1 => (0_usize..6).prop_map(Step::Compromised),
        1 => Just(Step::Delete),
        2 => Just(Step::Recreate),
        3 => (-1500_i64..3000).prop_map(Step::Clock),
    ];
    proptest::collection::vec(step, 1..24)
}

struct History {
    world: World,
    now: Time,
    leaves: Vec<IssuedLeaf>,
    /// Places in `leaves`.
    refused: BTreeSet<usize>,
}

impl History {
    async fn new() -> Self {
        let world = World::new().await;
        let lifetimes = Some([(PrincipalType::Worker, Lifetime::days(90))].into());
        let renewal_grace = Some(Lifetime::days(30));
        let patch = TenantPatch { lifetimes, renewal_grace, ..Default::default() };
        tenants::update_tenant(&world.app, &call("UpdateTenant"), &environment(), &tid("acme"), patch).await.unwrap();
        world.principal("worker").await;
        let leaves = vec![world.issue("worker").await];
        Self { world, now: NOW, leaves, refused: BTreeSet::new() }
    }

    async fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        let Self { world, now, leaves, refused } = self;
        let (app, call) = (&world.app, |operation| at(call(operation), *now));
        match step {
            Step::Clock(hours) => *now = Time::from_unix_millis(now.unix_millis() + hours * 3_600_000),
            Step::Renew(place) => match leaves.get(place) {
                None => {}
                Some(held) => match renew_at(world, held, *now).await {
                    Ok(next) => {
                        prop_assert!(!refused.contains(&place), "what was refused was renewed");
                        leaves.push(next);
                    }
                    Err(error) if FINAL.contains(&error.reason()) => drop(refused.insert(place)),
                    Err(_) => {}
                },
            },
            Step::Confirm(place) => {
                if let Some(held) = leaves.get(place) {
                    let _ = renewal::confirm_certificate(app, &call("ConfirmCertificate"), &renewal_of(held), &acme())
                        .await;
                }
            }
            Step::Compromised(place) => {
                let Some(held) = leaves.get(place) else { return Ok(()) };
                let (record, reason) = (&held.certificate, RevocationReason::KeyCompromise);
                let (issuer, serial, call) = (&record.issuer, &record.serial, call("RevokeCertificate"));
                let revoked =
                    certificates::revoke_certificate(app, &call, &admin(), &acme(), issuer, serial, reason).await;
                if revoked.is_ok() {
                    // And all of its instance, whatever that is by now.
                    let all = leaves.iter().enumerate();
                    let members = all.filter(|(_, leaf)| leaf.certificate.instance() == record.instance());
                    refused.extend(members.map(|(place, _)| place));
                }
            }
            Step::Delete => {
                let deleted =
                    deletion::delete_principal(app, &call("DeletePrincipal"), &admin(), &acme(), &pid("worker")).await;
                if deleted.is_ok() {
                    refused.extend(0..leaves.len());
                }
            }
            Step::Recreate => {
                let input = new_principal("worker", PrincipalType::Worker, &[]);
                let _ = principals::create_principal(app, &call("CreatePrincipal"), &acme(), input).await;
                let issued =
                    issuance::issue_certificate(app, &call("IssueCertificate"), &acme(), &pid("worker"), &csr()).await;
                leaves.extend(issued);
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_was_refused_stays_refused(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut history = History::new().await;
            for step in steps {
                history.take(step).await?;
            }
            Ok::<_, TestCaseError>(())
        })?;
    }
}

/// The test above would pass if nothing were ever renewed.
#[tokio::test]
async fn a_history_without_refusals_renews() {
    let mut history = History::new().await;
    for step in [Step::Renew(0), Step::Clock(1), Step::Renew(1), Step::Delete, Step::Clock(2880), Step::Recreate] {
        history.take(step).await.unwrap();
    }
    assert_eq!((history.leaves.len(), history.refused.len()), (4, 3));
    let refused: Result<_, Error> = renew_at(&history.world, &history.leaves[2], history.now).await;
    assert!(refused.is_err());
    history.take(Step::Renew(3)).await.unwrap();
    assert_eq!(history.leaves.len(), 5);
}
