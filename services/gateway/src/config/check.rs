//! From what the file says to what the gateway does, with the checks of settings that depend on each other.

use std::{fs, path::Path};

use http::Method;
use signet_client::IdentitySettings;
use signet_x509::pem;
use url::Url;

use crate::headers::folded;

use super::{
    error::{ConfigError, bad},
    routes::{Accepted, RouteConfig},
    sections::{Config, ControlPlane, File, L4Config, Log, TokenConfig},
    upstreams::UpstreamConfig,
};

type Result<T, E = ConfigError> = std::result::Result<T, E>;

pub(super) fn config(file: File, base: &Path) -> Result<Config> {
    upstreams(&file.upstream)?;
    routes(&file)?;
    file.token.as_ref().map(token).transpose()?;
    l4(&file)?;
    let mut listen = file.listen;
    if let Some(files) = &mut listen.certificate {
        files.chain_file = base.join(&files.chain_file);
        files.key_file = base.join(&files.key_file);
    }
    let mut bans = file.bans;
    bans.log_file = bans.log_file.map(|path| base.join(path));
    let mut audit = file.audit;
    audit.file = audit.file.map(|path| base.join(path));
    Ok(Config {
        state_dir: base.join(file.state_dir),
        private: file.private,
        log_json: file.log == Log::Json,
        control_plane: control_plane(file.control_plane, base)?,
        join_token_file: file.identity.join_token_file.map(|path| base.join(path)),
        principal: file.identity.principal,
        listen,
        bans,
        audit,
        limits: file.limits,
        removed_headers: file.headers.remove.iter().map(|name| folded(name)).collect(),
        context: file.authorization.context,
        token: file.token,
        upstreams: file.upstream,
        routes: file.route,
        l4: file.l4,
    })
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
    settings.check().map_err(|error| bad("control_plane", error.to_string()))?;
    Ok(settings)
}

fn upstreams(upstreams: &[UpstreamConfig]) -> Result<()> {
    for (number, one) in upstreams.iter().enumerate() {
        if upstreams.iter().take(number).any(|earlier| earlier.name == one.name) {
            return Err(bad(format!("upstream.{}", one.name), "another upstream has this name"));
        }
        let url = Url::parse(&one.url).ok().filter(|url| {
            url.scheme() == "http"
                && url.has_host()
                && url.path() == "/"
                && url.query().is_none()
                && url.fragment().is_none()
        });
        if url.is_none_or(|url| !url.username().is_empty() || url.password().is_some()) {
            return Err(bad(format!("upstream.{}.url", one.name), "must be http://host:port without a path"));
        }
        if one.answer_timeout <= one.connect_timeout {
            let key = format!("upstream.{}.answer_timeout_seconds", one.name);
            return Err(bad(key, "must be longer than connect_timeout_seconds: it begins with the connection"));
        }
    }
    Ok(())
}

fn routes(file: &File) -> Result<()> {
    if file.route.is_empty() && file.l4.is_empty() {
        return Err(bad("route", "add a [[route]] or an [[l4]] section, see signet-gateway sample"));
    }
    file.route.iter().enumerate().try_for_each(|(number, one)| route(file, one, &format!("route.{}", number + 1)))
}

fn route(file: &File, one: &RouteConfig, key: &str) -> Result<()> {
    if !file.upstream.iter().any(|upstream| upstream.name == one.upstream) {
        return Err(bad(format!("{key}.upstream"), format!("there is no [[upstream]] named {:?}", one.upstream)));
    }
    let is_host = |host: &str| !host.is_empty() && !host.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b':');
    if one.host.as_deref().is_some_and(|host| !is_host(host)) {
        return Err(bad(format!("{key}.host"), "must be a name or an address in lower case, without a port"));
    }
    let is_method = |method: &String| {
        method.bytes().all(|byte| byte.is_ascii_uppercase()) && Method::from_bytes(method.as_bytes()).is_ok()
    };
    if !one.methods.iter().all(is_method) {
        return Err(bad(format!("{key}.methods"), "must be in upper case, such as GET"));
    }
    if one.accept.is_empty() {
        return Err(bad(format!("{key}.accept"), "must name certificate, token or both"));
    }
    if one.accepts(Accepted::Token) && file.token.is_none() {
        return Err(bad(format!("{key}.accept"), "nobody gives tokens: add a [token] section"));
    }
    if one.unbound && !(one.accepts(Accepted::Token) && file.listen.certificate_optional) {
        let problem = "needs accept = [\"token\"] and listen.certificate_optional = true";
        return Err(bad(format!("{key}.unbound"), problem));
    }
    Ok(())
}

fn token(token: &TokenConfig) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
    if token.path.len() < 2 || !token.path.starts_with('/') || !token.path.bytes().all(plain) {
        return Err(bad("token.path", "must be a plain path such as /auth/token"));
    }
    match &token.audience {
        Some(audience) if audience.is_empty() => Err(bad("token.audience", "must not be empty")),
        _ => Ok(()),
    }
}

fn l4(file: &File) -> Result<()> {
    for (number, one) in file.l4.iter().enumerate() {
        let L4Config { name, listen, upstream, .. } = one;
        let key = |key: &str| format!("l4.{name}.{key}");
        if file.l4.iter().take(number).any(|earlier| earlier.name == *name) {
            return Err(bad(format!("l4.{name}"), "another l4 listener has this name"));
        }
        let is_address = upstream
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
        if !is_address {
            return Err(bad(key("upstream"), "must be host:port"));
        }
        if listen.port() != 0 && *listen == file.listen.https {
            return Err(bad(key("listen"), "is the address of listen.https"));
        }
    }
    Ok(())
}

impl Config {
    /// Whether something differs that is settled at the start.
    pub(crate) fn needs_restart(&self, running: &Self) -> bool {
        let control_plane = |of: &Self| {
            let settings = &of.control_plane;
            (
                settings.endpoint.clone(),
                settings.server_name.clone(),
                settings.roots_der.clone(),
                settings.require_pq_kex,
            )
        };
        self.state_dir != running.state_dir
            || self.private != running.private
            || self.join_token_file != running.join_token_file
            || self.principal != running.principal
            || self.listen != running.listen
            || self.bans != running.bans
            || self.audit != running.audit
            || self.l4 != running.l4
            || control_plane(self) != control_plane(running)
    }
}
