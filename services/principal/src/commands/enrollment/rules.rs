//! `principal enrollment`: who may enroll without a token.

use std::{collections::BTreeMap, fs, path::PathBuf};

use clap::{ArgGroup, Args, Subcommand, ValueEnum, ValueHint};
use signet_core::{
    PrincipalType, Role, RuleId,
    enrollment::{attestation::fact, rule::IdTemplate},
};
use signet_proto::v1::{self, enrollment_rule::Source, enrollment_service_client::EnrollmentServiceClient as Client};
use signet_x509::pem;

use crate::{
    confirm::confirm,
    exit::Exit,
    failure::Failure,
    output::{View, to_value},
    run::Run,
    session::{Page, Session, rpc},
    values::{self, ListArgs, Yes},
};

/// The issuer of GitHub's workflows.
const GITHUB: &str = "https://token.actions.githubusercontent.com";

/// What is easily overlooked in a rule for AWS.
const SESSION_IS_CHOSEN: &str = "\
this rule depends on the AWS session name. Whoever can assume the role chooses it, even as another instance's or
task's id. Let only the AWS service assume the role, or pin sts:RoleSessionName in its trust policy";

/// Enrollment rules: who may enroll without a token.
#[derive(Debug, Subcommand)]
pub enum EnrollmentCommand {
    /// Rules: which proof becomes which principal
    #[command(subcommand)]
    Rule(RuleCommand),
}

/// Rules.
#[derive(Debug, Subcommand)]
pub enum RuleCommand {
    /// Create a rule that trusts AWS, an OIDC issuer or a CA
    Create(Box<CreateArgs>),
    /// List rules, in order of evaluation
    List(ListArgs),
    /// Delete a rule; certificates issued by it stay valid
    Delete {
        /// Name of the rule
        #[arg(value_name = "RULE")]
        id: RuleId,
        /// Says yes in advance.
        #[command(flatten)]
        yes: Yes,
    },
    /// Test which rule admits a caller with these facts, and as which principal; exit code 3 if none
    Test(TestArgs),
}

/// What the rule says.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("source").required(true).args(["aws_account", "oidc_issuer", "github_repo", "x509_ca"]),
    after_help = "\
Facts by proof:
  AWS    account, arn, partition, user_id; of assumed roles: role, session (whoever may assume
         the role chooses it, unless the role's trust policy pins sts:RoleSessionName)
  OIDC   the token's claims, nested ones as outer.inner
  X.509  anchor_sha256, serial and the subject: cn, o, ou, ...

Examples:
  principal enrollment rule create workers --aws-account 123456789012 --aws-role worker \\
      --type worker --id-template '{session}'
  principal enrollment rule create ci --github-repo acme/api --condition ref=refs/heads/main \\
      --oidc-audience signet --type service --id-template ci-api
  principal enrollment rule create people --oidc-issuer https://login.example.com \\
      --oidc-audience signet --condition groups=sre --type user --role operator \\
      --id-template '{sub}'
  principal enrollment rule create pumps --x509-ca maker.pem --condition ou=pumps \\
      --type device --id-template '{cn}'"
)]
pub struct CreateArgs {
    /// Name of the rule; rules are evaluated in the order of their names
    #[arg(value_name = "RULE")]
    id: RuleId,
    /// Type of its principals: admin, user, worker, service or device
    #[arg(long = "type", value_name = "TYPE")]
    kind: PrincipalType,
    /// Id of its principals: text with {FACT} for proven facts; {FACT:sha256} for long ones
    #[arg(long, value_name = "TEXT")]
    id_template: String,
    /// Role of a new principal; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<Role>,
    /// AWS account to admit; may be repeated
    #[arg(long, value_name = "ACCOUNT")]
    aws_account: Vec<String>,
    /// Name of an AWS role to admit, * matches any characters; may be repeated
    #[arg(long, value_name = "PATTERN", requires = "aws_account")]
    aws_role: Vec<String>,
    /// OIDC issuer, exactly as in the tokens' `iss`
    #[arg(long, value_name = "URL", requires = "oidc_audience")]
    oidc_issuer: Option<String>,
    /// Audience required in the tokens' `aud`
    #[arg(long, value_name = "TEXT")]
    oidc_audience: Option<String>,
    /// GitHub repository whose workflows to admit
    #[arg(long, value_name = "OWNER/REPO", requires = "oidc_audience", value_parser = pair)]
    github_repo: Option<(String, String)>,
    /// Kubernetes service account to admit, of the cluster with this --oidc-issuer
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "oidc_issuer", value_parser = pair)]
    kubernetes_service_account: Option<(String, String)>,
    /// File with a device manufacturer's CA certificate, PEM; may be repeated for CAs of one manufacturer
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    x509_ca: Vec<PathBuf>,
    /// Condition: the fact matches the pattern, * matches any characters. Repeated for one fact: any of them
    #[arg(long = "condition", visible_alias = "claim", value_name = "FACT=PATTERN", value_parser = fact)]
    conditions: Vec<(String, String)>,
}

