//! Values that several commands take.

use std::{fs, path::Path, time::Duration};

use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, civil::Date, tz::TimeZone};
use signet_core::{PrincipalType, tenants::quota::Quota};
use signet_proto::v1;

use crate::{
    failure::Failure,
    output::{Format, View},
};

/// How much of a list to show, and how.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// Maximum number of items to show; 0: all. Default: 1000 in a table, else all
    #[arg(long, value_name = "N")]
    pub limit: Option<u32>,
    /// Columns and order.
    #[command(flatten)]
    view: View,
}

impl ListArgs {
    /// How many to read; 0: all. Programs are not told that a list goes on, and what is to be sorted is read to its
    /// end.
    pub fn limit(&self, format: &Format) -> u32 {
        if self.view.sorts() { 0 } else { self.shown(format) }
    }

    /// How to show what was read.
    pub fn view(&self, format: &Format) -> View {
        self.view.clone().cut_to(if self.view.sorts() { self.shown(format) } else { 0 })
    }

    fn shown(&self, format: &Format) -> u32 {
        self.limit.unwrap_or(if format.is_for_people() { 1000 } else { 0 })
    }
}

/// Says yes in advance.
#[derive(Clone, Copy, Debug, Args)]
pub struct Yes {
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
}

/// `500ms`, `10s`, `2m`, `12h`, `7d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    const RULE: &str = "must be a duration above 0 with a unit, such as 500ms, 10s, 2m, 12h or 7d";
    let span: Span = text.parse().map_err(|_| RULE)?;
    let exact: SignedDuration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| RULE)?;
    Duration::try_from(exact).ok().filter(|d| !d.is_zero()).ok_or_else(|| RULE.into())
}

/// A whole number of seconds, as the API takes lifetimes.
pub fn seconds(text: &str) -> Result<u32, String> {
    u32::try_from(duration(text)?.as_secs()).ok().filter(|s| *s > 0).ok_or_else(|| "must be at least 1s".into())
}

/// Seconds, or `0` for none.
pub fn grace(text: &str) -> Result<u32, String> {
    if text == "0" { Ok(0) } else { seconds(text) }
}

/// An instant, or how long before now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// RFC 3339.
    At(Timestamp),
    /// A length of time before now.
    Ago(Duration),
    /// The beginning of the day so many days before today, UTC.
    Day(i64),
}

impl Moment {
    /// The instant.
    pub fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Ago(span) => now.saturating_sub(span).unwrap_or(Timestamp::MIN),
            Self::Day(before) => {
                let day = now.as_second().div_euclid(86_400).saturating_sub(before);
                Timestamp::from_second(day.saturating_mul(86_400)).unwrap_or(Timestamp::MIN)
            }
        }
    }
}

/// An instant as the API takes it.
pub fn to_proto(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

/// A SHA-256 digest: 64 hexadecimal digits, colons allowed; returned without them, in lower case.
pub fn sha256(text: &str) -> Result<String, String> {
    let digits: String = text.chars().filter(|c| *c != ':').map(|c| c.to_ascii_lowercase()).collect();
    let bytes = hex::decode(&digits).map_err(|_| "must be 64 hexadecimal digits")?;
    if bytes.len() == 32 { Ok(digits) } else { Err("must be 64 hexadecimal digits".into()) }
}

/// `24h`, `7d`, `2026-11-22T03:00:00Z`, `2026-11-22`, `today` or `yesterday`; days begin at midnight UTC.
pub fn moment(text: &str) -> Result<Moment, String> {
    const RULE: &str = "must be RFC 3339 with a zone (2026-11-22T03:00:00Z), a date, today or yesterday (UTC), or a duration before now such as 24h";
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(Moment::At(time));
    }
    let midnight = |day: Date| day.to_zoned(TimeZone::UTC).map(|day| Moment::At(day.timestamp())).map_err(|_| RULE);
    Ok(match text {
        "today" => Moment::Day(0),
        "yesterday" => Moment::Day(1),
        // Not what begins with a date: its time of day would be lost.
        _ if text.len() == "2026-11-22".len() && text.contains('-') => midnight(text.parse().map_err(|_| RULE)?)?,
        _ => Moment::Ago(duration(text).map_err(|_| RULE)?),
    })
}

