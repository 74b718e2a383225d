//! What others may fetch: anchors, trust bundles and revocation lists, in a bucket outside of the store.
//!
//! A run looks at what is in the bucket and puts there what has changed, each object only in place of the one it saw:
//! of two runs at once one puts it, the other finds itself beaten.

mod crl;

use std::{borrow::Borrow, collections::HashMap};

use futures::{StreamExt, stream};
use serde_json::Value;
use signet_core::{
    CaId, Error, Lifetime, TenantId, Time,
    authorities::{Ca, CaKind},
    store::Unreadable,
    tenants::Isolation,
    tokens::{TokenKeys, TokenUse, kept},
};
use signet_jwt::{PublicKey, Use};
use signet_x509::{
    bundle::{to_pem, to_spiffe_json},
    server_anchors,
};

use crate::{
    App, Chore, GoOn, TaskReport, TrustBundle,
    audit::checkpoints,
    authorities::{
        self,
        signing::{self, is_trusted},
    },
    object_store::{self, DIGEST, Object, ObjectStore, Put},
    reads,
};

/// How often consumers of a SPIFFE bundle shall ask again.
pub const BUNDLE_REFRESH: Lifetime = Lifetime::minutes(5);
/// Objects in the making at once.
const AT_ONCE: usize = 8;

/// The sequence number of a purged tenant's bundle, which has no CA: higher than any before, so that consumers take it.
const LAST_SEQUENCE: u64 = 4 * (u32::MAX as u64);

/// A tenant's SPIFFE bundle: its anchors, each with its CA, and its keys for SVIDs that are published at `now`.
/// `is_last`: [`TrustBundle::is_last`].
pub fn spiffe_bundle<'a>(
    anchors: impl Iterator<Item = (&'a CaId, &'a [u8])> + Clone,
    keys: &[impl Borrow<TokenKeys>],
    is_last: bool,
    now: Time,
) -> Result<String, Error> {
    let sequence = match is_last {
        true => LAST_SEQUENCE,
        false => {
            let svids = keys.iter().map(Borrow::borrow).filter(|keys| svid_use(keys.for_use).is_some());
            let newest = svids.map(|keys| keys.generation).max().unwrap_or(0);
            sequence(anchors.clone().map(|(ca, _)| ca)).saturating_add(newest)
        }
    };
    let published = if is_last { Vec::new() } else { svid_keys(keys, now) };
    to_spiffe_json(anchors.map(|(_, der)| der), published, sequence, BUNDLE_REFRESH).map_err(Error::internal)
}

/// A tenant's keys for SVIDs that are published at `now`, as JWKs of a SPIFFE bundle. One that cannot be read is left
/// out: nobody shall take what it signs.
pub fn svid_keys(keys: &[impl Borrow<TokenKeys>], now: Time) -> Vec<Value> {
    let svids = keys.iter().map(Borrow::borrow).filter_map(|keys| Some((svid_use(keys.for_use)?, keys)));
    let published = svids.flat_map(|(of, keys)| {
        let public =
            kept(keys.for_use, &keys.keys, now).into_iter().filter_map(|key| PublicKey::from_spki(&key.spki_der).ok());
        public.map(move |key| key.published(of))
    });
    published.collect()
}

const fn svid_use(of: TokenUse) -> Option<Use> {
    match of {
        TokenUse::AccessToken | TokenUse::SecurityEvent | TokenUse::BrokerToken => None,
        TokenUse::JwtSvid => Some(Use::JwtSvid),
        TokenUse::WitSvid => Some(Use::WitSvid),
    }
}

/// Rises with every change of the anchors: a new CA comes in at the top, an old one leaves at the bottom.
fn sequence<'a>(cas: impl Iterator<Item = &'a CaId> + Clone) -> u64 {
    let generations = cas.filter_map(|ca| ca.as_str().rsplit('.').next()?.parse::<u64>().ok());
    let (first, last) = (generations.clone().min(), generations.max());
    first.unwrap_or(0).saturating_add(last.unwrap_or(0))
}

/// One piece of a run.
enum Piece {
    AuditHead,
    ServerTrust(Vec<Vec<u8>>),
    Bundle(TenantId, Published),
    Crl(Box<Ca>),
}

