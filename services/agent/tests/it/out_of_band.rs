//! The way back when no handshake accepts the certificate: signed with its key, over HTTPS.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use signet_client::{Enrollment, Identity, IdentitySettings, JoinToken, RenewalState, system_clock};
use signet_core::{Clock, Time};
use signet_proto::v1::{PrincipalType, WhoAmIRequest, principal_service_client::PrincipalServiceClient};

use crate::world::World;

/// The real clock, moved.
fn clock(ahead: &Arc<AtomicI64>) -> Clock {
    let (real, ahead) = (system_clock(), Arc::clone(ahead));
    Arc::new(move || Time::from_unix_millis(real().unix_millis() + ahead.load(Ordering::Acquire)))
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_renewed_out_of_band() {
    let world = World::new().await;
    world.shorten().await;
    let ahead = Arc::new(AtomicI64::new(0));
    let mut settings = IdentitySettings::new(world.endpoint(), world.roots());
    settings.clock = clock(&ahead);
    // Not told where else: the endpoint answers out of band, too.
    settings.out_of_band = None;
    let token = JoinToken::read(&world.token(PrincipalType::Worker, "w-1").await).unwrap();
    let enrollment = Enrollment { proof: Arc::new(token), tenant_id: None, principal_id: None };
    let identity = Identity::enroll(settings, &enrollment).await.unwrap();
    let before = identity.status().borrow().facts.serial_number.clone();

    // For the holder it has expired; that the server would still take it makes no difference on this path.
    ahead.store(70_000, Ordering::Release);
    identity.renew_now();
    let mut status = identity.status();
    let renewed = status.wait_for(|status| status.facts.serial_number != before && status.confirmed);
    let status = tokio::time::timeout(Duration::from_secs(20), renewed).await.unwrap().unwrap().clone();
    assert_eq!(status.standing, RenewalState::Fresh, "the server's clock counts: {status:?}");
    let mut client = PrincipalServiceClient::new(identity.channel().unwrap());
    let me = client.who_am_i(WhoAmIRequest {}).await.unwrap().into_inner();
    assert_eq!(me.serial_number, status.facts.serial_number);
}
