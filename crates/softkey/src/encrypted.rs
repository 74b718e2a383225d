//! Keys at rest: PKCS#8 EncryptedPrivateKeyInfo (RFC 5958 section 3) in PEM.

use aws_lc_rs::{rand::SystemRandom, signature::ECDSA_P256_SHA256_ASN1_SIGNING, signature::EcdsaKeyPair};
use pkcs8::{
    EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef, SecretDocument,
    der::pem::PemLabel,
    pkcs5::{pbes2, scrypt},
};
use secrecy::{ExposeSecret, SecretString};
use signet_core::{KeyError, authorities::signer};
use zeroize::Zeroizing;

use crate::OsEntropy;

/// scrypt: N = 2^14, r = 8, p = 5, one of the equal settings of OWASP's password storage cheat sheet. A larger N with a
/// smaller p would cost the same, but OpenSSL refuses to use more than 32 MB of memory.
const LOG_N: u8 = 14;
const R: u32 = 8;
const P: u32 = 5;

/// Makes a key and returns its file's text.
pub(crate) fn generate(passphrase: &SecretString) -> Result<Zeroizing<String>, KeyError> {
    let failed = || KeyError::Unavailable("a key could not be made or encrypted".into());
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new());
    let key = key.map_err(|_| failed())?;
    encrypt(key.as_ref(), passphrase).map_err(|_| failed())
}

fn encrypt(pkcs8_der: &[u8], passphrase: &SecretString) -> pkcs8::Result<Zeroizing<String>> {
    let cost = scrypt::Params::new(LOG_N, R, P).map_err(|_| pkcs8::Error::ParametersMalformed)?;
    let (salt, iv) = (signer::random::<16>(&OsEntropy), signer::random::<16>(&OsEntropy));
    let scheme = pbes2::Parameters::generate_scrypt_aes256cbc(cost, &salt, iv)?;
    let key = PrivateKeyInfoRef::try_from(pkcs8_der)?;
    let encrypted = key.encrypt_with_params(scheme, passphrase.expose_secret())?;
    Ok(encrypted.to_pem(EncryptedPrivateKeyInfoRef::PEM_LABEL, LineEnding::LF)?)
}

/// The PKCS#8 in a file's text, or why there is none and what to do.
pub(crate) fn decrypt(pem: &str, passphrase: &SecretString) -> Result<SecretDocument, String> {
    let file = SecretDocument::from_pem(pem).ok().filter(|(label, _)| *label == EncryptedPrivateKeyInfoRef::PEM_LABEL);
    let (_, file) = file.ok_or("the file is not an encrypted PKCS#8 key in PEM: restore it from a backup")?;
    let file = EncryptedPrivateKeyInfoRef::try_from(file.as_bytes());
    let file = file.map_err(|_| "the file is damaged: restore it from a backup")?;
    let key = file.decrypt(passphrase.expose_secret());
    Ok(key.map_err(|_| "the passphrase is wrong, or the file is damaged: use the passphrase it was created with")?)
}
