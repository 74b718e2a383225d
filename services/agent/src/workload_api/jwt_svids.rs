//! The SPIFFE Workload API, JWT profile.

use std::{sync::Arc, time::Duration};

use futures::future::try_join_all;
use prost_types::{ListValue, Struct, Value, value::Kind};
use serde_json::Value as Json;
use signet_client::{ClientError, ConnectError, system_clock};
use tonic::{Code, Status};

use super::{offers::Svid, session::Session, wire::spiffe as pb};

/// How long a caller waits for the first keys of its tenant.
const FIRST_KEYS: Duration = Duration::from_secs(5);

/// A token of each of the caller's identities, or of the one that it names (section 6.2.1).
pub(crate) async fn fetch(session: &Session, request: pb::JwtsvidRequest) -> Result<pb::JwtsvidResponse, Status> {
    let pb::JwtsvidRequest { audience, spiffe_id } = request;
    if audience.is_empty() || audience.iter().any(String::is_empty) {
        return Err(Status::invalid_argument("audience is required: who will verify the token, none of them empty"));
    }
    let wanted = session.svids().iter().filter(|svid| spiffe_id.is_empty() || svid.spiffe_id == spiffe_id);
    let audiences: Vec<&str> = audience.iter().map(String::as_str).collect();
    let mut svids: Vec<pb::Jwtsvid> = try_join_all(wanted.map(|svid| one(session, svid, &audiences))).await?;
    // They took a while.
    let still = session.look_again()?;
    svids.retain(|token| still.iter().any(|svid| svid.spiffe_id == token.spiffe_id));
    if svids.is_empty() {
        return Err(Status::permission_denied("the caller has no identity of this SPIFFE ID"));
    }
    Ok(pb::JwtsvidResponse { svids })
}

async fn one(session: &Session, svid: &Svid, audiences: &[&str]) -> Result<pb::Jwtsvid, Status> {
    let tokens = svid.tokens.as_ref().ok_or_else(|| Status::unavailable("this identity has no connection yet"))?;
    let token = match tokens.kept_jwt_svid(audiences) {
        Some(kept) => kept,
        None => {
            session.may_ask()?;
            tokens.jwt_svid(audiences).await.map_err(|error| refused(&error))?
        }
    };
    let (spiffe_id, hint) = (token.spiffe_id.clone(), svid.name.clone());
    Ok(pb::Jwtsvid { spiffe_id, svid: token.secret().to_owned(), hint })
}

/// As the control plane says it, where it is the caller's to mend.
fn refused(error: &ClientError) -> Status {
    tracing::warn!(%error, "no JWT-SVID for a workload");
    let none = "the control plane makes no tokens for this identity";
    match error {
        ClientError::Connect(ConnectError::CertificateRefused { .. }) => Status::permission_denied(none),
        ClientError::Rpc(rpc) if rpc.code == Code::InvalidArgument => Status::invalid_argument(rpc.message.clone()),
        ClientError::Rpc(rpc) if matches!(rpc.code, Code::PermissionDenied | Code::Unauthenticated) => {
            Status::permission_denied(none)
        }
        ClientError::Rpc(rpc) if rpc.code == Code::ResourceExhausted => {
            Status::resource_exhausted("the identity has asked for too many tokens: retry")
        }
        ClientError::Rpc(rpc) if rpc.code == Code::FailedPrecondition => {
            Status::failed_precondition(rpc.message.clone())
        }
        _ => Status::unavailable("the control plane cannot be asked for a token: retry"),
    }
}

/// A tenant's first key is made for its first token: a verifier that comes before has one asked for. Libraries take no
/// bundle without keys.
pub(crate) async fn with_keys(mut session: Session) -> Result<Session, Status> {
    let lacks = |session: &Session| session.svids().iter().all(|svid| svid.svid_keys.is_empty());
    if lacks(&session) {
        session.may_ask()?;
        for svid in session.svids() {
            if let Some(tokens) = &svid.tokens {
                tokens.jwt_svid(&[svid.trust_domain()]).await.map_err(|error| refused(&error))?;
            }
        }
        let has_come = async {
            while lacks(&session) {
                session.change().await?;
            }
            Ok::<(), Status>(())
        };
        let late = |_| Status::unavailable("the control plane has not named the keys of JWT-SVIDs yet: retry");
        tokio::time::timeout(FIRST_KEYS, has_come).await.map_err(late)??;
    }
    Ok(session)
}

/// The keys of each tenant that has some.
pub(crate) fn bundles(svids: &[Arc<Svid>]) -> pb::JwtBundlesResponse {
    let with_keys = svids.iter().rev().filter(|svid| !svid.svid_keys.is_empty());
    let bundles = with_keys.map(|svid| (svid.trust_domain().to_owned(), svid.svid_keys.jwks().as_bytes().to_vec()));
    pb::JwtBundlesResponse { bundles: bundles.collect() }
}

/// Of the caller's own trust domains only (section 6.2.3).
pub(crate) fn validate(
    session: &Session,
    request: &pb::ValidateJwtsvidRequest,
) -> Result<pb::ValidateJwtsvidResponse, Status> {
    let pb::ValidateJwtsvidRequest { audience, svid } = request;
    if audience.is_empty() || svid.is_empty() {
        return Err(Status::invalid_argument("audience and svid are required"));
    }
    let now = system_clock()();
    let mut why = None;
    for own in session.svids() {
        match own.svid_keys.verify(svid, own.trust_domain(), audience, now) {
            Ok(found) => {
                let claims = Some(structure(found.claims));
                return Ok(pb::ValidateJwtsvidResponse { spiffe_id: found.spiffe_id, claims });
            }
            Err(fault) => why = why.or(Some(fault)),
        }
    }
    let why = why.map_or_else(|| "the caller has no trust domain".to_owned(), |fault| fault.to_string());
    Err(Status::invalid_argument(why))
}

fn structure(members: serde_json::Map<String, Json>) -> Struct {
    Struct { fields: members.into_iter().map(|(name, value)| (name, value_of(value))).collect() }
}

fn value_of(value: Json) -> Value {
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(bool) => Kind::BoolValue(bool),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(values) => Kind::ListValue(ListValue { values: values.into_iter().map(value_of).collect() }),
        Json::Object(members) => Kind::StructValue(structure(members)),
    };
    Value { kind: Some(kind) }
}
