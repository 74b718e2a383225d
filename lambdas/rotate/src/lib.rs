//! The `rotate` Lambda: Secrets Manager's four steps for the server's certificate, and the scheduled tasks.
//!
//! Decisions are `signet_app`'s; here are AWS's shapes. Everything may run at any time, again, and twice at once.

mod bucket;
mod event;
mod handshake;
mod notifier;
mod secret;

use std::sync::Arc;

use aws_sdk_secretsmanager::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use lambda_runtime::Diagnostic;
use serde_json::{Value, json};
use signet_app::{
    App, Call, Chore, ObjectStore, ServerNames, TaskReport,
    audit::checkpoints,
    authorities::{self, lifecycle},
    certificates::{expiry, sweep},
    purge,
    tenants::quotas,
    trust::publication,
};
use signet_control_plane::{
    Clock, Config, PublicMaterial, ServerIdentityStore, cli::system_clock, config::ServerIdentitySource, wiring::Opened,
};
use signet_core::{Error, Time};
use signet_x509::bundle::to_pem;
use thiserror::Error as ThisError;

pub use event::{Event, Step, Task};

/// Before the function's time limit no new piece of work is begun for this long, in milliseconds.
const LAST_MOMENTS: i64 = 20_000;

/// Why a run failed. Logged, counted by the alarm, and tried again by whoever called.
#[derive(Debug, ThisError)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub enum RotateError {
    /// The event is none that this function knows.
    #[error("{0}")]
    Event(String),
    /// A setting that is needed is missing.
    #[error("{0}")]
    Settings(&'static str),
    /// An operation.
    #[error("{what}: {error}{}", cause(.error))]
    Operation {
        /// Doing what.
        what: String,
        error: Error,
    },
    /// AWS refused or did not answer.
    #[error("{what}: {cause}")]
    Aws {
        /// Doing what.
        what: String,
        cause: String,
    },
    /// The pending key and certificate would not serve.
    #[error("the pending certificate is not valid: {0}")]
    BadPending(String),
    /// Some pieces of a task failed; the others are done.
    #[error("{task}: {failed} steps failed, the first: {first}")]
    Pieces {
        /// Which task.
        task: &'static str,
        /// How many.
        failed: usize,
        /// The first one and why.
        first: String,
    },
}

/// What the runtime reports of a failed run.
impl From<RotateError> for Diagnostic {
    fn from(error: RotateError) -> Self {
        Self { error_type: "Rotate".into(), error_message: error.to_string() }
    }
}

/// What an AWS service said, without the rest of the exchange.
pub(crate) fn said<E, R>(error: &SdkError<E, R>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    match error.as_service_error() {
        Some(said) => format!("{}: {}", said.code().unwrap_or("?"), said.message().unwrap_or_default()),
        None => DisplayErrorContext(error).to_string(),
    }
}

/// The cause that callers of the API are not told.
fn cause(error: &Error) -> String {
    match error {
        Error::Unavailable { cause, .. }
        | Error::Restoring { cause }
        | Error::Misconfigured { cause, .. }
        | Error::Internal { cause } => {
            format!(" ({cause})")
        }
        _ => String::new(),
    }
}

/// The function, ready for events.
#[derive(Debug)]
pub struct Function {
    app: Arc<App>,
    names: ServerNames,
    server_identity: Arc<dyn ServerIdentityStore>,
    secret: secret::Secret,
    bucket: Option<bucket::Bucket>,
    notifier: Option<notifier::Bus>,
    clock: Clocked,
}

/// A clock that prints.
struct Clocked(Clock);

impl std::fmt::Debug for Clocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

impl Function {
    /// Makes the clients. Asks nobody anything.
    pub fn new(config: &Config, opened: Opened) -> Result<Self, RotateError> {
        let Opened { app, server_identity, aws } = opened;
        let aws = aws.ok_or(RotateError::Settings("this function is for AWS: set SIGNET_STORAGE__KIND=dynamodb"))?;
        let ServerIdentitySource::Aws { prefix } = &config.server_identity else {
            return Err(RotateError::Settings("set SIGNET_SERVER_IDENTITY__KIND=aws"));
        };
        let path_style = config.aws.endpoint_url.is_some();
        Ok(Self {
            app,
            names: config.server.clone(),
            server_identity,
            secret: secret::Secret::new(&aws, prefix),
            bucket: config.publication.as_ref().map(|to| bucket::Bucket::new(&aws, &to.bucket, path_style)),
            notifier: config.events.as_ref().map(|to| notifier::Bus::new(&aws, &to.bus)),
            clock: Clocked(system_clock()),
        })
    }

