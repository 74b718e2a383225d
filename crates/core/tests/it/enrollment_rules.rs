//! Who becomes whom, and what a rule must be.

use std::collections::BTreeMap;

use proptest::prelude::*;
use signet_core::{
    Error, PrincipalType, Time,
    enrollment::{
        attestation::{Facts, ProofKind},
        rule::{Condition, EnrollmentRule, IdTemplate, RuleTemplate, Source, decide, matches},
    },
};

fn facts(proof: ProofKind, values: &[(&str, &[&str])]) -> Facts {
    let owned = |values: &[&str]| values.iter().map(ToString::to_string).collect();
    Facts { proof, values: values.iter().map(|(name, values)| ((*name).to_owned(), owned(values))).collect() }
}

fn rule(id: &str, source: Source, conditions: &[(&str, &[&str])], template: &str) -> EnrollmentRule {
    let condition = |(fact, patterns): &(&str, &[&str])| Condition {
        fact: (*fact).to_owned(),
        patterns: patterns.iter().map(ToString::to_string).collect(),
    };
    EnrollmentRule {
        tenant: "acme".parse().unwrap(),
        id: id.parse().unwrap(),
        source,
        conditions: conditions.iter().map(condition).collect(),
        template: RuleTemplate { principal_type: PrincipalType::Worker, id: template.into(), roles: Vec::new() },
        created_by: String::new(),
        created_at: Time::from_unix_seconds(0),
    }
}

fn oidc(issuer: &str) -> Source {
    Source::Oidc { issuer: issuer.into(), audience: "signet".into() }
}

const ISSUER: &str = "https://issuer.example.com";
const GITHUB: &str = "https://token.actions.githubusercontent.com";
const ACCOUNT: (&str, &[&str]) = ("account", &["123456789012"]);

fn aws(account: &str, role: &str, session: &str) -> Facts {
    facts(ProofKind::AwsIam, &[("account", &[account]), ("role", &[role]), ("session", &[session])])
}

#[test]
fn the_first_rule_by_id_decides_and_those_before_it_say_why_not() {
    let rules = [
        rule("c", Source::AwsIam, &[ACCOUNT], "late"),
        rule("b", Source::AwsIam, &[ACCOUNT, ("role", &["web", "worker-*"])], "{session}"),
        rule("a", oidc(ISSUER), &[("sub", &["x"])], "{sub}"),
        rule("aa", Source::AwsIam, &[("account", &["999999999999"])], "other"),
    ];
    let decision = decide(&rules, &aws("123456789012", "worker-eu", "i-0abc"));
    let granted = decision.granted.unwrap();
    assert_eq!((granted.rule.id.as_str(), granted.id.as_str(), granted.is_named), ("b", "i-0abc", false));
    let missed: Vec<_> = decision.missed.iter().map(|(rule, miss)| (rule.id.as_str(), miss.reason)).collect();
    assert_eq!(missed, [("a", "OTHER_PROOF"), ("aa", "FACT_DIFFERS")]);
    assert_eq!(decision.missed[1].1.detail, "account is 123456789012, not 999999999999");

    let nobody = decide(&rules, &aws("555555555555", "web", "i-0abc"));
    assert_eq!((nobody.granted, nobody.missed.len()), (None, 4));
}

/// The check of the evidence knew what any of the tenant's rules believes; each rule believes its own source only.
#[test]
fn a_rule_believes_its_own_issuer_audience_and_cas_only() {
    let told = |iss: &str, aud: &[&str]| facts(ProofKind::Oidc, &[("iss", &[iss]), ("aud", aud), ("sub", &["me"])]);
    let rules = [rule("r", oidc(ISSUER), &[("sub", &["me"])], "me")];
    assert!(decide(&rules, &told(ISSUER, &["other", "signet"])).granted.is_some());
    let reason = |facts: &Facts| decide(&rules, facts).missed[0].1.reason;
    assert_eq!(reason(&told("https://evil.example.com", &["signet"])), "OTHER_ISSUER");
    assert_eq!(reason(&told(ISSUER, &["other"])), "OTHER_AUDIENCE");
    assert_eq!(reason(&facts(ProofKind::Oidc, &[("sub", &["me"])])), "OTHER_ISSUER");

    let source = Source::X509 { anchors_der: vec![b"one".to_vec(), b"two".to_vec()] };
    let anchors = source.anchors_sha256();
    let rules = [rule("r", source, &[], "{cn}")];
    let device = |anchor: &str| facts(ProofKind::X509, &[("anchor_sha256", &[anchor]), ("cn", &["pump-7"])]);
    assert_eq!(decide(&rules, &device(&anchors[1])).granted.unwrap().id.as_str(), "pump-7");
    assert_eq!(decide(&rules, &device("00")).missed[0].1.reason, "OTHER_ANCHOR");
}

