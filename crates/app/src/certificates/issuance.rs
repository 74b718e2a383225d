//! Certificates of principals. Reserve, sign, compare, commit, and only then release: this module reserves,
//! `release` does the rest; `renewal` has what is special about a next one.

use signet_core::{
    Error, PrincipalId, StoreError, TenantScope,
    certificates::Certificate,
    principals::Principal,
    store::{
        Versioned,
        commit::{Commit, Write},
        request::Outcome,
    },
    tenants::quota::Quota,
};
use signet_x509::{LeafProfile, Prepared, issue::prepare_leaf};

use crate::{
    App, Call,
    authorities::{
        reservation::{self, CREATED, Holder},
        signing::{self, Authorities, Issuer, issue_error, profile_error},
    },
    certificates::{
        order::{self, Admission, Begun, IssuedLeaf, Order, Presented, Reservation},
        release,
    },
    ledger::{self, ATTEMPTS, fingerprint, request_record},
    reads::{self, require_active},
};

impl From<&Certificate> for Presented {
    fn from(certificate: &Certificate) -> Self {
        Self { issuer: certificate.issuer.clone(), serial: certificate.serial }
    }
}

/// A certificate for a principal whose CSR somebody with the right to do so hands in.
pub async fn issue_certificate(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    id: &PrincipalId,
    csr_der: &[u8],
) -> Result<IssuedLeaf, Error> {
    let csr = order::parse_csr(csr_der)?;
    let fingerprint = fingerprint(call, &(id, order::key_digest(&csr)))?;
    let order = Order { call, scope, csr: &csr, fingerprint, renews: None };
    let admit = || async { Ok(Admission::of(reads::principal(app, scope, id, call.now).await?, None, call.now)) };
    let begun = begin(app, &order, admit).await?;
    release::conclude(app, &order, begun).await
}

/// Reserves a certificate for the principal that `admit` lets in, or finds what came of the request before.
pub(crate) async fn begin<A, F>(app: &App, order: &Order<'_>, admit: A) -> Result<Begun, Error>
where
    A: Fn() -> F,
    F: Future<Output = Result<Admission, Error>>,
{
    let (call, tenant) = (order.call, order.scope.tenant());
    let mut conflict = Error::Conflict("the principal");
    for attempt in 0..ATTEMPTS {
        ledger::pause(app, attempt).await;
        if let Some(outcome) = ledger::outcome_of(app, call, tenant, &order.fingerprint).await? {
            return Ok(Begun::Known(outcome));
        }
        let draft = match draft(app, order, &admit).await {
            Ok(draft) => draft,
            // It may come of this very request's first attempt, e.g. when that used up the token.
            Err(refusal) => {
                let known = ledger::outcome_of(app, call, tenant, &order.fingerprint).await?;
                return known.map(Begun::Known).ok_or(refusal);
            }
        };
        let (Reservation { record: Versioned { value: record, .. }, .. }, commit) = &draft;
        let outcome = Outcome::Certificate { issuer: record.issuer.clone(), serial: record.serial };
        let request = request_record(call, tenant, &order.fingerprint, outcome);
        let commit = commit.clone().writes(request.map(Write::create));
        match ledger::commit(app, &commit, call.now).await {
            Ok(()) => return Ok(Begun::Reserved(Box::new(draft.0))),
            Err(error @ (StoreError::Conflict { .. } | StoreError::Unknown(_))) => conflict = error.into(),
            Err(error) => return Err(error.into()),
        }
    }
    Err(conflict)
}

/// A reservation, and the commit that makes it one.
async fn draft<A, F>(app: &App, order: &Order<'_>, admit: A) -> Result<(Reservation, Commit), Error>
where
    A: Fn() -> F,
    F: Future<Output = Result<Admission, Error>>,
{
    let (admission, authorities) =
        futures::try_join!(admit(), signing::authorities(app, order.scope.tenant(), order.call.now))?;
    let Admission { principal, presented, commit, others } = admission;
    if let Some(others) = others {
        let tenant = &authorities.tenant;
        tenant.quotas.check(Quota::Principals, &tenant.id, others.used())?;
    }
    let issuer = signing::issuer(app, authorities.active()?).await?;
    let (prepared, record) = prepare(app, order, &principal.value, presented.as_ref(), &authorities, &issuer)?;
    let commit = commit.write(Write::create(record.clone()));
    let record = Versioned { value: record, version: CREATED };
    Ok((Reservation { record, principal, prepared, issuer, authorities }, commit))
}

fn prepare(
    app: &App,
    order: &Order<'_>,
    principal: &Principal,
    presented: Option<&Certificate>,
    authorities: &Authorities,
    issuer: &Issuer,
) -> Result<(Prepared, Certificate), Error> {
    let (call, tenant) = (order.call, &authorities.tenant);
    require_active(tenant)?;
    order::may_hold(call, principal, presented, tenant.max_certificates)?;
    let subject = tenant.subjects.get(&principal.principal_type).cloned().unwrap_or_default();
    let profile = LeafProfile::of(&app.environment, principal)
        .and_then(|profile| profile.with_subject(subject))
        .map_err(profile_error)?;
    let lifetime = tenant.lifetime(principal.principal_type);
    let serial = reservation::serial(app, call.now);
    let prepared =
        prepare_leaf(&profile, order.csr, &issuer.certificate, serial, lifetime, call.now).map_err(issue_error)?;
    let record =
        reservation::reservation(app, call, &issuer.ca.id, &prepared, Holder::principal(principal, presented))?;
    Ok((prepared, record))
}
