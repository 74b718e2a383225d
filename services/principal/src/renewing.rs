//! A context's certificate renews itself while its commands are used, and who cannot renew is told in time.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use signet_client::{Credentials, Directory, Identity, IdentitySettings, Status, Storage as _, system_clock};
use signet_core::{Time, certificates::renewal::Window};
use signet_proto::v1::{self, certificate_service_client::CertificateServiceClient as Client};
use signet_x509::KeyAndCsr;

use crate::{
    certificate::Held,
    context::{Context, Contexts, private},
    exit::Exit,
    failure::Failure,
    output,
    run::Run,
    session::{Session, rpc},
};

/// Longest that a renewal which nobody asked for holds up a command.
const PATIENCE: Duration = Duration::from_secs(5);

/// The context of a command, as far as its certificate is renewed without being asked.
struct Kept {
    name: String,
    context: Context,
    held: Held,
}

impl Kept {
    fn of(run: &Run) -> Option<Self> {
        let contexts = Contexts::load(&run.home).ok()?;
        let (name, context) = contexts.select(run.global.context.as_deref()).ok()?;
        let held = Held::load(&context.directory(&run.home)).ok()?;
        Some(Self { name: name.to_owned(), context: context.clone(), held })
    }

    /// Not where another program keeps the files, e.g. the agent, nor in place of a person's sign-in.
    fn renews_itself(&self, run: &Run) -> bool {
        !run.global.no_renew && self.context.credentials.is_relative() && self.context.login.is_none()
    }
}

/// Before a command: renews a certificate that has expired, where its tenant still allows that.
pub async fn before(run: &Run) {
    let Some(kept) = Kept::of(run).filter(|kept| kept.renews_itself(run)) else { return };
    if kept.held.state(run.printer.now) != "expired" {
        return;
    }
    // The command itself says that it has expired, and what to do.
    let why = match tokio::time::timeout(PATIENCE, revive(run, &kept.context, &kept.held)).await {
        Ok(Ok(not_after)) => return renewed(run, &kept.name, not_after),
        Ok(Err(why)) => why,
        Err(_) => format!("no answer within {PATIENCE:?}"),
    };
    run.printer.note(&format!("note: the expired certificate of context {} could not be renewed: {why}", kept.name));
}

/// Renewal out of band, as the SDK does it. The error says why not.
async fn revive(run: &Run, context: &Context, held: &Held) -> Result<Timestamp, String> {
    let directory = context.directory(&run.home);
    let credentials = Credentials::load(&directory).map_err(|error| error.to_string())?;
    // To the SDK, one that is over when it arrives means that the clock is ahead: it arrived when it was made.
    let is_loaded = Arc::new(AtomicBool::new(false));
    let (made_at, loaded) = (time(held.not_before), Arc::clone(&is_loaded));
    let clock = move || if loaded.load(Ordering::Relaxed) { system_clock()() } else { made_at };
    let mut settings = IdentitySettings::new(context.endpoint.clone(), credentials.root_der().to_vec());
    settings.server_name.clone_from(&context.server_name);
    settings.storage = Arc::new(Directory::new(&directory));
    settings.follow_bundle = false;
    settings.connect_timeout = PATIENCE;
    settings.clock = Arc::new(clock);
    let identity = Identity::load(settings).await.map_err(|error| error.to_string())?;
    let identity = identity.ok_or("there is none any more")?;
    is_loaded.store(true, Ordering::Relaxed);
    identity.renew_now();
    let mut status = identity.status();
    // By this process, or by another one meanwhile.
    let is_newer = |status: &Status| status.facts.not_after_unix_millis > held.not_after.as_millisecond();
    let settled = status.wait_for(|status| status.problem.is_some() || is_newer(status)).await;
    let settled = settled.map_err(|error| error.to_string())?;
    if is_newer(&settled) && settled.stored {
        return Held::load(&directory).map(|held| held.not_after).map_err(|failure| failure.message);
    }
    Err(settled.problem.as_ref().map_or_else(|| "it cannot be stored".into(), |problem| problem.message.clone()))
}

