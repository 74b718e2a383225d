//! From STS's answer to facts.

use std::collections::BTreeMap;

use signet_core::enrollment::attestation::{Facts, ProofKind, fact};

use super::region::Partition;

/// Whom STS vouches for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity {
    account: String,
    arn: String,
    user_id: String,
}

impl Identity {
    /// `None` unless the three have the shapes that AWS gives them.
    pub(super) fn new(account: &str, arn: &str, user_id: &str) -> Option<Self> {
        let digits = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        // IAM user guide: names are of [\w+=,.@-], paths of ! to ~; markup is in neither of ours.
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'&' | b'"'));
        let sized = (20..=2048).contains(&arn.len()) && (1..=256).contains(&user_id.len());
        if !digits || !sized || !plain(arn) || !plain(user_id) || Arn::parse(arn)?.account != account {
            return None;
        }
        Some(Self { account: account.to_owned(), arn: arn.to_owned(), user_id: user_id.to_owned() })
    }

    /// The facts; `None` if the ARN is of another partition than the STS that was asked.
    pub(super) fn facts(&self, partition: Partition) -> Option<Facts> {
        let arn = Arn::parse(&self.arn)?;
        if arn.partition != partition.name {
            return None;
        }
        let entity = self.user_id.split(':').next().unwrap_or_default();
        let mut values = BTreeMap::new();
        let mut put = |name: &str, value: &str| values.insert(name.to_owned(), vec![value.to_owned()]);
        put(fact::ACCOUNT, &self.account);
        put(fact::ARN, &self.arn);
        put(fact::PARTITION, arn.partition);
        put(fact::USER_ID, entity);
        if let Some((role, session)) = arn.assumed_role() {
            put(fact::ROLE, role);
            put(fact::SESSION, session);
        }
        Some(Facts { proof: ProofKind::AwsIam, values })
    }
}

/// `arn:<partition>:<service>:<region>:<account>:<resource>`.
struct Arn<'a> {
    partition: &'a str,
    service: &'a str,
    account: &'a str,
    resource: &'a str,
}

impl<'a> Arn<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        match parts.as_slice() {
            ["arn", partition, service @ ("iam" | "sts"), "", account, resource] if !resource.is_empty() => {
                Some(Self { partition, service, account, resource })
            }
            _ => None,
        }
    }

    /// Role and session of `assumed-role/<role>/<session>`. STS gives the role without its path.
    fn assumed_role(&self) -> Option<(&'a str, &'a str)> {
        let (role, session) = self.resource.strip_prefix("assumed-role/")?.split_once('/')?;
        let shaped = self.service == "sts" && !role.is_empty() && !session.is_empty() && !session.contains('/');
        shaped.then_some((role, session))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws_iam::region;

    fn facts(arn: &str, user_id: &str, region: &str) -> Option<BTreeMap<String, Vec<String>>> {
        let identity = Identity::new("123456789012", arn, user_id)?;
        identity.facts(region::partition(region)?).map(|facts| facts.values)
    }

    #[test]
    fn a_role_on_ec2_has_all_facts() {
        let arn = "arn:aws:sts::123456789012:assumed-role/worker/i-0123456789abcdef0";
        let facts = facts(arn, "AROACKCEVSQ6C2EXAMPLE:i-0123456789abcdef0", "eu-central-1").unwrap_or_default();
        let expected = [
            ("account", "123456789012"),
            ("arn", arn),
            ("partition", "aws"),
            ("role", "worker"),
            ("session", "i-0123456789abcdef0"),
            ("user_id", "AROACKCEVSQ6C2EXAMPLE"),
        ];
        assert_eq!(facts, expected.map(|(name, value)| (name.to_owned(), vec![value.to_owned()])).into());
    }

    #[test]
    fn users_and_roots_have_no_role() {
        for resource in ["user/division/Alice", "root"] {
            let arn = format!("arn:aws:iam::123456789012:{resource}");
            let facts = facts(&arn, "AIDACKCEVSQ6C2EXAMPLE", "us-east-1").unwrap_or_default();
            assert_eq!((facts.len(), facts.contains_key("role")), (4, false), "{resource}");
        }
        // The user's path is not taken for a role's name.
        let arn = "arn:aws:iam::123456789012:assumed-role/worker/x";
        assert!(!facts(arn, "AIDACKCEVSQ6C2EXAMPLE", "us-east-1").unwrap_or_default().contains_key("role"));
    }

    #[test]
    fn lies_are_no_identity() {
        let good = "arn:aws:sts::123456789012:assumed-role/worker/x";
        assert!(facts(good, "A:x", "eu-central-1").is_some());
        assert!(facts(good, "A:x", "cn-north-1").is_none(), "another partition");
        for bad in [
            "arn:aws:sts::210987654321:assumed-role/worker/x",
            "arn:aws:s3::123456789012:assumed-role/worker/x",
            "arn:aws:sts:eu-west-1:123456789012:assumed-role/worker/x",
            "arn:aws:sts::123456789012:",
            "123456789012:assumed-role/worker/x",
            "arn:aws:sts::123456789012:assumed-role/wor<ker/x",
        ] {
            assert!(facts(bad, "A:x", "eu-central-1").is_none(), "{bad}");
        }
    }
}
