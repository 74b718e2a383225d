//! What is asked, and what is answered.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use aws_lc_rs::digest::{SHA256, digest};
use signet_proto::v1::{CheckRequest, CheckResource, CheckResponse, CheckSubject, ShownAccessToken, check_subject::By};
use signet_x509::CertificateView;

use super::shown::ShownToken;

/// Whether somebody may do something. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    pub(super) subject: QuestionSubject,
    pub(super) matter: Matter,
}

/// What a question is about, whoever would do it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Matter {
    action: Arc<str>,
    resource: Option<Arc<QuestionResource>>,
    context: Option<Arc<BTreeMap<String, String>>>,
}

/// Who would do something.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum QuestionSubject {
    /// The holder of this certificate, which must be good at this moment.
    Certificate(PeerCertificate),
    /// `spiffe://<trust domain>/<type>/<id>`.
    SpiffeId(Arc<str>),
    /// The holder of this access token: the token and its certificate must be good at this moment, and the action among
    /// its permissions.
    AccessToken(ShownToken),
}

/// Something of the tenant's services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct QuestionResource {
    /// E.g. `queue`; a principal type: the principal of that id.
    pub kind: String,
    /// Unique in its kind.
    pub id: String,
    /// Id of the principal that owns it; empty: nobody.
    pub owner: String,
    /// What policies read as tags.
    pub properties: BTreeMap<String, String>,
}

/// A peer's certificate, as an answer is found by. Cheap to clone.
#[derive(Clone)]
pub struct PeerCertificate(Arc<Presented>);

struct Presented {
    der: Box<[u8]>,
    sha256: [u8; 32],
    serial: Option<String>,
    /// Whose it says it is: its subject's name.
    name: String,
}

impl PeerCertificate {
    /// From its DER. What is no certificate is denied without asking.
    pub fn from_der(der: &[u8]) -> Self {
        let view = CertificateView::from_der(der).ok();
        let name = view.as_ref().map(CertificateView::subject_text).unwrap_or_default();
        let serial = view.and_then(|view| Some(view.serial()?.to_string()));
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, der).as_ref());
        Self(Arc::new(Presented { der: der.into(), sha256, serial, name }))
    }

    /// The certificate, DER.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    pub(super) fn sha256(&self) -> &[u8; 32] {
        &self.0.sha256
    }

    pub(super) fn serial(&self) -> Option<&str> {
        self.0.serial.as_deref()
    }
}

impl QuestionSubject {
    /// Whom it is about, whichever of its certificates it shows.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Certificate(certificate) => &certificate.0.name,
            Self::SpiffeId(id) => id,
            Self::AccessToken(shown) => &shown.claims().sub,
        }
    }
}

impl PartialEq for PeerCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.sha256 == other.0.sha256
    }
}

impl Eq for PeerCertificate {}

impl Hash for PeerCertificate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.sha256.hash(state);
    }
}

impl fmt::Debug for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PeerCertificate").field(&self.0.serial).finish()
    }
}

impl Question {
    /// Whether the holder of `certificate` may do `action`, e.g. `jobs:submit`, in the tenant.
    pub const fn new(certificate: PeerCertificate, action: Arc<str>) -> Self {
        Self::of(QuestionSubject::Certificate(certificate), action)
    }

    /// The same of a principal that is known otherwise.
    pub const fn of(subject: QuestionSubject, action: Arc<str>) -> Self {
        Self { subject, matter: Matter { action, resource: None, context: None } }
    }

    /// Whether it may do so to `resource`.
    #[must_use]
    pub fn about(mut self, resource: impl Into<Arc<QuestionResource>>) -> Self {
        self.matter.resource = Some(resource.into());
        self
    }

    /// Under circumstances that policies may read: `source` (an IP address), `method`, `path`, `host`.
    #[must_use]
    pub fn with_context(mut self, context: BTreeMap<String, String>) -> Self {
        self.matter.context = (!context.is_empty()).then(|| Arc::new(context));
        self
    }

    pub(super) fn message(&self) -> CheckRequest {
        let by = match &self.subject {
            QuestionSubject::Certificate(certificate) => By::CertificateDer(certificate.der().to_vec()),
            QuestionSubject::SpiffeId(id) => By::SpiffeId(id.to_string()),
            QuestionSubject::AccessToken(shown) => By::AccessToken(ShownAccessToken {
                token: shown.text().to_owned(),
                certificate_thumbprint: shown.thumbprint().to_owned(),
            }),
        };
        let Matter { action, resource, context } = &self.matter;
        let resource = resource.as_ref().map(|resource| CheckResource {
            r#type: resource.kind.clone(),
            id: resource.id.clone(),
            owner: resource.owner.clone(),
            properties: resource.properties.clone().into_iter().collect(),
        });
        CheckRequest {
            tenant_id: String::new(),
            subject: Some(CheckSubject { by: Some(by) }),
            action: action.to_string(),
            resource,
            context: context.as_ref().map(|context| BTreeMap::clone(context).into_iter().collect()).unwrap_or_default(),
        }
    }
}

impl Matter {
    pub(super) fn is_about(&self, id: &str) -> bool {
        self.resource.as_ref().is_some_and(|resource| resource.id == id)
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessAnswer {
    /// Whether it is allowed.
    pub allowed: bool,
    /// UPPER_SNAKE_CASE, e.g. `PERMISSION_MISSING`.
    pub reason: String,
    /// The grants or policies that decided.
    pub decided_by: Vec<String>,
    /// The version of the tenant's rules that decided.
    pub model_version: u32,
    /// Who it is; empty where that is not known.
    pub spiffe_id: String,
    /// For people: more of the reason, where there is more.
    pub detail: String,
}

/// One peer asks too many different things.
const TOO_MANY: &str = "TOO_MANY_CALLS";
/// The control plane could not be asked.
const UNAVAILABLE: &str = "CONTROL_PLANE_UNAVAILABLE";

impl AccessAnswer {
    pub(super) fn denied(reason: &str) -> Self {
        Self {
            allowed: false,
            reason: reason.to_owned(),
            decided_by: Vec::new(),
            model_version: 0,
            spiffe_id: String::new(),
            detail: String::new(),
        }
    }

    pub(super) fn unavailable(why: &str) -> Self {
        Self { detail: format!("the control plane: {why}"), ..Self::denied(UNAVAILABLE) }
    }

    pub(super) fn too_many() -> Self {
        Self::denied(TOO_MANY)
    }

    /// Whether nobody decided, since the peer asks too many different things at once: it may be allowed in a second.
    pub fn is_too_many(&self) -> bool {
        self.reason == TOO_MANY
    }

    /// Whether nobody decided, since the control plane could not be asked: it may be allowed later.
    pub fn is_unavailable(&self) -> bool {
        self.reason == UNAVAILABLE
    }
}

impl From<CheckResponse> for AccessAnswer {
    fn from(answer: CheckResponse) -> Self {
        Self {
            allowed: answer.allowed,
            reason: answer.reason,
            decided_by: answer.decided_by,
            model_version: answer.model_version,
            spiffe_id: answer.spiffe_id,
            detail: String::new(),
        }
    }
}