/// After a command: renews a certificate whose renewal window has begun, if the command found the server well. Whatever
/// comes of it, the command stands.
pub async fn after(run: &Run, is_well: bool) {
    let Some(kept) = Kept::of(run) else { return };
    let now = run.printer.clock();
    if kept.held.state(now) != "valid" {
        return;
    }
    let failure = if is_well && kept.renews_itself(run) && is_due(&kept.held, now) {
        match tokio::time::timeout(PATIENCE, renew_unasked(run, &kept)).await {
            Ok(Ok(Some(not_after))) => return renewed(run, &kept.name, not_after),
            Ok(Ok(None)) => return,
            // Somebody did it a moment ago.
            Ok(Err(failure)) if failure.reason.as_deref() == Some("RENEWED_TOO_RECENTLY") => return,
            Ok(Err(failure)) => Some(failure.message),
            Err(_) => Some(format!("no answer within {PATIENCE:?}")),
        }
    } else {
        None
    };
    if failure.is_none() && !ends_soon(&kept.held, now) {
        return;
    }
    let until = output::absolute(kept.held.not_after, now);
    let why = failure.map(|why| format!(" and could not be renewed: {why}")).unwrap_or_default();
    let (what, command) = match &kept.context.login {
        Some(_) => ("sign in again", "login"),
        None => ("renew it", "cert renew"),
    };
    let advice = format!("{what}: `principal --context {} {command}`", kept.name);
    run.printer.note(&format!("warning: the certificate of context {} ends {until}{why}\nhint: {advice}", kept.name));
}

fn renewed(run: &Run, name: &str, not_after: Timestamp) {
    let until = output::absolute(not_after, run.printer.clock());
    run.printer.note(&format!("note: renewed the certificate of context {name}, which now ends {until}"));
}

/// The same rule as for everybody: from the first third of its life on.
fn is_due(held: &Held, now: Timestamp) -> bool {
    time(now) >= Window::of_lifetime(time(held.not_before), time(held.not_after)).start
}

fn time(at: Timestamp) -> Time {
    Time::from_unix_millis(at.as_millisecond())
}

/// Whether the last quarter of its life has begun.
pub fn ends_soon(held: &Held, now: Timestamp) -> bool {
    held.not_after.duration_since(now) < held.not_after.duration_since(held.made_at) / 4
}

/// `None`: another program renews it or has just done so.
async fn renew_unasked(run: &Run, kept: &Kept) -> Result<Option<Timestamp>, Failure> {
    let directory = kept.context.directory(&run.home);
    let lock = Directory::new(&directory).try_lock().map_err(Failure::other)?;
    let Some(_lock) = lock else { return Ok(None) };
    // Only the newest may be renewed: an older one looks like a copy.
    if Held::load(&directory)?.serial != kept.held.serial {
        return Ok(None);
    }
    renew_locked(run, &directory, signet_client::request_id()).await?;
    Held::load(&directory).map(|held| Some(held.not_after))
}

/// A new key and its certificate in place of those in `directory`, whose lock the caller has. An answer that is lost is
/// none for the server: it gives another for the old certificate.
pub async fn renew_locked(run: &Run, directory: &Path, request_id: String) -> Result<v1::Certificate, Failure> {
    private::check_writable(directory)?;
    let session = Session::of(run)?;
    let new = KeyAndCsr::generate().map_err(Failure::other)?;
    let request = v1::RenewCertificateRequest { csr_der: new.csr_der, request_id };
    let issued = rpc!(session, "renewing", Client.renew_certificate(request)).await?;
    let credentials = Credentials::new(issued.chain_der, issued.root_der, new.key).map_err(Failure::other)?;
    let held = Credentials::load(directory).map_err(Failure::other)?;
    credentials.facts().may_replace(held.facts(), system_clock()()).map_err(|error| {
        Failure::new(Exit::Unavailable, error.to_string()).hint("`principal doctor` compares the clocks")
    })?;
    credentials.save(directory).map_err(Failure::other)?;
    confirm_stored(run).await;
    issued.certificate.ok_or_else(|| Failure::other("the server sent no certificate"))
}

/// Tells the server, with the new certificate, that it was stored. Without it the old one merely stays good for a
/// renewal.
async fn confirm_stored(run: &Run) {
    let confirmed = async {
        let session = Session::of(run)?;
        // The command's own is the renewal's.
        let request = v1::ConfirmCertificateRequest { request_id: signet_client::request_id(), ..Default::default() };
        rpc!(session, "confirming", Client.confirm_certificate(request)).await
    };
    if let Err(failure) = confirmed.await {
        run.printer.note(&format!("could not confirm to the server that the certificate is stored: {failure}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_from_a_third_on_and_ends_soon_from_three_quarters_on() {
        let at = |hours: i64| Timestamp::from_second(hours * 3600).unwrap_or_default();
        let held = Held {
            spiffe_id: None,
            serial: String::new(),
            made_at: at(0),
            not_before: at(0),
            not_after: at(12),
            spki_sha256: String::new(),
            der: Vec::new(),
        };
        assert_eq!([3, 4, 11].map(|hour| is_due(&held, at(hour))), [false, true, true]);
        assert_eq!([8, 10].map(|hour| ends_soon(&held, at(hour))), [false, true]);
    }
}
