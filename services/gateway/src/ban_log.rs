//! The file that a firewall's jail reads: one line for each source that is banned, as signetd writes them.

use std::{fs::OpenOptions, io::Write as _, net::IpAddr, path::PathBuf};

use jiff::Timestamp;
use signet_core::Time;
use signet_mtls::BanReason;

/// See the module's words. A ban is rare: it is written where it is noticed.
#[derive(Debug)]
pub(crate) struct BanLog(PathBuf);

impl BanLog {
    /// An error if this process cannot write to the file.
    pub(crate) fn open(path: PathBuf) -> Result<Self, String> {
        let opened = OpenOptions::new().append(true).create(true).open(&path);
        opened.map_err(|error| format!("bans.log_file = {path:?} cannot be written: {error}"))?;
        Ok(Self(path))
    }

    /// Opened for each line, so that whoever rotates the file need not tell this process.
    pub(crate) fn write(&self, now: Time, source: IpAddr, reason: BanReason) {
        let file = OpenOptions::new().append(true).create(true).open(&self.0);
        if let Err(error) = file.and_then(|mut file| file.write_all(line(now, source, reason).as_bytes())) {
            tracing::warn!(%error, path = %self.0.display(), "a ban was not written to bans.log_file");
        }
    }
}

/// The time, fixed words, an address and one of a few reasons: nothing in it is a stranger's text.
fn line(now: Time, source: IpAddr, reason: BanReason) -> String {
    let time = Timestamp::from_second(now.unix_seconds()).unwrap_or_default();
    let network = if source.is_ipv6() { "/64" } else { "" };
    format!("{time} signet-gateway ban src={source}{network} reason={}\n", reason.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_begins_with_the_date_and_names_the_source() {
        let now = Time::from_unix_millis(1_795_885_200_900);
        assert_eq!(
            line(now, "203.0.113.9".parse().unwrap(), BanReason::BadCertificate),
            "2026-11-28T17:00:00Z signet-gateway ban src=203.0.113.9 reason=bad-certificate\n"
        );
    }
}
