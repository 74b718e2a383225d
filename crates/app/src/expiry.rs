//! Warnings of what nears its end and was not replaced.

use std::fmt;

use async_trait::async_trait;
use signet_core::{
    Error, StoreError, TenantId, TenantScope, Time,
    ca::{CaKind, CaState},
    certificate::{Certificate, CertificateKind, DEADLINE_SHARDS, sort_time},
    commit::{Bookkeeping, Commit, Write},
    expiry::{Ending, ExpiryWarning, HORIZON, due, is_unreplaced},
    principal::{Principal, PrincipalStatus},
    scope::EnvironmentScope,
    store::{Cursor, Entity, Index, Query, SortRange, Table},
};

use crate::{App, AuditEntry, Call, GoOn, TaskReport, paging::day_of, reservation::CREATED};

/// Where warnings go.
#[async_trait]
pub trait Herald: Send + Sync + fmt::Debug {
    /// Tells of all of them, at most [`BATCH`]. Returns those that could not be told, by index, and why.
    async fn tell(&self, warnings: &[ExpiryWarning]) -> Vec<(usize, String)>;
}

/// Warnings told at once: EventBridge takes ten entries a call.
pub const BATCH: usize = 10;

/// Certificates read at once.
const PAGE: u32 = 500;

/// Warnings on their way.
struct Round<'a> {
    call: &'a Call,
    herald: &'a dyn Herald,
    claimed: Vec<ExpiryWarning>,
    report: TaskReport,
}

impl App {
    /// Warns of CAs, of the server's certificate and of principals' certificates that pass a threshold unreplaced. Each
    /// warning is claimed in the store before it is told, so that it is told once, whoever else does this now; a claim whose
    /// telling failed is given up. (A process that dies between the two takes that one warning along; the next threshold follows.)
    pub async fn warn_expiries(&self, call: &Call, herald: &dyn Herald, go_on: GoOn<'_>) -> Result<TaskReport, Error> {
        let mut round = Round { call, herald, claimed: Vec::new(), report: TaskReport::default() };
        let looked = self.look_for_endings(&mut round, go_on).await;
        // What was claimed is told, whatever went wrong after.
        self.tell(&mut round).await?;
        looked?;
        Ok(round.report)
    }

