//! Closes what was never finished.

use signet_core::{
    Error, Time,
    certificate::{Certificate, CertificateState, DEADLINE_SHARDS, RESERVATION_LIFETIME, sort_time},
    scope::EnvironmentScope,
    store::{Index, Query, SortRange, Table, Unreadable, Versioned},
};

use crate::{App, Call, GoOn, TaskReport, paging};

impl App {
    /// Closes the reservations whose maker is gone. Any number of nodes may do this at once.
    pub async fn sweep_reservations(&self, call: &Call, go_on: GoOn<'_>) -> Result<TaskReport, Error> {
        let made_before = call.now.minus(RESERVATION_LIFETIME);
        let (found, unreadable) = self.old_reservations(made_before, call.now).await?;
        let mut report = TaskReport::default();
        report.cannot_read(unreadable);
        for reservation in found {
            let Some(at) = go_on() else {
                report.unfinished = true;
                break;
            };
            let name = format!("{}/{}", reservation.issuer, reservation.serial);
            match self.close_reservation(&call.at(at), &reservation).await {
                Ok(true) => report.done.push(name),
                Ok(false) => {}
                Err(error) => report.failed.push((name, error)),
            }
        }
        Ok(report)
    }

    async fn close_reservation(&self, call: &Call, found: &Certificate) -> Result<bool, Error> {
        // The index may lag; the table decides.
        let key = Certificate::key_of(&found.issuer, &found.serial);
        let now: Option<Versioned<Certificate>> =
            EnvironmentScope::housekeeping().get(&*self.store, &key, call.now).await?;
        match now.filter(|record| record.value.state == CertificateState::Reserved) {
            None => Ok(false),
            Some(reserved) => self.abandon(call, &reserved, "NEVER_COMMITTED").await,
        }
    }

    async fn old_reservations(
        &self,
        made_before: Time,
        now: Time,
    ) -> Result<(Vec<Certificate>, Vec<Unreadable>), Error> {
        let range = SortRange::Between(sort_time(Time::from_unix_millis(0)), sort_time(made_before));
        let query = |shard| {
            Query::index(Table::Certificates, Index::ByDeadline, Certificate::reserved(shard)).range(range.clone())
        };
        let read = |query| async move {
            EnvironmentScope::housekeeping().page::<Certificate>(&*self.store, &query, now).await
        };
        paging::all(DEADLINE_SHARDS, query, read).await
    }
}