#[test]
fn an_id_takes_a_fact_with_one_value_and_loses_nothing_of_it() {
    let id = |template: &str, facts: &Facts| {
        IdTemplate::parse(template).unwrap().expand(facts).map(|id| id.to_string()).map_err(|miss| miss.reason)
    };
    let ci = facts(
        ProofKind::Oidc,
        &[("sub", &["repo:acme/api:ref:refs/heads/main"]), ("aud", &["a", "b"]), ("none", &[""]), ("dot", &["."])],
    );
    assert_eq!(id("{sub}", &ci).unwrap(), "repo_3Aacme_2Fapi_3Aref_3Arefs_2Fheads_2Fmain");
    assert_eq!(id("ci-{sub:sha256}", &ci).unwrap().len(), 3 + 40);
    assert_eq!(id("{aud}", &ci), Err("ID_FACT_AMBIGUOUS"));
    assert_eq!(id("{missing}", &ci), Err("ID_FACT_MISSING"));
    assert_eq!(id("x{none}", &ci), Err("ID_FACT_EMPTY"));
    assert_eq!(id("{dot}", &ci), Err("ID_UNUSABLE"));
    let long = facts(ProofKind::Oidc, &[("sub", &[&"x".repeat(65)])]);
    assert_eq!(id("{sub}", &long), Err("ID_UNUSABLE"));
    assert_eq!(id("{role}.{session}", &aws("1", "a.b", "i-0.c")).unwrap(), "a_2Eb.i-0_2Ec");
}

#[test]
fn templates_that_could_mean_two_callers_or_none_are_refused() {
    for bad in ["", "a b", "{", "{}", "{a", "a}", "{a}{b}", "{a}x{b}", "{a}_{b}", "..", "{{a}}", &"x".repeat(65)] {
        assert!(IdTemplate::parse(bad).is_err(), "{bad}");
    }
    for good in ["ci", "{a}", "x{a}y", "{a}.{b}", "{a}x-y{b}", "{https://example.com/team:sha256}"] {
        assert!(IdTemplate::parse(good).is_ok(), "{good}");
    }
}

/// The reason for which a rule is refused, or "fine".
fn checked(source: Source, conditions: &[(&str, &[&str])], template: &str) -> &'static str {
    match rule("r", source, conditions, template).check(&["http://127.0.0.1:5556".into()]) {
        Ok(()) => "fine",
        Err(error) => {
            assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
            error.reason()
        }
    }
}

#[test]
fn an_aws_rule_pins_accounts_and_gives_nobody_anothers_id() {
    let aws = |conditions: &[(&str, &[&str])], template| checked(Source::AwsIam, conditions, template);
    let two: (&str, &[&str]) = ("account", &["123456789012", "210987654321"]);
    assert_eq!(aws(&[], "x"), "TOO_WIDE");
    assert_eq!(aws(&[("account", &["*"])], "x"), "TOO_WIDE");
    assert_eq!(aws(&[("account", &["123456789012", "12345678901*"])], "x"), "TOO_WIDE");
    assert_eq!(aws(&[("arn", &["arn:aws:sts::123456789012:*"])], "x"), "TOO_WIDE");
    assert_eq!(aws(&[ACCOUNT], "all-of-it"), "fine");
    assert_eq!(aws(&[ACCOUNT], "{role}"), "fine");
    assert_eq!(aws(&[two], "{role}"), "AMBIGUOUS_ID");
    assert_eq!(aws(&[two], "{account}.{role}"), "fine");
    assert_eq!(aws(&[two], "{arn:sha256}"), "fine");
    assert_eq!(aws(&[ACCOUNT], "{session}"), "AMBIGUOUS_ID");
    assert_eq!(aws(&[ACCOUNT, ("role", &["worker-*"])], "{session}"), "AMBIGUOUS_ID");
    assert_eq!(aws(&[ACCOUNT, ("role", &["worker"])], "{session}"), "fine");
    assert_eq!(aws(&[ACCOUNT, ("role", &["worker-*"])], "{role}.{session}"), "fine");
}

#[test]
fn an_oidc_rule_pins_more_than_its_issuer_says_of_everybody() {
    let at = |issuer: &str, conditions: &[(&str, &[&str])]| checked(oidc(issuer), conditions, "x");
    assert_eq!(at(ISSUER, &[]), "TOO_WIDE");
    assert_eq!(at(ISSUER, &[("iss", &[ISSUER]), ("aud", &["signet"]), ("sub", &["**"])]), "TOO_WIDE");
    assert_eq!(at(ISSUER, &[("sub", &["a", "*"])]), "TOO_WIDE");
    assert_eq!(at(ISSUER, &[("sub", &["system:serviceaccount:payments:*"])]), "fine");
    assert_eq!(at("http://127.0.0.1:5556", &[("sub", &["a"])]), "fine");
    for bad in ["http://issuer.example.com", "https://", "https:///x", "https://a?b", "https://u@h", "ftp://x", ""] {
        assert!(at(bad, &[("sub", &["a"])]).starts_with("INVALID"), "{bad}");
    }
    for wide in
        [("sub", "repo:*"), ("sub", "*"), ("sub", "repo:a*/api"), ("ref", "refs/heads/main"), ("repository", "*/api")]
    {
        assert_eq!(at(GITHUB, &[(wide.0, &[wide.1])]), "TOO_WIDE", "{wide:?}");
    }
    for fine in [("sub", "repo:acme/*"), ("repository", "acme/api"), ("repository_owner_id", "42")] {
        assert_eq!(at(GITHUB, &[(fine.0, &[fine.1])]), "fine", "{fine:?}");
    }
}

