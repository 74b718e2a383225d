//! `principal cert`.

mod inspect;
pub mod renewal;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use signet_client::KEY_FILE;
use signet_core::{CaId, PrincipalId, Serial};
use signet_proto::v1::{
    self, certificate_service_client::CertificateServiceClient as Client,
    principal_service_client::PrincipalServiceClient,
};
use signet_x509::pem;

use crate::{
    certificate::{Held, csr_der},
    confirm::{self, confirm},
    context::{Contexts, Lock},
    exit::Exit,
    failure::Failure,
    renewing,
    run::Run,
    session::{Page, Session, rpc},
    values::{self, ListArgs, Reason, Yes},
};

/// Certificates of principals.
#[derive(Debug, Subcommand)]
pub enum CertCommand {
    /// List a principal's certificates, newest first
    List(CertListArgs),
    /// Show a certificate
    Get(GetArgs),
    /// Revoke a certificate: refuse it everywhere, within a second
    Revoke(RevokeArgs),
    /// Renew this context's certificate, with a new key
    Renew,
    /// Issue a certificate for a principal's certificate request
    Issue(IssueArgs),
    /// Show what the certificates in a file, or of a TLS server, say. Nothing of it is verified
    Inspect(inspect::InspectArgs),
}

/// Whose.
#[derive(Debug, Args)]
pub struct CertListArgs {
    /// Id of the principal; default: the caller
    #[arg(value_name = "PRINCIPAL")]
    id: Option<PrincipalId>,
    /// Only those that are reserved, issued, abandoned or revoked
    #[arg(long, value_name = "STATE", value_enum)]
    state: Option<State>,
    /// Only those that this CA signed
    #[arg(long, value_name = "CA")]
    issuer: Option<CaId>,
    /// Only good ones that expire within this time, e.g. 24h
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    expiring_within: Option<Duration>,
    /// How many, and how.
    #[command(flatten)]
    list: ListArgs,
}

/// Where a certificate is in its life.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum State {
    /// Recorded, and not released
    Reserved,
    /// Released
    Issued,
    /// Never released
    Abandoned,
    /// Refused for good
    Revoked,
}

impl CertListArgs {
    fn is_wanted(&self, certificate: &v1::Certificate, now: Timestamp) -> bool {
        let state = self.state.is_none_or(|state| {
            certificate.state()
                == match state {
                    State::Reserved => v1::CertificateState::Reserved,
                    State::Issued => v1::CertificateState::Issued,
                    State::Abandoned => v1::CertificateState::Abandoned,
                    State::Revoked => v1::CertificateState::Revoked,
                }
        });
        let expires = |within: Duration| {
            let left = certificate.not_after.unwrap_or_default().seconds.saturating_sub(now.as_second());
            certificate.state() == v1::CertificateState::Issued
                && u64::try_from(left).is_ok_and(|left| left <= within.as_secs())
        };
        state
            && self.issuer.as_ref().is_none_or(|issuer| certificate.issuer_id == issuer.as_str())
            && self.expiring_within.is_none_or(expires)
    }

    const fn chooses(&self) -> bool {
        self.state.is_some() || self.issuer.is_some() || self.expiring_within.is_some()
    }
}

/// Which certificate.
#[derive(Debug, Args)]
pub struct Which {
    /// The CA that signed it, e.g. acme.1
    #[arg(value_name = "ISSUER")]
    issuer: CaId,
    /// Serial number, 32 hexadecimal digits
    #[arg(value_name = "SERIAL")]
    serial: Serial,
}

/// Which certificate, and how.
#[derive(Debug, Args)]
pub struct GetArgs {
    #[command(flatten)]
    which: Which,
    /// Print the certificate as PEM
    #[arg(long)]
    pem: bool,
}

/// Which certificate, and why.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    #[command(flatten)]
    which: Which,
    /// Reason; published in CRLs
    #[arg(long, value_enum, default_value_t)]
    reason: Reason,
    /// Also if there is no record of it: it was signed with a stolen CA key, or a restore lost its record
    #[arg(long)]
    unrecorded: bool,
    /// Says yes in advance.
    #[command(flatten)]
    yes: Yes,
}

/// For whom.
#[derive(Debug, Args)]
pub struct IssueArgs {
    /// Id of the principal
    #[arg(value_name = "PRINCIPAL")]
    id: PrincipalId,
    /// PKCS#10 request, PEM or DER; - for standard input. Only its key is used
    #[arg(long, value_name = "FILE")]
    csr: PathBuf,
}

/// Carries out a command.
pub async fn run(run: &Run, command: CertCommand) -> Result<Exit, Failure> {
    match command {
        CertCommand::List(args) => list(run, args).await,
        CertCommand::Get(args) => get(run, args).await,
        CertCommand::Revoke(args) => revoke(run, args).await,
        CertCommand::Renew => renew(run).await,
        CertCommand::Issue(args) => issue(run, args).await,
        CertCommand::Inspect(args) => inspect::run(run, args).await,
    }
}

