//! Fields of any request as checked values. Every error names its field as the .proto does.

use prost_types::{FieldMask, Timestamp};
use signet_app::{App, AuditWindow, PageRequest, audit::events};
use signet_core::{CaId, Error, PrincipalId, Role, Serial, TenantId, Time};

/// Largest CSR, bytes: a P-256 request takes 300.
const MAX_CSR: usize = 16 * 1024;

pub(super) fn tenant_id(field: &'static str, text: &str) -> Result<TenantId, Error> {
    text.parse().map_err(Error::id(field))
}

pub(super) fn principal_id(field: &'static str, text: &str) -> Result<PrincipalId, Error> {
    text.parse().map_err(Error::id(field))
}

pub(super) fn ca_id(text: &str) -> Result<CaId, Error> {
    text.parse().map_err(Error::id("issuer_id"))
}

pub(super) fn serial(text: &str) -> Result<Serial, Error> {
    text.parse().map_err(Error::id("serial_number"))
}

pub(super) fn names(field: &'static str, texts: &[String]) -> Result<Vec<Role>, Error> {
    texts.iter().map(|text| text.parse().map_err(Error::id(field))).collect()
}

pub(super) fn page(size: u32, token: String) -> PageRequest {
    PageRequest { size, token }
}

pub(super) fn csr(csr_der: &[u8]) -> Result<&[u8], Error> {
    match csr_der.len() {
        0 => Err(Error::invalid("csr_der", "REQUIRED", "is required: a PKCS#10 request, DER")),
        length if length > MAX_CSR => Err(Error::invalid("csr_der", "TOO_LARGE", "must be at most 16384 bytes")),
        _ => Ok(csr_der),
    }
}

/// An instant, within the years that RFC 3339 can write.
pub(super) fn time(field: &'static str, timestamp: Option<&Timestamp>) -> Result<Option<Time>, Error> {
    let Some(Timestamp { seconds, nanos }) = timestamp else { return Ok(None) };
    let in_range = (0..=253_402_300_799).contains(seconds) && (0..1_000_000_000).contains(nanos);
    if !in_range {
        return Err(Error::invalid(field, "OUT_OF_RANGE", "must be an instant between 1970 and 9999"));
    }
    let millis = seconds.saturating_mul(1000).saturating_add(i64::from(*nanos / 1_000_000));
    Ok(Some(Time::from_unix_millis(millis)))
}

pub(super) fn window(
    app: &App,
    start: Option<&Timestamp>,
    end: Option<&Timestamp>,
    now: Time,
) -> Result<AuditWindow, Error> {
    events::audit_window(app, time("start_time", start)?, time("end_time", end)?, now)
}

/// A text that may not be empty.
pub(super) fn text(field: &'static str, text: &str) -> Result<(), Error> {
    if text.is_empty() { Err(Error::invalid(field, "REQUIRED", "is required")) } else { Ok(()) }
}

/// The message that a request must hold.
pub(super) fn required<T>(field: &'static str, message: Option<T>) -> Result<T, Error> {
    message.ok_or_else(|| Error::invalid(field, "REQUIRED", "is required"))
}

/// Whether the mask names a field (AIP-134). It must name at least one, and only those in `known`.
pub(super) fn mask(mask: Option<FieldMask>, known: &[&str]) -> Result<impl Fn(&str) -> bool, Error> {
    let paths = mask.map(|mask| mask.paths).unwrap_or_default();
    if paths.is_empty() {
        let message = format!("must name what to change, of: {}", known.join(", "));
        return Err(Error::invalid("update_mask", "REQUIRED", message));
    }
    if let Some(path) = paths.iter().find(|path| !known.contains(&path.as_str())) {
        let path: String = path.chars().take(64).flat_map(char::escape_default).collect();
        let message = format!("{path:?} cannot be changed; only: {}", known.join(", "));
        return Err(Error::invalid("update_mask", "UNKNOWN_FIELD", message));
    }
    Ok(move |path: &str| paths.iter().any(|named| named == path))
}
