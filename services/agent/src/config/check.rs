//! From what is written to what can be done.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    sys::signal::Signal,
    unistd::{Group, User},
};
use signet_client::{Access, OutOfBand, Settings};
use signet_core::{PrincipalId, TenantId};
use signet_x509::pem;

use super::{
    Config, ConfigError, EnrollConfig, ExecConfig, FileConfig, IdentityConfig, PemConfig, Pkcs12Config, ProofConfig,
    SignalConfig,
    raw::{self, Raw, Stdin},
};

const SECRET: u32 = 0o600;
/// unix(7): 108 bytes with the zero at the end.
const MAX_SOCKET_PATH: usize = 107;

type Result<T> = std::result::Result<T, ConfigError>;

fn bad(key: impl Into<String>, problem: impl Into<String>) -> ConfigError {
    ConfigError::Value { key: key.into(), problem: problem.into() }
}

pub(super) fn config(raw: Raw, base: &Path) -> Result<Config> {
    let state_dir = base.join(&raw.state_dir);
    let mut identities: Vec<IdentityConfig> = Vec::new();
    for one in raw.identity {
        let one = identity(one, base)?;
        if identities.iter().any(|other| other.name == one.name) {
            return Err(bad(format!("identity.{}", one.name), "another identity has this name"));
        }
        identities.push(one);
    }
    if identities.is_empty() {
        return Err(bad("identity", "add an [[identity]] section, see agent.sample.toml"));
    }
    no_shared_places(&identities)?;
    let socket = raw.socket.map_or_else(|| state_dir.join("agent.sock"), |socket| base.join(socket));
    let length = socket.as_os_str().len();
    if length > MAX_SOCKET_PATH {
        let problem =
            format!("{} has {length} bytes; a socket path can have at most {MAX_SOCKET_PATH}", socket.display());
        return Err(bad("socket", problem));
    }
    Ok(Config {
        socket,
        state_dir,
        metrics: raw.metrics,
        log_json: raw.log == raw::Log::Json,
        control_plane: control_plane(raw.control_plane, base)?,
        identities,
    })
}

fn control_plane(raw: raw::ControlPlane, base: &Path) -> Result<Settings> {
    let path = base.join(&raw.ca_file);
    let key = "control_plane.ca_file";
    let text =
        fs::read_to_string(&path).map_err(|error| bad(key, format!("cannot read {}: {error}", path.display())))?;
    let none = || bad(key, format!("{} has no PEM certificate", path.display()));
    let roots = pem::decode_certificates(&text).filter(|roots| !roots.is_empty()).ok_or_else(none)?;
    let mut settings = Settings::new(raw.endpoint, roots);
    settings.server_name = raw.server_name;
    if let Some(path) = raw.out_of_band {
        if !path.url.starts_with("https://") {
            return Err(bad("control_plane.out_of_band.url", "must start with https://"));
        }
        settings.out_of_band = Some(OutOfBand { url: path.url, pinned: path.pinned });
    }
    settings.check().map_err(|error| bad("control_plane", error.to_string()))?;
    Ok(settings)
}

fn identity(raw: raw::Identity, base: &Path) -> Result<IdentityConfig> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if raw.name.is_empty() || raw.name.len() > 64 || !raw.name.chars().all(fits) {
        return Err(bad("identity.name", format!("{:?} must be 1 to 64 of a-z 0-9 -", raw.name)));
    }
    let key = format!("identity.{}", raw.name);
    let this = IdentityConfig {
        enroll: enroll(&key, raw.enroll, base)?,
        follow_bundle: raw.follow_bundle,
        pem: raw.pem.map(|raw| pem_files(&key, raw, base)).transpose()?,
        combined: raw.combined.map(|raw| combined(&key, raw, base)).transpose()?,
        pkcs12: raw.pkcs12.map(|raw| pkcs12(&key, raw, base)).transpose()?,
        exec: raw.exec.map(|raw| exec(&key, raw, base)).transpose()?,
        signal: raw.signal.map(|raw| signal(&key, raw, base)).transpose()?,
        name: raw.name,
    };
    let in_memory = this.exec.as_ref().is_some_and(|exec| exec.stdin == Stdin::Credentials);
    if !this.keeps_its_key() && this.pkcs12.is_none() && !in_memory {
        return Err(bad(key, "it has no output: add pem, combined or pkcs12, or an exec with stdin = \"credentials\""));
    }
    if !this.keeps_its_key() && !this.enroll.proof.repeats() {
        let problem = "no readable key would be stored (neither pem nor combined), so each start enrolls again; a join \
                       token does not work twice";
        return Err(bad(key, problem));
    }
    Ok(this)
}

