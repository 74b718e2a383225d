//! Connections that come about, and words for those that do not.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ServerConfig,
    crypto::{
        CryptoProvider,
        aws_lc_rs::{
            self,
            kx_group::{SECP256R1, X25519},
        },
    },
    pki_types::PrivateKeyDer,
};
use signet_client::{Alert, ClientError, ConnectError, Connector, IdentitySettings};
use signet_core::{
    tenants::{Tenant, TenantStatus},
    trust::change::Change,
};
use signet_proto::v1::{
    GetTrustBundleRequest, TrustBundle, WatchTrustBundleRequest, trust_service_client::TrustServiceClient,
};
use signet_testkit::fixtures;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::{Code, Status, transport::Channel};
use tonic_types::{ErrorDetails, StatusExt};

use crate::server::{World, eventually};

async fn call(channel: &Channel) -> Result<TrustBundle, ClientError> {
    Ok(TrustServiceClient::new(channel.clone()).get_trust_bundle(GetTrustBundleRequest::default()).await?.into_inner())
}

fn refused(alert: Alert) -> ConnectError {
    ConnectError::CertificateRefused { alert }
}

#[tokio::test]
async fn a_channel_authenticates_with_its_credentials() {
    let world = World::new();
    let address = world.start(false).await;
    let channel = world.connector(address, Some(&world.worker("w-1").0)).connect().await.unwrap();
    assert_eq!(call(&channel).await.unwrap().tenant_id, "acme");
}

#[tokio::test]
async fn a_refused_certificate_is_said_to_be_refused_and_why() {
    let world = World::new();
    let address = world.start(false).await;
    assert_eq!(world.connector(address, None).connect().await.unwrap_err(), refused(Alert::Required));

    let (credentials, holder) = world.worker("w-1");
    world.revoke(&holder);
    let connector = world.connector(address, Some(&credentials));
    assert_eq!(connector.connect().await.unwrap_err(), refused(Alert::Revoked));
    // A lazy channel says the same with its first call.
    let error = call(&connector.channel()).await.unwrap_err();
    assert_eq!(error, ClientError::Connect(refused(Alert::Revoked)));
    assert!(error.to_string().contains("it was revoked") && !error.is_transient());

    let (credentials, holder) = world.worker("w-2");
    world.change(Change::PrincipalDenied { principal: "w-2".parse().unwrap(), until: holder.not_after });
    let connector = world.connector(address, Some(&credentials));
    assert_eq!(connector.connect().await.unwrap_err(), refused(Alert::AccessDenied));

    let elsewhere = World::new();
    let connector = world.connector(address, Some(&elsewhere.worker("w-1").0));
    assert_eq!(connector.connect().await.unwrap_err(), refused(Alert::UnknownCa));
}

#[tokio::test]
async fn a_server_that_we_do_not_trust_is_named_so() {
    let world = World::new();
    let address = world.start(true).await;
    let untrusted = |error: ConnectError, words: &str| {
        assert!(matches!(error, ConnectError::ServerCertificate { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    };
    let endpoint = format!("https://{address}");
    let foreign = Connector::new(&endpoint, &World::new().roots(), None).unwrap();
    untrusted(foreign.connect().await.unwrap_err(), "does not chain to a server anchor");
    let named = world.connector(address, None).with_server_name("elsewhere.test").unwrap();
    untrusted(named.connect().await.unwrap_err(), "set the server name");
    world.connector(address, None).with_server_name("signet.test").unwrap().connect().await.unwrap();
}

#[tokio::test]
async fn who_knows_a_server_anchor_trusts_no_root() {
    let (world, elsewhere) = (World::new(), World::new());
    let endpoint = format!("https://{}", world.start(true).await);
    let root = world.roots().remove(0);
    let [own, foreign] = [&world, &elsewhere].map(|world| world.pki.server.ca.anchor_der.clone());
    for (trusted, is_believed) in [
        (vec![root.clone()], true),
        (vec![root.clone(), own.clone()], true),
        (vec![own], true),
        (vec![root, foreign], false),
    ] {
        let connected = Connector::new(&endpoint, &trusted, None).unwrap().connect().await;
        assert_eq!(connected.is_ok(), is_believed, "{connected:?}");
    }
}

#[tokio::test]
async fn servers_that_are_away_stuck_or_curt_are_told_apart() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connector = world.connector(address, None).with_connect_timeout(Duration::from_millis(200));
    let error = connector.connect().await.unwrap_err();
    assert_eq!(error, ConnectError::TimedOut { address: address.to_string(), millis: 200 });
    let curt = tokio::spawn(async move {
        // The one that timed out, then one more.
        for _ in 0..2 {
            drop(listener.accept().await.unwrap());
        }
    });
    let error = connector.connect().await.unwrap_err();
    assert_eq!(error, ConnectError::Closed { address: address.to_string() });
    curt.await.unwrap();
    let error = connector.connect().await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }) && error.is_transient(), "{error:?}");
}

#[test]
fn endpoints_that_cannot_be_are_refused() {
    let world = World::new();
    for bad in
        ["", "localhost:1", "http://localhost:1", "https://", "https://h:1/path", "https://h:1/?q", "https://h h"]
    {
        let error = Connector::new(bad, &world.roots(), None).unwrap_err();
        assert!(matches!(error, ConnectError::Endpoint { .. }), "{bad}: {error:?}");
    }
    assert!(Connector::new("https://[::1]:8443", &world.roots(), None).is_ok());
    let error = Connector::new("https://h", &[vec![1, 2, 3]], None).unwrap_err();
    assert!(matches!(error, ConnectError::Settings(_)));
    assert!(matches!(Connector::new("https://h", &[], None), Err(ConnectError::Settings(_))));
}