async fn list(run: &Run, args: CertListArgs) -> Result<Exit, Failure> {
    let session = &Session::of(run)?;
    if args.id.is_none() && session.is_elsewhere() {
        let tenant = session.tenant_name();
        return Err(Failure::usage(format!("name a principal: the caller is not of tenant {tenant}")));
    }
    let principal_id = &args.id.as_ref().map(ToString::to_string).unwrap_or_default();
    let is_wanted = |certificate: &v1::Certificate| args.is_wanted(certificate, run.printer.now);
    let keep = args.chooses().then_some(&is_wanted as &dyn Fn(&_) -> bool);
    let found = session
        .matching(args.list.limit(&run.printer.format), keep, |page_size, page_token| async move {
            let (tenant_id, principal_id) = (session.tenant(), principal_id.clone());
            let request = v1::ListCertificatesRequest { tenant_id, principal_id, page_size, page_token };
            let page = rpc!(session, "listing certificates", Client.list_certificates(request)).await?;
            Ok(Page { items: page.certificates, next_page_token: page.next_page_token, unreadable: page.unreadable })
        })
        .await?;
    found.print(&run.printer, &args.list)
}

async fn get(run: &Run, args: GetArgs) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let request = v1::GetCertificateRequest {
        tenant_id: session.tenant(),
        issuer_id: args.which.issuer.to_string(),
        serial_number: args.which.serial.to_string(),
    };
    let found = rpc!(session, "reading the certificate", Client.get_certificate(request)).await?;
    if !args.pem {
        return run.printer.one(&found).map(|()| Exit::Ok);
    }
    if found.certificate_der.is_empty() {
        return Err(Failure::new(Exit::NotFound, "this certificate was reserved but never issued"));
    }
    run.printer.text(&pem::encode_certificate(&found.certificate_der)).map(|()| Exit::Ok)
}

async fn revoke(run: &Run, args: RevokeArgs) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let Which { issuer, serial } = &args.which;
    let mut what = format!("certificate {serial} of {issuer}, tenant {}", session.tenant_name());
    if confirm::asks(args.yes) {
        let (tenant_id, issuer_id, serial_number) = (session.tenant(), issuer.to_string(), serial.to_string());
        let request = v1::GetCertificateRequest { tenant_id, issuer_id, serial_number };
        match rpc!(session, "reading the certificate", Client.get_certificate(request)).await {
            Ok(found) => what = format!("{what}, held by {}", found.principal_id),
            Err(failure) if failure.exit == Exit::NotFound && args.unrecorded => {
                what = format!("{what}, of which there is no record");
            }
            Err(failure) if failure.exit == Exit::NotFound => return Err(failure),
            // What the server cannot read can still be stopped.
            Err(_) => {}
        }
    }
    let instance = if args.reason == Reason::KeyCompromise { ", and all that were renewed from it" } else { "" };
    confirm(&format!("revoke {what}{instance}, for good"), args.yes)?;
    let request = v1::RevokeCertificateRequest {
        tenant_id: session.tenant(),
        issuer_id: args.which.issuer.to_string(),
        serial_number: args.which.serial.to_string(),
        reason: args.reason.to_proto().into(),
        request_id: session.request_id(),
        or_unrecorded: args.unrecorded,
    };
    let revoked = rpc!(session, "revoking the certificate", Client.revoke_certificate(request)).await?;
    let (successor, whole) = (&revoked.successor_serial_number, args.reason == Reason::KeyCompromise);
    if !successor.is_empty() && !whole {
        run.printer.note(&format!(
            "it was renewed before: its successor {successor} is not revoked; if the key may be compromised, revoke this one again \
             with --reason key-compromise, which revokes them all"
        ));
    }
    run.printer.changed(&revoked).map(|()| Exit::Ok)
}

/// The new key is made here and replaces the old one together with its certificate. One program at a time: a
/// certificate that is renewed by two looks like one whose key was copied.
async fn renew(run: &Run) -> Result<Exit, Failure> {
    let contexts = Contexts::load(&run.home)?;
    let (_, context) = contexts.select(run.global.context.as_deref())?;
    let directory = context.directory(&run.home);
    let serial = || Held::load(&directory).ok().map(|held| held.serial);
    let before = serial();
    let _lock = Lock::wait(&directory, run.global.timeout, &run.printer).await?;
    let session = Session::of(run)?;
    if serial() != before {
        run.printer.note("another `principal` process has just renewed it");
        return show_own(run, &session).await;
    }
    let certificate = renewing::renew_locked(run, &directory, session.request_id()).await?;
    run.printer.note(&format!("the new key is in {}", directory.join(KEY_FILE).display()));
    run.printer.changed(&certificate).map(|()| Exit::Ok)
}

/// The certificate that the caller has now.
async fn show_own(run: &Run, session: &Session) -> Result<Exit, Failure> {
    let me = rpc!(session, "reading the identity", PrincipalServiceClient.who_am_i(v1::WhoAmIRequest {})).await?;
    let (tenant_id, issuer_id, serial_number) = (me.tenant_id, me.issuer_id, me.serial_number);
    let request = v1::GetCertificateRequest { tenant_id, issuer_id, serial_number };
    let found = rpc!(session, "reading the certificate", Client.get_certificate(request)).await?;
    run.printer.changed(&found).map(|()| Exit::Ok)
}

async fn issue(run: &Run, args: IssueArgs) -> Result<Exit, Failure> {
    let csr_der = csr_der(&args.csr, &values::read_input(&args.csr)?)?;
    let session = Session::of(run)?;
    let (tenant_id, request_id) = (session.tenant(), session.request_id());
    let request = v1::IssueCertificateRequest { tenant_id, principal_id: args.id.to_string(), csr_der, request_id };
    let issued = rpc!(session, "issuing", Client.issue_certificate(request)).await?;
    if run.printer.format.is_for_people() {
        let chain: String = issued.chain_der.iter().map(|der| pem::encode_certificate(der)).collect();
        return run.printer.text(&chain).map(|()| Exit::Ok);
    }
    run.printer.one(&issued).map(|()| Exit::Ok)
}
