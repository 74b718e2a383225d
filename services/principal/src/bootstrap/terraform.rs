//! An environment in AWS, as its Terraform outputs describe it (`infra/README.md`, "The output `signet`").

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::Stdio,
};

use serde::Deserialize;
use serde_json::Value;
use signet_control_plane::Config;

use crate::failure::Failure;

/// The one output that is read. Fields of other versions are left alone.
#[derive(Clone, Debug, Deserialize)]
pub struct Outputs {
    environment: String,
    region: String,
    trust_domain_suffix: String,
    storage_prefix: String,
    key_prefix: String,
    server_identity_prefix: String,
    server_dns_names: Vec<String>,
    /// How principals reach the control plane, e.g. `https://signet.dev.example.com:443`.
    pub endpoint: String,
    /// Health and public material, e.g. `http://signet.dev.example.com`.
    pub public_url: String,
    /// Where workers enroll over HTTPS.
    pub enroll_url: Option<String>,
}

/// Reads the outputs: of an environment's directory by asking Terraform, or from a file (`-`: standard input) with what
/// `terraform output -json` wrote.
pub async fn read(source: &Path) -> Result<Outputs, Failure> {
    let text = match source {
        _ if source == Path::new("-") => standard_input()?,
        _ if source.is_dir() => ask_terraform(source).await?,
        _ => fs::read_to_string(source).map_err(|error| Failure::file(source, &error))?,
    };
    parse(&text, source)
}

fn standard_input() -> Result<String, Failure> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).map_err(|error| Failure::other(format!("standard input: {error}")))?;
    Ok(text)
}

/// Reads the state by Terraform, since only it knows where that is.
async fn ask_terraform(directory: &Path) -> Result<String, Failure> {
    let mut terraform = tokio::process::Command::new("terraform");
    let mut chdir = PathBuf::from("-chdir=").into_os_string();
    chdir.push(directory);
    terraform.arg(chdir).args(["output", "-json", "-no-color"]).envs([("TF_IN_AUTOMATION", "1"), ("TF_INPUT", "0")]);
    let output = terraform.stdin(Stdio::null()).kill_on_drop(true).output().await.map_err(|error| {
        Failure::other(format!("terraform: {error}"))
            .hint("install Terraform, or give a file with the output of `terraform output -json`")
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = said.lines().map(|line| line.trim_matches(['│', '╷', '╵', ' '])).collect();
        let said = lines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
        let hint = format!("run `terraform init` and `terraform apply` in {}", directory.display());
        return Err(Failure::other(format!("terraform output in {}: {said}", directory.display())).hint(hint));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// All outputs, or the value of `signet` alone.
fn parse(text: &str, source: &Path) -> Result<Outputs, Failure> {
    let place = source.display();
    let all: Value = serde_json::from_str(text).map_err(|error| {
        Failure::usage(format!("{place}: not JSON: {error}")).hint("it must be the output of `terraform output -json`")
    })?;
    let output = match all.get("signet") {
        Some(output) => output.get("value").unwrap_or(output),
        None if all.get("environment").is_some() => &all,
        None => {
            return Err(Failure::usage(format!("{place}: there is no output `signet`: run `terraform apply` first"))
                .hint(after_apply(source)));
        }
    };
    Outputs::deserialize(output).map_err(|error| {
        Failure::usage(format!("{place}: output `signet`: {error}"))
            .hint(format!("these outputs are from another version or from a failed apply; {}", after_apply(source)))
    })
}

/// The step that is missing when something is that Terraform makes.
pub fn after_apply(source: &Path) -> String {
    let place = if source.is_dir() { source.display().to_string() } else { "the environment's directory".into() };
    format!(
        "complete `terraform apply` in {place} with bootstrap_until in the future; then run this again as the administrator role"
    )
}

impl Outputs {
    /// The configuration as the environment's signetd gets it, as far as bootstrap needs it.
    pub fn config(&self) -> Result<Config, Failure> {
        let names = Value::from(self.server_dns_names.clone()).to_string();
        let pairs = [
            ("SIGNET_ENVIRONMENT__NAME", self.environment.as_str()),
            ("SIGNET_ENVIRONMENT__TRUST_DOMAIN_SUFFIX", &self.trust_domain_suffix),
            ("SIGNET_STORAGE__KIND", "dynamodb"),
            ("SIGNET_STORAGE__PREFIX", &self.storage_prefix),
            ("SIGNET_KEYS__KIND", "kms"),
            ("SIGNET_KEYS__PREFIX", &self.key_prefix),
            ("SIGNET_SERVER_IDENTITY__KIND", "aws"),
            ("SIGNET_SERVER_IDENTITY__PREFIX", &self.server_identity_prefix),
            ("SIGNET_SERVER__DNS_NAMES", &names),
            ("SIGNET_SERVER__IP_ADDRESSES", "[]"),
            ("SIGNET_AWS__REGION", &self.region),
        ];
        Config::from_pairs(pairs).map_err(|error| Failure::usage(format!("output `signet`: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = r#"{"environment":"dev","region":"eu-central-1","trust_domain_suffix":"dev.example.com",
        "storage_prefix":"signet-dev","key_prefix":"signet-dev","server_identity_prefix":"/signet/dev",
        "server_dns_names":["signet.dev.example.com"],"endpoint":"https://signet.dev.example.com:443",
        "public_url":"http://signet.dev.example.com","a_field_of_tomorrow":[1]}"#;

    #[test]
    fn all_outputs_and_the_one_alone_give_the_same_configuration() {
        let all =
            format!(r#"{{"next_steps":{{"value":"x"}},"signet":{{"sensitive":false,"type":[],"value":{OUTPUT}}}}}"#);
        for text in [OUTPUT.to_owned(), all] {
            let config = parse(&text, Path::new("outputs.json")).unwrap().config().unwrap();
            assert_eq!((config.environment.name.as_str(), config.aws.region.as_deref()), ("dev", Some("eu-central-1")));
            assert_eq!(config.server.dns, ["signet.dev.example.com"]);
            assert!(config.server.ip.is_empty());
        }
    }

    #[test]
    fn what_is_missing_names_the_step_that_is() {
        let of = |text: &str| parse(text, Path::new("outputs.json")).unwrap_err();
        let nothing = of("{}");
        assert!(nothing.message.contains("there is no output `signet`"), "{nothing}");
        assert!(nothing.hint.unwrap().contains("terraform apply"));
        let old = of(&OUTPUT.replace("region", "reign"));
        assert!(old.message.contains("`region`") && old.hint.unwrap().contains("terraform apply"));
        assert!(of("Outputs:").message.contains("not JSON"));
        let bad = parse(&OUTPUT.replace("\"dev\"", "\"Dev!\""), Path::new("-")).unwrap().config().unwrap_err();
        assert!(bad.message.contains("short name"), "{bad}");
    }
}
