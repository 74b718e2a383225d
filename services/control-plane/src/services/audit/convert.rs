//! The audit log as the wire's.

use signet_core::audit::{AuditEvent, Seal, checkpoint::Checkpoint};
use signet_proto::v1 as pb;

use super::{super::wire, entry};

pub(super) fn event(event: AuditEvent) -> pb::AuditEvent {
    pb::AuditEvent {
        tenant_id: event.tenant.to_string(),
        event_id: event.id,
        event_time: Some(wire::time(event.at)),
        entry: entry::entry(&event.payload),
        payload_json: event.payload,
    }
}

pub(super) fn seal(seal: Seal) -> pb::AuditSeal {
    let statement = seal.statement;
    let late = statement.late.into_iter().map(|late| pb::LateEvent {
        minute: late.minute,
        event_id: late.id,
        leaf_sha256: late.leaf.to_vec(),
    });
    pb::AuditSeal {
        tenant_id: statement.tenant.to_string(),
        minute: statement.minute,
        count: statement.count,
        root_sha256: statement.root.to_vec(),
        late: late.collect(),
        previous_sha256: statement.previous.to_vec(),
        batch_index: seal.batch_index,
        batch_size: seal.batch_size,
        batch_path_sha256: seal.batch_path.iter().map(|digest| hex::decode(digest).unwrap_or_default()).collect(),
        signature_der: seal.signature,
    }
}

pub(super) fn checkpoint(checkpoint: Checkpoint) -> pb::AuditCheckpoint {
    pb::AuditCheckpoint {
        sequence: checkpoint.sequence,
        minute: checkpoint.minute,
        previous_sha256: checkpoint.previous.to_vec(),
        tags: checkpoint.tags,
        signature_der: checkpoint.signature,
    }
}
