//! A control plane of a few lines: real connections, scripted answers.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use futures::stream::{self, BoxStream, StreamExt};
use signet_client::{Connector, Credentials};
use signet_core::{
    Entropy, Identity, Lifetime, Time,
    trust::{
        Trust, WhenStale,
        change::{Change, ChangeEntry},
    },
};
use signet_mtls::{
    AcceptSettings, Acceptor, Ages, BanReason, ConnectInfo, ConnectionObserver, ConnectionRefusal, Ended, Registry,
    ServerCertificate, ServerIdentity, provider, system_uptime,
};
use signet_proto::v1::{
    certificate_service_server::{CertificateService, CertificateServiceServer},
    enrollment_service_server::{EnrollmentService, EnrollmentServiceServer},
    trust_service_server::{TrustService, TrustServiceServer},
    *,
};
use signet_testkit::{
    entropy::SeededEntropy,
    fixtures,
    pki::{Authority, Holder, Pki},
};
use signet_x509::{KeyPair, pem};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, transport::Server};

/// What the next calls are answered with before they are carried out.
pub(crate) type Script = Arc<Mutex<VecDeque<Status>>>;

pub(crate) struct World {
    pub(crate) pki: Pki,
    pub(crate) acme: Authority,
    pub(crate) trust: Arc<Trust>,
    pub(crate) script: Script,
    /// Request id and CSR of each enrollment and renewal that arrived.
    pub(crate) seen: Mutex<Vec<(String, Vec<u8>)>>,
    pub(crate) accepted: Mutex<Vec<bool>>,
    /// Serial number that each call for a bundle came with.
    pub(crate) callers: Mutex<Vec<String>>,
    /// Serial numbers that were confirmed.
    pub(crate) confirmed: Mutex<Vec<String>>,
    pub(crate) root_pem: String,
    /// A CA of the tenant that is published and does not sign yet.
    pub(crate) next_ca: Mutex<Option<Vec<u8>>>,
    /// How much the clock that certificates are made by is ahead, milliseconds.
    pub(crate) ahead: AtomicI64,
    epoch: watch::Sender<u64>,
}

#[expect(clippy::disallowed_methods, reason = "a test is its own edge")]
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Time::from_unix_millis(i64::try_from(since.as_millis()).unwrap())
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        let pki = Pki::new(now());
        let acme = pki.tenant_ca("acme", 1);
        let trust = Arc::new(Trust::new(Lifetime::hours(1), WhenStale::Refuse, system_uptime));
        trust.set_tenant(&fixtures::tenant(&acme.ca.tenant), std::slice::from_ref(&acme.ca));
        trust.heard(system_uptime());
        let (script, seen, accepted, callers, confirmed, next_ca) = Default::default();
        let root_pem = pem::encode_certificate(&pki.root.ca.certificate_der);
        Arc::new(Self {
            pki,
            acme,
            trust,
            script,
            seen,
            accepted,
            callers,
            confirmed,
            root_pem,
            next_ca,
            ahead: AtomicI64::new(0),
            epoch: watch::channel(0).0,
        })
    }

    /// Serves on a free port.
    pub(crate) async fn start(self: &Arc<Self>, anonymous: bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let holder = self.pki.server_holder();
        let key = holder.key.to_pkcs8_pem();
        let identity = ServerIdentity::from_pem(&chain_pem(&holder), key.as_bytes(), &provider()).unwrap();
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(1));
        let registry =
            Registry::new(Arc::clone(&self.trust), Arc::new(now), entropy, Arc::new(|_, _| ()), Ages::default());
        let acceptor = Acceptor::new(
            AcceptSettings { anonymous, ..AcceptSettings::default() },
            self.pki.environment.clone(),
            ServerCertificate::new(identity),
            Arc::clone(&registry),
            Arc::new(Observer(Arc::clone(self))),
        );
        let shutdown = CancellationToken::new();
        let incoming = acceptor.unwrap().listen(listener, shutdown.clone());
        tokio::spawn(registry.run(self.epoch.subscribe(), shutdown));
        let services = Services(Arc::clone(self));
        let server = Server::builder()
            .add_service(EnrollmentServiceServer::new(services.clone()))
            .add_service(CertificateServiceServer::new(services.clone()))
            .add_service(TrustServiceServer::new(services));
        tokio::spawn(server.serve_with_incoming(incoming));
        address
    }

    /// What the tenant's verifiers trust: its CA, and the next one when a test has made it.
    pub(crate) fn anchors(&self) -> Vec<Vec<u8>> {
        let next = self.next_ca.lock().unwrap().clone();
        [self.acme.ca.certificate_der.clone()].into_iter().chain(next).collect()
    }

    pub(crate) fn roots(&self) -> Vec<Vec<u8>> {
        vec![self.pki.root.ca.certificate_der.clone()]
    }

    /// A worker's credentials, without the detour of enrolling.
    pub(crate) fn worker(&self, id: &str) -> (Credentials, Holder) {
        let holder = self.pki.worker(&self.acme, id);
        let key = KeyPair::from_pkcs8_der(holder.key.pkcs8_der()).unwrap();
        (Credentials::new(holder.chain_der.clone(), self.roots(), key).unwrap(), holder)
    }

    pub(crate) fn connector(&self, address: SocketAddr, credentials: Option<&Credentials>) -> Connector {
        Connector::new(&format!("https://{address}"), &self.roots(), credentials).unwrap()
    }

    pub(crate) fn change(&self, change: Change) {
        let tenant = self.acme.ca.tenant.clone();
        let (at, until) = (now(), now().plus(Lifetime::days(2)));
        self.trust.apply(&ChangeEntry {
            shard: 0,
            sequence: 1,
            tenant,
            at,
            until,
            changes: vec![change],
            notices: Vec::new(),
        });
        self.epoch.send_replace(self.trust.epoch());
    }

    pub(crate) fn revoke(&self, holder: &Holder) {
        self.change(Change::CertificateRevoked { serial: holder.serial, not_after: holder.not_after, issuer: None });
    }

    fn arrived(&self, request_id: &str, csr_der: &[u8]) -> Result<(), Status> {
        self.seen.lock().unwrap().push((request_id.to_owned(), csr_der.to_vec()));
        self.script.lock().unwrap().pop_front().map_or(Ok(()), Err)
    }

    fn issue(&self, id: &str, csr_der: &[u8]) -> Response<IssuedCertificate> {
        // Each is a millisecond younger than the one before.
        let age = i64::try_from(self.seen.lock().unwrap().len()).unwrap();
        let chain_der = self.pki.later(age + self.ahead.load(Ordering::SeqCst)).certify(&self.acme, id, csr_der);
        Response::new(IssuedCertificate {
            certificate: None,
            chain_der,
            root_der: self.roots(),
            trust_anchor_der: self.anchors(),
        })
    }
}

