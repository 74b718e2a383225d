//! Regions, the partitions they are in, and the hosts of their STS.

/// A separate AWS, with its own accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    /// As ARNs have it.
    pub(crate) name: &'static str,
    /// What hosts end in.
    pub(crate) suffix: &'static str,
}

const AWS: Partition = Partition { name: "aws", suffix: "amazonaws.com" };
const CHINA: Partition = Partition { name: "aws-cn", suffix: "amazonaws.com.cn" };
const US_GOV: Partition = Partition { name: "aws-us-gov", suffix: "amazonaws.com" };
const EUROPE: Partition = Partition { name: "aws-eusc", suffix: "amazonaws.eu" };

/// As of November 2026. What is not here can be allowed by name.
const KNOWN: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-west-1",
    "us-west-2",
];

/// Whether STS of `region` may be asked: `allowed`, or if that is empty any known one.
pub(crate) fn is_allowed(region: &str, allowed: &[String]) -> bool {
    if allowed.is_empty() { KNOWN.contains(&region) } else { allowed.iter().any(|name| name == region) }
}

/// The partition of a region by its name; `None` if it is not named as regions are. `s3-eu-west-1` is not: at
/// `sts.s3-eu-west-1.amazonaws.com` answers somebody's bucket.
pub(crate) fn partition(region: &str) -> Option<Partition> {
    let (place, number) = region.rsplit_once('-')?;
    let words: Vec<&str> = place.split('-').collect();
    let numbered = (1..=2).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    let plain = words.iter().all(|word| word.len() >= 2 && word.bytes().all(|b| b.is_ascii_lowercase()));
    if !numbered || !plain || !(2..=3).contains(&words.len()) {
        return None;
    }
    Some(match words.as_slice() {
        ["cn", ..] => CHINA,
        ["us", "gov", ..] => US_GOV,
        ["eusc", ..] => EUROPE,
        _ => AWS,
    })
}

/// The host of a region's STS.
pub(crate) fn sts_host(region: &str, partition: Partition) -> String {
    format!("sts.{region}.{}", partition.suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_region_has_its_partition() {
        for region in KNOWN {
            assert!(partition(region).is_some(), "{region}");
        }
        let host = |region: &str| partition(region).map(|partition| sts_host(region, partition));
        assert_eq!(host("cn-north-1").as_deref(), Some("sts.cn-north-1.amazonaws.com.cn"));
        assert_eq!(host("us-gov-west-1").as_deref(), Some("sts.us-gov-west-1.amazonaws.com"));
        assert_eq!(host("eusc-de-east-1").as_deref(), Some("sts.eusc-de-east-1.amazonaws.eu"));
        assert_eq!(partition("us-gov-west-1"), Some(US_GOV));
    }

    #[test]
    fn names_of_buckets_and_load_balancers_are_no_regions() {
        for name in [
            "",
            "s3",
            "s3-eu-west-1",
            "eu-west-1.elb",
            "eu-west-1-1",
            "EU-west-1",
            "eu--1",
            "evil",
            "eu-west-",
            "a-b-1",
        ] {
            assert_eq!(partition(name), None, "{name:?}");
        }
    }

    #[test]
    fn an_allow_list_replaces_the_known_ones() {
        assert!(is_allowed("eu-central-1", &[]) && !is_allowed("eu-central-9", &[]));
        let own = ["eu-central-9".to_owned()];
        assert!(is_allowed("eu-central-9", &own) && !is_allowed("eu-central-1", &own));
    }
}
