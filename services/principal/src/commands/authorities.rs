//! `principal ca`.

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use signet_core::CaId;
use signet_proto::v1::{self, trust_service_client::TrustServiceClient as Client};
use signet_x509::CertificateSummary;

use crate::{
    confirm::confirm,
    exit::Exit,
    failure::Failure,
    output::{
        Cell::{Field, When},
        Column, View, to_value,
    },
    run::Run,
    session::{List, Page, Session, rpc},
    values::{ListArgs, Yes},
};

/// Certificate authorities.
#[derive(Debug, Subcommand)]
pub enum CaCommand {
    /// List the tenant's certificate authorities, by kind and age
    List(ListArgs),
    /// Show one certificate authority
    Show {
        /// Which, e.g. acme.1
        #[arg(value_name = "CA")]
        id: CaId,
        /// Its certificate as PEM
        #[arg(long)]
        pem: bool,
    },
    /// Write what verifiers of the tenant trust, as PEM
    Bundle {
        /// What clients check the control plane against instead: its server anchors
        #[arg(long, alias = "root")]
        server: bool,
    },
    /// Show the SHA-256 of what verifiers trust, to compare with what another machine has
    Fingerprint {
        /// What clients check the control plane against instead: its server anchors
        #[arg(long)]
        server: bool,
    },
    /// Do what is due in the life of the tenant's CAs, or one step now
    Rotate(RotateArgs),
}

/// Which step.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// Make and publish the next CA now
    #[arg(long, group = "step")]
    prepare: bool,
    /// Let the prepared CA sign from now on; an hour after it was prepared, when verifiers know it
    #[arg(long, group = "step")]
    activate: bool,
    /// With --activate, for operators: not to wait until verifiers know the CA; they refuse what it signs until then
    #[arg(long, requires = "activate")]
    force: bool,
    /// Stop trusting the retiring CA now: what it signed is refused
    #[arg(long, group = "step")]
    retire: bool,
    /// Whose: the tenant's own, or (in the system tenant) the environment's
    #[arg(long, value_enum, default_value_t)]
    kind: Kind,
    /// Says yes in advance.
    #[command(flatten)]
    yes: Yes,
}

/// Which CAs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The tenant's own
    #[default]
    Tenant,
    /// Shared by tenants without a CA of their own
    Shared,
    /// Of the control plane's server certificates
    Server,
}

/// Carries out a command.
pub async fn run(run: &Run, command: CaCommand) -> Result<Exit, Failure> {
    match command {
        CaCommand::List(args) => list(run, args).await,
        CaCommand::Show { id, pem } => show(run, &id, pem).await,
        CaCommand::Bundle { server } => bundle(run, server).await,
        CaCommand::Fingerprint { server } => fingerprint(run, server).await,
        CaCommand::Rotate(args) => rotate(run, args).await,
    }
}

async fn list(run: &Run, args: ListArgs) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    fetch(&session, args.limit(&run.printer.format)).await?.print(&run.printer, &args)
}

/// At most `limit`; 0: all.
async fn fetch(session: &Session, limit: u32) -> Result<List<v1::CertificateAuthority>, Failure> {
    session
        .pages(limit, |page_size, page_token| async move {
            let request = v1::ListCertificateAuthoritiesRequest { tenant_id: session.tenant(), page_size, page_token };
            let page = rpc!(session, "listing CAs", Client.list_certificate_authorities(request)).await?;
            Ok(Page {
                items: page.certificate_authorities,
                next_page_token: page.next_page_token,
                unreadable: page.unreadable,
            })
        })
        .await
}

async fn show(run: &Run, id: &CaId, pem: bool) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let found = fetch(&session, 0).await?.items.into_iter().find(|ca| ca.ca_id == id.as_str());
    let ca = found.ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("CA {id} does not exist in this tenant"))
            .hint("`principal ca list` shows all; --tenant chooses the tenant")
    })?;
    if pem {
        return run.printer.text(&signet_x509::pem::encode_certificate(&ca.certificate_der)).map(|()| Exit::Ok);
    }
    run.printer.one(&ca).map(|()| Exit::Ok)
}

/// Said to whom it may surprise.
const SHARED: &str = "this tenant uses the shared CA, which signs for other tenants too: software that trusts it and does not \
                      check the SPIFFE ID lets their principals in. For nginx, Mosquitto and the like use a tenant with a CA of its own";

