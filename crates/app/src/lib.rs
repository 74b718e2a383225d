//! Signet's operations, each a function in the room of its capability. Every mutating operation reads, plans and
//! commits once; what it may touch comes as a scope, who asks and when comes as a [`Call`].

pub mod audit;
pub mod authorities;
pub mod authorization;
pub mod bootstrap;
mod call;
pub mod certificates;
pub mod enrollment;
mod ledger;
pub mod messages;
mod object_store;
mod paging;
pub mod principals;
pub mod purge;
mod reads;
pub mod restore;
pub mod sync;
mod task;
mod tenant_records;
pub mod tenants;
mod throttle;
pub mod tokens;
pub mod trust;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use audit::checkpoints::SeenHead;
use authorities::signing::{Authorities, Issuer};
use ledger::{announcing::Announcer, gate::Gate, reporting::ReportingStore};
use messages::{Accepting, DataKeys};
use signet_core::{
    CaId, Entropy, Error, KeyError, KeyLabel, KeyManager, KeyRef, Lifetime, Signer, Store, TenantId,
    audit::sealing::HeadWatch,
    enrollment::attestation::{AttestationError, Attestor, Challenge, Evidence, Facts},
    tenants::DEFAULT_DELETION_GRACE,
};
use signet_policy::Prover;
use signet_x509::{Environment, profile::SERVER_LIFETIME};
use sync::{detached::Detached, queues::NamedQueues, single_flight::SingleFlight};
use throttle::Throttle;
use tokens::Unwrapped;
use tokio::sync::{Mutex, Notify};

pub use audit::{
    checkpoints::CheckpointPage,
    events::{AuditPage, AuditTail, AuditWindow, SealPage, VerifyReport},
};
pub use authorities::{RotationAction, RotationReport, TrustBundle, lists::SignedList};
pub use authorization::{ModelTest, SetModel};
pub use bootstrap::{Bootstrap, BootstrapItem, BootstrapReport, EnvironmentKeys, ServerNames};
pub use call::{AuditEntry, Call, Chore, Resource, request_id};
pub use certificates::{
    expiry::{BATCH, Notifier},
    order::IssuedLeaf,
};
pub use enrollment::{
    Enroll, Proof,
    out_of_band::OutOfBandRenewal,
    rules::{CreateRule, RuleTest},
    tokens::{CreateToken, CreatedToken},
};
pub use ledger::{
    Planned,
    revocations::{Revocation, Revocations},
};
pub use object_store::{Object, ObjectMeta, ObjectStore, Put};
pub use paging::{Listing, PageRequest};
pub use principals::{CreatePrincipal, PrincipalPatch};
pub use reads::deleted;
pub use sync::detached::tell_operator;
pub use task::{GoOn, TaskReport};
pub use tenants::{CreateTenant, TenantPatch};
pub use throttle::RefusalLimits;
pub use trust::{
    feed::Follower,
    publication::{BUNDLE_REFRESH, spiffe_bundle, svid_keys},
};

/// What an operator may set for a whole environment.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long audit events are kept.
    pub audit_retention: Lifetime,
    /// How long after its end a minute of audit events is sealed; what is written later is named as late.
    pub seal_delay: Lifetime,
    /// How long a deleted tenant can be undeleted.
    pub deletion_grace: Lifetime,
    /// Lifetime of server certificates.
    pub server_lifetime: Lifetime,
    /// Issuers that rules may name without `https://`.
    pub private_issuers: Vec<String>,
    /// How many refused enrollments are borne.
    pub refusals: RefusalLimits,
    /// Certificates read at once to find what nears its end, 1 to 1,000; between two pages a run may be broken off.
    pub expiry_page: u32,
    /// For a process that may not sign for operators, the principals of the tenant `system`: the address at which they
    /// get their certificates instead. `None`: here.
    pub operators_at: Option<String>,
    /// The control plane's host names. No tenant's trust domain may be or contain one: its CA could name the server.
    pub own_hosts: Vec<String>,
    /// Proves policies; `None`: they are not proved.
    pub prover: Option<Prover>,
    /// Whether policies must be proved.
    pub require_proof: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            audit_retention: Lifetime::days(400),
            seal_delay: Lifetime::seconds(60),
            deletion_grace: DEFAULT_DELETION_GRACE,
            server_lifetime: SERVER_LIFETIME,
            private_issuers: Vec::new(),
            refusals: RefusalLimits::default(),
            expiry_page: 250,
            operators_at: None,
            own_hosts: Vec::new(),
            prover: None,
            require_proof: false,
        }
    }
}