/// What a tenant's bundle is made of.
struct Published {
    anchors: Vec<Ca>,
    token_keys: Vec<TokenKeys>,
    /// See [`TrustBundle::is_last`].
    is_last: bool,
}

impl From<TrustBundle> for Published {
    fn from(TrustBundle { anchors, token_keys, is_last, .. }: TrustBundle) -> Self {
        Self { anchors, token_keys, is_last }
    }
}

/// Publishes what has changed of `audit/head.json`, `server-anchor.pem`, `root.pem`, `bundles/<tenant>.pem`,
/// `bundles/<tenant>.json` and `crl/<ca>.crl`.
pub async fn publish(app: &App, chore: &Chore, bucket: &dyn ObjectStore, go_on: GoOn<'_>) -> Result<TaskReport, Error> {
    let (pieces, unreadable) = pieces(app, chore).await?;
    let work = |piece: Piece| async move {
        let now = go_on()?;
        let name = piece.name();
        Some(put_piece(app, &chore.at(now), bucket, piece).await.map_err(|error| (name, error)))
    };
    let mut results = stream::iter(pieces).map(work).buffer_unordered(AT_ONCE);
    let mut report = TaskReport::default();
    report.cannot_read(unreadable);
    while let Some(result) = results.next().await {
        match result {
            None => report.unfinished = true,
            Some(Ok(put)) => report.done.extend(put),
            Some(Err(failure)) => report.failed.push(failure),
        }
    }
    Ok(report)
}

/// All there is to publish, by the index: the server anchors first, then another piece first each time, so that runs
/// which end too early leave out none for ever.
async fn pieces(app: &App, chore: &Chore) -> Result<(Vec<Piece>, Vec<Unreadable>), Error> {
    let now = chore.now;
    let (cas, mut unreadable) = reads::all_cas(app, chore.keeper, now).await?;
    let cas: Vec<Ca> = cas.into_iter().filter(|ca| is_trusted(ca, now)).collect();
    let (tenants, unreadable_tenants) = reads::all_tenants(app, chore.keeper, now).await?;
    unreadable.extend(unreadable_tenants);
    let (all_token_keys, unreadable_keys) = reads::all_token_keys(app, chore.keeper, now).await?;
    unreadable.extend(unreadable_keys);
    let mut token_keys: HashMap<TenantId, Vec<TokenKeys>> = HashMap::new();
    for keys in all_token_keys {
        token_keys.entry(keys.tenant.clone()).or_default().push(keys);
    }
    let of = |kind: CaKind, tenant: &TenantId| -> Vec<Ca> {
        let mut found: Vec<Ca> = cas.iter().filter(|ca| ca.kind == kind && &ca.tenant == tenant).cloned().collect();
        found.sort_by_key(|ca| ca.generation);
        found
    };
    let system = TenantId::system();
    let mut pieces: Vec<Piece> = cas.iter().cloned().map(|ca| Piece::Crl(Box::new(ca))).collect();
    for tenant in tenants {
        let is_last = tenant.purge().is_some();
        let anchors = match tenant.isolation {
            _ if is_last => Vec::new(),
            Isolation::Dedicated => of(CaKind::Tenant, &tenant.id),
            Isolation::Shared => of(CaKind::Shared, &system),
        };
        let token_keys = token_keys.remove(&tenant.id).filter(|_| !is_last).unwrap_or_default();
        pieces.push(Piece::Bundle(tenant.id, Published { anchors, token_keys, is_last }));
    }
    let start = usize::try_from(now.unix_seconds() / 60).unwrap_or(0).checked_rem(pieces.len()).unwrap_or(0);
    pieces.rotate_left(start);
    let server_trust = signing::server_trust(cas.iter().filter(|ca| ca.tenant == system), now);
    pieces.splice(0..0, [Piece::AuditHead, Piece::ServerTrust(server_trust)]);
    Ok((pieces, unreadable))
}

