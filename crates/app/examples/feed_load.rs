//! Measures what a node's start costs with many live revocations: `cargo run --release --example feed_load -- 1000000`.
//! Prints the time to load them from an embedded store, and the memory that the trust takes, also without any store.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measuring tool")]

use std::{env, fs, sync::Arc, time::Instant};

use signet_app::{App, Follower, Settings};
use signet_core::{
    Lifetime, Serial, Store, TenantId, Uptime,
    store::commit::{Commit, Write},
    trust::{
        DEFAULT_STALENESS_LIMIT, Trust, WhenStale,
        change::{Change, ChangeEntry, FEED_SHARDS},
    },
};
use signet_softkey::SoftKeys;
use signet_sqlite::SqliteStore;
use signet_testkit::{entropy::SeededEntropy, fixtures::NOW};
use signet_x509::Environment;

/// The `number`-th revocation of its shard.
fn entry(shard: u32, number: u64) -> ChangeEntry {
    let mut random = [0; 10];
    let mixed = number.wrapping_mul(u64::from(FEED_SHARDS)).wrapping_add(u64::from(shard));
    let mixed = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    random.iter_mut().zip(mixed).for_each(|(to, from)| *to = from);
    let until = NOW.plus(Lifetime::days(90));
    let change = Change::CertificateRevoked { serial: Serial::new(NOW, random), not_after: until, issuer: None };
    ChangeEntry {
        shard,
        sequence: number,
        tenant: TenantId::system(),
        at: NOW,
        until,
        changes: vec![change],
        notices: Vec::new(),
    }
}

/// Resident memory in MB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1024
}

async fn fill(store: &dyn Store, a_shard: u64) {
    for shard in 0..FEED_SHARDS {
        for first in (1..=a_shard).step_by(100) {
            let entries = (first..(first + 100).min(a_shard + 1)).map(|number| Write::create(entry(shard, number)));
            let commit = Commit::bookkeeping(NOW).writes(entries);
            store.transact(commit.to_transaction(None)).await.unwrap();
        }
    }
}

fn new_trust() -> Arc<Trust> {
    Arc::new(Trust::new(DEFAULT_STALENESS_LIMIT, WhenStale::Refuse, || Uptime::from_millis(0)))
}

#[tokio::main]
async fn main() {
    let count: u64 = env::args().nth(1).map_or(1_000_000, |text| text.parse().unwrap());
    let a_shard = count / u64::from(FEED_SHARDS);
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&folder.path().join("store")).unwrap());
    let start = Instant::now();
    fill(&*store, a_shard).await;
    println!("{count} entries written in {:.1?}", start.elapsed());

    let keys = Arc::new(SoftKeys::open(&folder.path().join("keys"), "measuring".to_owned().into()).unwrap());
    let environment = Environment::with_default_arc("test.example.com".parse().unwrap()).unwrap();
    let app = App::new(store, keys, Arc::new(SeededEntropy::new(1)), environment, Settings::default());
    let (trust, before, start) = (new_trust(), resident(), Instant::now());
    Follower::new(Arc::new(app), Arc::clone(&trust)).poll(NOW).await.unwrap();
    println!("loaded {} in {:.1?}, {} MB more", trust.revoked_len(), start.elapsed(), resident() - before);

    let (bare, before, start) = (new_trust(), resident(), Instant::now());
    for number in 1..=10 * a_shard {
        for shard in 0..FEED_SHARDS {
            bare.apply(&entry(shard, number));
        }
    }
    println!("{} applied in {:.1?}, {} MB more", bare.revoked_len(), start.elapsed(), resident() - before);
}
