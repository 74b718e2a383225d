//! A full handshake with all our checks, against rustls with its own verifier; and a resumed one.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::{StreamExt, TryStreamExt, stream};
use rustls::ClientConfig;
use signet_core::{PrincipalType, trust::Trust};
use tokio::runtime::Runtime;

use crate::{
    Result, Scale, front,
    front::Taken,
    measure::{self, in_turn, micros_each, repeated},
    pki::Pki,
    report::{Budget, Row},
    server::{Server, runtime},
};

/// Connections under way at once.
const AT_ONCE: usize = 4;

/// Clients with different certificates, each for one connection of a round.
pub(crate) struct Clients {
    pki: Arc<Pki>,
    configs: Vec<Arc<ClientConfig>>,
    runtime: Runtime,
}

impl Clients {
    pub(crate) fn new(pki: &Arc<Pki>, scale: Scale) -> Result<Self> {
        let count = scale.of(400);
        let config = |number| pki.client(&pki.holder(PrincipalType::Worker, &format!("w-{number}"))?);
        let configs = (0..count).map(config).collect::<Result<_>>()?;
        Ok(Self { pki: Arc::clone(pki), configs, runtime: runtime()? })
    }

    /// Server CPU of a handshake, microseconds; each client connects once.
    fn round(&self, (server, taken): &(Server, Taken)) -> Result<f64> {
        let before = taken.load(Ordering::Relaxed);
        let cpu = self.runtime.block_on(visits(server, &self.configs))?;
        if taken.load(Ordering::Relaxed) - before != self.configs.len() {
            return Err("the server refused connections that it should take".into());
        }
        Ok(micros_each(cpu, self.configs.len()))
    }

    /// A front door of ours that has seen nobody yet.
    fn ours(&self, trust: &Arc<Trust>) -> Result<(Server, Taken)> {
        let registry = front::registry(trust);
        front::ours(front::acceptor(&self.pki.environment, self.pki.server_identity()?, registry)?)
    }

    /// A full handshake of rustls alone, microseconds.
    pub(crate) fn plain_round(&self) -> Result<f64> {
        self.round(&front::plain(self.pki.plain_server(true)?)?)
    }

    /// Certificates that the server has never seen, with as many revocations as `trust` holds.
    pub(crate) fn full(&self, rounds: usize, trust: &Arc<Trust>) -> Result<measure::Pair> {
        let plain = front::plain(self.pki.plain_server(true)?)?;
        in_turn(rounds, || self.round(&plain), || self.round(&self.ours(trust)?))
    }
}

/// The rows that need no revocations.
pub(crate) fn rows(clients: &Clients, rounds: usize, scale: Scale) -> Result<Vec<Row>> {
    let trust = front::trust(&clients.pki);
    let full = clients.full(rounds, &trust)?;
    let known = clients.ours(&trust)?;
    let again = repeated(rounds, || clients.round(&known))?;
    let (resumed, bare) = resumed(clients, rounds, scale, &trust)?;
    let besieged = besieged(clients, scale, &trust)?;
    Ok(vec![
        Row::pair("full mTLS handshake, certificates never seen before", "us", &full)
            .budget(Budget::RatioAtMost(0.9))
            .note("floor: rustls' own verifier, root as anchor; CPU of the server's thread, TCP included"),
        Row::alone("full mTLS handshake, certificates seen before", "us", again),
        Row::pair("resumed handshake, authenticated again; floor: our full one", "us", &resumed)
            .budget(Budget::RatioAtMost(0.5)),
        Row::pair("p99 of handshakes beside silent connections, 40/s of one address; floor: quiet", "us", &besieged)
            .budget(Budget::RatioAtMost(2.0))
            .note("wall time of the client; 400 connections in 10 s that send nothing, of which those of 2 s are open"),
        Row::pair("  the same; floor: rustls alone, which authenticates nobody", "us", &bare),
    ])
}

/// One client that connects again and again: against our full handshake, and against a resumption by rustls alone,
/// which authenticates nobody.
fn resumed(
    clients: &Clients,
    rounds: usize,
    scale: Scale,
    trust: &Arc<Trust>,
) -> Result<(measure::Pair, measure::Pair)> {
    let resuming = Resuming { clients, count: scale.of(400) };
    let ((server, _), (plain, _)) = (clients.ours(trust)?, front::plain(clients.pki.plain_server(true)?)?);
    let holder = clients.pki.holder(PrincipalType::Worker, "returning")?;
    let client = || clients.pki.returning_client(&holder);
    let (config, to_plain) = (client()?, client()?);
    let ours = || resuming.round(&server, &config);
    Ok((
        in_turn(rounds, || clients.round(&clients.ours(trust)?), ours)?,
        in_turn(rounds, || resuming.round(&plain, &to_plain), ours)?,
    ))
}

/// Silent connections, and how many of them a second.
const SILENT: usize = 400;
const SILENT_PER_SECOND: u64 = 40;
/// Enough for a p99, and no more: a round takes ten seconds.
const SIEGES: usize = 2;

/// A good client while another address opens connections and says nothing, against the same in quiet.
fn besieged(clients: &Clients, scale: Scale, trust: &Arc<Trust>) -> Result<measure::Pair> {
    let (server, _) = clients.ours(trust)?;
    let silent = scale.of(SILENT);
    let round = |besieged: bool| {
        clients.runtime.block_on(async {
            let siege = async {
                let mut pace = tokio::time::interval(Duration::from_millis(1000 / SILENT_PER_SECOND));
                let mut open = Vec::new();
                for _ in 0..silent {
                    pace.tick().await;
                    if besieged {
                        open.push(front::silent(server.address).await?);
                    }
                }
                Result::Ok(open)
            };
            let mut took = Vec::new();
            let good = async {
                for config in clients.configs.iter().cycle() {
                    let started = std::time::Instant::now();
                    front::visit(server.address, config).await?;
                    took.push(started.elapsed().as_secs_f64() * 1e6);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Result::Ok(())
            };
            tokio::select! {
                open = siege => drop(open?),
                done = good => done?,
            }
            Ok(measure::percentile(&took, 0.99))
        })
    };
    in_turn(SIEGES, || round(false), || round(true))
}

struct Resuming<'a> {
    clients: &'a Clients,
    count: usize,
}

impl Resuming<'_> {
    fn round(&self, server: &Server, config: &Arc<ClientConfig>) -> Result<f64> {
        self.clients.runtime.block_on(async {
            // Its tickets are used up one by one; each connection brings new ones.
            front::visit(server.address, config).await?;
            let before = server.cpu().await?;
            for _ in 0..self.count {
                if !front::visit(server.address, config).await? {
                    return Err("a connection was not resumed".into());
                }
            }
            Ok(micros_each(server.cpu().await? - before, self.count))
        })
    }
}

async fn visits(server: &Server, configs: &[Arc<ClientConfig>]) -> Result<Duration> {
    let before = server.cpu().await?;
    let visits = stream::iter(configs).map(|config| front::visit(server.address, config));
    visits.buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
    Ok(server.cpu().await? - before)
}