#[tokio::test]
async fn a_revocation_ends_an_open_stream_and_the_next_call_says_why() {
    let world = World::new();
    let address = world.start(false).await;
    let (credentials, holder) = world.worker("w-1");
    let channel = world.connector(address, Some(&credentials)).connect().await.unwrap();
    let mut client = TrustServiceClient::new(channel.clone());
    let mut stream = client.watch_trust_bundle(WatchTrustBundleRequest::default()).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().tenant_id, "acme");
    world.revoke(&holder);
    // Nothing else ends it: the connection may live for an hour.
    let ended = stream.message().await;
    let ClientError::Rpc(error) = ClientError::from(ended.unwrap_err()) else { panic!("no RPC error") };
    assert!(error.transport && error.is_transient());
    assert_eq!(call(&channel).await.unwrap_err(), ClientError::Connect(refused(Alert::Revoked)));
}

/// The server cannot send an alert in a resumed handshake; the connector asks again in a full one.
#[tokio::test]
async fn the_reason_is_found_after_a_resumed_handshake_too() {
    let world = World::new();
    let address = world.start(false).await;
    let (credentials, holder) = world.worker("w-1");
    let connector = world.connector(address, Some(&credentials));
    for _ in 0..2 {
        call(&connector.connect().await.unwrap()).await.unwrap();
    }
    assert_eq!(*world.accepted.lock().unwrap(), [false, true]);
    world.revoke(&holder);
    assert_eq!(connector.connect().await.unwrap_err(), refused(Alert::Revoked));
}

#[tokio::test]
async fn a_channel_survives_the_end_of_its_connection() {
    let world = World::new();
    let address = world.start(false).await;
    let channel = world.connector(address, Some(&world.worker("w-1").0)).connect().await.unwrap();
    call(&channel).await.unwrap();
    let tenant = fixtures::tenant(&world.acme.ca.tenant);
    let suspended = Tenant { status: TenantStatus::Suspended, ..tenant.clone() };
    world.trust.set_tenant(&suspended, std::slice::from_ref(&world.acme.ca));
    let deadline = Instant::now() + Duration::from_secs(5);
    while call(&channel).await != Err(ClientError::Connect(refused(Alert::AccessDenied))) {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.trust.set_tenant(&tenant, std::slice::from_ref(&world.acme.ca));
    call(&channel).await.unwrap();
}

#[tokio::test]
async fn details_of_errors_are_decoded() {
    let world = World::new();
    let address = world.start(false).await;
    let channel = world.connector(address, Some(&world.worker("w-1").0)).channel();
    let script = Arc::clone(&world.script);
    let answer = |status: Status| script.lock().unwrap().push_back(status);

    let mut details = ErrorDetails::with_error_info("INVALID_ID", "signet", [("x".to_owned(), "y".to_owned())]);
    details.add_bad_request_violation("tenant_id", "must not be empty");
    answer(Status::with_error_details(Code::InvalidArgument, "tenant_id: must not be empty", details));
    let ClientError::Rpc(error) = call(&channel).await.unwrap_err() else { panic!("no RPC error") };
    assert_eq!((error.code, error.reason.as_str()), (Code::InvalidArgument, "INVALID_ID"));
    assert_eq!(
        (error.field.as_deref(), error.to_string().as_str()),
        (Some("tenant_id"), "tenant_id: must not be empty")
    );
    assert!(!error.transport && !error.is_transient());

    answer(Status::unavailable(""));
    let error = call(&channel).await.unwrap_err();
    assert!(error.is_transient() && !error.to_string().is_empty() && error.reason().is_empty());
    eventually("nothing is left of the script", || script.lock().unwrap().is_empty()).await;
}

#[tokio::test]
async fn a_call_that_is_not_answered_ends_at_its_deadline() {
    let world = World::new();
    let address = world.start(false).await;
    let connector = world.connector(address, Some(&world.worker("w-1").0)).with_deadline(Duration::from_millis(100));
    let request = GetTrustBundleRequest { tenant_id: "slow".into() };
    let status = TrustServiceClient::new(connector.channel()).get_trust_bundle(request).await.unwrap_err();
    let ClientError::Rpc(error) = ClientError::from(status) else { panic!("no RPC error") };
    assert_eq!((error.code, error.message.as_str()), (Code::DeadlineExceeded, "no answer in time"));
    assert!(error.is_transient());
}

/// Speaks TLS with key exchanges of before.
async fn classical_server(world: &World) -> SocketAddr {
    let classical = CryptoProvider { kx_groups: vec![X25519, SECP256R1], ..aws_lc_rs::default_provider() };
    let holder = world.pki.server_holder();
    let chain = holder.chain_der.iter().cloned().map(Into::into).collect();
    let key = PrivateKeyDer::Pkcs8(holder.key.pkcs8_der().to_vec().into());
    let config = ServerConfig::builder_with_provider(Arc::new(classical)).with_safe_default_protocol_versions();
    let config = config.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(acceptor.accept(stream).await);
        }
    });
    address
}

#[tokio::test]
async fn where_post_quantum_key_exchange_is_demanded_no_other_is_done() {
    let world = World::new();
    let reach = |address: SocketAddr, require_pq_kex: bool| {
        let settings = IdentitySettings::new(format!("https://{address}"), world.roots());
        async move { IdentitySettings { require_pq_kex, ..settings }.reach().await }
    };
    assert_eq!(reach(world.start(true).await, true).await, Ok(()));
    let classical = classical_server(&world).await;
    let error = reach(classical, true).await.unwrap_err().to_string();
    assert!(error.contains("HandshakeFailure"), "{error}");
    // It gets further without.
    let error = reach(classical, false).await.unwrap_err().to_string();
    assert!(!error.contains("HandshakeFailure"), "{error}");
}
