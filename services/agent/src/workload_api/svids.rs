//! The SPIFFE Workload API, and its X.509 profile.

use std::{collections::HashMap, pin::Pin, sync::Arc};

use futures::{Stream, stream};
use tonic::{Request, Response, Status};

use super::{
    jwt_svids,
    offers::{Offers, Svid},
    session::Session,
    wire::spiffe::{self as pb, spiffe_workload_api_server::SpiffeWorkloadApi},
};

/// SPIFFE Workload Endpoint section 3: a browser that was led to the socket does not send it.
const SECURITY_HEADER: &str = "workload.spiffe.io";

/// Refuses calls without the header, or with two of it.
pub(crate) fn check_header(request: Request<()>) -> Result<Request<()>, Status> {
    let mut values = request.metadata().get_all(SECURITY_HEADER).iter();
    let is_there = values.next().is_some_and(|value| value == "true") && values.next().is_none();
    let missing = || Status::invalid_argument("the metadata workload.spiffe.io: true is required, once");
    if is_there { Ok(request) } else { Err(missing()) }
}

/// See the module's words.
pub(crate) struct WorkloadApi {
    pub(crate) offers: Offers,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// `message` of what there is now, and again after each change, once the last was taken.
fn answers<T: Send + 'static>(session: Session, message: fn(&[Arc<Svid>]) -> T) -> Response<Answers<T>> {
    let all = stream::try_unfold((session, true), move |(mut session, is_first)| async move {
        session.taken().await;
        if !is_first {
            session.change().await?;
        }
        session.room().await;
        Ok(Some((message(session.svids()), (session, false))))
    });
    Response::new(Box::pin(all))
}

#[tonic::async_trait]
impl SpiffeWorkloadApi for WorkloadApi {
    type FetchX509SVIDStream = Answers<pb::X509svidResponse>;
    type FetchX509BundlesStream = Answers<pb::X509BundlesResponse>;
    type FetchJWTBundlesStream = Answers<pb::JwtBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        request: Request<pb::X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        Ok(answers(Session::open(&request, &self.offers)?, svids))
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<pb::X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        Ok(answers(Session::open(&request, &self.offers)?, bundles))
    }

    async fn fetch_jwtsvid(
        &self,
        request: Request<pb::JwtsvidRequest>,
    ) -> Result<Response<pb::JwtsvidResponse>, Status> {
        let session = Session::open(&request, &self.offers)?;
        jwt_svids::fetch(&session, request.into_inner()).await.map(Response::new)
    }

    async fn fetch_jwt_bundles(
        &self,
        request: Request<pb::JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        let session = jwt_svids::with_keys(Session::open(&request, &self.offers)?).await?;
        Ok(answers(session, jwt_svids::bundles))
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<pb::ValidateJwtsvidRequest>,
    ) -> Result<Response<pb::ValidateJwtsvidResponse>, Status> {
        let session = Session::open(&request, &self.offers)?;
        jwt_svids::validate(&session, &request.into_inner()).map(Response::new)
    }
}

fn svids(svids: &[Arc<Svid>]) -> pb::X509svidResponse {
    let message = |svid: &Arc<Svid>| pb::X509svid {
        spiffe_id: svid.spiffe_id.clone(),
        x509_svid: svid.chain_der.concat(),
        x509_svid_key: svid.key_der.to_vec(),
        bundle: svid.anchors_der.concat(),
        hint: svid.name.clone(),
    };
    let crl = lists(svids);
    pb::X509svidResponse { svids: svids.iter().map(message).collect(), crl, federated_bundles: HashMap::new() }
}

fn bundles(svids: &[Arc<Svid>]) -> pb::X509BundlesResponse {
    // Of two identities of one tenant the first counts, as for Envoy.
    let bundles = svids.iter().rev().map(|svid| (svid.trust_domain().to_owned(), svid.anchors_der.concat()));
    pb::X509BundlesResponse { crl: lists(svids), bundles: bundles.collect() }
}

/// Each once.
fn lists(svids: &[Arc<Svid>]) -> Vec<Vec<u8>> {
    let mut lists = Vec::new();
    for list in svids.iter().flat_map(|svid| svid.revocations.lists()) {
        if !lists.contains(list) {
            lists.push(list.clone());
        }
    }
    lists
}
