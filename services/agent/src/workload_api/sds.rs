//! Envoy's secret discovery service, version 3: all secrets that a stream asks for, in each answer.

use std::{collections::BTreeSet, pin::Pin};

use futures::{Stream, stream};
use prost_types::value::Kind;
use tonic::{Request, Response, Status, Streaming};

use super::{
    offers::Offers,
    secrets::{SECRET_TYPE, Validator, secrets},
    session::Session,
    wire::sds::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Node,
        secret_discovery_service_server::SecretDiscoveryService,
    },
};

/// Key of the node's metadata; `true` asks for the SPIFFE validator.
const SPIFFE_VALIDATION: &str = "spiffe_cert_validation";

/// The method that answers for ever.
pub(crate) const STREAM: &str = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets";
/// The method that answers once: as a stream, which has its share until the answer was taken.
pub(crate) const FETCH: &str = "/envoy.service.secret.v3.SecretDiscoveryService/FetchSecrets";

/// Marks a request for one answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Once;

/// See the module's words.
pub(crate) struct Sds {
    pub(crate) offers: Offers,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SecretDiscoveryService for Sds {
    type DeltaSecretsStream = Answers<DeltaDiscoveryResponse>;
    type StreamSecretsStream = Answers<DiscoveryResponse>;

    async fn delta_secrets(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Err(Status::unimplemented("ask for the state of the world: api_type: GRPC"))
    }

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let session = Session::open(&request, &self.offers)?;
        let once = request.extensions().get::<Once>().is_some();
        let requests = request.into_inner();
        let subscription = Subscription { session, requests, once, version: 1, nonce: 0, wanted: None };
        let answers = stream::try_unfold(subscription, |mut subscription| async move {
            let answer = subscription.next().await?;
            Ok(answer.map(|answer| (answer, subscription)))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn fetch_secrets(&self, _: Request<DiscoveryRequest>) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::internal("the call was not answered as a stream"))
    }
}

/// What a stream asks for.
struct Wanted {
    names: Vec<String>,
    validator: Validator,
}

impl Wanted {
    fn of(request: DiscoveryRequest) -> Result<Self, Status> {
        if !matches!(request.type_url.as_str(), "" | SECRET_TYPE) {
            return Err(Status::invalid_argument(format!("type_url must be {SECRET_TYPE}")));
        }
        let validator =
            if request.node.as_ref().is_some_and(wants_spiffe) { Validator::Spiffe } else { Validator::Plain };
        Ok(Self { names: each_once(request.resource_names), validator })
    }

    /// `None`: nothing of it can be had yet. Envoy refuses an answer without a secret.
    fn answer(&self, session: &Session, version: u64, nonce: u64) -> Result<Option<DiscoveryResponse>, Status> {
        let resources = secrets(&self.names, session.svids(), self.validator).map_err(Status::invalid_argument)?;
        Ok((!resources.is_empty()).then(|| DiscoveryResponse {
            version_info: version.to_string(),
            resources,
            type_url: SECRET_TYPE.to_owned(),
            nonce: nonce.to_string(),
        }))
    }
}

/// As a string in quotes: nothing of it ends the line.
fn say_refused(version: u64, message: &str) {
    let message = message.chars().take(500).collect::<String>();
    tracing::warn!(version, ?message, "Envoy refused secrets and keeps the last ones");
}

/// In their order.
fn each_once(names: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    names.into_iter().filter(|name| seen.insert(name.clone())).collect()
}

fn wants_spiffe(node: &Node) -> bool {
    let value = node.metadata.as_ref().and_then(|metadata| metadata.fields.get(SPIFFE_VALIDATION));
    value.is_some_and(|value| value.kind == Some(Kind::BoolValue(true)))
}

/// One stream.
struct Subscription {
    session: Session,
    requests: Streaming<DiscoveryRequest>,
    /// The first answer is the last.
    once: bool,
    /// Counts changes of what the caller gets.
    version: u64,
    /// Of the last answer; 0: none yet.
    nonce: u64,
    /// `None`: nothing was asked for yet.
    wanted: Option<Wanted>,
}

impl Subscription {
    /// The next answer; `None`: the other side has ended the stream.
    async fn next(&mut self) -> Result<Option<DiscoveryResponse>, Status> {
        self.session.taken().await;
        if self.once && self.nonce > 0 {
            return Ok(None);
        }
        loop {
            tokio::select! {
                request = self.requests.message() => {
                    let Some(request) = request? else { return Ok(None) };
                    if !self.take(request)? {
                        continue;
                    }
                }
                changed = self.session.change() => {
                    changed?;
                    self.version = self.version.saturating_add(1);
                }
            }
            let Some(wanted) = &self.wanted else { continue };
            self.session.room().await;
            if let Some(answer) = wanted.answer(&self.session, self.version, self.nonce.saturating_add(1))? {
                self.nonce = self.nonce.saturating_add(1);
                return Ok(Some(answer));
            }
            if self.once {
                return Err(Status::unavailable("the tenant's revocation lists are not known yet"));
            }
        }
    }

    /// Whether a request wants an answer now.
    fn take(&mut self, request: DiscoveryRequest) -> Result<bool, Status> {
        let Some(wanted) = &mut self.wanted else {
            self.wanted = Some(Wanted::of(request)?);
            return Ok(true);
        };
        // Before the first answer there is none to name.
        let nonce = if self.nonce == 0 { String::new() } else { self.nonce.to_string() };
        if request.response_nonce != nonce {
            return Ok(false);
        }
        if let Some(error) = &request.error_detail {
            say_refused(self.version, &error.message);
        }
        let names = each_once(request.resource_names);
        let is_same = wanted.names.iter().collect::<BTreeSet<_>>() == names.iter().collect::<BTreeSet<_>>();
        wanted.names = names;
        Ok(!is_same)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::{each_once, say_refused};

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_envoy_says_stays_on_its_line() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || say_refused(1, "bad\nERROR signet: all is lost\x1b[2K"));
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(text.lines().count() == 1 && !text.contains('\x1b') && text.contains("all is lost"), "{text}");
    }

    #[test]
    fn a_name_that_comes_again_is_dropped() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(each_once(names(&["default", "ROOTCA", "default", "ALL", "ROOTCA"])), ["default", "ROOTCA", "ALL"]);
    }
}
