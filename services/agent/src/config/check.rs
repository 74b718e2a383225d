//! From what the file says to what the agent does, with the checks of settings that depend on each other.

use std::{fs, path::Path};

use signet_client::{IdentitySettings, OutOfBand};
use signet_x509::pem;

use super::{
    error::ConfigError,
    sections::{Config, ControlPlane, File, IdentityConfig, Log, ProofConfig, Stdin, WorkloadApiConfig},
};

/// unix(7): 108 bytes with the zero at the end.
const MAX_SOCKET_PATH: usize = 107;

type Result<T, E = ConfigError> = std::result::Result<T, E>;

fn bad(key: impl Into<String>, problem: impl Into<String>) -> ConfigError {
    ConfigError::Value { key: key.into(), problem: problem.into() }
}

pub(super) fn config(mut file: File, base: &Path) -> Result<Config> {
    let state_dir = base.join(&file.state_dir);
    for path in file.identity.iter_mut().flat_map(IdentityConfig::paths) {
        *path = base.join(&*path);
    }
    let identities = file.identity;
    if identities.is_empty() {
        return Err(bad("identity", "add an [[identity]] section, see agent.sample.toml"));
    }
    identities.iter().try_for_each(identity)?;
    nothing_shared(&identities)?;
    let socket = file.socket.map_or_else(|| state_dir.join("agent.sock"), |socket| base.join(socket));
    let workload_api = file.workload_api.map(|api| WorkloadApiConfig { socket: base.join(&api.socket), ..api });
    fits("socket", &socket)?;
    match &workload_api {
        Some(api) if api.socket == socket => return Err(bad("workload_api.socket", "is the agent's own socket")),
        Some(api) => fits("workload_api.socket", &api.socket)?,
        None => {
            if let Some(one) = identities.iter().find(|one| !one.workloads.is_empty()) {
                let key = format!("identity.{}.workloads", one.name);
                return Err(bad(key, "nobody can ask: add a [workload_api] section with its socket"));
            }
        }
    }
    let (metrics, log_json) = (file.metrics, file.log == Log::Json);
    let mut control_plane = control_plane(file.control_plane, base)?;
    control_plane.follow_revocations = workload_api.as_ref().is_some_and(|api| api.revocation_lists);
    Ok(Config { socket, state_dir, metrics, workload_api, log_json, control_plane, identities })
}

fn fits(key: &str, socket: &Path) -> Result<()> {
    let length = socket.as_os_str().len();
    let problem =
        || format!("{} has {length} bytes; a socket path can have at most {MAX_SOCKET_PATH}", socket.display());
    if length > MAX_SOCKET_PATH { Err(bad(key, problem())) } else { Ok(()) }
}

fn control_plane(written: ControlPlane, base: &Path) -> Result<IdentitySettings> {
    let path = base.join(&written.ca_file);
    let key = "control_plane.ca_file";
    let text =
        fs::read_to_string(&path).map_err(|error| bad(key, format!("cannot read {}: {error}", path.display())))?;
    let none = || bad(key, format!("{} has no PEM certificate", path.display()));
    let roots = pem::decode_certificates(&text).filter(|roots| !roots.is_empty()).ok_or_else(none)?;
    let mut settings = IdentitySettings::new(written.endpoint, roots);
    settings.server_name = written.server_name;
    settings.require_pq_kex = written.require_pq_kex;
    settings.out_of_band = written.out_of_band.map(|way| OutOfBand { url: way.url, pinned: way.pinned });
    settings.check().map_err(|error| bad("control_plane", error.to_string()))?;
    Ok(settings)
}

fn identity(this: &IdentityConfig) -> Result<()> {
    let key = format!("identity.{}", this.name);
    if this.enroll.tenant.is_none() && !matches!(this.enroll.proof, ProofConfig::JoinToken(_)) {
        return Err(bad(format!("{key}.enroll.tenant"), "is required, except with a join token"));
    }
    if this.pem.as_ref().is_some_and(|pem| pem.canary.is_some() && !pem.crl) {
        return Err(bad(format!("{key}.pem.canary"), "needs crl = true"));
    }
    let in_memory = this.exec.as_ref().is_some_and(|exec| exec.stdin == Stdin::Credentials);
    if !this.keeps_its_key() && this.pkcs12.is_none() && !in_memory && this.workloads.is_empty() {
        let problem =
            "it has no output: add pem, combined, pkcs12 or workloads, or an exec with stdin = \"credentials\"";
        return Err(bad(key, problem));
    }
    if this.ext_authz.is_some() && this.workloads.is_empty() {
        return Err(bad(format!("{key}.ext_authz"), "nobody can ask: add workloads with a rule for Envoy"));
    }
    if !this.keeps_its_key() && !this.enroll.proof.repeats() {
        let problem = "no readable key would be stored (neither pem nor combined), so each start enrolls again; a join \
                       token does not work twice";
        return Err(bad(key, problem));
    }
    Ok(())
}

/// Two identities of one name, or in one place, would replace each other for ever.
fn nothing_shared(identities: &[IdentityConfig]) -> Result<()> {
    let (mut names, mut places): (Vec<&str>, Vec<&Path>) = Default::default();
    for one in identities {
        let key = format!("identity.{}", one.name);
        if names.contains(&one.name.as_str()) {
            return Err(bad(key, "another identity has this name"));
        }
        names.push(&one.name);
        let pem = one.pem.as_ref().map(|pem| pem.directory.as_path());
        let combined = one.combined.as_ref().map(|file| file.file.as_path());
        let pkcs12 = one.pkcs12.as_ref().map(|pkcs12| pkcs12.file.as_path());
        for path in [pem, combined, pkcs12].into_iter().flatten() {
            if places.contains(&path) {
                return Err(bad(key, format!("{} is used twice", path.display())));
            }
            places.push(path);
        }
    }
    Ok(())
}
