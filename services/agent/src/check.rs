//! `signet-agent check`: what the configuration comes to, and what it names and is not there yet.

use std::{fmt::Write, path::Path};

use signet_client::Storage as _;

use crate::{
    config::{Config, IdentityConfig},
    control, metrics,
    publish::Published,
    socket,
    workload_api::Workload,
};

/// What keeps `run` from doing all that it should, each in a line; empty if nothing does.
pub(crate) async fn problems(config: &Config) -> String {
    let mut text = String::new();
    for one in &config.identities {
        for problem in Published::new(one.clone(), &config.state_dir).misplaced() {
            let _ = writeln!(text, "{}: {problem}", one.name);
        }
        for problem in of_the_wrong_kind(one) {
            let _ = writeln!(text, "{}: {problem}", one.name);
        }
    }
    if config.state_dir.exists() && !config.state_dir.is_dir() {
        let _ = writeln!(text, "state_dir: {}: it must be a folder", config.state_dir.display());
    }
    let api = config.workload_api.iter().map(|api| ("workload_api.socket", &api.socket));
    for (key, path) in [("socket", &config.socket)].into_iter().chain(api) {
        // The agent makes its own folder.
        if let Some(folder) = path.parent().filter(|folder| *folder != config.state_dir && !folder.is_dir()) {
            let _ = writeln!(text, "{key}: {} is not there, or no folder", folder.display());
        }
        if let Some(problem) = socket::problem(path) {
            let _ = writeln!(text, "{key}: {problem}");
        }
    }
    // A running agent has both itself.
    if control::ask(&config.socket, "status").await.is_ok() {
        return text;
    }
    if let Some(address) = config.metrics
        && let Err(error) = metrics::open(address).await
    {
        let _ = writeln!(text, "{error}");
    }
    text
}

/// For people. What is missing may still come: it is told, and no error.
pub(crate) fn describe(config: &Config) -> String {
    let mut text = format!("control plane {}\n", config.control_plane.endpoint);
    for one in &config.identities {
        let after = if one.keeps_its_key() { "its files are loaded" } else { "it enrolls again" };
        let _ = writeln!(text, "{}: {}; after a restart, {after}", one.name, one.enroll.proof);
        for path in named(one).into_iter().filter(|path| !path.exists()) {
            let _ = writeln!(text, "{}: {} is not there", one.name, path.display());
        }
    }
    text
}

/// Folders where others provide a file, and files where a folder is written to.
fn of_the_wrong_kind(one: &IdentityConfig) -> Vec<String> {
    let pid = one.signal.as_ref().map(|signal| signal.pid_file.as_path());
    let files = named(one).into_iter().chain(pid).filter(|path| path.is_dir());
    let files = files.map(|path| format!("{}: it is a folder, and must be a file", path.display()));
    let outputs = [
        one.pem.as_ref().map(|pem| pem.directory.as_path()),
        one.combined.as_ref().and_then(|combined| combined.file.parent()),
        one.pkcs12.as_ref().and_then(|pkcs12| pkcs12.file.parent()),
    ];
    let folders = outputs.into_iter().flatten().filter(|path| path.exists() && !path.is_dir());
    files.chain(folders.map(|path| format!("{}: it must be a folder", path.display()))).collect()
}

/// What others provide.
fn named(one: &IdentityConfig) -> Vec<&Path> {
    // A proof is needed once.
    let enrolled = one.pem.as_ref().is_some_and(|pem| pem.directory.join(signet_client::CERT_FILE).exists())
        || one.combined.as_ref().is_some_and(|combined| combined.file.exists());
    let mut paths = if enrolled { Vec::new() } else { one.enroll.proof.files() };
    paths.extend(one.exec.as_ref().map(|exec| exec.command.program.as_path()));
    paths.extend(one.pkcs12.as_ref().map(|pkcs12| pkcs12.password_file.as_path()));
    paths.extend(one.workloads.iter().filter_map(Workload::executable));
    paths
}

/// Whether the control plane is there and believed, without a certificate: by the configuration, and by each identity
/// that was told more with its certificate.
pub(crate) async fn connect(config: &Config) -> Result<(), String> {
    config.control_plane.reach().await.map_err(|error| error.to_string())?;
    for one in &config.identities {
        let Ok(Some((credentials, _))) = Published::new(one.clone(), &config.state_dir).load() else { continue };
        let mut settings = config.control_plane.clone();
        settings.roots_der.extend_from_slice(credentials.root_der());
        settings.reach().await.map_err(|error| format!("as {}: {error}", one.name))?;
    }
    Ok(())
}
