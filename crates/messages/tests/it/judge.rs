//! The judge: PyPI's `standardwebhooks`, the specification's own library.

use std::{
    env, fs,
    path::PathBuf,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use signet_messages::{SecretPair, SignedBy, SignedMessage, SigningSecret};

/// Verifies what it is given, and signs the same with its own hands.
const SCRIPT: &str = "
import sys
from datetime import datetime, timezone
from standardwebhooks.webhooks import Webhook
secret, other, message_id, timestamp, signature, body = sys.argv[1:]
hook = Webhook(secret)
headers = {'webhook-id': message_id, 'webhook-timestamp': timestamp, 'webhook-signature': signature}
assert hook.verify(body, headers)['celsius'] == 21.5
for wrong, why in [(body + ' ', headers), (body, {**headers, 'webhook-id': 'x'})]:
    try:
        hook.verify(wrong, why)
    except Exception:
        continue
    sys.exit('it takes what was changed')
try:
    Webhook(other).verify(body, headers)
    sys.exit('it takes another secret')
except Exception:
    pass
print(hook.sign(message_id, datetime.fromtimestamp(int(timestamp), tz=timezone.utc), body))
";

fn python() -> PathBuf {
    let judges = env::var_os("SIGNET_JUDGES")
        .unwrap_or_else(|| panic!("SIGNET_JUDGES is not set: export SIGNET_JUDGES=$(scripts/judges)"));
    PathBuf::from(judges).join("python3")
}

#[expect(clippy::disallowed_methods, reason = "the judge goes by the machine's clock")]
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

#[test]
fn the_specifications_library_verifies_what_we_sign_and_we_what_it_signs() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("judge.py");
    fs::write(&script, SCRIPT).unwrap();
    let (old, new) = (SigningSecret::new([1; 32]), SigningSecret::new([2; 32]));
    let (now, body) = (now(), r#"{"celsius":21.5}"#);
    // As during a change of secrets: both have signed.
    let both = format!("{} {}", old.sign("msg_1", now, body.as_bytes()), new.sign("msg_1", now, body.as_bytes()));
    for secret in [&old, &new] {
        let (text, other, timestamp) = (secret.to_text(), SigningSecret::new([3; 32]).to_text(), now.to_string());
        let output = Command::new(python())
            .arg(&script)
            .args([&**text, &**other, "msg_1", &timestamp, &both, body])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let signed = String::from_utf8(output.stdout).unwrap();
        let message =
            SignedMessage { id: "msg_1", timestamp: &timestamp, signatures: signed.trim(), body: body.as_bytes() };
        let verified = SecretPair::new(secret.clone(), None).verify(&message, now);
        assert_eq!(verified, Ok(SignedBy::Current));
    }
}
