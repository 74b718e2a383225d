//! Who relies on a token: introspection, and a token as the subject of Check.

use signet_core::PrincipalType;
use signet_proto::v1::{
    self as pb, CheckRequest, CheckSubject, ShownAccessToken, authorization_service_client::AuthorizationServiceClient,
    certificate_service_client::CertificateServiceClient, check_subject::By,
    principal_service_client::PrincipalServiceClient,
};

use super::{Site, WORKER, access_token, tenant};
use crate::world::eventually;

impl Site {
    async fn suspend(&self, id: &str) {
        let request = pb::SuspendPrincipalRequest {
            tenant_id: "acme".into(),
            principal_id: id.into(),
            request_id: signet_client::request_id(),
        };
        PrincipalServiceClient::new(self.world.admin(&self.node)).suspend_principal(request).await.unwrap();
    }

    /// Whether the service is told that the token's holder may; else why not.
    async fn check(&self, token: &str, thumbprint: &str, action: &str) -> Result<(), String> {
        let (token, certificate_thumbprint) = (token.to_owned(), thumbprint.to_owned());
        let by = By::AccessToken(ShownAccessToken { token, certificate_thumbprint });
        let subject = Some(CheckSubject { by: Some(by) });
        let request = CheckRequest { subject, action: action.into(), ..Default::default() };
        let mut client = AuthorizationServiceClient::new(self.world.channel(&self.node, &self.service));
        let answer = client.check(request).await.unwrap().into_inner();
        if answer.allowed { Ok(()) } else { Err(answer.reason) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_dies_with_its_holders_right_to_act() {
    let site = Site::new().await;
    let token = site.token(&site.worker).await.access_token;
    let seen = site.look(&token).await.unwrap();
    assert_eq!(seen.spiffe_id, WORKER);
    assert_eq!((seen.audience, seen.client_id), ("jobs".into(), "w-1".into()));
    site.suspend("w-1").await;
    eventually("it is good no more", async || site.look(&token).await.err().as_deref() == Some("PRINCIPAL_DENIED"))
        .await;
    site.node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_dies_with_its_certificate_and_with_no_other() {
    let site = Site::new().await;
    let second = site.world.issue(&site.node, "acme", "w-1").await;
    let (first_token, second_token) = (site.token(&site.worker).await, site.token(&second).await);
    let facts = site.worker.facts();
    let request = pb::RevokeCertificateRequest {
        tenant_id: "acme".into(),
        issuer_id: "acme.1".into(),
        serial_number: facts.serial_number.clone(),
        reason: pb::RevocationReason::Superseded.into(),
        request_id: signet_client::request_id(),
        ..Default::default()
    };
    CertificateServiceClient::new(site.world.admin(&site.node)).revoke_certificate(request).await.unwrap();
    eventually("it is good no more", async || {
        site.look(&first_token.access_token).await.err().as_deref() == Some("CERTIFICATE_REVOKED")
    })
    .await;
    assert!(site.look(&second_token.access_token).await.is_ok());
    site.node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_good_token_of_the_tenant_is_inactive_and_says_why() {
    let site = Site::new().await;
    let [_, other, _] = tenant(&site.world, &site.node, "globex").await;
    let own = site.token(&site.worker).await.access_token;
    let foreign = site.token(&other).await.access_token;
    let request = pb::CreateJwtSvidRequest { audiences: vec!["jobs".into()], lifetime_seconds: 0 };
    let svid = site.tokens(&site.worker).create_jwt_svid(request).await.unwrap().into_inner().svid;
    let parts: Vec<&str> = own.split('.').collect();
    let other_claims = foreign.split('.').nth(1).unwrap();
    let (mixed, cut) = ([parts[0], other_claims, parts[2]].join("."), &own[..own.len() - 2]);
    for (token, reason) in [
        (foreign.as_str(), "ACCESS_TOKEN_KEY_UNKNOWN"),
        (&svid, "ACCESS_TOKEN_OF_ANOTHER_KIND"),
        (&mixed, "ACCESS_TOKEN_BAD_SIGNATURE"),
        (cut, "ACCESS_TOKEN_BAD_SIGNATURE"),
        ("a.b.c", "ACCESS_TOKEN_MALFORMED"),
        (&format!("Bearer {own}"), "ACCESS_TOKEN_MALFORMED"),
    ] {
        assert_eq!(site.look(token).await.unwrap_err(), reason, "{token:.20}");
    }
    site.node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_takes_a_token_with_the_certificate_that_it_came_with() {
    let site = Site::new().await;
    let thief = site.world.principal(&site.node, "acme", "w-2", PrincipalType::Worker, &[]).await;
    let made = access_token(&mut site.tokens(&site.worker), "jobs", &["jobs:submit"], 0).await.unwrap();
    let (token, own) = (made.access_token.as_str(), made.certificate_thumbprint.as_str());
    assert_eq!(site.check(token, own, "jobs:submit").await, Ok(()));
    // It may, and its token may not.
    assert_eq!(site.check(token, own, "jobs:dequeue").await.unwrap_err(), "SCOPE_MISSING");
    let stolen = signet_jwt::x5t_s256(&thief.chain_der()[0]);
    for thumbprint in [stolen.as_str(), "", &own[..42]] {
        assert_eq!(site.check(token, thumbprint, "jobs:submit").await.unwrap_err(), "ACCESS_TOKEN_NOT_BOUND");
    }
    let [_, other, _] = tenant(&site.world, &site.node, "globex").await;
    let foreign = site.token(&other).await;
    let answer = site.check(&foreign.access_token, &foreign.certificate_thumbprint, "jobs:submit").await;
    assert_eq!(answer.unwrap_err(), "ACCESS_TOKEN_KEY_UNKNOWN");
    site.suspend("w-1").await;
    eventually("it is denied", async || {
        site.check(token, own, "jobs:submit").await.err().as_deref() == Some("PRINCIPAL_DENIED")
    })
    .await;
    site.node.end().await;
}
