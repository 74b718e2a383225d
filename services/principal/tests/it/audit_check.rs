//! `audit verify` on what a server sent: a good log passes, every kind of meddling is found.

use serde_json::Value;
use signet_core::{
    Time,
    audit::{
        AuditEvent, LATE_MINUTES, SealStatement, batch,
        checkpoint::{Checkpoint, Head, Tag},
        minute_root, sha256_hex,
    },
};
use signet_principal::audit_check::{Expected, Report, Seals, check};
use signet_proto::v1;
use signet_x509::KeyPair;

const MINUTE: i64 = 29_921_940;

struct Log {
    key: KeyPair,
    seals: Seals,
    events: Vec<v1::AuditEvent>,
}

fn event(minute: i64, number: u32) -> v1::AuditEvent {
    v1::AuditEvent {
        tenant_id: "acme".into(),
        event_id: format!("{number:032x}"),
        event_time: Some(prost_types::Timestamp { seconds: minute * 60 + i64::from(number), nanos: 7_000_000 }),
        payload_json: format!("{{\"operation\":\"Test\",\"number\":{number}}}"),
        entry: None,
    }
}

fn core(event: &v1::AuditEvent) -> AuditEvent {
    let time = event.event_time.unwrap();
    AuditEvent {
        tenant: event.tenant_id.parse().unwrap(),
        id: event.event_id.clone(),
        at: Time::from_unix_millis(time.seconds * 1000 + i64::from(time.nanos / 1_000_000)),
        payload: event.payload_json.clone(),
        keep_until: Time::from_unix_millis(0),
    }
}

impl Log {
    /// Two sealed minutes of three and two events.
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut previous = [0; 32];
        let mut log = Self { key, seals: Seals::default(), events: Vec::new() };
        for (minute, numbers) in [(MINUTE, 1..4), (MINUTE + 1, 4..6)] {
            let events: Vec<v1::AuditEvent> = numbers.map(|number| event(minute, number)).collect();
            let cores: Vec<AuditEvent> = events.iter().map(core).collect();
            let statement = SealStatement {
                tenant: "acme".parse().unwrap(),
                minute,
                count: cores.len() as u64,
                root: minute_root(&cores),
                late: Vec::new(),
                previous,
            };
            log.add_checkpoint(minute, Tag::after(&statement.tenant, &previous));
            previous = statement.digest();
            log.seals.seals.push(log.sign(&statement));
            log.events.extend(events);
        }
        log.seals.from = MINUTE;
        log.seals.sealed_through = MINUTE + 1 + LATE_MINUTES;
        log.seals.key_spki_der = log.key.public_key().spki_der().to_vec();
        log
    }

    fn sign(&self, statement: &SealStatement) -> v1::AuditSeal {
        let (_, message) = batch(statement.minute, std::slice::from_ref(statement));
        v1::AuditSeal {
            tenant_id: statement.tenant.to_string(),
            minute: statement.minute,
            count: statement.count,
            root_sha256: statement.root.to_vec(),
            previous_sha256: statement.previous.to_vec(),
            batch_size: 1,
            signature_der: self.key.sign(&message).unwrap(),
            ..Default::default()
        }
    }

    fn add_checkpoint(&mut self, minute: i64, tag: Tag) {
        let key = "audit:key".parse().unwrap();
        let mut next = Checkpoint::next(self.head().as_ref(), minute, &[tag], key, Time::from_unix_millis(0));
        next.signature = self.key.sign(&next.signed_message()).unwrap();
        self.seals.checkpoints.push(v1::AuditCheckpoint {
            sequence: next.sequence,
            minute,
            previous_sha256: next.previous.to_vec(),
            tags: next.tags,
            signature_der: next.signature,
        });
    }

    /// The tenant's last minute is removed, with its seal.
    fn cut_off(&mut self) {
        self.seals.seals.pop();
        self.events.retain(|event| event.event_time.unwrap().seconds < (MINUTE + 1) * 60);
    }

    fn head(&self) -> Option<Head> {
        self.check(None).head
    }

    fn check(&self, pinned: Option<&str>) -> Report {
        self.check_against(Expected { key_sha256: pinned, ..Expected::default() })
    }

    fn check_against(&self, expected: Expected<'_>) -> Report {
        check(&self.seals, &self.events, expected).unwrap()
    }

    fn findings(&self) -> Vec<String> {
        self.check(None).findings.iter().filter_map(|f| f["finding"].as_str().map(str::to_owned)).collect()
    }
}

