//! What a first certificate is asked for with.

use std::{fmt, fs, path::Path, sync::Arc};

use futures::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use signet_proto::v1::enroll_request::Proof;
use signet_x509::KeyPair;
use zeroize::Zeroizing;

use crate::{credentials::CredentialsError, error::ClientError};

/// A join token: this, then 32 random bytes in base64url.
const TOKEN_PREFIX: &str = "sgt_";

const TOKEN_LENGTH: usize = 43;

/// How to get a first certificate.
#[derive(Clone, Debug)]
pub struct Enrollment {
    /// What speaks for us.
    pub proof: Arc<dyn ProofSource>,
    /// The tenant; a join token knows its own.
    pub tenant_id: Option<String>,
    /// The id to take, where the proof leaves it open.
    pub principal_id: Option<String>,
}

impl Enrollment {
    /// With a join token.
    pub fn join_token(token: SecretString) -> Self {
        Self { proof: Arc::new(JoinToken(token)), tenant_id: None, principal_id: None }
    }
}

/// Makes a proof for an enrollment. Asked anew each time: most proofs name the key, and all expire.
pub trait ProofSource: Send + Sync + fmt::Debug {
    /// A proof for `key`, which is about to be certified.
    fn proof<'a>(&'a self, key: &'a KeyPair) -> BoxFuture<'a, Result<Proof, ClientError>>;

    /// Whether it works more than once, so that a program that starts again may enroll again.
    fn repeats(&self) -> bool;
}

impl ProofSource for JoinToken {
    fn proof<'a>(&'a self, _: &'a KeyPair) -> BoxFuture<'a, Result<Proof, ClientError>> {
        Box::pin(async { Ok(Proof::JoinToken(self.0.expose_secret().to_owned())) })
    }

    fn repeats(&self) -> bool {
        false
    }
}

/// A join token: good for as many enrollments as it was made for, by default one.
pub struct JoinToken(pub SecretString);

impl JoinToken {
    /// From a file. What cannot be a token is refused here, before it is sent to anybody; blanks around it and the mark
    /// that some editors put first (BOM) do not count.
    pub fn read(path: &Path) -> Result<Self, CredentialsError> {
        let failed =
            |reason: String| CredentialsError::File { action: "read", path: path.display().to_string(), reason };
        let text = Zeroizing::new(fs::read_to_string(path).map_err(|error| failed(error.to_string()))?);
        let token = text.trim_start_matches('\u{feff}').trim();
        if token.is_empty() {
            return Err(failed("it is empty".into()));
        }
        let rule = "it holds no join token: that is sgt_ and 43 letters, digits, - or _, and nothing else";
        Self::parse(token).ok_or_else(|| failed(rule.into()))
    }

    /// From a text that is nothing else; `None`: it cannot be one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let secret = text.strip_prefix(TOKEN_PREFIX)?;
        let shaped = secret.len() == TOKEN_LENGTH
            && secret.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        shaped.then(|| Self(SecretString::from(text)))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken")
    }
}

/// A proof that is found anew for each enrollment, since owners replace files and roles give other credentials. It
/// repeats: what is used up is refused until there is another.
pub struct Anew<F>(pub F);

impl<F> fmt::Debug for Anew<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Anew")
    }
}
