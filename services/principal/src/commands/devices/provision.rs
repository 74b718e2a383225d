//! One device: its principal, a join token, the enrollment, the files. Stopped anywhere and run again, it goes on.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};
use signet_client::{ClientError, Credentials, Enrollment, Pending, Retry};
use signet_core::{PrincipalId, audit::sha256_hex};
use signet_proto::v1::{
    self, certificate_service_client::CertificateServiceClient as Certificates,
    enrollment_service_client::EnrollmentServiceClient as Tokens,
    principal_service_client::PrincipalServiceClient as Principals, trust_service_client::TrustServiceClient as Trust,
};
use signet_x509::pem;
use tonic::transport::Channel;

use super::{
    caller::Caller,
    device::Device,
    place::{Found, HeldIdentity, Place},
};
use crate::{
    certificate::Held,
    connect,
    context::{Contexts, Lock, private},
    exit::Exit,
    failure::Failure,
    output::Printer,
    run::Run,
    session::{Session, rpc},
};

/// Long enough for a server that asks for pauses; the secret of a run that was killed is nobody's.
const TOKEN_SECONDS: u32 = 600;
/// One attempt: the caller repeats it, at the pace that the server asks for.
const ONCE: Retry =
    Retry { attempts: 1, first_pause: std::time::Duration::ZERO, longest_pause: std::time::Duration::ZERO };
/// The server cannot repeat a token's secret: that answer was lost.
const SECRET_NOT_KEPT: &str = "SECRET_NOT_KEPT";
/// As many certificates as a device is looked for among: its newest.
const NEWEST: u32 = 1000;

/// Where devices get their identities.
#[derive(Debug)]
pub(super) struct Site {
    /// As the admin.
    pub(super) caller: Caller,
    /// As nobody yet.
    stranger: Channel,
    /// The tenant's trust domain.
    trust_domain: String,
    /// Whether what is in the way may be replaced.
    replaces: bool,
    /// Whether it is only found out what would be done.
    dry_run: bool,
    pub(super) printer: Printer,
}

impl Site {
    /// The site of the chosen context and tenant, which must be there.
    pub(super) async fn open(run: &Run, replaces: bool, dry_run: bool) -> Result<Self, Failure> {
        let session = Session::of(run)?;
        let request = v1::GetTrustBundleRequest { tenant_id: session.tenant() };
        let bundle = rpc!(session, "reading the trust bundle", Trust.get_trust_bundle(request)).await?;
        let contexts = Contexts::load(&run.home)?;
        let (name, context) = contexts.select(run.global.context.as_deref())?;
        let stranger = connect::stranger(run, name, context)?;
        let caller = Caller::new(session, run.printer.clone());
        let (trust_domain, printer) = (bundle.trust_domain, run.printer.clone());
        Ok(Self { caller, stranger, trust_domain, replaces, dry_run, printer })
    }

    /// The name of a device's certificate.
    pub(super) fn spiffe_id(&self, id: &PrincipalId) -> String {
        format!("spiffe://{}/device/{id}", self.trust_domain)
    }
}

/// What was done, or would be.
#[derive(Debug)]
pub(super) struct Provisioned {
    pub(super) id: PrincipalId,
    pub(super) directory: PathBuf,
    /// Whether the principal is new.
    pub(super) is_new: bool,
    /// `provisioned`, `resumed`, `completed` or `kept`.
    pub(super) result: &'static str,
    /// Not known before it is done.
    pub(super) held: Option<Held>,
    /// The identity that stood there before.
    pub(super) replaced: Option<String>,
    /// How many certificates of it were in use already.
    pub(super) others: u32,
}

impl Provisioned {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "principal_id": self.id.as_str(),
            "result": self.result,
            "principal": if self.is_new { "created" } else { "existing" },
            "spiffe_id": self.held.as_ref().and_then(|held| held.spiffe_id.clone()),
            "serial_number": self.held.as_ref().map(|held| held.serial.clone()),
            "not_after": self.held.as_ref().map(|held| held.not_after.to_string()),
            "credentials": self.directory,
            "replaced": self.replaced,
        })
    }
}

/// What is to be done about the files.
enum Action {
    /// Everything is there.
    Keep(Held),
    /// The identity is good, and a file is missing.
    Complete(Box<HeldIdentity>),
    /// An earlier run was stopped between the certificate and the files.
    Resume(Pending, Box<v1::Certificate>),
    Enroll {
        /// What stands there.
        replaces: Option<String>,
    },
}

impl Action {
    const fn result(&self) -> &'static str {
        match self {
            Self::Keep(_) => "kept",
            Self::Complete(_) => "completed",
            Self::Resume(..) => "resumed",
            Self::Enroll { .. } => "provisioned",
        }
    }
}