/// `WHAT=N`: a quota of a tenant.
pub fn quota(text: &str) -> Result<(Quota, u32), String> {
    let (name, limit) = text.split_once('=').ok_or("must be WHAT=N, e.g. principals=5000")?;
    let names = || Quota::ALL.map(Quota::name).join(", ");
    let quota = Quota::ALL.into_iter().find(|quota| quota.name() == name);
    let quota = quota.ok_or_else(|| format!("there is no quota {name:?}; it must be one of {}", names()))?;
    let limit = limit.parse().map_err(|_| "must be a whole number, 0 for the default")?;
    Ok((quota, limit))
}

/// When a principal is suspended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureLimit {
    /// As where nothing was set.
    Default,
    /// So many failures within so many seconds; 0: never.
    Of(u32, u32),
}

impl FailureLimit {
    /// As the API takes it.
    pub const fn to_proto(self) -> Option<v1::FailureLimit> {
        match self {
            Self::Default => None,
            Self::Of(failures, window_seconds) => Some(v1::FailureLimit { failures, window_seconds }),
        }
    }
}

/// `N/TIME`, e.g. `10/5m`; `off`; `default`.
pub fn failure_limit(text: &str) -> Result<FailureLimit, String> {
    const RULE: &str = "must be N/TIME, e.g. 10/5m, with at most 100 failures and 1h; off; or default";
    match text {
        "off" => Ok(FailureLimit::Of(0, 300)),
        "default" => Ok(FailureLimit::Default),
        _ => {
            let (failures, window) = text.split_once('/').ok_or(RULE)?;
            let failures = failures.parse().ok().filter(|failures| (1..=100).contains(failures)).ok_or(RULE)?;
            let window = seconds(window).ok().filter(|window| *window <= 3600).ok_or(RULE)?;
            Ok(FailureLimit::Of(failures, window))
        }
    }
}

/// `TYPE=TIME`, e.g. `worker=12h`.
pub fn lifetime(text: &str) -> Result<v1::LifetimeOverride, String> {
    let (kind, time) = text.split_once('=').ok_or("must be TYPE=TIME, e.g. worker=12h")?;
    let kind: PrincipalType = kind.parse().map_err(|e: signet_core::id::IdError| e.to_string())?;
    Ok(v1::LifetimeOverride { principal_type: kind_to_proto(kind).into(), lifetime_seconds: seconds(time)? })
}

/// `TYPE=FORM`, e.g. `device=tenant-cn,ou=IoT Devices`, or `device=plain`.
pub fn subject(text: &str) -> Result<v1::SubjectOverride, String> {
    let (kind, form) = text.split_once('=').ok_or("must be TYPE=FORM, e.g. device=tenant-cn")?;
    let kind: PrincipalType = kind.parse().map_err(|e: signet_core::id::IdError| e.to_string())?;
    // An OU may hold a comma, so it comes last.
    let units = [("tenant-cn,ou=", true), ("ou=", false)];
    let (tenant_in_common_name, organizational_unit) = match form {
        "plain" => (false, ""),
        "tenant-cn" => (true, ""),
        _ => units
            .into_iter()
            .find_map(|(prefix, tenant)| Some((tenant, form.strip_prefix(prefix)?)))
            .ok_or("the form must be plain, tenant-cn, ou=TEXT, or tenant-cn,ou=TEXT")?,
    };
    let organizational_unit = organizational_unit.to_owned();
    Ok(v1::SubjectOverride { principal_type: kind_to_proto(kind).into(), organizational_unit, tenant_in_common_name })
}

/// The type as the API has it.
pub const fn kind_to_proto(kind: PrincipalType) -> v1::PrincipalType {
    match kind {
        PrincipalType::Admin => v1::PrincipalType::Admin,
        PrincipalType::User => v1::PrincipalType::User,
        PrincipalType::Worker => v1::PrincipalType::Worker,
        PrincipalType::Service => v1::PrincipalType::Service,
        PrincipalType::Device => v1::PrincipalType::Device,
    }
}

/// `https://host:port`, as a channel takes it.
pub fn https(text: &str) -> Result<String, String> {
    url(text, "https", "must be https://HOST:PORT")
}

/// `http://host:port`.
pub fn http(text: &str) -> Result<String, String> {
    url(text, "http", "must be http://HOST:PORT")
}

