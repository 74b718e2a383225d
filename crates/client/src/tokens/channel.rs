//! A channel whose calls show an access token.

use std::{
    fmt,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response, StatusCode, header::AUTHORIZATION};
use tonic::{Code, Status, body::Body};
use tonic_types::{ErrorDetails, StatusExt};
use tower::{BoxError, Service, ServiceExt};

use super::{
    handle::{Tokens, access, bearer},
    issued::TokenWish,
};
use crate::{error::ClientError, identity::LiveChannel};

/// A [`LiveChannel`] whose calls have `Authorization: Bearer` with an access token; from [`Tokens::on`]. For tonic's
/// clients, and for HTTP/2 requests of others.
#[derive(Clone)]
pub struct TokenChannel {
    channel: LiveChannel,
    tokens: Tokens,
    wish: TokenWish,
}

impl Tokens {
    /// A channel whose calls show an access token, always that of the certificate that the connection was made with.
    pub fn on(&self, channel: LiveChannel, audience: &str, scopes: &[&str]) -> TokenChannel {
        TokenChannel { channel, tokens: self.clone(), wish: access(audience, scopes) }
    }
}

impl Service<Request<Body>> for TokenChannel {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Each call waits for the channel that it takes.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // Both of one certificate, also in the moment in which the next one takes over.
        let (channel, held) = self.channel.taken();
        let (tokens, wish) = (self.tokens.clone(), self.wish.clone());
        Box::pin(async move {
            let token = tokens.of(&held, wish.clone()).await.map_err(not_had)?;
            request.headers_mut().insert(AUTHORIZATION, bearer(&token).map_err(not_had)?);
            let answer = channel.oneshot(request).await?;
            if is_refused(answer.status(), answer.headers()) {
                tokens.forget(&held, &wish, &token);
            }
            Ok(answer)
        })
    }
}

/// Whether it says that there is no good token. A gRPC answer that is no more than a refusal has its status in the
/// headers.
fn is_refused(status: StatusCode, headers: &HeaderMap) -> bool {
    let unauthenticated = i32::from(Code::Unauthenticated).to_string();
    status == StatusCode::UNAUTHORIZED || headers.get("grpc-status").is_some_and(|code| *code == *unauthenticated)
}

/// As the failure of the call that needed it.
fn not_had(error: ClientError) -> Status {
    let code = match &error {
        ClientError::Rpc(rpc) => rpc.code,
        _ if error.is_transient() => Code::Unavailable,
        _ => Code::Unauthenticated,
    };
    let details =
        ErrorDetails::with_error_info(error.reason(), "signet", std::collections::HashMap::<String, String>::new());
    Status::with_error_details(code, format!("no access token for the call: {error}"), details)
}

impl fmt::Debug for TokenChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenChannel")
    }
}
