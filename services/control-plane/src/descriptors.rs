//! File descriptors: a connection needs one, and without them no share and no reserve is worth anything.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{config::Limits, plain};

/// For the store, keys, AWS, logs and files.
const OWN: usize = 256;
/// Connections whose ClientHello has not come, and handshakes: so many times `max_handshakes` in all
/// (`signet_mtls::accept`).
const PER_HANDSHAKE: usize = 5;
/// The plain listeners: public, health, metrics.
const PLAIN: usize = 3 * plain::MAX_CONNECTIONS;
/// Fewer handshakes at once are no service.
const LEAST_HANDSHAKES: usize = 16;
/// Fewer connections are no service either.
const LEAST_CONNECTIONS: usize = 64;

/// Raises this process' soft limit as far as `limits` need and the hard one lets, and lowers `limits` to what there is.
/// An error if that is not enough for any.
pub(crate) fn provide(limits: &mut Limits) -> Result<(), String> {
    let failed = |error| format!("the limit of open files cannot be read or raised: {error}");
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(failed)?;
    let wanted = needed(limits.max_connections, limits.max_handshakes);
    let there = soft.max(hard.min(u64::try_from(wanted).unwrap_or(u64::MAX)));
    if there > soft {
        setrlimit(Resource::RLIMIT_NOFILE, there, hard).map_err(failed)?;
    }
    let there = usize::try_from(there).unwrap_or(usize::MAX);
    let Some((connections, handshakes)) = fit(limits.max_connections, limits.max_handshakes, there) else {
        let least = needed(LEAST_CONNECTIONS, LEAST_HANDSHAKES);
        return Err(format!(
            "the limit of open files is {there}, but at least {least} are needed: raise the hard limit (`ulimit -Hn`)"
        ));
    };
    if (connections, handshakes) != (limits.max_connections, limits.max_handshakes) {
        tracing::warn!(
            open_files = there,
            needed = wanted,
            max_connections = connections,
            max_handshakes = handshakes,
            "the hard limit of open files is too low: lowering the configured limits"
        );
        (limits.max_connections, limits.max_handshakes) = (connections, handshakes);
    }
    Ok(())
}

const fn needed(connections: usize, handshakes: usize) -> usize {
    connections.saturating_add(handshakes.saturating_mul(PER_HANDSHAKE)).saturating_add(PLAIN).saturating_add(OWN)
}

/// At most these, so that `there` descriptors are enough: half of what is left is for handshakes. `None`: it is too
/// little.
fn fit(connections: usize, handshakes: usize, there: usize) -> Option<(usize, usize)> {
    if needed(connections, handshakes) <= there {
        return Some((connections, handshakes));
    }
    let left = there.checked_sub(PLAIN)?.checked_sub(OWN)?;
    let handshakes = handshakes.min(left / 2 / PER_HANDSHAKE);
    let connections = connections.min(left.saturating_sub(handshakes.saturating_mul(PER_HANDSHAKE)));
    (handshakes >= LEAST_HANDSHAKES && connections >= LEAST_CONNECTIONS).then_some((connections, handshakes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_fit_into_what_there_is() {
        assert_eq!(fit(10_000, 256, 65_536), Some((10_000, 256)));
        assert_eq!(fit(10_000, 256, needed(10_000, 256)), Some((10_000, 256)));
        for there in 0..needed(10_000, 256) {
            match fit(10_000, 256, there) {
                Some((connections, handshakes)) => {
                    assert!(needed(connections, handshakes) <= there, "{there}");
                    assert!(connections >= LEAST_CONNECTIONS && handshakes >= LEAST_HANDSHAKES, "{there}");
                }
                None => assert!(there < 2100, "{there}"),
            }
        }
        let (connections, handshakes) = fit(10_000, 256, 4096).unwrap();
        assert!(connections > 1000 && handshakes > 200, "a usual hard limit: {connections}, {handshakes}");
    }
}
