//! Envoy's secret discovery service, version 3: all secrets that a stream asks for, in each answer.

use std::pin::Pin;

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
        let subscription = Subscription { session, requests: request.into_inner(), version: 1, nonce: 0, wanted: None };
        let answers = stream::try_unfold(subscription, |mut subscription| async move {
            let answer = subscription.next().await?;
            Ok(answer.map(|answer| (answer, subscription)))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn fetch_secrets(&self, request: Request<DiscoveryRequest>) -> Result<Response<DiscoveryResponse>, Status> {
        let session = Session::open(&request, &self.offers)?;
        let answer = Wanted::of(request.into_inner())?.answer(&session, 1, 0)?;
        answer.map(Response::new).ok_or_else(|| Status::unavailable("the tenant's revocation lists are not known yet"))
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
        Ok(Self { names: request.resource_names, validator })
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

fn wants_spiffe(node: &Node) -> bool {
    let value = node.metadata.as_ref().and_then(|metadata| metadata.fields.get(SPIFFE_VALIDATION));
    value.is_some_and(|value| value.kind == Some(Kind::BoolValue(true)))
}

/// One stream.
struct Subscription {
    session: Session,
    requests: Streaming<DiscoveryRequest>,
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
            if let Some(answer) = wanted.answer(&self.session, self.version, self.nonce.saturating_add(1))? {
                self.nonce = self.nonce.saturating_add(1);
                return Ok(Some(answer));
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
            let message = error.message.chars().take(500).collect::<String>();
            tracing::warn!(version = self.version, message, "Envoy refused secrets and keeps the last ones");
        }
        let mut names = (wanted.names.clone(), request.resource_names);
        [&mut names.0, &mut names.1].into_iter().for_each(|names| names.sort());
        if names.0 == names.1 {
            return Ok(false);
        }
        wanted.names = names.1;
        Ok(true)
    }
}
