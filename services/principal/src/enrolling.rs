//! What every way to a first certificate shares: whom to trust, where to connect, where to put what comes.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;
use signet_client::{CERT_FILE, Connector, Directory, Enrollment, KEY_FILE, Retry, Storage};
use signet_core::audit::sha256_hex;
use signet_x509::pem;

use crate::{
    certificate::Held,
    context::{Context, Contexts, Lock, private},
    exit::Exit,
    failure::Failure,
    progress,
    run::Run,
};

/// Which credentials new ones may replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replace {
    Nothing,
    /// The same principal's.
    Own,
    Anything,
}

/// Where the credentials will be, and in which context.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    pub(crate) context: Option<(String, Context)>,
    replace: Replace,
}

impl Place {
    /// A folder of the caller's.
    pub(crate) fn folder(directory: PathBuf, replace: Replace) -> Result<Self, Failure> {
        Self { directory, context: None, replace }.checked()
    }

    /// A context's own. Fails before the proof is spent, not after.
    pub(crate) fn context(run: &Run, name: &str, context: Context, replace: Replace) -> Result<Self, Failure> {
        Contexts::load(&run.home)?.refuse_other_server(name, &context)?;
        // Its list of contexts too.
        private::check_writable(run.home.path())?;
        Self { directory: context.directory(&run.home), context: Some((name.to_owned(), context)), replace }.checked()
    }

    fn checked(self) -> Result<Self, Failure> {
        if self.replace == Replace::Nothing {
            self.refuse_held(None)?;
        }
        private::check_writable(&self.directory)?;
        Ok(self)
    }

    /// An error if the credentials that are here must stay: all, or those of others than `new`.
    fn refuse_held(&self, new: Option<&Held>) -> Result<(), Failure> {
        let is_free = [CERT_FILE, KEY_FILE].iter().all(|name| !self.directory.join(name).exists());
        let held = Held::load(&self.directory).ok();
        let is_same = |new: &Held| held.as_ref().is_some_and(|held| held.spiffe_id == new.spiffe_id);
        if is_free || new.is_some_and(is_same) || self.is_resumed(held.as_ref()) {
            return Ok(());
        }
        let place = match &self.context {
            Some((name, _)) => format!("context {name}"),
            None => self.directory.display().to_string(),
        };
        let whose = held.and_then(|held| held.spiffe_id).unwrap_or_else(|| "another certificate".into());
        let message = match new.and_then(|new| new.spiffe_id.as_deref()) {
            Some(new) => format!("{place} has the key of {whose}, not of {new}"),
            None => format!("{place} has the key of {whose}"),
        };
        Err(Failure::new(Exit::Conflict, message).hint("choose another place, or replace the key with --replace"))
    }

    /// An earlier run stored its certificate, and was stopped just after that.
    fn is_resumed(&self, held: Option<&Held>) -> bool {
        let pending = Directory::new(&self.directory).pending().ok().flatten();
        pending.zip(held).is_some_and(|(pending, held)| sha256_hex(&pending.spki_der()) == held.spki_sha256)
    }
}

/// What verifies the server, from a file, or from the public listener by the fingerprint of one; DER, at least one.
pub(crate) async fn server_trust(
    file: Option<&Path>,
    url: Option<&str>,
    pin: Option<&str>,
) -> Result<Vec<Vec<u8>>, Failure> {
    if let Some(path) = file {
        let text = fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
        let all = pem::decode_certificates(&text);
        return all.ok_or_else(|| Failure::usage(format!("{} has no PEM certificate", path.display())));
    }
    // clap demands both.
    Ok(vec![signet_client::fetch_root(url.unwrap_or_default(), pin.unwrap_or_default()).await?])
}

/// A way to the server without a certificate.
pub(crate) fn connector(
    run: &Run,
    server: &str,
    name: Option<&str>,
    trusted: &[Vec<u8>],
) -> Result<Connector, Failure> {
    let connector = Connector::new(server, trusted, None)?;
    let connector = connector.with_deadline(run.global.timeout).with_connect_timeout(run.global.timeout);
    match name {
        Some(name) => Ok(connector.with_server_name(name)?),
        None => Ok(connector),
    }
}

/// Gets the certificate, keeps it with its key and says what it is.
pub(crate) async fn enroll(
    run: &Run,
    connector: &Connector,
    enrollment: &Enrollment,
    place: Place,
) -> Result<Exit, Failure> {
    let _lock = Lock::wait(&place.directory, run.global.timeout, &run.printer).await?;
    if let Some((name, context)) = &place.context {
        Contexts::load(&run.home)?.refuse_other_server(name, context)?;
    }
    if place.replace == Replace::Nothing {
        place.refuse_held(None)?;
    }
    let (channel, retry) = (connector.channel(), Retry { attempts: 4, ..Retry::default() });
    // The key is on disk before anything is sent: a second run gets the certificate whose answer the first one lost.
    let storage: Arc<dyn Storage> = Arc::new(Directory::new(&place.directory));
    let work = signet_client::enroll_resumably(&channel, &storage, enrollment, retry);
    let first = progress::watch("enrolling", run.printer.quiet, work).await.map_err(|error| {
        let mut failure = Failure::from(error);
        if let (Some(hint), Some(tenant)) = (&mut failure.hint, &enrollment.tenant_id) {
            *hint = hint.replace("TENANT", tenant);
        }
        failure
    })?;
    let credentials = first.credentials;
    let leaf = credentials.chain_der().first().cloned().and_then(Held::from_der);
    if place.replace == Replace::Own
        && let Err(refused) = place.refuse_held(leaf.as_ref())
    {
        // The same request would bring the same certificate.
        storage.forget_pending().map_err(Failure::other)?;
        return Err(refused);
    }
    credentials.save(&place.directory).map_err(Failure::other)?;
    let name = place.context.as_ref().map(|(name, _)| name.clone());
    if let Some((name, context)) = place.context {
        Contexts::update(&run.home, |contexts| {
            contexts.refuse_other_server(&name, &context)?;
            contexts.put(&name, context);
            Ok(())
        })?;
    }
    // Last: until all is in its place, the same command gets the same certificate.
    storage.forget_pending().map_err(Failure::other)?;
    let held = Held::load(&place.directory)?;
    if run.printer.quiet && run.printer.format.is_for_people() {
        return Ok(Exit::Ok);
    }
    let made = json!({
        "spiffe_id": held.spiffe_id,
        "serial_number": held.serial,
        "not_after": held.not_after.to_string(),
        "credentials": place.directory,
        "context": name,
    });
    run.printer.record(&made, &["spiffe_id"]).map(|()| Exit::Ok)
}
