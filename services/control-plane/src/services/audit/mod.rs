//! The audit log.

mod convert;
pub(super) mod entry;

use std::{sync::Arc, time::Duration};

use signet_app::{
    AuditTail, Call,
    audit::{checkpoints, events},
};
use signet_core::{Error, TenantScope};
use signet_proto::v1::{
    AuditEvent, ListAuditCheckpointsRequest, ListAuditCheckpointsResponse, ListAuditEventsRequest,
    ListAuditEventsResponse, ListAuditSealsRequest, ListAuditSealsResponse, TailAuditEventsRequest,
    audit_service_server::AuditService,
};
use tonic::{Request, Response, Status, async_trait};

use super::{
    api::Api,
    caller,
    caller::Caller,
    fields,
    stream::{Messages, Sink},
};
use crate::{errors, node::Node};

/// How often a tail looks for new events.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Failed looks in a row after which a tail ends.
const PATIENCE: u32 = 10;

#[async_trait]
impl AuditService for Api {
    type TailAuditEventsStream = Messages<AuditEvent>;

    async fn list_audit_events(
        &self,
        request: Request<ListAuditEventsRequest>,
    ) -> Result<Response<ListAuditEventsResponse>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let (start, end) = (message.start_time.as_ref(), message.end_time.as_ref());
            let window = fields::window(&self.node.app, start, end, caller.call.now)?;
            let page = fields::page(message.page_size, message.page_token);
            let found = events::list_audit_events(&self.node.app, &caller.call, &scope, &window, &page).await?;
            let events = found.events.into_iter().map(convert::event).collect();
            Ok(ListAuditEventsResponse { events, next_page_token: found.next_page_token })
        })
        .await
    }

    async fn tail_audit_events(
        &self,
        request: Request<TailAuditEventsRequest>,
    ) -> Result<Response<Self::TailAuditEventsStream>, Status> {
        let (passed, message) = caller::take(request)?;
        let caller = Caller::new(&self.node, passed);
        let start = caller.scope(&message.tenant_id).and_then(|scope| {
            let since = fields::time("start_time", message.start_time.as_ref())?;
            Ok((scope, AuditTail::new(since.unwrap_or(caller.call.now))))
        });
        let (scope, tail) = start.map_err(|error| self.failed(&caller.call, caller.session.as_deref(), &error))?;
        let (node, call, tenant) = (Arc::clone(&self.node), caller.call.clone(), scope.tenant().clone());
        Ok(Response::new(self.stream(&caller, &tenant, move |sink| follow(node, call, scope, tail, sink))?))
    }

    async fn list_audit_seals(
        &self,
        request: Request<ListAuditSealsRequest>,
    ) -> Result<Response<ListAuditSealsResponse>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let (start, end) = (message.start_time.as_ref(), message.end_time.as_ref());
            let window = fields::window(&self.node.app, start, end, caller.call.now)?;
            let page = fields::page(message.page_size, message.page_token);
            let found = events::list_audit_seals(&self.node.app, &caller.call, &scope, &window, &page).await?;
            Ok(ListAuditSealsResponse {
                seals: found.seals.into_iter().map(convert::seal).collect(),
                next_page_token: found.next_page_token,
                sealed_through_minute: found.sealed_through.unwrap_or(0),
                audit_key_spki_der: self.node.audit_key_spki_der.clone(),
                before: found.before.map(convert::seal),
            })
        })
        .await
    }

    async fn list_audit_checkpoints(
        &self,
        request: Request<ListAuditCheckpointsRequest>,
    ) -> Result<Response<ListAuditCheckpointsResponse>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let page = fields::page(message.page_size, message.page_token);
            let found = checkpoints::list_audit_checkpoints(&self.node.app, &caller.call, &scope, &page).await?;
            let checkpoints = found.checkpoints.into_iter().map(convert::checkpoint).collect();
            Ok(ListAuditCheckpointsResponse { checkpoints, next_page_token: found.next_page_token })
        })
        .await
    }
}

/// Sends new events as they turn up.
async fn follow(
    node: Arc<Node>,
    mut call: Call,
    scope: TenantScope,
    mut tail: AuditTail,
    sink: Sink<AuditEvent>,
) -> Result<(), Status> {
    let mut failures = 0u32;
    loop {
        call.now = node.now();
        match events::audit_events_since(&node.app, &call, &scope, &mut tail).await {
            Ok(events) => {
                failures = 0;
                for event in events {
                    if !sink.send(convert::event(event)).await {
                        return Ok(());
                    }
                }
            }
            // A store that is away for a moment does not end the tail: nothing is lost, the next look reads it.
            Err(Error::Unavailable { .. }) if failures < PATIENCE => failures = failures.saturating_add(1),
            Err(error) => return Err(errors::to_status(&error)),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
