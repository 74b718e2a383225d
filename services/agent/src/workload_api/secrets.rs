//! Envoy's secrets, by the names that it asks for. SPIRE's names, so that its users' configurations go on to work.

use std::sync::Arc;

use prost::Message;
use prost_types::Any;
use signet_x509::pem;

use super::{
    offers::{Revocations, Svid},
    wire::tls::{
        CertificateValidationContext, DataSource, Secret, SpiffeCertValidatorConfig, TlsCertificate,
        TypedExtensionConfig, secret::Type, spiffe_cert_validator_config::TrustDomain,
    },
};

pub(crate) const SECRET_TYPE: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
const SPIFFE_VALIDATOR_TYPE: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig";
const SPIFFE_VALIDATOR: &str = "envoy.tls.cert_validator.spiffe";

/// The first identity.
const DEFAULT: &str = "default";
/// The anchors of the first identity's trust domain.
const ROOT_CA: &str = "ROOTCA";
/// The anchors of all trust domains.
const ALL: &str = "ALL";

/// How Envoy judges peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validator {
    /// By anchors and revocation lists.
    Plain,
    /// By trust domain. It ignores revocation lists.
    Spiffe,
}

/// The secrets of these names, all if there are none; the error names what cannot be had. Left out is what would judge
/// peers before their revocation lists are known.
pub(crate) fn secrets(names: &[String], svids: &[Arc<Svid>], validator: Validator) -> Result<Vec<Any>, String> {
    let all = || {
        let mut names: Vec<_> = svids.iter().map(|svid| svid.spiffe_id.clone()).collect();
        for svid in svids {
            if !names.iter().any(|name| name == svid.trust_domain()) {
                names.push(svid.trust_domain().to_owned());
            }
        }
        names
    };
    if names.len() > most(svids) {
        return Err(format!("{} names are more than this caller has secrets", names.len()));
    }
    let names = if names.is_empty() { all() } else { names.to_vec() };
    let secrets = names.iter().filter_map(|name| secret(name, svids, validator).transpose());
    secrets.map(|secret| secret.map(|secret| any(SECRET_TYPE, &secret))).collect()
}

/// Each identity and its trust domain, and the names that are always there.
fn most(svids: &[Arc<Svid>]) -> usize {
    2 * svids.len() + 3
}

