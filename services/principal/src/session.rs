//! Calls to the server of one context: time limit, safe retries, signs of life.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use signet_client::ClientError;
use tonic::{Request, Response, Status, Streaming, transport::Channel};

use crate::{
    certificate::Held,
    connect,
    context::{Context, Contexts},
    exit::Exit,
    failure::Failure,
    output::{self, Column, Printer, Shown},
    progress,
    run::Run,
    values::ListArgs,
};

/// One call of a generated client: `rpc!(session, "what it does", Client.method(request)).await?`.
macro_rules! rpc {
    ($session:expr, $what:literal, $client:ident.$method:ident($request:expr)) => {
        $session.call($what, $request, |channel, request| async move { $client::new(channel).$method(request).await })
    };
}
pub(crate) use rpc;

/// Items the server may send at once.
const PAGE: u32 = 500;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A person waits: better a clear answer soon.
const TRIES: u32 = 4;

/// An open way to the server.
#[derive(Debug)]
pub struct Session {
    channel: Channel,
    tenant: String,
    request_id: String,
    timeout: Duration,
    printer: Printer,
    held: Option<Held>,
}

impl Session {
    /// Connects to the server of the chosen context.
    pub fn of(run: &Run) -> Result<Self, Failure> {
        let contexts = Contexts::load(&run.home)?;
        let (name, context) = contexts.select(run.global.context.as_deref())?;
        Self::open(run, name, context)
    }

    /// Reads the context's credentials and connects.
    pub fn open(run: &Run, name: &str, context: &Context) -> Result<Self, Failure> {
        let channel = connect::channel(run, name, context)?;
        let tenant = run.global.tenant.as_ref().map(ToString::to_string).or_else(|| context.tenant.clone());
        let request_id = request_id(run);
        Ok(Self {
            channel,
            tenant: tenant.unwrap_or_default(),
            request_id,
            timeout: run.global.timeout,
            printer: run.printer.clone(),
            held: Held::load(&context.directory(&run.home)).ok(),
        })
    }

    /// The tenant to work in; empty means the caller's own.
    pub fn tenant(&self) -> String {
        self.tenant.clone()
    }

    /// The same for people, by its name.
    pub fn tenant_name(&self) -> &str {
        let own = || self.held.as_ref().and_then(Held::tenant_and_principal).map(|(tenant, _)| tenant);
        Some(self.tenant.as_str()).filter(|tenant| !tenant.is_empty()).or_else(own).unwrap_or("the caller")
    }

    /// Limit of a call.
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether the tenant to work in is another than the caller's.
    pub fn is_elsewhere(&self) -> bool {
        let own = self.held.as_ref().and_then(Held::tenant_and_principal).map(|(tenant, _)| tenant);
        !self.tenant.is_empty() && own.is_some_and(|own| own != self.tenant)
    }

    /// The certificate that we call with, DER.
    pub fn certificate(&self) -> Option<&[u8]> {
        self.held.as_ref().map(|held| held.der.as_slice())
    }

    /// A failure, with what this caller can do.
    pub fn failure(&self, error: impl Into<ClientError>) -> Failure {
        Failure::from(error.into()).of_caller(self.held.as_ref().and_then(Held::tenant_and_principal))
    }

    /// The idempotency key of this command's change. A command makes at most one.
    pub fn request_id(&self) -> String {
        self.printer.detail(&format!("request id {}", self.request_id));
        self.request_id.clone()
    }