/// Provisions a device into `directory`, or finds out what that would do.
pub(super) async fn provision(site: &Site, device: &Device, directory: &Path) -> Result<Provisioned, Failure> {
    let principal = find(site, device).await?;
    let place = Place::new(directory);
    let lock = match site.dry_run {
        true => None,
        false => Some(Lock::wait(directory, site.caller.session.timeout(), &site.printer).await?),
    };
    let action = plan(site, device, principal.as_ref(), &place).await?;
    let (is_new, result) = (principal.is_none(), action.result());
    let others = principal.map_or(0, |principal| principal.certificate_count);
    let mut done = Provisioned {
        id: device.id.clone(),
        directory: directory.to_owned(),
        is_new,
        result,
        held: None,
        replaced: None,
        others,
    };
    if let Action::Enroll { replaces } = &action {
        done.replaced.clone_from(replaces);
    }
    if lock.is_none() {
        return Ok(done);
    }
    if is_new {
        create(site, device).await?;
    }
    let (credentials, anchors_pem) = match action {
        Action::Keep(held) => return Ok(Provisioned { held: Some(held), ..done }),
        Action::Complete(identity) => (identity.credentials, bundle(site).await?.1),
        Action::Resume(pending, leaf) => match resume(site, pending, &leaf).await? {
            Some(resumed) => resumed,
            None => enroll(site, device, &place).await?,
        },
        Action::Enroll { .. } => enroll(site, device, &place).await?,
    };
    done.held = Some(expected(site, device, &credentials)?);
    place.publish(&credentials, &anchors_pem)?;
    Ok(done)
}

