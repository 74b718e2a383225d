//! `principal tenant delete` and `principal tenant undelete`.

use jiff::SignedDuration;
use signet_core::TenantId;
use signet_proto::v1::{
    self, principal_service_client::PrincipalServiceClient as Principals,
    tenant_service_client::TenantServiceClient as Client,
};

use crate::{
    confirm::{self, confirm},
    exit::Exit,
    failure::Failure,
    output::absolute,
    progress::Progress,
    run::Run,
    session::{Session, rpc},
    values::Yes,
};

/// `principal tenant delete`.
pub(super) async fn delete(run: &Run, id: &TenantId, yes: Yes) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let question =
        if confirm::asks(yes) { at_stake(run, &session, id).await? } else { Some(format!("delete tenant {id}")) };
    if let Some(question) = question {
        confirm(&question, yes)?;
    }
    let request = v1::DeleteTenantRequest { tenant_id: id.to_string(), request_id: session.request_id() };
    let gone = rpc!(session, "deleting the tenant", Client.delete_tenant(request)).await?;
    run.printer.changed(&gone).map(|()| Exit::Ok)
}

/// `principal tenant undelete`.
pub(super) async fn undelete(run: &Run, id: &TenantId) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let request = v1::UndeleteTenantRequest { tenant_id: id.to_string(), request_id: session.request_id() };
    let back = rpc!(session, "undeleting the tenant", Client.undelete_tenant(request)).await?;
    run.printer.changed(&back)?;
    run.printer
        .note(&format!("note: the tenant is suspended; `principal tenant activate {id}` lets its principals in"));
    Ok(Exit::Ok)
}

/// The question: what is lost, when, and how to keep a copy. `None`: it is deleted already, and nothing changes.
async fn at_stake(run: &Run, session: &Session, id: &TenantId) -> Result<Option<String>, Failure> {
    let request = v1::GetTenantRequest { tenant_id: id.to_string() };
    let tenant = rpc!(session, "reading the tenant", Client.get_tenant(request)).await?;
    if tenant.delete_time.is_some() {
        return Ok(None);
    }
    if tenant.status() == v1::TenantStatus::Active {
        let failure = Failure::new(Exit::Conflict, format!("tenant {id} is active"));
        return Err(failure.hint(format!("suspend it first: `principal tenant suspend {id}`")));
    }
    let (principals, certificates) = counts(run, session, id).await?;
    let now = run.printer.clock();
    let grace = SignedDuration::from_secs(tenant.deletion_grace_seconds.into());
    let purged = now.checked_add(grace).map_or_else(|_| "at the end of its grace time".into(), |at| absolute(at, now));
    Ok(Some(format!(
        "To keep a copy, first run `principal tenant export {id} --out FILE`.\n\
         Until {purged} the tenant can be undeleted; then it is purged: the keys of its CAs, its principals and its \
         rules are gone for good, and its id is never given again.\n\
         delete tenant {id} with {principals} principals and {certificates} certificates"
    )))
}

async fn counts(run: &Run, session: &Session, id: &TenantId) -> Result<(u64, u64), Failure> {
    let progress = Progress::default();
    let count = async {
        let (mut principals, mut certificates, mut page_token) = (0_u64, 0_u64, String::new());
        loop {
            let request = v1::ListPrincipalsRequest { tenant_id: id.to_string(), page_size: 1000, page_token };
            let page = rpc!(session, "counting principals", Principals.list_principals(request)).await?;
            principals = principals.saturating_add(page.principals.len() as u64);
            let held = page.principals.iter().map(|principal| u64::from(principal.certificate_count));
            certificates = held.fold(certificates, u64::saturating_add);
            progress.tell("principals", principals);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok((principals, certificates));
            }
        }
    };
    progress.watch(&format!("counting what {id} has"), run.printer.quiet, count).await
}
