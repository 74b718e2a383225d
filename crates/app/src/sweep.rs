//! Closes what was never finished.

use signet_core::{
    Error, Time,
    certificate::{Certificate, CertificateState, DEADLINE_SHARDS, RESERVATION_LIFETIME, sort_time},
    scope::EnvironmentScope,
    store::{Index, Query, SortRange, Table, Versioned},
};

use crate::{App, Call, paging};

impl App {
    /// Closes the reservations whose maker is gone. Returns how many. Any number of nodes may do this at once.
    pub async fn sweep_reservations(&self, call: &Call) -> Result<usize, Error> {
        let made_before = call.now.minus(RESERVATION_LIFETIME);
        let mut closed = 0;
        for found in self.old_reservations(made_before, call.now).await? {
            // The index may lag; the table decides.
            let key = Certificate::key_of(&found.issuer, &found.serial);
            let now: Option<Versioned<Certificate>> =
                EnvironmentScope::housekeeping().get(&*self.store, &key, call.now).await?;
            if let Some(reserved) = now.filter(|record| record.value.state == CertificateState::Reserved)
                && self.abandon(call, &reserved, "NEVER_COMMITTED").await?
            {
                closed += 1;
            }
        }
        Ok(closed)
    }

    async fn old_reservations(&self, made_before: Time, now: Time) -> Result<Vec<Certificate>, Error> {
        let range = SortRange::Between(sort_time(Time::from_unix_millis(0)), sort_time(made_before));
        let query = |shard| {
            Query::index(Table::Certificates, Index::ByDeadline, Certificate::reserved(shard)).range(range.clone())
        };
        let read = |query| async move {
            let scope = EnvironmentScope::housekeeping();
            let (found, next) = scope.list::<Certificate>(&*self.store, &query, now).await?;
            Ok((found.into_iter().map(|found| found.value).collect(), next))
        };
        paging::all(DEADLINE_SHARDS, query, read).await
    }
}
