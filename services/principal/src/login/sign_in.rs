//! How somebody wants to sign in, and how that can fail.

use std::time::Duration;

use secrecy::SecretString;

use crate::{exit::Exit, failure::Failure};

/// Where and as what to sign in.
#[derive(Debug)]
pub struct SignIn {
    /// The issuer, as its tokens name it.
    pub issuer: String,
    /// What the provider knows this program as.
    pub client_id: String,
    /// Some providers give even public clients one.
    pub client_secret: Option<SecretString>,
    /// Scopes, `openid` among them.
    pub scopes: Vec<String>,
    pub flow: Flow,
    /// How long the person may take.
    pub patience: Duration,
    /// No sign of life while waiting.
    pub quiet: bool,
}

pub(super) fn denied(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Denied, message)
}

pub(super) fn away(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Unavailable, message)
}

/// How a person signs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// On any device, with a code.
    Device,
    /// In a browser on this machine.
    Browser,
}
