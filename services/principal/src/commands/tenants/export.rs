//! `principal tenant export`: all that the API tells of a tenant, as lines of JSON.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{BufWriter, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use clap::Args;
use jiff::Timestamp;
use serde_json::json;
use signet_core::TenantId;
use signet_proto::v1::{
    self, audit_service_client::AuditServiceClient as Audit,
    authorization_service_client::AuthorizationServiceClient as Authorization,
    certificate_service_client::CertificateServiceClient as Certificates,
    enrollment_service_client::EnrollmentServiceClient as Enrollment,
    principal_service_client::PrincipalServiceClient as Principals,
    tenant_service_client::TenantServiceClient as Tenants, trust_service_client::TrustServiceClient as Trust,
};

use crate::{
    exit::Exit,
    failure::Failure,
    output::{Printer, Shown, to_value},
    progress::Progress,
    run::Run,
    session::{Page, Session, rpc},
    values,
};

/// What, and where to.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Id of the tenant
    #[arg(value_name = "TENANT")]
    id: TenantId,
    /// File to write, one JSON object a line; it must not exist yet
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// The file while it is written, and how much of what it has.
struct Export {
    file: BufWriter<File>,
    partial: PathBuf,
    out: PathBuf,
    counts: BTreeMap<&'static str, u64>,
    unreadable: Vec<String>,
    progress: Progress,
    id: TenantId,
}

/// Items of an API page.
const PAGE: u32 = 1000;

/// `principal tenant export`.
pub(super) async fn export(run: &Run, args: ExportArgs) -> Result<Exit, Failure> {
    // The progress of the whole is shown, not that of each call.
    let session = Session::of(&Run { printer: Printer { quiet: true, ..run.printer.clone() }, ..run.clone() })?;
    let mut export = Export::begin(args)?;
    let (progress, what) = (export.progress.clone(), format!("exporting {}", export.id));
    if let Err(failure) = progress.watch(&what, run.printer.quiet, fetch(&session, &mut export)).await {
        return Err(failure.hint(format!("{} is not complete; run the command again", export.partial.display())));
    }
    export.end()?;
    let Export { out, counts, unreadable, .. } = export;
    let found = counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ");
    run.printer.note(&format!("wrote {}: {found}", out.display()));
    if unreadable.is_empty() {
        return Ok(Exit::Ok);
    }
    let (count, places) = (unreadable.len(), unreadable.join(", "));
    let failure = Failure::other(format!("{count} records cannot be read and are missing in it: {places}"));
    Err(failure.hint("an operator repairs them: runbook UnreadableRecords"))
}

async fn fetch(session: &Session, export: &mut Export) -> Result<(), Failure> {
    let tenant = export.id.to_string();
    let request = v1::GetTenantRequest { tenant_id: tenant.clone() };
    let found = rpc!(session, "reading the tenant", Tenants.get_tenant(request)).await?;
    export.add("tenant", &[found])?;
    let (id, page_size) = (tenant.as_str(), PAGE);
    let cas = |page_token| async move {
        let request = v1::ListCertificateAuthoritiesRequest { tenant_id: id.to_owned(), page_size, page_token };
        let page = rpc!(session, "listing CAs", Trust.list_certificate_authorities(request)).await?;
        let (items, next_page_token) = (page.certificate_authorities, page.next_page_token);
        Ok(Page { items, next_page_token, unreadable: page.unreadable })
    };
    export.pages("certificate authorities", cas, |_| ()).await?;
    let rules = |page_token| async move {
        let request = v1::ListEnrollmentRulesRequest { tenant_id: id.to_owned(), page_size, page_token };
        let page = rpc!(session, "listing rules", Enrollment.list_enrollment_rules(request)).await?;
        Ok(Page { items: page.rules, next_page_token: page.next_page_token, unreadable: page.unreadable })
    };
    export.pages("rules", rules, |_| ()).await?;
    authorization_model(session, export).await?;
    let principals = |page_token| async move {
        let request = v1::ListPrincipalsRequest { tenant_id: id.to_owned(), page_size, page_token };
        let page = rpc!(session, "listing principals", Principals.list_principals(request)).await?;
        Ok(Page { items: page.principals, next_page_token: page.next_page_token, unreadable: page.unreadable })
    };
    let mut holders = Vec::new();
    export.pages("principals", principals, |principal| holders.push(principal.principal_id.clone())).await?;
    for holder in &holders {
        let certificates = |page_token| async move {
            let (tenant_id, principal_id) = (id.to_owned(), holder.clone());
            let request = v1::ListCertificatesRequest { tenant_id, principal_id, page_size, page_token };
            let page = rpc!(session, "listing certificates", Certificates.list_certificates(request)).await?;
            Ok(Page { items: page.certificates, next_page_token: page.next_page_token, unreadable: page.unreadable })
        };
        export.pages("certificates", certificates, |_| ()).await?;
    }
    let events = |page_token| async move {
        // As far back as they are kept.
        let start_time = Some(values::to_proto(Timestamp::UNIX_EPOCH));
        let tenant_id = id.to_owned();
        let request = v1::ListAuditEventsRequest { tenant_id, start_time, end_time: None, page_size, page_token };
        let page = rpc!(session, "reading events", Audit.list_audit_events(request)).await?;
        Ok(Page { items: page.events, next_page_token: page.next_page_token, unreadable: Vec::new() })
    };
    export.pages("audit events", events, |_| ()).await?;
    let request = v1::GetTenantRequest { tenant_id: tenant };
    let found = rpc!(session, "reading the tenant", Tenants.get_tenant(request)).await?;
    let is_due = found.expire_time.is_some_and(|at| at.seconds <= Timestamp::now().as_second());
    if is_due || found.purge_time.is_some() {
        let failure = Failure::new(Exit::Conflict, format!("tenant {} is purged, or is about to be", export.id));
        return Err(failure.hint("what of it is gone already is not in the file; its audit log can still be read"));
    }
    Ok(())
}

