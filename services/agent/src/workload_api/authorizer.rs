//! Stands in for `signet_client::Authorizer`.

use signet_client::{Identity, LiveChannel};
use signet_proto::v1::{CheckRequest, CheckResource, CheckSubject, authorization_service_client::AuthorizationServiceClient, check_subject::By};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResourceRef {
    pub(crate) kind: String,
    pub(crate) id: String,
}

pub(crate) struct Question {
    pub(crate) certificate_der: Vec<u8>,
    pub(crate) action: String,
    pub(crate) resource: Option<ResourceRef>,
    pub(crate) context: Vec<(String, String)>,
}

pub(crate) struct Decision {
    pub(crate) allowed: bool,
    pub(crate) reason: String,
    pub(crate) spiffe_id: String,
}

#[derive(Clone)]
pub(crate) struct Authorizer(LiveChannel);

impl Authorizer {
    pub(crate) fn new(identity: &Identity) -> Option<Self> {
        identity.channel().ok().map(Self)
    }

    pub(crate) async fn decide(&self, question: &Question) -> Decision {
        let subject = CheckSubject { by: Some(By::CertificateDer(question.certificate_der.clone())) };
        let resource = question.resource.as_ref().map(|resource| CheckResource {
            r#type: resource.kind.clone(),
            id: resource.id.clone(),
            ..Default::default()
        });
        let request = CheckRequest {
            subject: Some(subject),
            action: question.action.clone(),
            resource,
            context: question.context.iter().cloned().collect(),
            ..Default::default()
        };
        match AuthorizationServiceClient::new(self.0.clone()).check(request).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                Decision { allowed: answer.allowed, reason: answer.reason, spiffe_id: answer.spiffe_id }
            }
            Err(error) => {
                tracing::warn!(%error, "check");
                Decision { allowed: false, reason: "UNAVAILABLE".into(), spiffe_id: String::new() }
            }
        }
    }
}