/// The device's principal, if it is there; an error if it is something else than it should be.
async fn find(site: &Site, device: &Device) -> Result<Option<v1::Principal>, Failure> {
    let (caller, tenant_id) = (&site.caller, site.caller.session.tenant());
    let request = v1::GetPrincipalRequest { tenant_id, principal_id: device.id.to_string() };
    match rpc!(caller, "reading the principal", Principals.get_principal(request)).await {
        Ok(found) => device.refuse_other(&found).map(|()| Some(found)),
        Err(failure) if failure.exit == Exit::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

async fn create(site: &Site, device: &Device) -> Result<(), Failure> {
    let (caller, tenant_id) = (&site.caller, site.caller.session.tenant());
    let request_id = signet_client::request_id();
    let request = v1::CreatePrincipalRequest { principal: Some(device.to_proto(tenant_id)), request_id };
    match rpc!(caller, "creating the principal", Principals.create_principal(request)).await {
        Ok(_) => Ok(()),
        // Another run was faster.
        Err(failure) if failure.exit == Exit::Conflict => match find(site, device).await? {
            Some(_) => Ok(()),
            None => Err(failure),
        },
        Err(failure) => Err(failure),
    }
}

/// Changes nothing.
async fn plan(
    site: &Site,
    device: &Device,
    principal: Option<&v1::Principal>,
    place: &Place,
) -> Result<Action, Failure> {
    let (found, pending) = (place.look(), place.pending()?);
    let is_known = principal.is_some() && (pending.is_some() || matches!(found, Found::Identity(_)));
    let certificates = if is_known { certificates(site, device).await? } else { Vec::new() };
    let now = site.printer.clock();
    let issued = |spki_sha256: &str| {
        let is_it = |one: &&v1::Certificate| one.spki_sha256 == spki_sha256 && is_good(one, now);
        certificates.iter().find(is_it)
    };
    if let Some(pending) = pending
        && let Some(leaf) = issued(&sha256_hex(&pending.spki_der())).cloned()
    {
        return Ok(Action::Resume(pending, Box::new(leaf)));
    }
    let standing = match found {
        Found::Nothing => return Ok(Action::Enroll { replaces: None }),
        Found::Unusable(reason) => format!("files that are no identity ({reason})"),
        Found::Identity(identity) => {
            let (held, ours) = (&identity.held, site.spiffe_id(&device.id));
            let whose = held.spiffe_id.as_deref().unwrap_or("a certificate without SPIFFE ID");
            let state = match () {
                () if whose != ours => "another principal's".to_owned(),
                () if now >= held.not_after => format!("expired at {}", held.not_after),
                () if issued(&held.spki_sha256).is_none() => "the server has revoked it or does not know it".to_owned(),
                () if identity.is_complete => return Ok(Action::Keep(identity.held)),
                () => return Ok(Action::Complete(identity)),
            };
            format!("the identity of {whose}, serial number {} ({state})", held.serial)
        }
    };
    if site.replaces {
        return Ok(Action::Enroll { replaces: Some(standing) });
    }
    Err(Failure::new(Exit::Conflict, format!("{} has {standing}", place.path().display()))
        .hint("--force replaces it; or choose another folder"))
}

fn is_good(certificate: &v1::Certificate, now: Timestamp) -> bool {
    let ends = certificate.not_after.as_ref().map_or(0, |time| time.seconds);
    let is_issued = certificate.state() == v1::CertificateState::Issued && !certificate.certificate_der.is_empty();
    is_issued && certificate.lock_time.is_none() && now.as_second() < ends
}

async fn certificates(site: &Site, device: &Device) -> Result<Vec<v1::Certificate>, Failure> {
    let (caller, tenant_id) = (&site.caller, site.caller.session.tenant());
    let principal_id = device.id.to_string();
    let request = v1::ListCertificatesRequest { tenant_id, principal_id, page_size: NEWEST, page_token: String::new() };
    Ok(rpc!(caller, "listing its certificates", Certificates.list_certificates(request)).await?.certificates)
}

/// What verifies the server, DER, and the tenant's anchors, PEM.
async fn bundle(site: &Site) -> Result<(Vec<Vec<u8>>, String), Failure> {
    let (caller, tenant_id) = (&site.caller, site.caller.session.tenant());
    let request = v1::GetTrustBundleRequest { tenant_id };
    let bundle = rpc!(caller, "reading the trust bundle", Trust.get_trust_bundle(request)).await?;
    Ok((bundle.root_der, encoded(&bundle.anchor_der)))
}

/// The certificate that was issued, with the key that waited for it. `None`: its CA is not in the tenant's list, as the
/// shared one is not.
async fn resume(
    site: &Site,
    pending: Pending,
    leaf: &v1::Certificate,
) -> Result<Option<(Credentials, String)>, Failure> {
    let (caller, tenant_id) = (&site.caller, site.caller.session.tenant());
    let mut page_token = String::new();
    let issuer = loop {
        let request =
            v1::ListCertificateAuthoritiesRequest { tenant_id: tenant_id.clone(), page_size: NEWEST, page_token };
        let page = rpc!(caller, "listing CAs", Trust.list_certificate_authorities(request)).await?;
        let found = page.certificate_authorities.into_iter().find(|ca| ca.ca_id == leaf.issuer_id);
        if found.is_some() || page.next_page_token.is_empty() {
            break found;
        }
        page_token = page.next_page_token;
    };
    let Some(issuer) = issuer else { return Ok(None) };
    let (root_der, anchors_pem) = bundle(site).await?;
    let chain = vec![leaf.certificate_der.clone(), issuer.certificate_der];
    let credentials = pending.certified(chain, root_der).map_err(Failure::other)?;
    Ok(Some((credentials, anchors_pem)))
}

/// A token for this device alone, and the certificate for it.
async fn enroll(site: &Site, device: &Device, place: &Place) -> Result<(Credentials, String), Failure> {
    // Before a token is made that could not be used.
    private::check_writable(place.path())?;
    let (token_id, secret) = token(site, device).await?;
    let enrollment = Enrollment::join_token(secret);
    let attempt = || signet_client::enroll_resumably(&site.stranger, &place.storage, &enrollment, ONCE);
    match site.caller.patiently("enrolling", attempt).await {
        Ok(first) => {
            let anchors = match first.anchors_der.as_slice() {
                // From a server of 0.1: the CA that signed it.
                [] => encoded(first.credentials.chain_der().get(1..).unwrap_or_default()),
                anchors => encoded(anchors),
            };
            Ok((first.credentials, anchors))
        }
        Err(error) => {
            revoke(site, token_id).await;
            Err(match error {
                // A file's: the admin's own certificate is not at fault.
                ClientError::Credentials(error) => Failure::other(error),
                error => site.caller.session.failure(error),
            })
        }
    }
}

async fn token(site: &Site, device: &Device) -> Result<(String, SecretString), Failure> {
    let (caller, tenant_id) = (&site.caller, site.caller.session.tenant());
    let mut is_repetition = false;
    loop {
        let request = v1::CreateTokenRequest {
            tenant_id: tenant_id.clone(),
            principal_type: v1::PrincipalType::Device.into(),
            principal_id: device.id.to_string(),
            ttl_seconds: TOKEN_SECONDS,
            uses: 1,
            request_id: signet_client::request_id(),
            ..Default::default()
        };
        match rpc!(caller, "creating the token", Tokens.create_token(request)).await {
            Ok(made) => {
                let token_id = made.token.map(|token| token.token_id).unwrap_or_default();
                return Ok((token_id, SecretString::from(made.secret)));
            }
            Err(failure) if failure.reason.as_deref() == Some(SECRET_NOT_KEPT) && !is_repetition => {
                is_repetition = true
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Nobody has its secret any more. Where this fails, it ends by itself.
async fn revoke(site: &Site, token_id: String) {
    let (caller, tenant_id) = (&site.caller, site.caller.session.tenant());
    let request = v1::RevokeTokenRequest { tenant_id, token_id, request_id: signet_client::request_id() };
    if let Err(failure) = rpc!(caller, "revoking the token", Tokens.revoke_token(request)).await {
        site.printer.detail(&format!("the token stays for {TOKEN_SECONDS} s: {}", failure.message));
    }
}

/// The certificate, if it is this device's.
fn expected(site: &Site, device: &Device, credentials: &Credentials) -> Result<Held, Failure> {
    let held = credentials.chain_der().first().cloned().and_then(Held::from_der);
    let held = held.ok_or_else(|| Failure::other("the server sent no certificate"))?;
    let wanted = site.spiffe_id(&device.id);
    match held.spiffe_id.as_deref() {
        Some(found) if found == wanted => Ok(held),
        found => Err(Failure::other(format!("the server issued {}, not {wanted}", found.unwrap_or("no name")))),
    }
}

fn encoded(certificates: &[Vec<u8>]) -> String {
    certificates.iter().map(|der| pem::encode_certificate(der)).collect()
}
