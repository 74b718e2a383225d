//! Secrets that devices sign messages with, and messages, verified.

mod convert;
mod parse;
mod watch;

use std::sync::Arc;

use metrics::counter;
use signet_app::messages::{self, MessageQuestion, RotateMessageSecret};
use signet_core::{Error, PrincipalId, TenantId};
use signet_messages::MessageRefusal;
use signet_proto::v1::{
    BatchVerifyMessagesRequest, BatchVerifyMessagesResponse, DeleteMessageSecretRequest, DeleteMessageSecretResponse,
    FetchMessageSecretsRequest, FetchMessageSecretsResponse, GetMessageSecretRequest, ListMessageSecretsRequest,
    ListMessageSecretsResponse, MessageSecret, MessageSecretsChange, RotateMessageSecretRequest, RotatedMessageSecret,
    VerifyMessageRequest, VerifyMessageResponse, WatchMessageSecretsRequest, message_service_server::MessageService,
};
use tonic::{Request, Response, Status, async_trait};

use super::{
    api::Api,
    caller::{self, Caller},
    fields,
    stream::Messages,
    watching,
};

#[async_trait]
impl MessageService for Api {
    type WatchMessageSecretsStream = Messages<MessageSecretsChange>;

    async fn rotate_message_secret(
        &self,
        request: Request<RotateMessageSecretRequest>,
    ) -> Result<Response<RotatedMessageSecret>, Status> {
        self.unary(request, async |caller, message| {
            let (scope, principal) = caller.principal(&message.tenant_id, &message.principal_id)?;
            if self.node.trust.is_deleted(scope.tenant()) {
                return Err(signet_app::deleted(scope.tenant()));
            }
            let caller = caller.with_request_id(&message.request_id)?;
            let input = RotateMessageSecret { principal, at_once: message.now };
            let (app, permit) = (&self.node.app, caller.permit()?);
            let rotated = messages::rotate_message_secret(app, &caller.call, permit, &scope, input).await?;
            Ok(convert::rotated(&rotated, caller.call.now))
        })
        .await
    }