#[test]
fn an_x509_rule_names_one_makers_cas() {
    let with = |anchors: usize, template| checked(Source::X509 { anchors_der: vec![vec![1]; anchors] }, &[], template);
    assert_eq!((with(0, "{cn}"), with(1, "{cn}"), with(4, "{cn}")), ("OUT_OF_RANGE", "fine", "fine"));
    assert_eq!((with(5, "{cn}"), with(1, "{serial}"), with(2, "{serial}")), ("OUT_OF_RANGE", "fine", "AMBIGUOUS_ID"));
    assert_eq!(checked(Source::X509 { anchors_der: vec![vec![0; 8193]] }, &[], "x"), "TOO_LARGE");
}

#[test]
fn rules_stay_small() {
    let many: Vec<(&str, &[&str])> = vec![ACCOUNT; 17];
    assert_eq!(checked(Source::AwsIam, &many, "x"), "TOO_MANY");
    assert_eq!(checked(Source::AwsIam, &[ACCOUNT, ("role", &["x"; 17])], "x"), "TOO_MANY");
    assert_eq!(checked(Source::AwsIam, &[ACCOUNT, ("role", &[])], "x"), "TOO_MANY");
    let long = "x".repeat(257);
    assert_eq!(checked(Source::AwsIam, &[ACCOUNT, ("role", &[&long])], "x"), "INVALID_TEXT");
    assert_eq!(checked(Source::AwsIam, &[ACCOUNT, ("ro\nle", &["x"])], "x"), "INVALID_TEXT");
    let pattern = "x".repeat(256);
    let wide: [&str; 16] = [&pattern; 16];
    assert_eq!(checked(Source::AwsIam, &[ACCOUNT, ("a", &wide), ("b", &wide), ("c", &wide)], "x"), "TOO_LARGE");
}

#[test]
fn a_pattern_made_to_be_slow_is_not() {
    let pattern = "*a".repeat(5_000) + "*b";
    assert!(!matches(&pattern, &"a".repeat(100_000)));
    assert!(matches(&("*a".repeat(5_000) + "*"), &"a".repeat(5_000)));
}

/// What a pattern means, as simply as can be.
fn model(pattern: &[u8], value: &[u8]) -> bool {
    match (pattern, value) {
        ([], value) => value.is_empty(),
        ([b'*', pattern @ ..], value) => (0..=value.len()).any(|at| model(pattern, &value[at..])),
        ([first, pattern @ ..], [same, value @ ..]) => first == same && model(pattern, value),
        _ => false,
    }
}

/// Whatever the template, its values are read back from the id: no two give one.
fn injective(template: &str, values: [&str; 2], others: [&str; 2]) -> Result<(), TestCaseError> {
    let template = IdTemplate::parse(template).unwrap();
    let expand = |[a, b]: [&str; 2]| {
        let values = BTreeMap::from([("a".to_owned(), vec![a.to_owned()]), ("b".to_owned(), vec![b.to_owned()])]);
        template.expand(&Facts { proof: ProofKind::Oidc, values }).ok()
    };
    if let (Some(one), Some(other)) = (expand(values), expand(others)) {
        prop_assert_eq!(one == other, values == others, "{} {:?} {:?}", one, values, others);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn patterns_mean_what_the_model_says(pattern in "[ab*]{0,8}", value in "[ab]{0,10}") {
        prop_assert_eq!(matches(&pattern, &value), model(pattern.as_bytes(), value.as_bytes()));
    }

    #[test]
    fn two_callers_never_share_an_id(
        template in prop::sample::select(vec!["{a}.{b}", "{a}-{b}", "{a}x.{b}", "p_{a}.-2E{b}s", "{b}_-_{a}", "{a:sha256}.{b}"]),
        values in ("[a.x_2E/-]{1,6}", "[a.x_2E/-]{1,6}"),
        others in ("[a.x_2E/-]{1,6}", "[a.x_2E/-]{1,6}"),
    ) {
        injective(template, [&values.0, &values.1], [&others.0, &others.1])?;
        // A shift of the border between the two, the likeliest way to collide.
        let joined = format!("{}{}", values.0, values.1);
        for at in 1..joined.len() {
            injective(template, [&values.0, &values.1], [&joined[..at], &joined[at..]])?;
        }
    }

    #[test]
    fn no_facts_make_it_panic_or_give_a_bad_id(template in "\\PC{0,40}", value in "\\PC{0,40}") {
        if let Ok(template) = IdTemplate::parse(&template) {
            let names: Vec<String> = template.facts().map(str::to_owned).collect();
            let values = names.into_iter().map(|name| (name, vec![value.clone()])).collect();
            if let Ok(id) = template.expand(&Facts { proof: ProofKind::Oidc, values }) {
                prop_assert!(id.as_str().parse::<signet_core::PrincipalId>().is_ok());
            }
        }
    }
}
