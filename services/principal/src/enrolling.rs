//! What every way to a first certificate shares: whom to trust, where to connect, where to put what comes.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;
use signet_client::{Connector, Credentials, Directory, Enrollment, Retry, Storage};
use signet_x509::pem;

use crate::{
    certificate::Held,
    context::{Context, Contexts, Lock, private},
    exit::Exit,
    failure::Failure,
    output::Format,
    progress,
    run::Run,
};

/// Where the credentials will be, and in which context.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    pub(crate) context: Option<(String, Context)>,
}

impl Place {
    /// A folder of the caller's.
    pub(crate) fn folder(directory: PathBuf) -> Result<Self, Failure> {
        private::check_writable(&directory)?;
        Ok(Self { directory, context: None })
    }

    /// A context's own. Fails before the proof is spent, not after.
    pub(crate) fn context(run: &Run, name: &str, context: Context) -> Result<Self, Failure> {
        Contexts::load(&run.home)?.refuse_other_server(name, &context)?;
        // Its list of contexts too.
        private::check_writable(run.home.path())?;
        let directory = context.directory(&run.home);
        private::check_writable(&directory)?;
        Ok(Self { directory, context: Some((name.to_owned(), context)) })
    }
}

/// The root from a file, or from the public listener by its fingerprint; DER.
pub(crate) async fn root(file: Option<&Path>, url: Option<&str>, pin: Option<&str>) -> Result<Vec<u8>, Failure> {
    if let Some(path) = file {
        let text = fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
        let first = pem::decode_certificates(&text).and_then(|all| all.into_iter().next());
        return first.ok_or_else(|| Failure::usage(format!("{} has no PEM certificate", path.display())));
    }
    // clap demands both.
    Ok(signet_client::fetch_root(url.unwrap_or_default(), pin.unwrap_or_default()).await?)
}

/// A way to the server without a certificate.
pub(crate) fn connector(run: &Run, server: &str, name: Option<&str>, root: &[u8]) -> Result<Connector, Failure> {
    let connector = Connector::new(server, &[root.to_vec()], None)?;
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
    let (channel, retry) = (connector.channel(), Retry { attempts: 4, ..Retry::default() });
    // The key is on disk before anything is sent: a second run gets the certificate whose answer the first one lost.
    let storage: Arc<dyn Storage> = Arc::new(Directory::new(&place.directory));
    let work = signet_client::enroll_resumably(&channel, &storage, enrollment, retry);
    let credentials: Credentials = progress::watch("enrolling", run.printer.quiet, work).await?;
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
    if run.printer.quiet && run.printer.format == Format::Table {
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
