//! Tokens: made for the caller, looked at for others, and the keys that sign them.

mod broker;
mod mint;
pub(crate) mod oauth;
pub(crate) mod poll;
mod receiver;
mod set;
pub(crate) mod standing;

use mint::{Minted, Wanted};
use receiver::Receiver;
use signet_app::{
    tokens::{self, RotateTokenKeys, claims},
    trust::security_events,
};
use signet_core::{
    Time,
    brokers::BrokerTopics,
    tokens::{TokenAlgorithm, TokenKeys, TokenUse},
};
use signet_proto::v1::{
    self as pb, AccessToken, BrokerToken, CreateAccessTokenRequest, CreateBrokerTokenRequest, CreateJwtSvidRequest,
    CreateWitSvidRequest, ExchangeTokenRequest, GetTokenKeysRequest, IntrospectAccessTokenRequest,
    IntrospectAccessTokenResponse, JwtSvid, PollSecurityEventsRequest, PollSecurityEventsResponse,
    RotateTokenKeysRequest, SecurityEventToken, WitSvid, token_service_server::TokenService,
};
use standing::Good;
use tonic::{Request, Response, Status, async_trait};

use super::{api::Api, choices, fields, wire};

#[async_trait]
impl TokenService for Api {
    async fn create_access_token(
        &self,
        request: Request<CreateAccessTokenRequest>,
    ) -> Result<Response<AccessToken>, Status> {
        self.unary(request, async |caller, message| {
            let CreateAccessTokenRequest { audience, scopes, lifetime_seconds } = message;
            let wanted = Wanted { audience, scopes, lifetime_seconds };
            Ok(on_the_wire(mint::access_token(&self.node, &caller, wanted).await?))
        })
        .await
    }

    async fn exchange_token(&self, request: Request<ExchangeTokenRequest>) -> Result<Response<AccessToken>, Status> {
        self.unary(request, async |caller, message| {
            let ExchangeTokenRequest { subject_token, audience, scopes, lifetime_seconds } = message;
            fields::text("subject_token", &subject_token)?;
            fields::text("audience", &audience)?;
            let wanted = Wanted { audience, scopes, lifetime_seconds };
            Ok(on_the_wire(mint::exchanged(&self.node, &caller, subject_token, wanted).await?))
        })
        .await
    }

    async fn introspect_access_token(
        &self,
        request: Request<IntrospectAccessTokenRequest>,
    ) -> Result<Response<IntrospectAccessTokenResponse>, Status> {
        self.unary(request, async |caller, message| {
            let tenant = &caller.identity()?.tenant;
            fields::text("token", &message.token)?;
            let found = standing::standing(&self.node, tenant, &message.token, caller.call.now);
            Ok(found.map_or_else(inactive, active))
        })
        .await
    }

    async fn create_jwt_svid(&self, request: Request<CreateJwtSvidRequest>) -> Result<Response<JwtSvid>, Status> {
        self.unary(request, async |caller, message| {
            let CreateJwtSvidRequest { audiences, lifetime_seconds } = message;
            let Minted { token, claims } = mint::jwt_svid(&self.node, &caller, audiences, lifetime_seconds).await?;
            Ok(JwtSvid { spiffe_id: claims.sub, svid: token, expire_time: Some(time(claims.exp)) })
        })
        .await
    }

    async fn create_wit_svid(&self, request: Request<CreateWitSvidRequest>) -> Result<Response<WitSvid>, Status> {
        self.unary(request, async |caller, message| {
            let CreateWitSvidRequest { public_key_der, lifetime_seconds } = message;
            let minted = mint::wit_svid(&self.node, &caller, &public_key_der, lifetime_seconds).await?;
            let Minted { token, claims } = minted;
            Ok(WitSvid { spiffe_id: claims.sub, svid: token, expire_time: Some(time(claims.exp)) })
        })
        .await
    }

    async fn create_broker_token(
        &self,
        request: Request<CreateBrokerTokenRequest>,
    ) -> Result<Response<BrokerToken>, Status> {
        self.unary(request, async |caller, message| {
            let CreateBrokerTokenRequest { publish, subscribe, client_id_suffix, lifetime_seconds } = message;
            let topics = BrokerTopics { publish, subscribe };
            let wanted = broker::Wanted { topics, client_id_suffix, lifetime_seconds };
            let broker::Made { token, client_id, topics, until } =
                broker::broker_token(&self.node, &caller, &wanted).await?;
            let BrokerTopics { publish, subscribe } = topics;
            let expire_time = Some(wire::time(until));
            Ok(BrokerToken { broker_token: token, client_id, publish, subscribe, expire_time })
        })
        .await
    }

