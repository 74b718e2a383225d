//! Checks of files and certificates on this machine.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use signet_client::{CERT_FILE, Credentials, KEY_FILE};
use signet_x509::CertificateView;

use super::check::Check;
use crate::{certificate::Held, context::private, output, renewing, run::Run};

/// Who may read contexts and keys.
pub(super) fn home(run: &Run) -> Vec<Check> {
    let (dir, file) = (run.home.path(), run.home.contexts_file());
    let mut checks = vec![private_mode("home", dir, 0o700)];
    if file.exists() {
        checks.push(private_mode("contexts", &file, 0o600));
    }
    checks
}

fn private_mode(check: &'static str, path: &Path, wanted: u32) -> Check {
    let shown = path.display();
    match private::mode(path) {
        Ok(mode) if mode & 0o077 == 0 => Check::ok(check, format!("{shown} is private")),
        Ok(mode) => Check::fail(
            check,
            format!("{shown} is open to others (mode {mode:o})"),
            format!("chmod {wanted:o} {shown}"),
        ),
        Err(error) => {
            Check::fail(check, format!("{shown}: {error}"), "create a context: `principal enroll --save-context`")
        }
    }
}

/// Key, certificate and root in `directory`.
pub(super) fn credentials(directory: &Path, now: Timestamp, checks: &mut Vec<Check>) -> Option<Credentials> {
    checks.push(private_mode("key", &directory.join(KEY_FILE), 0o600));
    let credentials = match Credentials::load(directory) {
        Ok(credentials) => credentials,
        Err(error) => {
            let advice = "get a new certificate: `principal enroll --replace --save-context NAME`";
            checks.push(Check::fail("credentials", error.to_string(), advice));
            return None;
        }
    };
    checks.push(Check::ok("credentials", format!("key and certificate in {} match", directory.display())));
    match Held::load(directory) {
        Ok(held) => checks.push(validity(&held, now)),
        Err(_) => {
            let message = format!("{} cannot be read as a certificate", directory.join(CERT_FILE).display());
            checks.push(Check::fail("certificate", message, "enroll again"));
        }
    }
    let above = credentials.chain_der().iter().skip(1).map(|der| ("issuing CA", der));
    let roots = credentials.root_der().iter().map(|der| ("root", der));
    checks.extend(above.chain(roots).filter_map(|(name, der)| authority(name, der, now)));
    Some(credentials)
}

fn validity(held: &Held, now: Timestamp) -> Check {
    let name = held.spiffe_id.as_deref().unwrap_or("the certificate");
    let until = output::absolute(held.not_after, now);
    match held.state(now) {
        "expired" => {
            let advice = format!("{}; if the clock is wrong, set it", held.way_back());
            Check::fail("certificate", format!("{name} expired {until}"), advice)
        }
        "not yet valid" => {
            Check::fail("certificate", format!("{name} is not valid yet"), "this machine's clock is behind: set it")
        }
        _ if renewing::ends_soon(held, now) => {
            Check::warn("certificate", format!("{name} ends {until}"), "renew it now: `principal cert renew`")
        }
        _ => Check::ok("certificate", format!("{name} until {until}")),
    }
}

fn authority(name: &str, der: &[u8], now: Timestamp) -> Option<Check> {
    const SOON: SignedDuration = SignedDuration::from_hours(24 * 30);
    let view = CertificateView::from_der(der).ok()?;
    let end = Timestamp::from_millisecond(view.not_after.unix_millis()).ok()?;
    let text = format!("{name} {}: until {}", view.subject_text(), output::absolute(end, now));
    Some(match end.duration_since(now) {
        left if left.is_negative() => Check::fail("authority", text, "an operator rotates CAs: `principal ca rotate`"),
        left if left < SOON => Check::warn("authority", text, "an operator rotates CAs: `principal ca rotate`"),
        _ => Check::ok("authority", text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Health;

    #[test]
    fn a_certificate_near_its_end_is_a_warning_and_past_it_a_failure() {
        let at = |hours: i64| Timestamp::from_second(hours * 3600).unwrap_or_default();
        let held = Held {
            spiffe_id: None,
            serial: String::new(),
            made_at: at(0),
            not_before: at(0),
            not_after: at(24),
            spki_sha256: String::new(),
            der: Vec::new(),
        };
        let status = |hours| validity(&held, at(hours)).status;
        assert_eq!(
            [status(-1), status(12), status(21), status(24)],
            [Health::Fail, Health::Ok, Health::Warn, Health::Fail]
        );
    }
}
