//! Trust bundles and the CAs behind them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde_json::json;
use signet_app::{authorities, svid_keys};
use signet_core::{Error, TenantId, authorities::CaKind};
use signet_proto::v1::{
    GetTrustBundleRequest, ListCertificateAuthoritiesRequest, ListCertificateAuthoritiesResponse, RevocationListPart,
    RotateCertificateAuthorityRequest, RotateCertificateAuthorityResponse, TrustBundle, WatchRevocationListsRequest,
    WatchTrustBundleRequest, trust_service_server::TrustService,
};
use tonic::{Request, Response, Status, async_trait};

use super::{
    api::Api,
    authorities::certificate_authority,
    caller,
    caller::Caller,
    choices, fields,
    stream::{Messages, Sink},
};
use crate::{bundles::Bundle, node::Node};

/// Most bytes of a list in a message: each stream that is not read keeps an encoded one.
const MOST_OF_A_MESSAGE: usize = 128 * 1024;
/// How often a watcher looks for new server anchors and renewed lists, which no feed tells of.
const LOOK_EVERY: Duration = Duration::from_secs(60);

#[async_trait]
impl TrustService for Api {
    type WatchTrustBundleStream = Messages<TrustBundle>;
    type WatchRevocationListsStream = Messages<RevocationListPart>;

    async fn get_trust_bundle(&self, request: Request<GetTrustBundleRequest>) -> Result<Response<TrustBundle>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            Ok(on_the_wire(&self.node, &bundle(&self.node, scope.tenant())?))
        })
        .await
    }

    async fn watch_trust_bundle(
        &self,
        request: Request<WatchTrustBundleRequest>,
    ) -> Result<Response<Self::WatchTrustBundleStream>, Status> {
        let (passed, message) = caller::take(request)?;
        let caller = Caller::new(&self.node, passed);
        let first = caller.scope(&message.tenant_id).and_then(|scope| bundle(&self.node, scope.tenant()));
        let first = first.map_err(|error| self.failed(&caller.call, caller.session.as_deref(), &error))?;
        let (node, tenant) = (Arc::clone(&self.node), first.tenant.clone());
        Ok(Response::new(self.stream(&caller, &tenant, move |sink| watch(node, first, sink))?))
    }

    async fn watch_revocation_lists(
        &self,
        request: Request<WatchRevocationListsRequest>,
    ) -> Result<Response<Self::WatchRevocationListsStream>, Status> {
        let (passed, message) = caller::take(request)?;
        let caller = Caller::new(&self.node, passed);
        let tenant = caller.scope(&message.tenant_id).and_then(|scope| {
            let tenant = scope.tenant().clone();
            bundle(&self.node, &tenant).map(|_| tenant)
        });
        let tenant = tenant.map_err(|error| self.failed(&caller.call, caller.session.as_deref(), &error))?;
        let (node, of) = (Arc::clone(&self.node), tenant.clone());
        Ok(Response::new(self.stream(&caller, &tenant, move |sink| watch_lists(node, of, sink))?))
    }

    async fn list_certificate_authorities(
        &self,
        request: Request<ListCertificateAuthoritiesRequest>,
    ) -> Result<Response<ListCertificateAuthoritiesResponse>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let page = fields::page(message.page_size, message.page_token);
            let found = authorities::list_certificate_authorities(&self.node.app, &caller.call, &scope, &page).await?;
            let certificate_authorities = found.items.iter().map(certificate_authority).collect();
            Ok(ListCertificateAuthoritiesResponse {
                certificate_authorities,
                next_page_token: found.next_page_token,
                unreadable: found.unreadable,
            })
        })
        .await
    }

    async fn rotate_certificate_authority(
        &self,
        request: Request<RotateCertificateAuthorityRequest>,
    ) -> Result<Response<RotateCertificateAuthorityResponse>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let caller = caller.with_request_id(&message.request_id)?;
            let (kind, action) =
                (choices::ca_kind(message.kind)?, choices::rotation_action(message.action, message.force)?);
            if kind != CaKind::Tenant && !scope.tenant().is_system() {
                return Err(Error::invalid("kind", "INVALID_KIND", "only the system tenant has CAs of this kind"));
            }
            let report = authorities::rotate_ca(&self.node.app, &caller.call, &scope, kind, action).await?;
            let certificate_authorities = report.cas.iter().map(certificate_authority).collect();
            Ok(RotateCertificateAuthorityResponse { certificate_authorities, steps: report.steps })
        })
        .await
    }
}

fn bundle(node: &Node, tenant: &TenantId) -> Result<Bundle, Error> {
    node.bundles.of(tenant).ok_or_else(|| Error::not_found("tenant", tenant))
}

fn on_the_wire(node: &Node, bundle: &Bundle) -> TrustBundle {
    let keys = svid_keys(&bundle.token_keys, node.now());
    let svid_keys_json = if keys.is_empty() { String::new() } else { json!({ "keys": keys }).to_string() };
    TrustBundle {
        tenant_id: bundle.tenant.to_string(),
        trust_domain: node.trust_domain(&bundle.tenant),
        anchor_der: bundle.anchors.iter().map(|anchor| anchor.certificate_der.to_vec()).collect(),
        root_der: bundle.server_trust_der.to_vec(),
        shared: bundle.shared,
        svid_keys_json,
    }
}

/// Sends the bundle whenever it differs from the one sent last.
async fn watch(node: Arc<Node>, first: Bundle, sink: Sink<TrustBundle>) -> Result<(), Status> {
    let mut epochs = node.epochs.clone();
    let mut sent = first;
    if !sink.send(on_the_wire(&node, &sent)).await {
        return Ok(());
    }
    loop {
        // Seen before the look: a change during it leads to another.
        epochs.mark_unchanged();
        let now = bundle(&node, &sent.tenant).map_err(|error| crate::errors::to_status(&error))?;
        if now != sent {
            sent = now;
            if !sink.send(on_the_wire(&node, &sent)).await {
                return Ok(());
            }
        }
        let changed = tokio::time::timeout(LOOK_EVERY, epochs.changed()).await;
        if let Ok(Err(_)) = changed {
            return Ok(());
        }
    }
}

/// Sends each list whose number is above the one sent last.
async fn watch_lists(node: Arc<Node>, tenant: TenantId, sink: Sink<RevocationListPart>) -> Result<(), Status> {
    let (mut epochs, mut changes) = (node.epochs.clone(), node.lists.changes());
    let mut sent = HashMap::new();
    loop {
        // Seen before the look: a change during it leads to another.
        epochs.mark_unchanged();
        changes.mark_unchanged();
        let lists = node.lists.of(&tenant).await.unwrap_or_else(|| Err(Error::not_found("tenant", &tenant)));
        for list in lists.map_err(|error| crate::errors::to_status(&error))? {
            let number = list.head.number;
            if sent.get(&list.head.ca).is_some_and(|sent| *sent >= number) {
                continue;
            }
            let mut left = list.der.clone();
            while !left.is_empty() {
                let der = left.split_to(left.len().min(MOST_OF_A_MESSAGE));
                let (tenant_id, ca_id, more) = (tenant.to_string(), list.head.ca.to_string(), !left.is_empty());
                if !sink.send(RevocationListPart { tenant_id, ca_id, number, der, more }).await {
                    return Ok(());
                }
            }
            sent.insert(list.head.ca.clone(), number);
        }
        let ended = tokio::select! {
            changed = epochs.changed() => changed.is_err(),
            changed = changes.changed() => changed.is_err(),
            () = tokio::time::sleep(LOOK_EVERY) => false,
        };
        if ended {
            return Ok(());
        }
    }
}