    async fn look_for_endings(&self, round: &mut Round<'_>, go_on: GoOn<'_>) -> Result<(), Error> {
        let now = round.call.now;
        for ca in self.all_cas(now).await?.into_iter().filter(|ca| ca.state == CaState::Active) {
            let id = ca.id.clone();
            let ending = if ca.kind == CaKind::Root { Ending::Root { ca: id } } else { Ending::Ca { ca: id } };
            self.warn(round, &ca.tenant, ending, (ca.not_before, ca.not_after)).await?;
        }
        if let Some(server) = self.newest_server_certificate(now).await? {
            let ending = Ending::Server { serial: server.serial };
            self.warn(round, &server.tenant, ending, (server.not_before, server.not_after)).await?;
        }
        for day in day_of(now)..=day_of(now.plus(HORIZON)) {
            for shard in 0..DEADLINE_SHARDS {
                let mut after = None;
                loop {
                    if !go_on() {
                        round.report.unfinished = true;
                        return Ok(());
                    }
                    let (page, next) = self.expiring(day, shard, after, now).await?;
                    for certificate in page {
                        self.warn_of_leaf(round, &certificate).await?;
                    }
                    after = next;
                    if after.is_none() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    async fn expiring(
        &self,
        day: i64,
        shard: u32,
        after: Option<Cursor>,
        now: Time,
    ) -> Result<(Vec<Certificate>, Option<Cursor>), Error> {
        let range = SortRange::Between(sort_time(now), sort_time(Time::from_unix_seconds((day + 1) * 86_400)));
        let query = Query::index(Table::Certificates, Index::ByDeadline, Certificate::expiring(day, shard));
        let query = query.range(range).limit(PAGE).after(after);
        let (found, next) = EnvironmentScope::housekeeping().list::<Certificate>(&*self.store, &query, now).await?;
        Ok((found.into_iter().map(|found| found.value).collect(), next))
    }

    async fn newest_server_certificate(&self, now: Time) -> Result<Option<Certificate>, Error> {
        let partition = Certificate::by_kind(&TenantId::system(), CertificateKind::Server);
        let query = Query::index(Table::Certificates, Index::ByPrincipal, partition).descending().limit(1);
        let (found, _) = EnvironmentScope::housekeeping().list::<Certificate>(&*self.store, &query, now).await?;
        Ok(found.into_iter().next().map(|found| found.value))
    }

    /// Warns if the certificate is the last one of a principal that may have one.
    async fn warn_of_leaf(&self, round: &mut Round<'_>, certificate: &Certificate) -> Result<(), Error> {
        let Certificate { tenant, principal, not_before, not_after, .. } = certificate;
        let now = round.call.now;
        if !is_unreplaced(certificate) || due(*not_before, *not_after, now).is_none() {
            return Ok(());
        }
        let scope = TenantScope::housekeeping(tenant.clone());
        let holder = self.find_principal(&scope, principal, now).await?;
        if !holder.is_some_and(|holder| depends_on(&holder.value, certificate)) {
            return Ok(());
        }
        let ending = Ending::Leaf {
            principal: principal.clone(),
            principal_type: certificate.principal_type,
            issuer: certificate.issuer.clone(),
            serial: certificate.serial,
        };
        self.warn(round, tenant, ending, (*not_before, *not_after)).await
    }

    /// Claims the warning that is due, if any, and tells a full batch.
    async fn warn(
        &self,
        round: &mut Round<'_>,
        tenant: &TenantId,
        ending: Ending,
        (not_before, not_after): (Time, Time),
    ) -> Result<(), Error> {
        let call = round.call;
        let Some(threshold) = due(not_before, not_after, call.now) else { return Ok(()) };
        let warning = ExpiryWarning { tenant: tenant.clone(), ending, threshold, not_after, at: call.now };
        let key = warning.key();
        if EnvironmentScope::housekeeping().get::<ExpiryWarning>(&*self.store, &key, call.now).await?.is_some() {
            return Ok(());
        }
        let entry = AuditEntry::done(call, "expiry_warning", &key.sort)
            .detail("threshold", threshold.name())
            .detail("not_after", not_after.unix_seconds());
        let commit = Commit::audited(self.event(call, tenant, &entry)).write(Write::create(warning.clone()));
        match self.commit(&commit, call.now).await {
            Ok(()) => round.claimed.push(warning),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if round.claimed.len() == BATCH {
            self.tell(round).await?;
        }
        Ok(())
    }

    /// Tells what was claimed; what could not be told is there for the next run.
    async fn tell(&self, round: &mut Round<'_>) -> Result<(), Error> {
        let claimed = std::mem::take(&mut round.claimed);
        if claimed.is_empty() {
            return Ok(());
        }
        let untold = round.herald.tell(&claimed).await;
        for (index, warning) in claimed.iter().enumerate() {
            let text = format!("{}: {}", warning.tenant, warning.key().sort);
            let Some((_, cause)) = untold.iter().find(|(failed, _)| *failed == index) else {
                round.report.done.push(text);
                continue;
            };
            let commit =
                Commit::bookkeeping(Bookkeeping::Warning, round.call.now).write(Write::Delete(warning.key(), CREATED));
            self.commit(&commit, round.call.now).await?;
            round.report.failed.push((text, Error::Unavailable { what: "the receiver", cause: cause.clone() }));
        }
        Ok(())
    }
}

/// Whether a principal that may act has nothing that lives longer.
fn depends_on(principal: &Principal, certificate: &Certificate) -> bool {
    let held = &principal.certificates;
    principal.status == PrincipalStatus::Active
        && held.iter().any(|held| held.serial == certificate.serial)
        && held.iter().all(|held| held.not_after <= certificate.not_after)
}