/// `ca bundle`.
async fn bundle(run: &Run, server: bool) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let request = v1::GetTrustBundleRequest { tenant_id: session.tenant() };
    let bundle = rpc!(session, "reading the bundle", Client.get_trust_bundle(request)).await?;
    if !run.printer.format.is_for_people() {
        return run.printer.one(&bundle).map(|()| Exit::Ok);
    }
    if bundle.shared && !server {
        run.printer.note(SHARED);
    }
    let anchors = bundle.anchor_der.iter().map(Vec::as_slice).collect();
    let certificates = if server { signet_x509::server_anchors(&bundle.root_der) } else { anchors };
    let text: String = certificates.into_iter().map(signet_x509::pem::encode_certificate).collect();
    run.printer.text(&text).map(|()| Exit::Ok)
}

const FINGERPRINTS: &[Column] = &[
    Column::new("SHA-256", Field("sha256")),
    Column::wide("SUBJECT", Field("subject")),
    Column::wide("EXPIRES", When("not_after")),
];

/// `ca fingerprint`.
async fn fingerprint(run: &Run, server: bool) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let request = v1::GetTrustBundleRequest { tenant_id: session.tenant() };
    let bundle = rpc!(session, "reading the bundle", Client.get_trust_bundle(request)).await?;
    let anchors = bundle.anchor_der.iter().map(Vec::as_slice).collect();
    let certificates = if server { signet_x509::server_anchors(&bundle.root_der) } else { anchors };
    let rows = certificates.into_iter().filter_map(Fingerprint::of).collect::<Vec<_>>();
    let rows = rows.iter().map(serde_json::to_value).collect::<Result<_, _>>().map_err(Failure::other)?;
    run.printer.rows(FINGERPRINTS, &["sha256"], rows, &View::default()).map(|()| Exit::Ok)
}

#[derive(Serialize)]
struct Fingerprint {
    sha256: String,
    subject: String,
    not_after: String,
}

impl Fingerprint {
    fn of(der: &[u8]) -> Option<Self> {
        let facts = CertificateSummary::from_der(der)?;
        let not_after = Timestamp::from_millisecond(facts.not_after.unix_millis()).ok()?.to_string();
        Some(Self { sha256: signet_client::fingerprint(der), subject: facts.subject, not_after })
    }
}

async fn rotate(run: &Run, args: RotateArgs) -> Result<Exit, Failure> {
    let action = match (args.prepare, args.activate, args.retire) {
        (true, ..) => v1::RotationAction::Prepare,
        (_, true, _) => v1::RotationAction::Activate,
        (.., true) => v1::RotationAction::Retire,
        _ => v1::RotationAction::Due,
    };
    let kind = match args.kind {
        Kind::Tenant => v1::CaKind::Tenant,
        Kind::Shared => v1::CaKind::Shared,
        Kind::Server => v1::CaKind::Server,
    };
    let session = Session::of(run)?;
    let tenant = session.tenant_name();
    if action == v1::RotationAction::Retire {
        let question =
            format!("stop trusting the retiring CA of tenant {tenant} and refuse every certificate that it signed");
        confirm(&question, args.yes)?;
    }
    if args.force {
        let question = format!(
            "let the prepared CA of tenant {tenant} sign now, though verifiers without it refuse what it signs"
        );
        confirm(&question, args.yes)?;
    }
    let request = v1::RotateCertificateAuthorityRequest {
        tenant_id: session.tenant(),
        kind: kind.into(),
        action: action.into(),
        request_id: session.request_id(),
        force: args.force,
    };
    let done = rpc!(session, "rotating", Client.rotate_certificate_authority(request)).await?;
    if !run.printer.format.is_document() {
        let nothing = match action {
            v1::RotationAction::Prepare => "a next CA is prepared already; --activate lets it sign",
            _ => "nothing is due",
        };
        run.printer.note(&if done.steps.is_empty() { nothing.to_owned() } else { done.steps.join("\n") });
        return run.printer.list(&done.certificate_authorities, &View::default()).map(|()| Exit::Ok);
    }
    let cas = done.certificate_authorities.iter().map(|ca| to_value("signet.v1.CertificateAuthority", ca));
    let cas = cas.collect::<Result<Vec<_>, _>>()?;
    run.printer.record(&json!({ "certificate_authorities": cas, "steps": done.steps }), &[]).map(|()| Exit::Ok)
}
