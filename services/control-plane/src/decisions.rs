//! Decisions by tenants' own rules, in memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwapOption;
use signet_core::{
    Identity, Role, TenantId, Time,
    authorization::{
        self, Denial, Grants, Permit, Policy, Rule,
        model::{AuthorizationModel, Rules},
    },
    trust::{KnownModel, Trust},
};
use signet_policy::{Rulebook, Subject};

/// A tenant's model cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// Rulebooks of tenants that have rules, each made once for each version.
pub(crate) struct Decisions {
    trust: Arc<Trust>,
    policy: Arc<Policy>,
    books: Mutex<HashMap<TenantId, Made>>,
}

type Models = (Option<Arc<AuthorizationModel>>, Option<Arc<AuthorizationModel>>);

struct Made {
    of: Models,
    book: Arc<Rulebook>,
}

/// What a session may, beside the built-in table, at one trust epoch.
pub(crate) struct Held {
    epoch: u64,
    until: Option<Time>,
    grants: Grants,
}

/// Beside a session's built-in grants: what its tenant adds or takes.
#[derive(Default)]
pub(crate) struct Added(ArcSwapOption<Held>);

impl Decisions {
    pub(crate) fn new(trust: Arc<Trust>, policy: Arc<Policy>) -> Self {
        Self { trust, policy, books: Mutex::default() }
    }

    /// The rules of a tenant; `None`: there are none, in the environment neither.
    pub(crate) fn book(&self, tenant: &TenantId) -> Result<Option<Arc<Rulebook>>, Unreadable> {
        let of = (self.model(tenant)?, self.environment(tenant)?);
        if of.0.is_none() && of.1.is_none() {
            return Ok(None);
        }
        let books = || self.books.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = books().get(tenant)
            && same(&made.of, &of)
        {
            return Ok(Some(Arc::clone(&made.book)));
        }
        // Not under the lock: parsing takes time.
        let book = Arc::new(Rulebook::new(of.0.clone(), of.1.clone()));
        books().insert(tenant.clone(), Made { of, book: Arc::clone(&book) });
        Ok(Some(book))
    }

    /// The same if the tenant's own were `rules`, which were tested.
    pub(crate) fn tried(&self, tenant: &TenantId, rules: Rules, now: Time) -> Result<Rulebook, Unreadable> {
        let version = self.model(tenant)?.map_or(0, |model| model.version).saturating_add(1);
        let (tenant_id, (note, proved, set_by)) = (tenant.clone(), Default::default());
        let model = AuthorizationModel { tenant: tenant_id, version, rules, note, proved, set_by, set_at: now };
        Ok(Rulebook::new(Some(Arc::new(model)), self.environment(tenant)?))
    }

    fn environment(&self, tenant: &TenantId) -> Result<Option<Arc<AuthorizationModel>>, Unreadable> {
        if tenant.is_system() { Ok(None) } else { self.model(&TenantId::system()) }
    }

    fn model(&self, tenant: &TenantId) -> Result<Option<Arc<AuthorizationModel>>, Unreadable> {
        match self.trust.model(tenant) {
            Some(KnownModel::Read(model)) => Ok(Some(model)),
            Some(KnownModel::Unreadable) => Err(Unreadable),
            None => Ok(None),
        }
    }

    /// Whether a session may use what `rule` is for: by the built-in table, and by what is granted beside. Policies
    /// have no say in it: they do not name Signet's own permissions.
    pub(crate) fn permit(
        &self,
        (identity, roles): (&Arc<Identity>, &[Role]),
        (built_in, added): (&Grants, &Added),
        rule: &Rule,
        now: Time,
    ) -> Result<Permit, Denial> {
        authorization::permit(identity, &self.held(identity, roles, built_in, added, now).grants, rule)
    }

    fn held(&self, identity: &Identity, roles: &[Role], built_in: &Grants, added: &Added, now: Time) -> Arc<Held> {
        let epoch = self.trust.epoch();
        if let Some(held) = &*added.0.load()
            && held.epoch == epoch
            && held.until.is_none_or(|until| now < until)
        {
            return Arc::clone(held);
        }
        // What cannot be read grants nothing.
        let book = self.book(&identity.tenant).unwrap_or_default();
        let mut grants = built_in.clone();
        if let Some(book) = &book {
            self.policy.add(&mut grants, book.granted(&subject(identity, roles, &[]), now));
        }
        let until = book.as_ref().and_then(|book| book.next_end(now));
        let held = Arc::new(Held { epoch, until, grants });
        added.0.store(Some(Arc::clone(&held)));
        held
    }

    /// What a session may by Signet's own permissions now, for who asks about itself.
    pub(crate) fn grants(&self, identity: &Identity, roles: &[Role], built_in: &Grants, now: Time) -> Grants {
        self.held(identity, roles, built_in, &Added::default(), now).grants.clone()
    }
}

fn same(one: &Models, other: &Models) -> bool {
    let alike = |a: &Option<Arc<AuthorizationModel>>, b: &Option<Arc<AuthorizationModel>>| match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    };
    alike(&one.0, &other.0) && alike(&one.1, &other.1)
}

/// A caller as policies see it.
pub(crate) fn subject<'a>(identity: &'a Identity, roles: &'a [Role], groups: &'a [Role]) -> Subject<'a> {
    Subject {
        tenant: &identity.tenant,
        principal_type: identity.principal_type,
        id: &identity.principal,
        roles,
        groups,
    }
}
