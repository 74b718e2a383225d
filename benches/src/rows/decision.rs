//! What every request pays: the session, the permission and the rule. Nothing of it may allocate.

use std::{hint::black_box, sync::Arc};

use futures::StreamExt;
use signet_control_plane::authorization::{Access, Table};
use signet_core::{
    PrincipalType,
    authorization::{Grants, Permit, Policy, Rule, permit},
    trust::Trust,
};
use signet_mtls::{Connection, Session};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    Result, Scale,
    clock::{now, system_clock, thread_cpu},
    front,
    measure::{Spread, repeated},
    pki::Pki,
    report::{Budget, Row},
    server::runtime,
};

pub(crate) const PATH: &str = "/signet.v1.EnrollmentService/ListTokens";

pub(crate) fn rows(pki: &Pki, rounds: usize, scale: Scale) -> Result<Vec<Row>> {
    let trust = front::trust(pki);
    let connection = connection(pki, &trust)?;
    let session = connection.peer().session.as_ref().ok_or("the connection has no session")?;
    let table = Table::from_descriptors(signet_proto::DESCRIPTORS, &Policy::new())?;
    let Some(Access::Rule(rule)) = table.route(PATH).map(|route| route.access()) else {
        return Err("the table has no rule for the path".into());
    };
    let (at, clock) = (now(), system_clock());
    let decision = || decide(session, rule, &trust, at);
    let whole = || {
        let route = table.route(black_box(PATH)).map(|route| route.access());
        if let Some(Access::Rule(rule)) = route { decide(session, rule, &trust, clock()) } else { None }
    };
    let (one, other) = (cost(&decision, rounds, scale)?, cost(&whole, rounds, scale)?);
    Ok(vec![
        Row::alone("permission decision, epoch unchanged", "ns", one)
            .budget(Budget::AtMost(100.0))
            .note("the session's check and the permit"),
        allocations("permission decision: allocations", &decision),
        Row::alone("a request at the gate: rule, clock, session, permit", "ns", other)
            .note("as the gate calls them, with the table that the server builds from its descriptors"),
        allocations("a request at the gate: allocations", &whole),
    ])
}

fn decide(session: &Session<Grants>, rule: &Rule, trust: &Trust, now: signet_core::Time) -> Option<Permit> {
    let grants = session.check(black_box(trust), black_box(now)).ok()?;
    permit(session.identity(), &grants, black_box(rule)).ok()
}

fn allocations(name: &'static str, decision: &impl Fn() -> Option<Permit>) -> Row {
    let counted = allocation_counter::measure(|| drop(black_box(decision())));
    Row::alone(name, "", Spread::exactly(counted.count_total as f64)).budget(Budget::AtMost(0.0))
}

/// Nanoseconds of a decision, its drop included.
fn cost(decision: &impl Fn() -> Option<Permit>, rounds: usize, scale: Scale) -> Result<Spread> {
    let count = scale.of(2_000_000);
    repeated(rounds, || {
        let before = thread_cpu();
        let granted = (0..count).filter(|_| black_box(decision()).is_some()).count();
        let spent = thread_cpu() - before;
        if granted != count {
            return Err("a call that is permitted was refused".into());
        }
        Ok(spent.as_secs_f64() * 1e9 / count as f64)
    })
}

/// An admin's connection; its session stands still once the connection is made.
fn connection(pki: &Pki, trust: &Arc<Trust>) -> Result<Connection<Grants>> {
    let acceptor = front::acceptor(&pki.environment, pki.server_identity()?, front::registry(trust))?;
    let client = pki.client(&pki.holder(PrincipalType::Admin, "admin")?)?;
    runtime()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut incoming = acceptor.listen(listener, CancellationToken::new());
        let (connected, taken) = tokio::join!(front::connect(address, &client), incoming.next());
        connected?;
        Ok(taken.ok_or("no connection came in")??)
    })
}