/// The application: ports, settings, and caches that hold nothing which could go stale unnoticed.
pub struct App {
    store: Arc<dyn Store>,
    /// The same store.
    reporting: Arc<ReportingStore>,
    /// Between the two: who may write.
    gate: Arc<Gate>,
    keys: Arc<dyn KeyManager>,
    entropy: Arc<dyn Entropy>,
    environment: Environment,
    settings: Settings,
    attestor: Arc<dyn Attestor>,
    throttle: Throttle,
    /// A key's public half and spec never change, so an opened signer stays right. Those of retired CAs are dropped.
    signers: Mutex<HashMap<KeyRef, Arc<dyn Signer>>>,
    /// Keys being opened, each once for all who wait for it.
    opening: SingleFlight<KeyRef, Result<Arc<dyn Signer>, KeyError>>,
    /// Keys for tokens.
    unwrapped: Unwrapped,
    /// Keys that message secrets are kept under.
    data_keys: DataKeys,
    /// Messages that were accepted here.
    accepting: Accepting,
    /// CAs made ready to sign, each for as long as its record stays the same.
    issuers: Mutex<HashMap<CaId, Arc<Issuer>>>,
    /// Who signs for a tenant, read once for all who wait for it.
    reads: SingleFlight<TenantId, Result<Arc<Authorities>, Error>>,
    announcer: Announcer,
    /// What was revoked a moment ago.
    revocations: Revocations,
    /// Callers of this process with the same join token or grant, and renewals of one certificate, take turns instead
    /// of meeting in the store. Taken first.
    turns: NamedQueues,
    /// Consequences of decisions, which outlive a caller that is gone.
    detached: Detached,
    /// Turns of those who are about to commit certificates of one principal. Taken last.
    holders: NamedQueues,
    /// Start of the first minute that is not known to be sealed, Unix milliseconds.
    unsealed_from: AtomicI64,
    /// How others move the end of what is sealed.
    head_watch: std::sync::Mutex<HeadWatch>,
    /// The turn of whoever has policies validated.
    validations: Arc<Mutex<()>>,
    /// Queues for the parts of tenants' counts. Taken after one of `turns`, never with another.
    counters: NamedQueues,
    /// Entries of the feed that should be there and did not turn up.
    missing_changes: AtomicU64,
    /// Wakes this node's own feed reader after a commit, so that it need not wait for the next poll.
    committed: Arc<Notify>,
    /// The newest end of the audit chain that this process knows: it must never be gone.
    seen_head: SeenHead,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("environment", &self.environment).finish_non_exhaustive()
    }
}