/// The rules that hold; of a tenant that has none there is nothing to say.
async fn authorization_model(session: &Session, export: &mut Export) -> Result<(), Failure> {
    let request = v1::GetAuthorizationModelRequest { tenant_id: export.id.to_string(), version: 0 };
    match rpc!(session, "reading the rules", Authorization.get_authorization_model(request)).await {
        Ok(model) if model.version == 0 => Ok(()),
        // The environment's are not the tenant's.
        Ok(model) => export.add("authorization model", &[v1::AuthorizationModel { inherited: None, ..model }]),
        Err(failure) if failure.reason.as_deref() == Some("RECORD_UNREADABLE") => {
            export.unreadable.push(format!("tenants/{}/authorization", export.id));
            Ok(())
        }
        Err(failure) => Err(failure),
    }
}

impl Export {
    /// Nothing that is there is overwritten but what an export left that was cut off.
    fn begin(ExportArgs { id, out }: ExportArgs) -> Result<Self, Failure> {
        refuse_existing(&out)?;
        let partial = out.with_added_extension("partial");
        // Anew, or it would have the rights of what is there.
        let _: std::io::Result<()> = fs::remove_file(&partial);
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial);
        let file = BufWriter::new(opened.map_err(|error| Failure::file(&partial, &error))?);
        let (counts, unreadable, progress) = (BTreeMap::new(), Vec::new(), Progress::default());
        Ok(Self { file, partial, out, counts, unreadable, progress, id })
    }

    /// All pages of one kind.
    async fn pages<T: Shown, F>(
        &mut self,
        kind: &'static str,
        fetch: impl Fn(String) -> F,
        mut seen: impl FnMut(&T),
    ) -> Result<(), Failure>
    where
        F: Future<Output = Result<Page<T>, Failure>>,
    {
        let mut token = String::new();
        loop {
            let page = fetch(token).await?;
            self.add(kind, &page.items)?;
            page.items.iter().for_each(&mut seen);
            self.unreadable.extend(page.unreadable);
            token = page.next_page_token;
            if token.is_empty() {
                return Ok(());
            }
        }
    }

    fn add<T: Shown>(&mut self, kind: &'static str, items: &[T]) -> Result<(), Failure> {
        for item in items {
            let line = json!({ "message": T::MESSAGE, "value": to_value(T::MESSAGE, item)? });
            writeln!(self.file, "{line}").map_err(|error| Failure::file(&self.partial, &error))?;
        }
        let count = self.counts.entry(kind).or_default();
        *count = count.saturating_add(items.len() as u64);
        self.progress.tell(kind, *count);
        Ok(())
    }

    /// The file has its name once it is whole and on disk.
    fn end(&mut self) -> Result<(), Failure> {
        let kept = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        kept.map_err(|error| Failure::file(&self.partial, &error))?;
        refuse_existing(&self.out)?;
        let ours = self.file.get_ref().metadata().map(|file| file.ino());
        if fs::symlink_metadata(&self.partial).map(|there| there.ino()).ok() != ours.ok() {
            let failure = Failure::new(Exit::Conflict, format!("another export is writing {}", self.partial.display()));
            return Err(failure.hint("wait for it, or name another file"));
        }
        fs::rename(&self.partial, &self.out).map_err(|error| Failure::file(&self.out, &error))
    }
}

fn refuse_existing(out: &Path) -> Result<(), Failure> {
    if out.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(Failure::usage(format!("{} exists already", out.display())).hint("name another file, or remove this one"))
}