    async fn delete_message_secret(
        &self,
        request: Request<DeleteMessageSecretRequest>,
    ) -> Result<Response<DeleteMessageSecretResponse>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let caller = caller.with_request_id(&message.request_id)?;
            let device = fields::principal_id("principal_id", &message.principal_id)?;
            let (app, permit) = (&self.node.app, caller.permit()?);
            messages::delete_message_secret(app, &caller.call, permit, &scope, &device).await?;
            Ok(DeleteMessageSecretResponse {})
        })
        .await
    }

    async fn get_message_secret(
        &self,
        request: Request<GetMessageSecretRequest>,
    ) -> Result<Response<MessageSecret>, Status> {
        self.unary(request, async |caller, message| {
            let (scope, device) = caller.principal(&message.tenant_id, &message.principal_id)?;
            let found = messages::get_message_secret(&self.node.app, &caller.call, &scope, &device).await?;
            Ok(convert::metadata(&found, caller.call.now))
        })
        .await
    }

    async fn list_message_secrets(
        &self,
        request: Request<ListMessageSecretsRequest>,
    ) -> Result<Response<ListMessageSecretsResponse>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let page = fields::page(message.page_size, message.page_token);
            let found = messages::list_message_secrets(&self.node.app, &caller.call, &scope, &page).await?;
            let secrets = found.items.iter().map(|found| convert::metadata(found, caller.call.now)).collect();
            let (next_page_token, unreadable) = (found.next_page_token, found.unreadable);
            Ok(ListMessageSecretsResponse { secrets, next_page_token, unreadable })
        })
        .await
    }

    async fn verify_message(
        &self,
        request: Request<VerifyMessageRequest>,
    ) -> Result<Response<VerifyMessageResponse>, Status> {
        self.unary(request, async |mut caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            self.require_tenant(scope.tenant())?;
            caller.call.request_id = parse::optional_request_id(&message.request_id)?;
            let message = fields::required("message", message.message)?;
            let principal = fields::principal_id("message.principal_id", &message.principal_id)?;
            let question = MessageQuestion { principal: &principal, message: parse::message(&message) };
            let admits = self.admits(scope.tenant(), &caller);
            let answer = messages::verify_message(&self.node.app, &caller.call, &scope, &admits, question).await?;
            self.count([&answer]);
            Ok(convert::answer(&answer))
        })
        .await
    }

    async fn batch_verify_messages(
        &self,
        request: Request<BatchVerifyMessagesRequest>,
    ) -> Result<Response<BatchVerifyMessagesResponse>, Status> {
        self.unary(request, async |mut caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            self.require_tenant(scope.tenant())?;
            caller.call.request_id = parse::optional_request_id(&message.request_id)?;
            parse::bounded("messages", message.messages.len())?;
            // Its sender has chosen the name: one that cannot be must not keep the others from their answers.
            let principals: Vec<Option<PrincipalId>> =
                message.messages.iter().map(|message| message.principal_id.parse().ok()).collect();
            let each = principals.iter().zip(&message.messages);
            let questions: Vec<_> = each
                .filter_map(|(principal, message)| {
                    principal.as_ref().map(|principal| MessageQuestion { principal, message: parse::message(message) })
                })
                .collect();
            let admits = self.admits(scope.tenant(), &caller);
            let found = messages::verify_messages(&self.node.app, &caller.call, &scope, &admits, &questions).await?;
            let mut found = found.into_iter();
            let answers = principals.iter().map(|principal| principal.as_ref().and_then(|_| found.next()));
            let found: Vec<_> = answers.map(|answer| answer.unwrap_or(Err(MessageRefusal::UnknownSender))).collect();
            self.count(&found);
            Ok(BatchVerifyMessagesResponse { answers: found.iter().map(convert::answer).collect() })
        })
        .await
    }

    async fn fetch_message_secrets(
        &self,
        request: Request<FetchMessageSecretsRequest>,
    ) -> Result<Response<FetchMessageSecretsResponse>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope("")?;
            let FetchMessageSecretsRequest { principal_ids, late_principal_ids } = message;
            parse::bounded("principal_ids", principal_ids.len().max(late_principal_ids.len()))?;
            let ids = |field, ids: &[String]| {
                ids.iter().map(|id| fields::principal_id(field, id)).collect::<Result<Vec<_>, Error>>()
            };
            let devices = ids("principal_ids", &principal_ids)?;
            let late = ids("late_principal_ids", &late_principal_ids)?;
            let admits = self.admits(scope.tenant(), &caller);
            let app = &self.node.app;
            let found = messages::fetch_message_secrets(app, &caller.call, &scope, &admits, devices, &late).await?;
            Ok(FetchMessageSecretsResponse { secrets: found.iter().map(convert::fetched).collect() })
        })
        .await
    }

    async fn watch_message_secrets(
        &self,
        request: Request<WatchMessageSecretsRequest>,
    ) -> Result<Response<Self::WatchMessageSecretsStream>, Status> {
        let (passed, _) = caller::take(request)?;
        let caller = Caller::new(&self.node, passed);
        let tenant = match caller.scope("") {
            Ok(scope) => scope.tenant().clone(),
            Err(error) => return Err(self.failed(&caller.call, caller.session.as_deref(), &error)),
        };
        let node = Arc::clone(&self.node);
        let stream =
            self.stream(&caller, &tenant.clone(), move |sink| watching::watch(node, tenant, sink, watch::told))?;
        Ok(Response::new(stream))
    }
}

impl Api {
    /// Who mistypes a tenant must not take a refusal for an answer about one that exists.
    fn require_tenant(&self, tenant: &TenantId) -> Result<(), Error> {
        match self.node.trust.tenant(tenant) {
            Some(_) => Ok(()),
            None => Err(Error::not_found("tenant", tenant)),
        }
    }

    /// Whether a principal counts as a sender, by what this node has in memory.
    fn admits(&self, tenant: &TenantId, caller: &Caller) -> impl Fn(&PrincipalId) -> bool + Sync {
        let (trust, tenant, now) = (Arc::clone(&self.node.trust), tenant.clone(), caller.call.now);
        move |principal| trust.admit_sender(&tenant, principal, now).is_ok()
    }

    fn count<'a>(&self, answers: impl IntoIterator<Item = &'a Result<messages::AcceptedMessage, MessageRefusal>>) {
        for answer in answers {
            let result = answer.as_ref().map_or_else(|refusal| refusal.reason(), |_| "OK");
            self.node.metrics.with(|| counter!("signet_messages_total", "result" => result).increment(1));
        }
    }
}
