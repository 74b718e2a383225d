//! From a context's files to a channel.

use jiff::Timestamp;
use signet_client::{Connector, Credentials};
use tonic::transport::Channel;

use crate::{
    certificate::Held,
    context::{Context, private},
    exit::Exit,
    failure::Failure,
    run::Run,
};

/// A channel that authenticates with the context's certificate. It connects with its first call.
pub(crate) fn channel(run: &Run, name: &str, context: &Context) -> Result<Channel, Failure> {
    let connector = connector(run, name, context)?;
    Ok(connector.channel())
}

/// A channel to the same server, by which nobody is known: for first certificates of others.
pub(crate) fn stranger(run: &Run, name: &str, context: &Context) -> Result<Channel, Failure> {
    let credentials = credentials(run, name, context)?;
    Ok(configured(run, context, Connector::new(&context.endpoint, credentials.root_der(), None)?)?.channel())
}

/// What makes that channel.
pub(crate) fn connector(run: &Run, name: &str, context: &Context) -> Result<Connector, Failure> {
    let credentials = credentials(run, name, context)?;
    configured(run, context, Connector::new(&context.endpoint, credentials.root_der(), Some(&credentials))?)
}

/// The context's, as far as they can be used.
fn credentials(run: &Run, name: &str, context: &Context) -> Result<Credentials, Failure> {
    let directory = context.directory(&run.home);
    private::refuse_if_open(&directory.join(signet_client::KEY_FILE))?;
    refuse_if_expired(&directory, name, context, run.printer.now)?;
    Credentials::load(&directory).map_err(|error| {
        Failure::new(Exit::Denied, format!("context {name}: {error}")).hint(
            "`principal doctor` explains; `principal enroll --replace --save-context NAME` gets a new certificate",
        )
    })
}

fn configured(run: &Run, context: &Context, connector: Connector) -> Result<Connector, Failure> {
    let connector = connector.with_deadline(run.global.timeout).with_connect_timeout(run.global.timeout);
    match &context.server_name {
        Some(name) => Ok(connector.with_server_name(name)?),
        None => Ok(connector),
    }
}

/// The server would refuse it too, but less clearly.
fn refuse_if_expired(
    directory: &std::path::Path,
    name: &str,
    context: &Context,
    now: Timestamp,
) -> Result<(), Failure> {
    match Held::load(directory) {
        Ok(held) if now >= held.not_after => {
            let message = format!("context {name}: its certificate expired at {}", held.not_after);
            let hint = match context.login {
                Some(_) => "sign in again: `principal login`",
                None => held.way_back(),
            };
            Err(Failure::new(Exit::Denied, message).hint(hint))
        }
        _ => Ok(()),
    }
}