fn url(text: &str, scheme: &str, rule: &str) -> Result<String, String> {
    let uri: tonic::codegen::http::Uri = text.parse().map_err(|_| rule)?;
    let plain = uri.path() == "/" && uri.query().is_none() && !text.contains('@');
    let ok = plain && uri.scheme_str() == Some(scheme) && uri.host().is_some_and(|host| !host.is_empty());
    signet_client::port_of(&uri, 443)?;
    if ok { Ok(text.trim_end_matches('/').to_owned()) } else { Err(rule.into()) }
}

/// Why a certificate is revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Reason {
    /// No reason given
    #[default]
    Unspecified,
    /// The private key is or may be compromised; revokes its whole instance
    KeyCompromise,
    /// The principal's name or other facts changed
    AffiliationChanged,
    /// Another certificate replaced it
    Superseded,
    /// No longer needed
    CessationOfOperation,
    /// A privilege was withdrawn
    PrivilegeWithdrawn,
}

impl Reason {
    /// The reason as the API has it.
    pub fn to_proto(self) -> v1::RevocationReason {
        match self {
            Self::Unspecified => v1::RevocationReason::NotStated,
            Self::KeyCompromise => v1::RevocationReason::KeyCompromise,
            Self::AffiliationChanged => v1::RevocationReason::AffiliationChanged,
            Self::Superseded => v1::RevocationReason::Superseded,
            Self::CessationOfOperation => v1::RevocationReason::CessationOfOperation,
            Self::PrivilegeWithdrawn => v1::RevocationReason::PrivilegeWithdrawn,
        }
    }
}

/// The content of `path`, or of standard input if it is `-`; at most 64 KiB.
pub fn read_input(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    const LIMIT: u64 = 64 * 1024;
    let mut content = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(LIMIT.saturating_add(1)).read_to_end(&mut content)
    } else {
        fs::File::open(path).and_then(|file| file.take(LIMIT.saturating_add(1)).read_to_end(&mut content))
    };
    let size = read.map_err(|error| Failure::file(path, &error))? as u64;
    if size > LIMIT { Err(Failure::usage(format!("{} is too large", path.display()))) } else { Ok(content) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit_or_refused() {
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(seconds("7d"), Ok(604_800));
        for bad in ["", "10", "0s", "-5s", "soon", "1mo", "999999999999d"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
        assert!(
            matches!(moment("24h"), Ok(Moment::Ago(_))) && matches!(moment("2026-11-22T03:00:00Z"), Ok(Moment::At(_)))
        );
        let now: Timestamp = "2026-11-22T03:00:00Z".parse().unwrap_or_default();
        let resolved = |text: &str| moment(text).map(|moment| moment.resolve(now).to_string());
        assert_eq!(resolved("yesterday"), Ok("2026-11-21T00:00:00Z".into()));
        assert_eq!(
            [resolved("today"), resolved("2026-11-22")],
            [const { "2026-11-22T00:00:00Z" }; 2].map(|t| Ok(t.into()))
        );
        for bad in ["tomorrow", "2026-13-01", "2026-11-22T03:00", "2026-11-22 03:00:00", "20261122T0300"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_port_is_a_port_or_refused() {
        for fine in ["https://h", "https://h:1", "https://[::1]:65535", "https://[::1]"] {
            assert!(https(fine).is_ok(), "{fine}");
        }
        for bad in ["https://h:184430", "https://h:65536", "https://h:0", "https://h:", "https://[::1]:99999"] {
            assert!(https(bad).is_err(), "{bad}");
        }
        assert!(http("http://h:80800").is_err_and(|told| told.contains("80800")));
    }

    #[test]
    fn a_lifetime_names_its_type() {
        assert_eq!(lifetime("worker=12h").map(|l| l.lifetime_seconds), Ok(43_200));
        for bad in ["worker", "robot=1h", "worker=", "worker=0s"] {
            assert!(lifetime(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_subject_is_plain_or_has_the_tenant_or_a_unit() {
        let parsed = |text| subject(text).map(|form| (form.tenant_in_common_name, form.organizational_unit));
        for (text, tenant, unit) in [
            ("device=plain", false, ""),
            ("device=tenant-cn", true, ""),
            ("user=ou=Fleet, north", false, "Fleet, north"),
            ("admin=tenant-cn,ou=a=b", true, "a=b"),
        ] {
            assert_eq!(parsed(text), Ok((tenant, unit.to_owned())), "{text}");
        }
        for bad in ["device", "device=", "robot=plain", "device=tenant-cn,", "device=plain,ou=x", "device=OU=x"] {
            assert!(subject(bad).is_err(), "{bad:?}");
        }
    }
}
