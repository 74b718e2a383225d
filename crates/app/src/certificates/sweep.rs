//! Closes what was never finished.

use signet_core::{
    Error, Time,
    certificates::{Certificate, CertificateState, DEADLINE_SHARDS, RESERVATION_LIFETIME, sort_time},
    store::{Index, Query, SortRange, Table, Unreadable, Versioned},
};

use crate::{App, Chore, GoOn, TaskReport, authorities::reservation, paging};

/// Closes the reservations whose maker is gone. Any number of nodes may do this at once.
pub async fn sweep_reservations(app: &App, chore: &Chore, go_on: GoOn<'_>) -> Result<TaskReport, Error> {
    let made_before = chore.now.minus(RESERVATION_LIFETIME);
    let (found, unreadable) = old_reservations(app, chore, made_before).await?;
    let mut report = TaskReport::default();
    report.cannot_read(unreadable);
    for reservation in found {
        let Some(at) = go_on() else {
            report.unfinished = true;
            break;
        };
        let name = format!("{}/{}", reservation.issuer, reservation.serial);
        match close_reservation(app, &chore.at(at), &reservation).await {
            Ok(true) => report.done.push(name),
            Ok(false) => {}
            Err(error) => report.failed.push((name, error)),
        }
    }
    Ok(report)
}

async fn close_reservation(app: &App, chore: &Chore, found: &Certificate) -> Result<bool, Error> {
    // The index may lag; the table decides.
    let key = Certificate::key_of(&found.issuer, &found.serial);
    let now: Option<Versioned<Certificate>> = chore.keeper.environment().get(&*app.store, &key, chore.now).await?;
    match now.filter(|record| record.value.state == CertificateState::Reserved) {
        None => Ok(false),
        Some(reserved) => reservation::abandon(app, chore, &reserved, "NEVER_COMMITTED").await,
    }
}

async fn old_reservations(
    app: &App,
    chore: &Chore,
    made_before: Time,
) -> Result<(Vec<Certificate>, Vec<Unreadable>), Error> {
    let range = SortRange::Between(sort_time(Time::from_unix_millis(0)), sort_time(made_before));
    let query =
        |shard| Query::index(Table::Certificates, Index::ByDeadline, Certificate::reserved(shard)).range(range.clone());
    let read =
        |query| async move { chore.keeper.environment().page::<Certificate>(&*app.store, &query, chore.now).await };
    paging::all(DEADLINE_SHARDS, query, read).await
}
