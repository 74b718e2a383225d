//! Who asks: the holder of a certificate, or of a token.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use signet_client::{PeerCertificate, Question, QuestionResource, QuestionSubject};
use signet_core::{
    Identity, Time,
    spiffe::{SpiffeId, TrustDomainSuffix},
};
use signet_jwt::x5t_s256;
use signet_x509::CertificateView;

/// Every principal may read who it is itself: whoever is denied that is suspended, revoked or gone.
const OF_EVERYBODY: &str = "identity.read";
/// How a configuration says that no permission is needed.
const NONE: &str = "none";

/// See the module's words.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) spiffe_id: Arc<str>,
    pub(crate) tenant: Arc<str>,
    /// `admin`, `user`, `worker`, `service` or `device`.
    pub(crate) kind: &'static str,
    pub(crate) id: Arc<str>,
    /// As its certificate says.
    pub(crate) roles: Arc<[String]>,
    /// Of its certificate; of a token, which certificate it was given for.
    pub(crate) x5t: Arc<str>,
    /// What it is decided by.
    question: QuestionSubject,
    /// End of the certificate or token.
    pub(crate) until: Time,
    pub(crate) shown: Option<Shown>,
}

/// A certificate, as upstreams and the audit log see it.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) serial: String,
    /// `Client-Cert` of RFC 9440.
    pub(crate) client_cert: Option<HeaderValue>,
    /// `X-Forwarded-Client-Cert` without `By`.
    pub(crate) xfcc: String,
}

impl Subject {
    /// The holder of a certificate that was verified.
    pub(crate) fn of_certificate(der: &[u8], identity: &Identity, suffix: &TrustDomainSuffix) -> Self {
        let id = SpiffeId {
            tenant: identity.tenant.clone(),
            principal_type: identity.principal_type,
            principal: identity.principal.clone(),
        };
        let spiffe_id = id.uri(suffix);
        let subject = CertificateView::from_der(der).map(|view| view.subject_text()).unwrap_or_default();
        let client_cert = HeaderValue::try_from(format!(":{}:", STANDARD.encode(der))).ok();
        let xfcc = format!(
            "Hash={};Subject=\"{}\";URI={spiffe_id}",
            hex::encode(digest(&SHA256, der)),
            subject.replace('\\', "\\\\").replace('"', "\\\"")
        );
        Self {
            spiffe_id: spiffe_id.into(),
            tenant: identity.tenant.as_str().into(),
            kind: identity.principal_type.as_str(),
            id: identity.principal.as_str().into(),
            roles: identity.roles.iter().map(ToString::to_string).collect(),
            x5t: x5t_s256(der).into(),
            question: QuestionSubject::Certificate(PeerCertificate::from_der(der)),
            until: identity.not_after,
            shown: Some(Shown { serial: identity.serial.to_string(), client_cert, xfcc }),
        }
    }

    /// The principal of a token that was verified; `None` if it names nobody of this environment.
    pub(crate) fn of_token(
        sub: &str,
        (x5t, roles): (&str, &[String]),
        until: Time,
        suffix: &TrustDomainSuffix,
    ) -> Option<Self> {
        let id = SpiffeId::parse(sub, suffix)?;
        let spiffe_id: Arc<str> = sub.into();
        Some(Self {
            tenant: id.tenant.as_str().into(),
            kind: id.principal_type.as_str(),
            id: id.principal.as_str().into(),
            roles: roles.into(),
            x5t: x5t.into(),
            question: QuestionSubject::SpiffeId(Arc::clone(&spiffe_id)),
            spiffe_id,
            until,
            shown: None,
        })
    }

    /// Whether it has the permission `action`; for `none`, whether it is good at all.
    pub(crate) fn question(&self, action: &Arc<str>) -> Question {
        if **action != *NONE {
            return Question::of(self.question.clone(), Arc::clone(action));
        }
        self.good_at_all()
    }

    /// Whether it may do anything.
    pub(crate) fn good_at_all(&self) -> Question {
        let itself =
            QuestionResource { kind: self.kind.to_owned(), id: self.id.to_string(), ..QuestionResource::default() };
        Question::of(self.question.clone(), OF_EVERYBODY.into()).about(itself)
    }
}