fn secret(name: &str, svids: &[Arc<Svid>], validator: Validator) -> Result<Option<Secret>, String> {
    let kind = match name {
        DEFAULT => svids.first().map(|first| Some(certificate(first))),
        ROOT_CA => svids.first().map(|first| context(&of_domain(svids, first.trust_domain()), validator)),
        ALL => {
            let mut firsts: Vec<&Arc<Svid>> = Vec::new();
            for svid in svids {
                if !firsts.iter().any(|first| first.trust_domain() == svid.trust_domain()) {
                    firsts.push(svid);
                }
            }
            if firsts.len() > 1 && validator == Validator::Plain {
                // One trust domain's CA could name another's principals.
                return Err("ALL has several trust domains, which only the SPIFFE validator tells apart".to_owned());
            }
            Some(context(&firsts, validator))
        }
        name => match svids.iter().find(|svid| svid.spiffe_id == name) {
            Some(svid) => Some(Some(certificate(svid))),
            None => Some(of_domain(svids, name)).filter(|own| !own.is_empty()).map(|own| context(&own, validator)),
        },
    };
    let kind = kind.ok_or_else(|| format!("{name:?} is not a secret of this caller"))?;
    Ok(kind.map(|kind| Secret { name: name.to_owned(), r#type: Some(kind) }))
}

/// The first identity of a trust domain, if there is one.
fn of_domain<'a>(svids: &'a [Arc<Svid>], trust_domain: &str) -> Vec<&'a Arc<Svid>> {
    svids.iter().find(|svid| svid.trust_domain() == trust_domain).into_iter().collect()
}

fn certificate(svid: &Arc<Svid>) -> Type {
    Type::TlsCertificate(TlsCertificate {
        certificate_chain: Some(certificates(&svid.chain_der)),
        private_key: Some(inline(pem::encode(pem::PRIVATE_KEY, &svid.key_der))),
    })
}

/// One identity of each trust domain. `None`: not yet.
fn context(svids: &[&Arc<Svid>], validator: Validator) -> Option<Type> {
    let context = match validator {
        Validator::Plain if svids.iter().any(|svid| svid.revocations == Revocations::Awaited) => return None,
        Validator::Plain => {
            let anchors: Vec<_> = svids.iter().flat_map(|svid| svid.anchors_der.iter().cloned()).collect();
            let lists: String = svids.iter().flat_map(|svid| svid.revocations.lists()).map(|der| list(der)).collect();
            CertificateValidationContext {
                trusted_ca: Some(certificates(&anchors)),
                // Envoy takes an empty one, and then refuses everybody.
                crl: Some(lists).filter(|lists| !lists.is_empty()).map(inline),
                // Anchors are signed by themselves: there is no list above them.
                only_verify_leaf_cert_crl: true,
                custom_validator_config: None,
            }
        }
        Validator::Spiffe => {
            let domain = |svid: &&Arc<Svid>| TrustDomain {
                name: svid.trust_domain().trim_start_matches("spiffe://").to_owned(),
                trust_bundle: Some(certificates(&svid.anchors_der)),
            };
            let config = SpiffeCertValidatorConfig { trust_domains: svids.iter().map(domain).collect() };
            let typed_config = Some(any(SPIFFE_VALIDATOR_TYPE, &config));
            CertificateValidationContext {
                custom_validator_config: Some(TypedExtensionConfig { name: SPIFFE_VALIDATOR.into(), typed_config }),
                ..CertificateValidationContext::default()
            }
        }
    };
    Some(Type::ValidationContext(context))
}

fn list(der: &[u8]) -> String {
    pem::encode(pem::CRL, der)
}

fn certificates(ders: &[Vec<u8>]) -> DataSource {
    inline(ders.iter().map(|der| pem::encode_certificate(der)).collect())
}

fn inline(text: String) -> DataSource {
    DataSource { inline_bytes: text.into_bytes() }
}

fn any(type_url: &str, message: &impl Message) -> Any {
    Any { type_url: type_url.to_owned(), value: message.encode_to_vec() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prost::Message;

    use super::{CertificateValidationContext, Revocations, Secret, Svid, Type, Validator, secrets};

    fn svid(tenant: &str, revocations: Revocations) -> Arc<Svid> {
        Arc::new(Svid {
            name: tenant.into(),
            spiffe_id: format!("spiffe://{tenant}.example.com/service/api"),
            chain_der: vec![vec![1]],
            key_der: vec![2].into(),
            anchors_der: vec![vec![3]],
            revocations,
            svid_keys: Arc::default(),
            tokens: None,
        })
    }

    fn context(name: &str, svids: &[Arc<Svid>], validator: Validator) -> CertificateValidationContext {
        let found = secrets(&[name.to_owned()], svids, validator).unwrap();
        match Secret::decode(found[0].value.as_slice()).unwrap().r#type {
            Some(Type::ValidationContext(context)) => context,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn revocation_lists_are_there_or_the_field_is_not() {
        let lists = |lists: &[Vec<u8>]| Revocations::Lists(lists.into());
        for (lists, pem) in [(Revocations::Unchecked, None), (lists(&[vec![4], vec![5]]), Some(2))] {
            let found = context("ROOTCA", &[svid("acme", lists)], Validator::Plain);
            let text = found.crl.map(|crl| String::from_utf8(crl.inline_bytes).unwrap());
            assert_eq!(text.map(|text| text.matches("-----BEGIN X509 CRL-----").count()), pem);
            assert!(found.only_verify_leaf_cert_crl);
        }
        let awaited = [svid("acme", Revocations::Awaited)];
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(secrets(&names(&["ROOTCA"]), &awaited, Validator::Plain), Ok(Vec::new()));
        assert_eq!(secrets(&names(&["ROOTCA", "default"]), &awaited, Validator::Plain).map(|all| all.len()), Ok(1));
        assert!(context("ROOTCA", &awaited, Validator::Spiffe).custom_validator_config.is_some());
    }

    #[test]
    fn no_more_names_than_secrets() {
        let one = [svid("acme", Revocations::Unchecked)];
        let answer = |count| secrets(&vec!["default".to_owned(); count], &one, Validator::Plain);
        assert_eq!(answer(5).map(|all| all.len()), Ok(5));
        assert!(answer(6).unwrap_err().contains("6 names"));
    }

    #[test]
    fn trust_domains_are_not_mixed() {
        let both = [svid("acme", Revocations::Unchecked), svid("globex", Revocations::Unchecked)];
        assert!(secrets(&["ALL".to_owned()], &both, Validator::Plain).unwrap_err().contains("SPIFFE validator"));
        assert!(context("ALL", &both, Validator::Spiffe).custom_validator_config.is_some());
        assert!(context("ALL", &both[..1], Validator::Plain).trusted_ca.is_some());
        assert!(context("spiffe://globex.example.com", &both, Validator::Plain).trusted_ca.is_some());
    }
}