fn enroll(key: &str, raw: raw::Enroll, base: &Path) -> Result<EnrollConfig> {
    let key = format!("{key}.enroll");
    let checked = |name: &str, problem: Option<String>| {
        problem.map_or(Ok(()), |problem| Err(bad(format!("{key}.{name}"), problem)))
    };
    checked("tenant", raw.tenant.as_ref().and_then(|id| Some(id.parse::<TenantId>().err()?.to_string())))?;
    checked("principal", raw.principal.as_ref().and_then(|id| Some(id.parse::<PrincipalId>().err()?.to_string())))?;
    let proof = match (raw.join_token_file, raw.oidc_token_file, raw.aws_iam, raw.x509) {
        (Some(path), None, None, None) => ProofConfig::JoinToken(base.join(path)),
        (None, Some(path), None, None) => ProofConfig::Oidc(base.join(path)),
        (None, None, Some(raw::AwsIam { region }), None) => ProofConfig::AwsIam { region },
        (None, None, None, Some(raw::X509 { cert_file, key_file })) => {
            ProofConfig::X509 { cert_file: base.join(cert_file), key_file: base.join(key_file) }
        }
        _ => return Err(bad(key, "set one of join_token_file, oidc_token_file, aws_iam, x509")),
    };
    if raw.tenant.is_none() && !matches!(proof, ProofConfig::JoinToken(_)) {
        return Err(bad(format!("{key}.tenant"), "is required, except with a join token"));
    }
    Ok(EnrollConfig { tenant: raw.tenant, principal: raw.principal, proof })
}

fn pem_files(key: &str, raw: raw::Pem, base: &Path) -> Result<PemConfig> {
    Ok(PemConfig { directory: base.join(raw.directory), key: access(&format!("{key}.pem.key"), raw.key)? })
}

fn combined(key: &str, raw: raw::Combined, base: &Path) -> Result<FileConfig> {
    Ok(FileConfig {
        file: base.join(raw.file),
        access: access(&format!("{key}.combined.permissions"), raw.permissions)?,
    })
}

fn pkcs12(key: &str, raw: raw::Pkcs12, base: &Path) -> Result<Pkcs12Config> {
    let access = access(&format!("{key}.pkcs12.permissions"), raw.permissions)?;
    let file = FileConfig { file: base.join(raw.file), access };
    Ok(Pkcs12Config { file, password_file: base.join(raw.password_file), alias: raw.alias })
}

fn access(key: &str, raw: raw::Permissions) -> Result<Access> {
    let mode = match raw.mode {
        None => SECRET,
        Some(text) => {
            let rule = "must be octal digits such as \"0640\"; other users must not read a key";
            let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| mode & !0o770 == 0 && mode & 0o400 != 0);
            mode.ok_or_else(|| bad(format!("{key}.mode"), format!("{text:?} {rule}")))?
        }
    };
    let (owner_key, group_key) = (format!("{key}.owner"), format!("{key}.group"));
    let owner = raw.owner.map(|name| id(&owner_key, &name, |name| Ok(User::from_name(name)?.map(|u| u.uid.as_raw()))));
    let group = raw.group.map(|name| id(&group_key, &name, |name| Ok(Group::from_name(name)?.map(|g| g.gid.as_raw()))));
    Ok(Access { mode, owner: owner.transpose()?, group: group.transpose()? })
}

/// A number, or a name that this machine knows.
fn id(key: &str, name: &str, find: impl Fn(&str) -> nix::Result<Option<u32>>) -> Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let found = find(name).map_err(|error| bad(key, format!("{name:?} cannot be looked up: {error}")))?;
    found.ok_or_else(|| bad(key, format!("{name:?} does not exist on this machine")))
}

fn exec(key: &str, raw: raw::Exec, base: &Path) -> Result<ExecConfig> {
    let mut words = raw.command.into_iter();
    let program = words.next().map(PathBuf::from).filter(|program| program.components().count() > 1);
    let rule = "must be a list of words, the path of a program first; there is no shell";
    let program = program.ok_or_else(|| bad(format!("{key}.exec.command"), rule))?;
    if raw.timeout_seconds == 0 || raw.timeout_seconds > 3600 {
        return Err(bad(format!("{key}.exec.timeout_seconds"), "must be 1 to 3600"));
    }
    Ok(ExecConfig {
        program: base.join(program),
        arguments: words.collect(),
        timeout: Duration::from_secs(raw.timeout_seconds.into()),
        stdin: raw.stdin,
    })
}

fn signal(key: &str, raw: raw::Signal, base: &Path) -> Result<SignalConfig> {
    const ALLOWED: [Signal; 4] = [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGWINCH];
    let named = |signal: &Signal| signal.as_str().trim_start_matches("SIG") == raw.signal.trim_start_matches("SIG");
    let found = ALLOWED.into_iter().find(named);
    let problem = || bad(format!("{key}.signal.signal"), format!("{:?} must be HUP, USR1, USR2 or WINCH", raw.signal));
    Ok(SignalConfig { pid_file: base.join(&raw.pid_file), signal: found.ok_or_else(problem)? })
}

/// Two identities in one place would replace each other for ever.
fn no_shared_places(identities: &[IdentityConfig]) -> Result<()> {
    let mut seen: Vec<&Path> = Vec::new();
    for one in identities {
        let pem = one.pem.as_ref().map(|pem| pem.directory.as_path());
        let combined = one.combined.as_ref().map(|file| file.file.as_path());
        let pkcs12 = one.pkcs12.as_ref().map(|pkcs12| pkcs12.file.file.as_path());
        for path in [pem, combined, pkcs12].into_iter().flatten() {
            if seen.contains(&path) {
                return Err(bad(format!("identity.{}", one.name), format!("{} is used twice", path.display())));
            }
            seen.push(path);
        }
    }
    Ok(())
}