impl App {
    /// Wires the ports. Proofs other than join tokens are refused, see [`Self::with_attestor`].
    pub fn new(
        store: Arc<dyn Store>,
        keys: Arc<dyn KeyManager>,
        entropy: Arc<dyn Entropy>,
        environment: Environment,
        settings: Settings,
    ) -> Self {
        let gate = Arc::new(Gate::new(store));
        let reporting = Arc::new(ReportingStore::new(Arc::<Gate>::clone(&gate)));
        let store = Arc::clone(&reporting) as Arc<dyn Store>;
        let committed = Arc::new(Notify::new());
        let announcer = Announcer::new(&store, &entropy, &committed);
        let (signers, opening, issuers, reads) = Default::default();
        let (turns, holders, counters, detached, seen_head) = Default::default();
        let (attestor, throttle) = (Arc::new(NoAttestor), Throttle::new(settings.refusals));
        let revocations = Revocations::default();
        Self {
            store,
            reporting,
            gate,
            keys,
            entropy,
            environment,
            settings,
            attestor,
            throttle,
            signers,
            opening,
            unwrapped: Unwrapped::default(),
            data_keys: DataKeys::default(),
            accepting: Accepting::default(),
            issuers,
            reads,
            announcer,
            revocations,
            turns,
            detached,
            holders,
            unsealed_from: AtomicI64::new(i64::MIN),
            head_watch: std::sync::Mutex::default(),
            validations: Arc::default(),
            counters,
            missing_changes: AtomicU64::new(0),
            committed,
            seen_head,
        }
    }

    /// Who checks enrollment proofs.
    #[must_use]
    pub fn with_attestor(self, attestor: Arc<dyn Attestor>) -> Self {
        Self { attestor, ..self }
    }

    /// The environment's names.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// How long a deleted tenant can be undeleted.
    pub fn deletion_grace(&self) -> Lifetime {
        self.settings.deletion_grace
    }

    /// The store, for readiness checks.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// What this process has revoked or heard of as revoked since it was last asked.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// How often a record was met that cannot be read.
    pub fn unreadable_records(&self) -> u64 {
        self.reporting.met()
    }

    /// How many changes this process has given up looking for (the feed's numbers say that there are such, and for ten
    /// minutes no query saw them: what they refuse is not refused here), or has read and found gone: the feed was put
    /// back.
    pub fn missing_changes(&self) -> u64 {
        self.missing_changes.load(Ordering::Relaxed)
    }

    /// How often this process found the feed's head behind its entries, and went on after these.
    pub fn mended_heads(&self) -> u64 {
        self.announcer.mended()
    }

    fn misses(&self, changes: u64) {
        self.missing_changes.fetch_add(changes, Ordering::Relaxed);
    }

    /// The key that `label` names, made if need be. Not in its caller's hands: a key that was made and not named is
    /// paid for and never used.
    pub(crate) async fn make_key(&self, label: KeyLabel) -> Result<KeyRef, Error> {
        let keys = Arc::clone(&self.keys);
        let made = self.detached.run(async move {
            let key = keys.create(&label).await?;
            let signer = keys.open(&key).await.map_err(|error| match error {
                // AWS shows a new key only after some seconds.
                KeyError::NotFound(key) => KeyError::Unavailable(format!("{key} is not visible yet, try again")),
                other => other,
            });
            Ok((key, signer?))
        });
        let (key, signer) = made.await?;
        self.signers.lock().await.insert(key.clone(), signer);
        Ok(key)
    }

    /// Opens a key once.
    pub(crate) async fn signer(&self, key: &KeyRef) -> Result<Arc<dyn Signer>, Error> {
        if let Some(signer) = self.signers.lock().await.get(key) {
            return Ok(Arc::clone(signer));
        }
        // Not under the lock: a key that is slow to open holds up nobody else's.
        let open = || async {
            if let Some(signer) = self.signers.lock().await.get(key) {
                return Ok(Arc::clone(signer));
            }
            let signer = self.keys.open(key).await?;
            self.signers.lock().await.insert(key.clone(), Arc::clone(&signer));
            Ok(signer)
        };
        Ok(self.opening.read(key, open).await?)
    }
}

/// Checks nothing, so that it can vouch for nobody.
#[derive(Debug)]
struct NoAttestor;

#[async_trait]
impl Attestor for NoAttestor {
    async fn attest(&self, evidence: &Evidence, _: &Challenge<'_>) -> Result<Facts, AttestationError> {
        let detail = format!("no verifier for {}", evidence.kind());
        Err(AttestationError::Refused { reason: "PROOF_NOT_CHECKED", detail })
    }
}
