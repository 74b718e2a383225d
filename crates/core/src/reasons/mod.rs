//! Every reason that Signet gives to programs: what it means, and what whoever reads it does next.
//!
//! The code that refuses names its reason by a literal; `tidy: reasons` holds the two together. `proto/REASONS.md` is
//! printed from here.

mod brokers;
mod callers;
mod connections;
mod decisions;
mod gateway;
mod inputs;
mod messages;
mod operators;
mod proofs;
mod reason;

pub use reason::{Reason, Told};

/// Reasons about one matter, sorted by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// As a heading.
    pub title: &'static str,
    /// Who is told, and where.
    pub about: &'static str,
    /// The reasons.
    pub reasons: &'static [Reason],
}

/// All of them; no name stands in two groups.
pub const REASONS: &[Group] = &[
    Group {
        title: "Input",
        about: "A field of the request is wrong: the same request fails again. `google.rpc.BadRequest` (HTTP: `field`) \
                names the field.",
        reasons: inputs::REASONS,
    },
    Group {
        title: "Rights, state and limits",
        about: "The request can be read. The caller's rights, the state of a resource, or a limit forbids it.",
        reasons: callers::REASONS,
    },
    Group {
        title: "Decisions",
        about: "Answers of `Check` and `BatchCheck`, which are no errors; also refusals of a certificate, and reasons above \
                that are told as a decision.",
        reasons: decisions::REASONS,
    },
    Group {
        title: "Signed messages",
        about: "Answers of `VerifyMessage` and `BatchVerifyMessages`, of `FetchMessageSecrets`, and of the SDK's verifier, \
                which are no errors.",
        reasons: messages::REASONS,
    },
    Group {
        title: "Enrollment proofs",
        about: "Whoever presents a proof that does not hold is told `ENROLLMENT_REFUSED`, and a correlation id. The \
                reason is in the tenant's audit log (in that of `system` if the tenant is not known).",
        reasons: proofs::REASONS,
    },
    Group {
        title: "Connections",
        about: "The client gets a TLS alert, or a GOAWAY that names the reason, and no `ErrorInfo`. The reason is in \
                the node's log and metrics, and in the audit log if a certificate was presented.",
        reasons: connections::REASONS,
    },
    Group {
        title: "Gateway",
        about: "signet-gateway tells its clients these, as HTTP problem details or as a gRPC status; its audit log has them \
                too.",
        reasons: gateway::REASONS,
    },
    Group {
        title: "Brokers",
        about: "The Mosquitto plugin writes these into the broker's log, beside those of certificates; the client is told \
                that it is not authorized.",
        reasons: brokers::REASONS,
    },
    Group {
        title: "Operators and programs",
        about: "No call is answered with these. A node says them of itself (`/readyz`, its log, `principal \
                bootstrap`); the SDK, the agent and the CLI say them when they got no answer.",
        reasons: operators::REASONS,
    },
];

/// All reasons, group by group.
pub fn all() -> impl Iterator<Item = &'static Reason> {
    REASONS.iter().flat_map(|group| group.reasons)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_group_is_sorted_and_no_name_stands_twice() {
        for group in REASONS {
            assert!(group.reasons.is_sorted_by(|a, b| a.name < b.name), "sort {}", group.title);
        }
        let mut names = BTreeSet::new();
        assert!(all().all(|reason| names.insert(reason.name)), "{names:?}");
    }

    #[test]
    fn each_says_what_it_means_what_to_do_and_who_reads_it() {
        for reason in all() {
            for sentence in [reason.meaning, reason.action] {
                let begins = sentence.starts_with(|c: char| c.is_uppercase() || c == '`');
                assert!(begins && sentence.ends_with('.') && !sentence.contains('|'), "{}: {sentence:?}", reason.name);
            }
            assert!(!reason.told.is_empty(), "{}", reason.name);
            let by_code = !reason.codes.is_empty();
            assert_eq!(reason.told.contains(&Told::Caller), by_code, "{}: who gets a code is a caller", reason.name);
        }
    }
}