pub(crate) fn chain_pem(holder: &Holder) -> String {
    holder.chain_der.iter().map(|der| pem::encode_certificate(der)).collect()
}

struct Observer(Arc<World>);

impl ConnectionObserver for Observer {
    fn accepted(&self, _: SocketAddr, _: Option<&Identity>, resumed: bool, _: Duration) {
        self.0.accepted.lock().unwrap().push(resumed);
    }
    fn refused(&self, _: SocketAddr, _: &ConnectionRefusal) {}
    fn banned(&self, _: IpAddr, _: BanReason) {}
    fn closed(&self, _: SocketAddr, _: Option<&Identity>, _: Ended) {}
    fn accept_failed(&self, error: &io::Error) {
        panic!("{error}");
    }
}

#[derive(Clone)]
pub(crate) struct Services(pub(crate) Arc<World>);

fn caller<T>(request: &Request<T>) -> String {
    let peer = request.extensions().get::<Arc<ConnectInfo<()>>>().unwrap();
    peer.session.as_ref().unwrap().identity().principal.to_string()
}

fn not_here<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not in this test"))
}

#[tonic::async_trait]
impl EnrollmentService for Services {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<IssuedCertificate>, Status> {
        let request = request.into_inner();
        self.0.arrived(&request.request_id, &request.csr_der)?;
        match request.proof {
            Some(enroll_request::Proof::JoinToken(token)) if token == "the-token" => {
                Ok(self.0.issue(&request.principal_id, &request.csr_der))
            }
            _ => Err(Status::permission_denied("enrollment refused")),
        }
    }
    async fn create_token(&self, _: Request<CreateTokenRequest>) -> Result<Response<CreateTokenResponse>, Status> {
        not_here()
    }
    async fn list_tokens(&self, _: Request<ListTokensRequest>) -> Result<Response<ListTokensResponse>, Status> {
        not_here()
    }
    async fn revoke_token(&self, _: Request<RevokeTokenRequest>) -> Result<Response<Token>, Status> {
        not_here()
    }
    async fn create_enrollment_rule(
        &self,
        _: Request<CreateEnrollmentRuleRequest>,
    ) -> Result<Response<EnrollmentRule>, Status> {
        not_here()
    }
    async fn list_enrollment_rules(
        &self,
        _: Request<ListEnrollmentRulesRequest>,
    ) -> Result<Response<ListEnrollmentRulesResponse>, Status> {
        not_here()
    }
    async fn delete_enrollment_rule(
        &self,
        _: Request<DeleteEnrollmentRuleRequest>,
    ) -> Result<Response<DeleteEnrollmentRuleResponse>, Status> {
        not_here()
    }
    async fn test_enrollment_rules(
        &self,
        _: Request<TestEnrollmentRulesRequest>,
    ) -> Result<Response<TestEnrollmentRulesResponse>, Status> {
        not_here()
    }
}