#[test]
fn a_whole_log_passes_and_newer_events_are_not_judged() {
    let mut log = Log::new();
    log.events.push(event(MINUTE + 20, 9));
    let report = log.check(Some(&sha256_hex(&log.seals.key_spki_der)));
    assert_eq!(report.findings, Vec::<Value>::new());
    assert_eq!((report.seals, report.sealed_events, report.unsealed_events), (2, 5, 1));
    assert!(report.from_the_beginning);
}

#[test]
fn every_kind_of_meddling_is_found() {
    type Meddle = fn(&mut Log);
    let cases: [(Meddle, &str); 13] = [
        (|log| drop(log.events.remove(1)), "event_removed"),
        (|log| log.events.push(event(MINUTE, 8)), "event_added"),
        (|log| log.events[0].payload_json.push(' '), "event_changed"),
        (|log| log.events[0].event_time.as_mut().unwrap().nanos = 8_000_000, "event_changed"),
        (|log| log.events[1].event_id = "f".repeat(32), "event_changed"),
        (|log| drop(log.seals.seals.remove(0)), "seal_missing"),
        (|log| log.seals.seals.swap(0, 1), "broken_chain"),
        (|log| log.seals.seals[1].count = 1, "bad_signature"),
        (Log::cut_off, "seal_removed"),
        (|log| log.seals.checkpoints[1].tags = vec![7; 8], "bad_checkpoint_signature"),
        (|log| log.seals.checkpoints[1].previous_sha256 = vec![7; 32], "broken_checkpoint_chain"),
        (|log| log.seals.checkpoints[1].sequence = 3, "broken_checkpoint_chain"),
        (|log| log.seals.key_spki_der = KeyPair::generate().unwrap().public_key().spki_der().to_vec(), "bad_signature"),
    ];
    for (number, (meddle, expected)) in cases.iter().enumerate() {
        let mut log = Log::new();
        meddle(&mut log);
        let findings = log.findings();
        assert!(findings.iter().any(|finding| finding == expected), "case {number}: {findings:?}");
    }
}

#[test]
fn the_seal_before_the_window_is_what_its_first_one_must_follow() {
    let mut log = Log::new();
    log.seals.from = MINUTE + 1;
    log.events.retain(|event| event.event_time.unwrap().seconds >= (MINUTE + 1) * 60);
    log.seals.before = Some(log.seals.seals.remove(0));
    assert_eq!(log.findings(), Vec::<String>::new());
    log.seals.before.as_mut().unwrap().count = 9;
    assert_eq!(log.findings(), ["broken_chain"]);
}

#[test]
fn an_end_that_was_seen_earlier_must_still_be_there() {
    let whole = Log::new();
    let seen = whole.head().unwrap();
    let judge = |log: &Log| {
        let report = log.check_against(Expected { heads: &[seen], ..Expected::default() });
        report.findings.iter().filter_map(|f| f["finding"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(judge(&whole), Vec::<String>::new());
    // Everything of the last minute is removed, the checkpoint too.
    let mut cut = whole;
    cut.cut_off();
    cut.seals.checkpoints.pop();
    cut.seals.sealed_through = MINUTE;
    assert_eq!(cut.findings(), Vec::<String>::new(), "the store alone does not tell");
    assert_eq!(judge(&cut), ["chain_rewound"]);
    cut.add_checkpoint(MINUTE + 3, Tag::after(&"globex".parse().unwrap(), &[0; 32]));
    assert_eq!(judge(&cut), ["chain_forked"]);
}

#[test]
fn a_log_whose_seals_are_all_gone_is_not_an_empty_one() {
    let mut log = Log::new();
    log.seals.seals.clear();
    log.events.clear();
    let acme = "acme".parse().unwrap();
    let report = log.check_against(Expected { tenant: Some(&acme), ..Expected::default() });
    assert_eq!(report.findings[0]["finding"], "seal_removed");
    let globex = "globex".parse().unwrap();
    let report = log.check_against(Expected { tenant: Some(&globex), ..Expected::default() });
    assert_eq!(report.findings, Vec::<Value>::new());
}

#[test]
fn another_key_than_the_pinned_one_is_found() {
    let report = Log::new().check(Some(&"0".repeat(64)));
    assert_eq!(report.findings[0]["finding"], "other_key");
}
