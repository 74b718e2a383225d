//! Issuance by the application, on the durable embedded store, against the bare check of the request, the building and
//! the signature; and with signatures that take as long as KMS takes.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt, stream};
use signet_core::{Lifetime, PrincipalType};
use signet_x509::{Csr, KeyAndCsr, issue::prepare_leaf};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
    time::interval,
};

use crate::{
    Result, Scale,
    clock::{now, process_cpu, thread_cpu},
    measure::{Spread, in_turn, micros_each, percentile},
    pki::{Pki, serial},
    report::{Budget, Row},
    shop::{Shop, Worker},
};

/// Callers at once where only the processor counts.
const AT_ONCE: usize = 64;
/// Callers at once where signatures are waited for.
const WAITING: usize = 256;
const LATENCY: Duration = Duration::from_millis(15);
/// What one node must sustain.
const PER_SECOND: u32 = 1000;

pub(crate) fn rows(pki: &Pki, state: &Path, rounds: usize, scale: Scale) -> Result<Vec<Row>> {
    let runtime = threads()?;
    let bare = Bare::new(pki, scale)?;
    let count = scale.of(2000);
    let shop = Arc::new(runtime.block_on(Shop::open(state, Duration::ZERO))?);
    let mut prepared = 0..;
    let pair = in_turn(
        rounds,
        || bare.round(),
        || {
            let prefix = format!("w{}", prepared.next().unwrap_or(0));
            let workers = runtime.block_on(shop.workers(&prefix, count))?;
            let before = process_cpu();
            runtime.block_on(all(&shop, workers, AT_ONCE))?;
            Ok(micros_each(process_cpu() - before, count))
        },
    )?;
    Ok(vec![
        Row::pair("issuance by the application, durable, audited", "us", &pair)
            .budget(Budget::RatioAtMost(2.5))
            .note("floor: parse and check the CSR, build and lint, sign; no store. CPU of the whole process"),
    ])
}

/// With 15 ms a signature: as many as go, then 1,000 a second.
pub(crate) fn slow(state: &Path, scale: Scale) -> Result<Vec<Row>> {
    let runtime = threads()?;
    let shop = Arc::new(runtime.block_on(Shop::open(state, LATENCY))?);
    let (most, steady) = (scale.of(10_000), scale.of(10_000));
    let workers = runtime.block_on(shop.workers("most", most))?;
    let started = Instant::now();
    let waits = runtime.block_on(all(&shop, workers, WAITING))?;
    let rate = most as f64 / started.elapsed().as_secs_f64();
    let workers = runtime.block_on(shop.workers("steady", steady))?;
    let (open, sustained) = runtime.block_on(arriving(&shop, workers))?;
    let note = |waits: &[f64]| {
        let p = |share| percentile(waits, share);
        format!("p50 {:.0} ms, p99 {:.0} ms, longest {:.0} ms", p(0.5), p(0.99), p(1.0))
    };
    Ok(vec![
        Row::alone("issuance with 15 ms a signature, 256 callers at once", "/s", Spread::exactly(rate))
            .budget(Budget::AtLeast(f64::from(PER_SECOND)))
            .note(note(&waits)),
        Row::alone(
            "issuance with 15 ms a signature, 1,000 arriving a second: p99",
            "ms",
            Spread::exactly(percentile(&open, 0.99)),
        )
        .budget(Budget::AtMost(60.0))
        .note(format!("{}; {sustained:.0}/s answered", note(&open))),
    ])
}

/// As many worker threads as signetd has.
fn threads() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().enable_all().build()?)
}

/// Issues to all, so many at once. Returns how long each waited, milliseconds.
async fn all(shop: &Arc<Shop>, workers: Vec<Worker>, at_once: usize) -> Result<Vec<f64>> {
    let calls = stream::iter(workers).map(|worker| {
        let shop = Arc::clone(shop);
        async move { tokio::spawn(timed(shop, worker)).await? }
    });
    calls.buffer_unordered(at_once).try_collect().await
}

/// Issues to one after the other on time, however long the earlier ones take. Returns the waits, and answers a second.
async fn arriving(shop: &Arc<Shop>, workers: Vec<Worker>) -> Result<(Vec<f64>, f64)> {
    let (mut ticks, mut calls, count) = (interval(Duration::from_secs(1) / PER_SECOND), JoinSet::new(), workers.len());
    let started = Instant::now();
    for worker in workers {
        ticks.tick().await;
        calls.spawn(timed(Arc::clone(shop), worker));
    }
    let mut waits = Vec::new();
    while let Some(done) = calls.join_next().await {
        waits.push(done??);
    }
    Ok((waits, count as f64 / started.elapsed().as_secs_f64()))
}

async fn timed(shop: Arc<Shop>, worker: Worker) -> Result<f64> {
    let started = Instant::now();
    shop.issue(&worker).await?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

/// What no issuance can do without.
pub(crate) struct Bare<'a> {
    pki: &'a Pki,
    requests: Vec<Vec<u8>>,
}

impl<'a> Bare<'a> {
    pub(crate) fn new(pki: &'a Pki, scale: Scale) -> Result<Self> {
        let requests = (0..scale.of(2000)).map(|_| Ok(KeyAndCsr::generate()?.csr_der)).collect::<Result<_>>()?;
        Ok(Self { pki, requests })
    }

    /// Microseconds of a certificate.
    pub(crate) fn round(&self) -> Result<f64> {
        let profile = self.pki.profile(PrincipalType::Worker, "bare")?;
        let issuing = &self.pki.issuing;
        let before = thread_cpu();
        for request in &self.requests {
            let csr = Csr::parse(request)?;
            let day = Lifetime::days(1);
            let prepared = prepare_leaf(&profile, &csr, &issuing.certificate, serial(), day, now())?;
            std::hint::black_box(issuing.key.sign(prepared.tbs_der())?);
        }
        Ok(micros_each(thread_cpu() - before, self.requests.len()))
    }
}
