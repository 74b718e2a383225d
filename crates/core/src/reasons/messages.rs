//! Why a signed message is refused.

use super::reason::{Reason, Told, reasons};

reasons! {
    MESSAGE_MALFORMED [Verification;]
        "The message's id, timestamp or signature is missing, too long, or not in the form of Standard Webhooks."
        => "Send the three headers as they came; see MESSAGES.md for what they may hold.";
    MESSAGE_NOT_VERIFIABLE [Verification Client;]
        "The verifier has not heard for 30 seconds whose secrets hold, may not ask, or cannot open the device's secret."
        => "Retry; if it stays, look whether the verifier reaches a node, or make the device's secret anew.";
    MESSAGE_REPLAYED [Verification Client;]
        "A message with this id was accepted from the device before."
        => "Refuse it; a device that sends again signs anew with another id.";
    MESSAGE_SECRET_LATE [AuditLog;]
        "A device still signs with the secret before, which ends within a quarter of an hour."
        => "Put the next secret onto the device, or make another one once the old one has ended.";
    MESSAGE_SENDER_REFUSED [Verification Client;]
        "The device, or its tenant, is suspended or deleted."
        => "Refuse it; `principal activate` lifts a suspension.";
    MESSAGE_SENDER_UNKNOWN [Verification Client;]
        "The tenant has no such device, or the device has no secret."
        => "Fix the id, or make a secret with `principal device secret rotate`.";
    MESSAGE_TOO_NEW [Verification Client;]
        "The message's timestamp is more than five minutes ahead of the verifier's clock."
        => "Set the device's clock.";
    MESSAGE_TOO_OLD [Verification Client;]
        "The message was signed more than five minutes ago, or before the verifier's process began."
        => "Set the device's clock, or have it send again, signed anew.";
    MESSAGE_WRONG_SIGNATURE [Verification Client;]
        "No secret of the device that holds now has signed this message: another one did, or it was changed since."
        => "Refuse it; if all of the device's messages are refused so, it has lost a secret: rotate it.";
    TOO_MANY_MESSAGES [Verification Client;]
        "The device has sent more messages in ten minutes than are remembered, or all devices have."
        => "Have it send fewer; a verifier in the SDK can be given more room.";
}