    /// The channel, for calls that need more than [`Self::call`].
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// One call, repeated while the server is not available and time is left. Changes carry a request id, so a
    /// repetition is safe.
    pub async fn call<Q, A, F>(
        &self,
        what: &str,
        request: Q,
        send: impl Fn(Channel, Request<Q>) -> F,
    ) -> Result<A, Failure>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let work = self.attempts(what, request, send);
        progress::watch(what, self.printer.quiet, work).await.map(Response::into_inner)
    }

    /// Opens a stream; the time limit is for its start.
    pub async fn open_stream<Q, A, F>(
        &self,
        what: &str,
        request: Q,
        send: impl Fn(Channel, Request<Q>) -> F,
    ) -> Result<Streaming<A>, Failure>
    where
        Q: Clone,
        F: Future<Output = Result<Response<Streaming<A>>, Status>>,
    {
        let opened = tokio::time::timeout(self.timeout, send(self.channel.clone(), Request::new(request))).await;
        match opened {
            Ok(opened) => Ok(opened.map_err(|status| self.failure(status))?.into_inner()),
            Err(_) => Err(out_of_time(what, self.timeout)),
        }
    }

    async fn attempts<Q, A, F>(
        &self,
        what: &str,
        request: Q,
        send: impl Fn(Channel, Request<Q>) -> F,
    ) -> Result<Response<A>, Failure>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let started = Instant::now();
        let (mut pause, mut tries) = (FIRST_PAUSE, TRIES);
        loop {
            let left = self.timeout.saturating_sub(started.elapsed());
            let mut attempt = Request::new(request.clone());
            attempt.set_timeout(left);
            let error = match tokio::time::timeout(left, send(self.channel.clone(), attempt)).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(status)) => ClientError::from(status),
                Err(_) => return Err(out_of_time(what, self.timeout)),
            };
            tries = tries.saturating_sub(1);
            let time_left = started.elapsed().saturating_add(pause) < self.timeout;
            if !error.is_transient() || tries == 0 || !time_left {
                return Err(self.failure(error));
            }
            self.printer.detail(&format!("{what}: {error}; retrying"));
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
    }

    /// All pages of a list, up to `limit` items; 0 is all. `fetch` takes a page's size and token.
    pub async fn pages<T, F>(&self, limit: u32, fetch: impl Fn(u32, String) -> F) -> Result<List<T>, Failure>
    where
        F: Future<Output = Result<Page<T>, Failure>>,
    {
        self.matching(limit, None, fetch).await
    }

    /// The same for the items that `keep` wants.
    pub async fn matching<T, F>(
        &self,
        limit: u32,
        keep: Option<&dyn Fn(&T) -> bool>,
        fetch: impl Fn(u32, String) -> F,
    ) -> Result<List<T>, Failure>
    where
        F: Future<Output = Result<Page<T>, Failure>>,
    {
        let (mut items, mut unreadable) = (Vec::new(), Vec::new());
        let mut token = String::new();
        loop {
            let have = u32::try_from(items.len()).unwrap_or(u32::MAX);
            let size = if limit == 0 || keep.is_some() { PAGE } else { limit.saturating_sub(have).min(PAGE) };
            let page = fetch(size, token).await?;
            items.extend(page.items.into_iter().filter(|item| keep.is_none_or(|keep| keep(item))));
            unreadable.extend(page.unreadable);
            token = page.next_page_token;
            // Of what was chosen, one more has to be seen: pages that follow may have none.
            let most = if keep.is_some() { limit.saturating_add(1) } else { limit } as usize;
            let is_cut = items.len() > limit as usize || (keep.is_none() && !token.is_empty());
            if limit > 0 && items.len() >= most && is_cut {
                items.truncate(limit as usize);
                return Ok(List { items, unreadable, cut_at: Some(limit) });
            }
            if token.is_empty() {
                return Ok(List { items, unreadable, cut_at: None });
            }
        }
    }
}

/// One answer to a question for a list.
#[derive(Debug)]
pub struct Page<T> {
    /// Its items.
    pub items: Vec<T>,
    /// Empty: it is the last.
    pub next_page_token: String,
    /// What the server cannot read.
    pub unreadable: Vec<String>,
}

/// A list as far as it could be read.
#[derive(Debug)]
pub struct List<T> {
    /// Its items.
    pub items: Vec<T>,
    /// What the server cannot read, by its place in the store.
    pub unreadable: Vec<String>,
    /// Its limit, if there is more of it.
    pub cut_at: Option<u32>,
}

impl<T: Shown> List<T> {
    /// Prints it. One that is not whole says so, and is a failure for scripts.
    pub fn print(&self, printer: &Printer, list: &ListArgs) -> Result<Exit, Failure> {
        self.print_with(printer, &[], list)
    }

    /// The same with more columns.
    pub fn print_with(&self, printer: &Printer, more: &[Column], list: &ListArgs) -> Result<Exit, Failure> {
        printer.list_with(&self.items, more, &list.view(&printer.format))?;
        // Last, where it is seen.
        if let Some(limit) = self.cut_at {
            printer.warn(&output::cut_off(limit));
        }
        if self.unreadable.is_empty() {
            return Ok(Exit::Ok);
        }
        let (count, places) = (self.unreadable.len(), self.unreadable.join(", "));
        let failure = Failure::other(format!("{count} records cannot be read and are missing here: {places}"));
        Err(failure.hint("an operator repairs them: runbook UnreadableRecords"))
    }
}

/// The given request id, or a random one.
#[expect(clippy::disallowed_methods, reason = "the edge: this program's own idempotency keys")]
pub fn request_id(run: &Run) -> String {
    match &run.global.request_id {
        Some(id) => id.to_string(),
        None => uuid::Uuid::new_v4().to_string(),
    }
}

fn out_of_time(what: &str, limit: Duration) -> Failure {
    Failure::new(Exit::Unavailable, format!("{what}: no answer within {limit:?}"))
        .hint("`principal doctor` checks the connection to the server; --timeout waits longer")
}