/// Returns the names of what was put.
async fn put_piece(app: &App, chore: &Chore, bucket: &dyn ObjectStore, piece: Piece) -> Result<Vec<String>, Error> {
    match piece {
        Piece::AuditHead => checkpoints::put_head(app, chore, bucket).await,
        Piece::ServerTrust(known) => {
            let of = |trusted: &[Vec<u8>]| server_trust_objects(trusted);
            let fresh = || async { Ok(of(&authorities::server_trust(app, chore.now).await?)) };
            put_changed(bucket, of(&known), fresh).await
        }
        Piece::Bundle(tenant, known) => put_bundle(app, chore, bucket, &tenant, &known).await,
        Piece::Crl(ca) => crl::put_crl(app, chore, bucket, &ca).await,
    }
}

async fn put_bundle(
    app: &App,
    chore: &Chore,
    bucket: &dyn ObjectStore,
    tenant: &TenantId,
    known: &Published,
) -> Result<Vec<String>, Error> {
    let fresh = || async {
        let bundle = authorities::trust_bundle(app, chore, &chore.keeper.tenant(tenant)).await?;
        bundle_objects(tenant, &bundle.into(), chore.now)
    };
    put_changed(bucket, bundle_objects(tenant, known, chore.now)?, fresh).await
}

/// Publishes the last bundle of a tenant that is being purged: it trusts nobody, and stays. Where there was nothing,
/// consumers would take it for an outage and go on with the bundle that they have.
pub(crate) async fn publish_last_bundle(
    app: &App,
    chore: &Chore,
    bucket: &dyn ObjectStore,
    tenant: &TenantId,
) -> Result<Vec<String>, Error> {
    put_bundle(app, chore, bucket, tenant, &Published { anchors: Vec::new(), token_keys: Vec::new(), is_last: true })
        .await
}

impl Piece {
    fn name(&self) -> String {
        match self {
            Self::AuditHead => "audit/head.json".into(),
            Self::ServerTrust(_) => "root.pem".into(),
            Self::Bundle(tenant, _) => format!("bundles/{tenant}"),
            Self::Crl(ca) => crl::name(&ca.id),
        }
    }
}

/// Puts those objects that differ from what is in the bucket. The index that they were made from may lag: only what is
/// made from the table after the look at the bucket (`fresh`) is put.
async fn put_changed<F>(
    bucket: &dyn ObjectStore,
    objects: Vec<Object>,
    fresh: impl Fn() -> F,
) -> Result<Vec<String>, Error>
where
    F: Future<Output = Result<Vec<Object>, Error>>,
{
    let mut put = Vec::new();
    for (index, object) in objects.into_iter().enumerate() {
        let there = bucket.look(&object.name).await?;
        let digest = there.as_ref().and_then(|there| there.notes.get(DIGEST)).cloned();
        if digest.as_ref() == object.notes.get(DIGEST) {
            continue;
        }
        let Some(object) = fresh().await?.into_iter().nth(index) else { continue };
        if digest.as_ref() == object.notes.get(DIGEST) {
            continue;
        }
        let name = object.name.clone();
        if bucket.put(object, there.as_ref().map(|there| there.tag.as_str())).await? == Put::Done {
            put.push(name);
        }
    }
    Ok(put)
}

/// The anchors alone, and what clients of the release before this one trust.
fn server_trust_objects(trusted: &[Vec<u8>]) -> Vec<Object> {
    let anchors = pem_object("server-anchor.pem".into(), server_anchors(trusted));
    vec![anchors, pem_object("root.pem".into(), trusted.iter().map(Vec::as_slice))]
}

fn bundle_objects(tenant: &TenantId, bundle: &Published, now: Time) -> Result<Vec<Object>, Error> {
    let anchors = &bundle.anchors;
    let named = anchors.iter().map(|ca| (&ca.id, ca.anchor()));
    let json = spiffe_bundle(named, &bundle.token_keys, bundle.is_last, now)?;
    let json = object_store::object(format!("bundles/{tenant}.json"), "application/json", json.into_bytes());
    Ok(vec![pem_object(format!("bundles/{tenant}.pem"), anchors.iter().map(Ca::anchor)), json])
}

fn pem_object<'a>(name: String, certificates_der: impl IntoIterator<Item = &'a [u8]>) -> Object {
    let pem = to_pem(certificates_der);
    object_store::object(name, "application/pem-certificate-chain", pem.into_bytes())
}