/// A made-up caller.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Type of proof
    #[arg(value_enum, value_name = "PROOF")]
    proof: Proof,
    /// Proven fact; may be repeated, also for the same fact
    #[arg(long = "fact", value_name = "FACT=VALUE", required = true, value_parser = fact)]
    facts: Vec<(String, String)>,
}

/// How a caller proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Proof {
    /// A presigned request to AWS STS
    AwsIam,
    /// A token of an OIDC issuer
    Oidc,
    /// A certificate of a registered CA
    X509,
}

/// Carries out a command.
pub async fn run(run: &Run, command: EnrollmentCommand) -> Result<Exit, Failure> {
    let EnrollmentCommand::Rule(command) = command;
    match command {
        RuleCommand::Create(args) => create(run, *args).await,
        RuleCommand::List(args) => list(run, args).await,
        RuleCommand::Delete { id, yes } => delete(run, &id, yes).await,
        RuleCommand::Test(args) => test(run, args).await,
    }
}

async fn create(run: &Run, args: CreateArgs) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    if rests_on_session(&args) {
        run.printer.note(SESSION_IS_CHOSEN);
    }
    let rule = v1::EnrollmentRule {
        tenant_id: session.tenant(),
        rule_id: args.id.to_string(),
        source: Some(source(&args)?),
        conditions: conditions(&args),
        principal_type: values::kind_to_proto(args.kind).into(),
        id_template: args.id_template,
        roles: args.roles.iter().map(Role::to_string).collect(),
        ..Default::default()
    };
    let request = v1::CreateEnrollmentRuleRequest { rule: Some(rule), request_id: session.request_id() };
    let made = rpc!(session, "creating the rule", Client.create_enrollment_rule(request)).await?;
    run.printer.changed(&made).map(|()| Exit::Ok)
}

/// Whether the rule tells AWS callers apart, or lets them in, by what holds their session's name.
fn rests_on_session(args: &CreateArgs) -> bool {
    let holds_session = |fact: &str| matches!(fact, fact::SESSION | fact::ARN | fact::USER_ID);
    let template = IdTemplate::parse(&args.id_template);
    let in_template = template.is_ok_and(|template| template.facts().any(holds_session));
    let in_conditions = args.conditions.iter().any(|(fact, _)| holds_session(fact));
    !args.aws_account.is_empty() && (in_template || in_conditions)
}

/// Clap lets through exactly one of them.
fn source(args: &CreateArgs) -> Result<Source, Failure> {
    let audience = args.oidc_audience.clone().unwrap_or_default();
    if !args.x509_ca.is_empty() {
        let mut anchors_der = Vec::new();
        for path in &args.x509_ca {
            let text = fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
            let found = pem::decode_certificates(&text).filter(|found| !found.is_empty());
            let none = || Failure::usage(format!("{} has no PEM certificate", path.display()));
            anchors_der.extend(found.ok_or_else(none)?);
        }
        return Ok(Source::X509(v1::X509Source { anchors_der }));
    }
    let issuer = args.oidc_issuer.clone().or_else(|| args.github_repo.as_ref().map(|_| GITHUB.to_owned()));
    Ok(match issuer {
        Some(issuer) => Source::Oidc(v1::OidcSource { issuer, audience }),
        None => Source::AwsIam(v1::AwsIamSource {}),
    })
}

/// One for each fact, in the order of their names.
fn conditions(args: &CreateArgs) -> Vec<v1::RuleCondition> {
    let mut all: Vec<(String, String)> = Vec::new();
    let named = |fact: &str, pattern: &String| (fact.to_owned(), pattern.clone());
    all.extend(args.aws_account.iter().map(|account| named("account", account)));
    all.extend(args.aws_role.iter().map(|role| named("role", role)));
    all.extend(args.github_repo.iter().map(|(owner, repo)| named("repository", &format!("{owner}/{repo}"))));
    let account = args.kubernetes_service_account.iter();
    all.extend(account.map(|(namespace, name)| named("sub", &format!("system:serviceaccount:{namespace}:{name}"))));
    all.extend(args.conditions.iter().cloned());
    grouped(all).into_iter().map(|(fact, patterns)| v1::RuleCondition { fact, patterns }).collect()
}

