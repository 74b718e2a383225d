//! The keys that the gateway signs with: its own certificate's, and for a while those before it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use signet_client::Identity;
use signet_core::{Lifetime, Time};
use signet_jwt::{Algorithm, DecodingKey, KeyFault, PublicKey, SigningKey, Use};

/// The kind of token that callers get (RFC 9068 section 2.1).
pub(crate) const ACCESS_TOKEN: &str = "at+jwt";
/// The kind that upstreams get.
const IDENTITY_TOKEN: &str = "signet-identity+jwt";
/// How long a key is still believed after the next one came: the longest lifetime of a token.
const AFTERWARDS: Lifetime = Lifetime::minutes(15);

/// See the module's words.
pub(crate) struct Keys(ArcSwap<Ring>);

struct Ring {
    signing: Signing,
    /// The signing key's first.
    verifying: Vec<Arc<Verifying>>,
}

struct Signing {
    key: SigningKey,
    /// Its certificate and the CA's, as a header has them (RFC 7515 section 4.1.6).
    x5c: Value,
}

/// A key that tokens are verified with.
pub(crate) struct Verifying {
    /// The first part of every access token that it signed: to be compared, not read.
    header: String,
    pub(crate) key: DecodingKey,
    public: PublicKey,
    /// `None`: it signs.
    until: Option<Time>,
}

impl Keys {
    /// Of the certificate that the identity has now.
    pub(crate) fn of(identity: &Identity) -> Result<Self, KeyFault> {
        let (signing, verifying) = now_of(identity)?;
        Ok(Self(ArcSwap::from_pointee(Ring { signing, verifying: vec![verifying] })))
    }

    /// The identity was renewed.
    pub(crate) fn renew(&self, identity: &Identity, now: Time) -> Result<(), KeyFault> {
        let (signing, verifying) = now_of(identity)?;
        let old = self.0.load();
        let earlier = old.verifying.iter().filter(|one| one.header != verifying.header);
        let still = earlier.filter(|one| one.until.is_none_or(|until| now < until)).map(|one| {
            let until = one.until.unwrap_or_else(|| now.plus(AFTERWARDS));
            Arc::new(Verifying {
                header: one.header.clone(),
                key: one.key.clone(),
                public: one.public.clone(),
                until: Some(until),
            })
        });
        let still: Vec<_> = still.collect();
        let verifying = [verifying].into_iter().chain(still).collect();
        self.0.store(Arc::new(Ring { signing, verifying }));
        Ok(())
    }

    pub(crate) fn sign_access_token(&self, claims: &impl serde::Serialize) -> Result<String, KeyFault> {
        self.0.load().signing.key.sign(ACCESS_TOKEN, claims)
    }

    pub(crate) fn sign_identity_token(&self, claims: &impl serde::Serialize) -> Result<String, KeyFault> {
        let ring = self.0.load();
        let mut header = Map::new();
        header.insert("x5c".into(), ring.signing.x5c.clone());
        ring.signing.key.sign_with(IDENTITY_TOKEN, header, claims)
    }

    /// The key of an access token with this first part, found without reading it.
    pub(crate) fn find(&self, header: &str, now: Time) -> Option<Arc<Verifying>> {
        let ring = self.0.load();
        let found = ring.verifying.iter().find(|one| one.header == header);
        found.filter(|one| one.until.is_none_or(|until| now < until)).cloned()
    }

    /// A set of keys (RFC 7517 section 5), for upstreams.
    pub(crate) fn published(&self) -> Value {
        let keys: Vec<Value> = self.0.load().verifying.iter().map(|one| one.public.published(Use::Signature)).collect();
        json!({ "keys": keys })
    }
}

fn now_of(identity: &Identity) -> Result<(Signing, Arc<Verifying>), KeyFault> {
    let (key, x5c) = identity.with_credentials(|credentials| {
        let key = SigningKey::from_pkcs8(Algorithm::ES256, credentials.key().pkcs8_der());
        (key, credentials.chain_der().iter().map(|der| STANDARD.encode(der)).collect::<Vec<_>>())
    });
    let key = key?;
    let sample = key.sign(ACCESS_TOKEN, &json!({}))?;
    let header = sample.split('.').next().unwrap_or_default().to_owned();
    let public = key.public().clone();
    let verifying = Verifying { header, key: public.decoding_key()?, public, until: None };
    Ok((Signing { key, x5c: x5c.into() }, Arc::new(verifying)))
}
