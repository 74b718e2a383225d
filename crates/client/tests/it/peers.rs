//! Principals of a tenant among themselves, by the two examples.

use std::{net::SocketAddr, sync::Arc};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use signet_client::{Credentials, Identity, IdentitySettings, PeerPolicy};
use signet_core::PrincipalType;
use signet_proto::v1::{
    ListTokensRequest, enrollment_service_client::EnrollmentServiceClient,
    enrollment_service_server::EnrollmentServiceServer,
};
use signet_testkit::pki::Holder;
use signet_x509::KeyPair;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::{Code, service::Routes};

use crate::server::{Services, World, eventually};

#[path = "../../examples/client.rs"]
#[expect(dead_code, unreachable_pub, reason = "it is a program, with a main")]
mod client;
#[path = "../../examples/server.rs"]
#[expect(dead_code, unreachable_pub, reason = "it is a program, with a main")]
mod server;

fn credentials(world: &World, holder: &Holder) -> Credentials {
    let key = KeyPair::from_pkcs8_der(holder.key.pkcs8_der()).unwrap();
    Credentials::new(holder.chain_der.clone(), world.roots(), key).unwrap()
}

/// An identity that nobody renews: its control plane is away.
async fn identity(world: &World, kind: PrincipalType, id: &str) -> Identity {
    let holder = world.pki.holder(&world.acme, kind, id, &[]);
    let settings =
        IdentitySettings { follow_bundle: false, ..IdentitySettings::new("https://127.0.0.1:1", world.roots()) };
    Identity::adopt(settings, credentials(world, &holder)).await.unwrap()
}

async fn listen(identity: Identity) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn(async move {
        server::serve(identity, listener).await.map_err(|error| error.to_string()).unwrap();
    });
    address
}

#[tokio::test]
async fn a_service_greets_its_callers_by_name_and_takes_only_whom_it_wants() {
    let world = World::new();
    let address = listen(identity(&world, PrincipalType::Service, "billing").await).await;
    let worker = identity(&world, PrincipalType::Worker, "w-1").await;
    assert_eq!(client::ask(&worker, address, "billing").await.unwrap(), "hello, worker w-1\n");
    assert!(client::ask(&worker, address, "shipping").await.is_err(), "that is another service");
    let device = identity(&world, PrincipalType::Device, "d-1").await;
    assert!(client::ask(&device, address, "billing").await.is_err(), "devices are not wanted");
    // The same tenant's name in another environment, with other CAs.
    let stranger = identity(&World::new(), PrincipalType::Worker, "w-1").await;
    assert!(client::ask(&stranger, address, "billing").await.is_err());
}

#[tokio::test]
async fn a_worker_cannot_pose_as_a_service() {
    let world = World::new();
    let address = listen(identity(&world, PrincipalType::Worker, "billing").await).await;
    let worker = identity(&world, PrincipalType::Worker, "w-1").await;
    assert!(client::ask(&worker, address, "billing").await.is_err());
}

#[tokio::test]
async fn both_sides_go_over_to_new_certificates() {
    let world = World::new();
    let home = world.start(true).await;
    let settings = IdentitySettings::new(format!("https://{home}"), world.roots());
    let (credentials, _) = world.worker("w-1");
    let worker = Identity::adopt(settings, credentials).await.unwrap();
    let address = listen(identity(&world, PrincipalType::Service, "billing").await).await;
    for _ in 0..3 {
        let before = worker.status().borrow().renewals;
        worker.renew_now();
        eventually("it is renewed", || worker.status().borrow().renewals > before).await;
        assert_eq!(client::ask(&worker, address, "billing").await.unwrap(), "hello, worker w-1\n");
    }
}

#[tokio::test]
async fn a_grpc_channel_reaches_a_service_of_the_tenant() {
    let world = World::new();
    let service = identity(&world, PrincipalType::Service, "billing").await;
    let mut config = service.server_config(PeerPolicy::anybody()).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = Routes::new(EnrollmentServiceServer::new(Services(Arc::clone(&world))));
    tokio::spawn(async move {
        loop {
            let tls = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
            let service = TowerToHyperService::new(routes.clone());
            tokio::spawn(async move {
                let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(tls), service).await;
            });
        }
    });
    let worker = identity(&world, PrincipalType::Worker, "w-1").await;
    let policy = PeerPolicy::principal(PrincipalType::Service, "billing".parse().unwrap());
    let channel = worker.channel_to(&format!("https://{address}"), policy).unwrap();
    let answer = EnrollmentServiceClient::new(channel).list_tokens(ListTokensRequest::default()).await;
    let status = answer.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unimplemented, "not in this test"));
}