async fn list(run: &Run, args: ListArgs) -> Result<Exit, Failure> {
    let session = &Session::of(run)?;
    let found = session
        .pages(args.limit(&run.printer.format), |page_size, page_token| async move {
            let request = v1::ListEnrollmentRulesRequest { tenant_id: session.tenant(), page_size, page_token };
            let page = rpc!(session, "listing rules", Client.list_enrollment_rules(request)).await?;
            Ok(Page { items: page.rules, next_page_token: page.next_page_token, unreadable: page.unreadable })
        })
        .await?;
    found.print(&run.printer, &args)
}

async fn delete(run: &Run, id: &RuleId, yes: Yes) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let tenant = session.tenant_name();
    confirm(&format!("delete enrollment rule {id} of tenant {tenant}: nobody can enroll by it any more"), yes)?;
    let (tenant_id, request_id) = (session.tenant(), session.request_id());
    let request = v1::DeleteEnrollmentRuleRequest { tenant_id, rule_id: id.to_string(), request_id };
    rpc!(session, "deleting the rule", Client.delete_enrollment_rule(request)).await?;
    run.printer.note(&format!("rule {id} is deleted; principals created by it remain: `principal list`"));
    Ok(Exit::Ok)
}

async fn test(run: &Run, args: TestArgs) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let proof_kind = match args.proof {
        Proof::AwsIam => v1::ProofKind::AwsIam,
        Proof::Oidc => v1::ProofKind::Oidc,
        Proof::X509 => v1::ProofKind::X509,
    };
    let facts = grouped(args.facts).into_iter().map(|(name, values)| v1::Fact { name, values }).collect();
    let request = v1::TestEnrollmentRulesRequest { tenant_id: session.tenant(), proof_kind: proof_kind.into(), facts };
    let answer = rpc!(session, "testing the rules", Client.test_enrollment_rules(request)).await?;
    let exit = if answer.matched.is_some() { Exit::Ok } else { Exit::NotFound };
    if !run.printer.format.is_for_people() {
        let shown = to_value("signet.v1.TestEnrollmentRulesResponse", &answer)?;
        return run.printer.record(&shown, &[]).map(|()| exit);
    }
    if !answer.missed.is_empty() {
        run.printer.list(&answer.missed, &View::default())?;
    }
    match &answer.matched {
        Some(rule) => {
            let kind =
                PrincipalType::ALL.into_iter().find(|kind| values::kind_to_proto(*kind) == rule.principal_type());
            let kind = kind.map_or("principal", PrincipalType::as_str);
            let roles = if rule.roles.is_empty() { "none".to_owned() } else { rule.roles.join(", ") };
            let (id, rule) = (&answer.principal_id, &rule.rule_id);
            run.printer.text(&format!("rule {rule} admits it as {kind} {id}, roles if new: {roles}"))?;
        }
        None if answer.missed.is_empty() => run.printer.text("no rule admits it: the tenant has no rules")?,
        None => run.printer.text("no rule admits it")?,
    }
    Ok(exit)
}

fn grouped(pairs: Vec<(String, String)>) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    pairs.into_iter().for_each(|(name, value)| groups.entry(name).or_default().push(value));
    groups
}

/// `FACT=VALUE`.
fn fact(text: &str) -> Result<(String, String), String> {
    let found = text.split_once('=').filter(|(fact, value)| !fact.is_empty() && !value.is_empty());
    let (fact, value) = found.ok_or("must be FACT=VALUE, e.g. sub=repo:acme/*")?;
    Ok((fact.to_owned(), value.to_owned()))
}

/// `ONE/OTHER`.
fn pair(text: &str) -> Result<(String, String), String> {
    let plain = |name: &str| !name.is_empty() && !name.contains(['/', '*']);
    let found = text.split_once('/').filter(|(one, other)| plain(one) && plain(other));
    let (one, other) = found.ok_or("must be two names with a / between, without *")?;
    Ok((one.to_owned(), other.to_owned()))
}