    /// Carries out one event. `deadline`: when AWS will stop this run, Unix milliseconds.
    pub async fn call(&self, event: Value, deadline: u64) -> Result<Value, RotateError> {
        let started = self.now();
        let result = match Event::parse(&event) {
            Ok(Event::Rotation { step, secret_id, token }) => self.step(step, &secret_id, &token).await,
            Ok(Event::Task(task)) => self.task(task, i64::try_from(deadline).unwrap_or(i64::MAX)).await,
            Ok(Event::AcceptAuditHead) => self.accept_audit_head().await,
            Err(error) => Err(error),
        };
        let duration_ms = self.now().millis_since(started);
        match &result {
            Ok(answer) => tracing::info!(%answer, duration_ms, "done"),
            Err(error) => tracing::error!(%error, duration_ms, "failed"),
        }
        result
    }

    fn now(&self) -> Time {
        (self.clock.0)()
    }

    async fn accept_audit_head(&self) -> Result<Value, RotateError> {
        let bucket = self.bucket.as_ref().ok_or(RotateError::Settings("set SIGNET_PUBLICATION__BUCKET"))?;
        let call = Call::process("accept-audit-head", self.now());
        let done = checkpoints::accept_audit_head(&self.app, &call, bucket).await;
        let done = done.map_err(|error| RotateError::Operation { what: "accept-audit-head".into(), error })?;
        Ok(json!({ "done": done }))
    }

    async fn task(&self, task: Task, deadline: i64) -> Result<Value, RotateError> {
        let go_on = || Some(self.now()).filter(|now| now.unix_millis() < deadline.saturating_sub(LAST_MOMENTS));
        let chore = Chore::new(task.name(), self.now());
        let report = match task {
            Task::RotateCas => lifecycle::rotate_due_cas(&self.app, &chore, &go_on).await,
            Task::CountQuotas => quotas::recount_quotas(&self.app, &chore, &go_on).await,
            Task::KeyPolicies => lifecycle::apply_key_policies(&self.app, &go_on).await,
            Task::PurgeTenants => {
                let bucket = self.bucket.as_ref().map(|bucket| bucket as &dyn ObjectStore);
                purge::purge_tenants(&self.app, &chore, bucket, &go_on).await
            }
            Task::Publish => self.publish(&chore, &go_on).await?,
            Task::Sweep => sweep::sweep_reservations(&self.app, &chore, &go_on).await.map(|report| TaskReport {
                done: vec![format!("{} reservations closed", report.done.len())],
                ..report
            }),
            Task::WarnExpiry => {
                let notifier = self.notifier.as_ref().ok_or(RotateError::Settings("set SIGNET_EVENTS__BUS"))?;
                expiry::warn_expiries(&self.app, &chore, notifier, &go_on).await
            }
        };
        let report = report.map_err(|error| {
            signet_app::tell_operator(task.name(), &error);
            RotateError::Operation { what: task.name().into(), error }
        })?;
        told(task, report)
    }

    /// The bucket's objects, and what to trust the control plane by where new clients and nodes look for it.
    async fn publish(
        &self,
        chore: &Chore,
        go_on: signet_app::GoOn<'_>,
    ) -> Result<Result<TaskReport, Error>, RotateError> {
        let bucket = self.bucket.as_ref().ok_or(RotateError::Settings("set SIGNET_PUBLICATION__BUCKET"))?;
        let mut report = match publication::publish(&self.app, chore, bucket, go_on).await {
            Ok(report) => report,
            Err(error) => return Ok(Err(error)),
        };
        let parameter = async {
            let trusted = authorities::server_trust(&self.app, chore.now).await?;
            let pem = to_pem(trusted.iter().map(Vec::as_slice));
            let refused = |error: signet_control_plane::ServerIdentityError| Error::Unavailable {
                what: "the root's parameter",
                cause: error.to_string(),
            };
            let there = self.server_identity.get_public(PublicMaterial::Root).await.map_err(refused)?;
            if trusted.is_empty() || there.is_some_and(|there| there == pem) {
                return Ok(false);
            }
            self.server_identity.put_public(PublicMaterial::Root, &pem).await.map_err(refused)?;
            Ok(true)
        };
        match parameter.await {
            Ok(true) => report.done.push("parameter root".into()),
            Ok(false) => {}
            Err(error) => report.failed.push(("parameter root".into(), error)),
        }
        Ok(Ok(report))
    }
}

/// What a task did, for whoever invoked it; an error if a piece of it failed.
fn told(task: Task, report: TaskReport) -> Result<Value, RotateError> {
    let task = task.name();
    for (what, error) in &report.failed {
        signet_app::tell_operator(task, error);
        tracing::error!(task, what, reason = error.reason(), %error, cause = cause(error), "a step failed");
    }
    if report.unfinished {
        tracing::warn!(task, "out of time; the next run continues");
    }
    match report.failed.first() {
        Some((what, error)) => {
            let first = format!("{what}: {error}{}", cause(error));
            Err(RotateError::Pieces { task, failed: report.failed.len(), first })
        }
        None => Ok(json!({ "task": task, "done": report.done, "unfinished": report.unfinished })),
    }
}