    async fn poll_security_events(
        &self,
        request: Request<PollSecurityEventsRequest>,
    ) -> Result<Response<PollSecurityEventsResponse>, Status> {
        self.unary(request, async |caller, message| {
            let PollSecurityEventsRequest { max_events, acknowledged_event_ids: acknowledged } = message;
            let most = match max_events {
                0 => receiver::MOST,
                most => usize::try_from(most).unwrap_or(receiver::MOST).min(receiver::MOST),
            };
            let poll = security_events::PollSecurityEvents { acknowledged, most, ..Default::default() };
            let told = Receiver::new(&self.node, &caller)?.look(&poll).await?;
            let events = told.sets.into_iter().map(|(event_id, token)| SecurityEventToken { event_id, token });
            Ok(PollSecurityEventsResponse { events: events.collect(), more_available: told.more })
        })
        .await
    }

    async fn get_token_keys(&self, request: Request<GetTokenKeysRequest>) -> Result<Response<pb::TokenKeys>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let found = tokens::get_token_keys(&self.node.app, &caller.call, &scope).await?;
            Ok(pb::TokenKeys { keys: found.iter().flat_map(keys).collect() })
        })
        .await
    }

    async fn rotate_token_keys(
        &self,
        request: Request<RotateTokenKeysRequest>,
    ) -> Result<Response<pb::TokenKeys>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let caller = caller.with_request_id(&message.request_id)?;
            let for_use = choices::token_use(message.r#use)?;
            let algorithm = choices::token_algorithm(message.algorithm)?;
            let input = RotateTokenKeys { for_use, algorithm, now: message.now };
            let rotated = tokens::rotate_token_keys(&self.node.app, &caller.call, &scope, input).await?;
            if message.now {
                let newest = rotated.keys.last().map(|key| key.id.clone());
                let knows = |trust: &signet_core::trust::Trust| {
                    let known = trust.token_keys(scope.tenant(), for_use);
                    known.and_then(|known| known.keys.last().map(|key| key.id.clone())) == newest
                };
                self.heard(knows).await;
            }
            Ok(pb::TokenKeys { keys: keys(&rotated).collect() })
        })
        .await
    }
}

fn on_the_wire(Minted { token, claims }: Minted<claims::AccessToken>) -> AccessToken {
    AccessToken {
        access_token: token,
        audience: claims.aud,
        scopes: scopes_in(&claims.scope),
        expire_time: Some(time(claims.exp)),
        certificate_thumbprint: claims.cnf.x5t_s256,
    }
}

fn active(good: Good) -> IntrospectAccessTokenResponse {
    let Good { claims, .. } = good;
    IntrospectAccessTokenResponse {
        active: true,
        reason: String::new(),
        spiffe_id: claims.sub,
        audience: claims.aud,
        scopes: scopes_in(&claims.scope),
        expire_time: Some(time(claims.exp)),
        client_id: claims.client_id,
        certificate_thumbprint: claims.cnf.x5t_s256,
        token_id: claims.jti,
        issue_time: Some(time(claims.iat)),
    }
}

fn inactive(reason: &str) -> IntrospectAccessTokenResponse {
    IntrospectAccessTokenResponse { active: false, reason: reason.to_owned(), ..Default::default() }
}

fn scopes_in(scope: &str) -> Vec<String> {
    scope.split(' ').map(str::to_owned).collect()
}

fn time(seconds: i64) -> prost_types::Timestamp {
    wire::time(Time::from_unix_seconds(seconds))
}

fn keys(of: &TokenKeys) -> impl Iterator<Item = pb::TokenKey> {
    let for_use = match of.for_use {
        TokenUse::AccessToken => pb::TokenUse::AccessToken,
        TokenUse::JwtSvid => pb::TokenUse::JwtSvid,
        TokenUse::WitSvid => pb::TokenUse::WitSvid,
        TokenUse::SecurityEvent => pb::TokenUse::SecurityEvent,
        TokenUse::BrokerToken => pb::TokenUse::BrokerToken,
    };
    of.keys.iter().map(move |key| pb::TokenKey {
        r#use: for_use.into(),
        key_id: key.id.clone(),
        algorithm: match key.algorithm {
            TokenAlgorithm::Es256 => pb::TokenAlgorithm::Es256.into(),
            TokenAlgorithm::Rs256 => pb::TokenAlgorithm::Rs256.into(),
        },
        publish_time: Some(wire::time(key.published_at)),
        sign_time: Some(wire::time(key.signs_at)),
        public_key_der: key.spki_der.clone(),
    })
}