#[tonic::async_trait]
impl CertificateService for Services {
    async fn renew_certificate(
        &self,
        request: Request<RenewCertificateRequest>,
    ) -> Result<Response<IssuedCertificate>, Status> {
        let id = caller(&request);
        let request = request.into_inner();
        self.0.arrived(&request.request_id, &request.csr_der)?;
        Ok(self.0.issue(&id, &request.csr_der))
    }
    async fn confirm_certificate(
        &self,
        request: Request<ConfirmCertificateRequest>,
    ) -> Result<Response<Certificate>, Status> {
        let peer = request.extensions().get::<Arc<ConnectInfo<()>>>().unwrap();
        let serial = peer.session.as_ref().unwrap().identity().serial.to_string();
        self.0.confirmed.lock().unwrap().push(serial);
        Ok(Response::new(Certificate::default()))
    }
    /// The middle third of the default day, and the CAs.
    async fn get_renewal_info(&self, _: Request<GetRenewalInfoRequest>) -> Result<Response<RenewalInfo>, Status> {
        let time = |hours| {
            let seconds = now().plus(Lifetime::hours(hours)).unix_seconds();
            Some(prost_types::Timestamp { seconds, nanos: 0 })
        };
        let (window_start, window_end, server_time) = (time(8), time(16), time(0));
        let trust_anchor_der = self.0.anchors();
        let info = RenewalInfo {
            window_start,
            window_end,
            server_time,
            retry_after_seconds: 3600,
            trust_anchor_der,
            ..Default::default()
        };
        Ok(Response::new(info))
    }
    async fn issue_certificate(
        &self,
        _: Request<IssueCertificateRequest>,
    ) -> Result<Response<IssuedCertificate>, Status> {
        not_here()
    }
    async fn get_certificate(&self, _: Request<GetCertificateRequest>) -> Result<Response<Certificate>, Status> {
        not_here()
    }
    async fn list_certificates(
        &self,
        _: Request<ListCertificatesRequest>,
    ) -> Result<Response<ListCertificatesResponse>, Status> {
        not_here()
    }
    async fn revoke_certificate(&self, _: Request<RevokeCertificateRequest>) -> Result<Response<Certificate>, Status> {
        not_here()
    }
}

#[tonic::async_trait]
impl TrustService for Services {
    type WatchTrustBundleStream = BoxStream<'static, Result<TrustBundle, Status>>;
    type WatchRevocationListsStream = BoxStream<'static, Result<RevocationListPart, Status>>;

    async fn watch_revocation_lists(
        &self,
        _: Request<WatchRevocationListsRequest>,
    ) -> Result<Response<Self::WatchRevocationListsStream>, Status> {
        not_here()
    }

    async fn get_trust_bundle(&self, request: Request<GetTrustBundleRequest>) -> Result<Response<TrustBundle>, Status> {
        let peer = request.extensions().get::<Arc<ConnectInfo<()>>>().unwrap();
        let serial = peer.session.as_ref().unwrap().identity().serial.to_string();
        self.0.callers.lock().unwrap().push(serial);
        if request.get_ref().tenant_id == "slow" {
            return std::future::pending().await;
        }
        self.0.script.lock().unwrap().pop_front().map_or(Ok(()), Err)?;
        Ok(Response::new(TrustBundle { tenant_id: "acme".into(), ..TrustBundle::default() }))
    }
    /// One bundle, then nothing until the connection ends: as a stream that nobody told to stop.
    async fn watch_trust_bundle(
        &self,
        _: Request<WatchTrustBundleRequest>,
    ) -> Result<Response<Self::WatchTrustBundleStream>, Status> {
        let first = stream::iter([Ok(TrustBundle { tenant_id: "acme".into(), ..TrustBundle::default() })]);
        Ok(Response::new(first.chain(stream::pending()).boxed()))
    }
    async fn list_certificate_authorities(
        &self,
        _: Request<ListCertificateAuthoritiesRequest>,
    ) -> Result<Response<ListCertificateAuthoritiesResponse>, Status> {
        not_here()
    }
    async fn rotate_certificate_authority(
        &self,
        _: Request<RotateCertificateAuthorityRequest>,
    ) -> Result<Response<RotateCertificateAuthorityResponse>, Status> {
        not_here()
    }
}

/// Polls until `done`, at most 5 s.
pub(crate) async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
