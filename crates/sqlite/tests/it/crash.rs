//! A process that is killed while it writes loses nothing that was answered and leaves nothing half.
//! (A kill does not test the disk: that each commit is synced is a pragma, checked in the crate's own tests.)

use std::{
    collections::BTreeSet,
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use signet_core::{Store, TenantId, store::Write};
use signet_testkit::fixtures::{NOW, event, principal, seal, transaction};

use super::{open, path};

const FILE: &str = "SIGNET_TEST_CRASH_FILE";
const WRITERS: u32 = 64;

fn tenant() -> TenantId {
    "crash".parse().unwrap()
}

/// Three records in three partitions: half a transaction would show.
fn writes(name: &str, number: u32) -> [Write; 3] {
    [
        Write::create(principal(&tenant(), name)),
        Write::create(event(&tenant(), name)),
        Write::create(seal(&tenant(), number.into())),
    ]
}

async fn present(store: &dyn Store, name: &str, number: u32) -> usize {
    let mut found = 0;
    for write in writes(name, number) {
        found += usize::from(store.get(&write.key(), NOW).await.unwrap().is_some());
    }
    found
}

/// The process that is killed: says which transactions were answered.
#[expect(clippy::print_stdout, reason = "the process that kills it reads this")]
async fn write_until_killed(file: &Path) {
    let store = open(file);
    let tasks = (0..WRITERS).map(|writer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for number in (writer..).step_by(WRITERS as usize) {
                let name = format!("n{number}");
                if present(&*store, &name, number).await == 0 {
                    store.transact(transaction(writes(&name, number))).await.unwrap();
                    println!("answered {number}");
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn nothing_that_was_answered_is_lost() {
    // The test starts itself: with a file, it is the process that writes.
    if let Some(file) = env::var_os(FILE) {
        return write_until_killed(Path::new(&file)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut answered = BTreeSet::new();
    for round in 1..=6 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "crash::nothing_that_was_answered_is_lost", "--nocapture"])
            .env(FILE, path(&folder))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let wanted = answered.len() + 100 * round;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            // The last line may be cut off; then the number is not known to be whole.
            let line = line.unwrap_or_default();
            answered.extend(line.strip_prefix("answered ").and_then(|number| number.parse::<u32>().ok()));
            if answered.len() == wanted {
                child.kill().unwrap();
            }
        }
        assert!(!child.wait().unwrap().success());
        assert!(answered.len() >= wanted, "the child ended by itself after {} transactions", answered.len());

        let store = open(&path(&folder));
        for number in 0..answered.last().unwrap() + 4 * WRITERS {
            let found = present(&*store, &format!("n{number}"), number).await;
            assert!(found == 3 || found == 0, "transaction {number} is half there");
            assert!(found == 3 || !answered.contains(&number), "transaction {number} was answered and is gone");
        }
    }
}
