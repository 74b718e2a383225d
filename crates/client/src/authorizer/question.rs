//! What is asked, and what is answered.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use aws_lc_rs::digest::{SHA256, digest};
use signet_proto::v1::{CheckRequest, CheckResource, CheckResponse, CheckSubject, check_subject::By};
use signet_x509::CertificateView;

/// Whether `subject` may do `action` to `resource`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// Who would do it.
    pub subject: Subject,
    /// A permission, e.g. `jobs:submit`.
    pub action: Arc<str>,
    /// What it would do it to; `None`: the tenant as a whole.
    pub resource: Option<Arc<Resource>>,
    /// Circumstances that policies may read: `source` (an IP address), `method`, `path`, `host`.
    pub context: BTreeMap<String, String>,
}

/// Who would do something.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The holder of this certificate, which must be good at this moment.
    Certificate(PeerCertificate),
    /// `spiffe://<trust domain>/<type>/<id>`.
    SpiffeId(Arc<str>),
}

/// Something of the tenant's services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resource {
    /// E.g. `queue`; a principal type: the principal of that id.
    pub kind: String,
    /// Unique in its kind.
    pub id: String,
    /// `<type>/<id>` of the principal that owns it; empty: nobody.
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
}

impl PeerCertificate {
    /// From its DER. What is no certificate is denied without asking.
    pub fn from_der(der: &[u8]) -> Self {
        let view = CertificateView::from_der(der).ok();
        let serial = view.and_then(|view| Some(view.serial()?.to_string()));
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, der).as_ref());
        Self(Arc::new(Presented { der: der.into(), sha256, serial }))
    }

    /// The certificate, DER.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    pub(super) fn serial(&self) -> Option<&str> {
        self.0.serial.as_deref()
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
    /// Whether the holder of `certificate` may do `action` in the tenant.
    pub const fn new(certificate: PeerCertificate, action: Arc<str>) -> Self {
        Self { subject: Subject::Certificate(certificate), action, resource: None, context: BTreeMap::new() }
    }

    pub(super) fn message(&self) -> CheckRequest {
        let by = match &self.subject {
            Subject::Certificate(certificate) => By::CertificateDer(certificate.der().to_vec()),
            Subject::SpiffeId(id) => By::SpiffeId(id.to_string()),
        };
        let resource = self.resource.as_ref().map(|resource| CheckResource {
            r#type: resource.kind.clone(),
            id: resource.id.clone(),
            owner: resource.owner.clone(),
            properties: resource.properties.clone().into_iter().collect(),
        });
        CheckRequest {
            tenant_id: String::new(),
            subject: Some(CheckSubject { by: Some(by) }),
            action: self.action.to_string(),
            resource,
            context: self.context.clone().into_iter().collect(),
        }
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
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

/// The control plane could not be asked.
const UNAVAILABLE: &str = "CONTROL_PLANE_UNAVAILABLE";

impl Decision {
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

    /// Whether nobody decided, since the control plane could not be asked: it may be allowed later.
    pub fn is_unavailable(&self) -> bool {
        self.reason == UNAVAILABLE
    }
}

impl From<CheckResponse> for Decision {
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
