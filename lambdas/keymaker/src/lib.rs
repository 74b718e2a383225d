//! The `keymaker` Lambda: makes the keys of tenants' CAs, sets their policy and ends them, and nothing else can. KMS
//! makes no key whose maker could not change its policy again (CreateKey, "Policy"); who may do that is not to serve
//! clients.
//!
//! Everything may run at any time, again, and twice at once.

use lambda_runtime::Diagnostic;
use serde_json::Value;
use signet_control_plane::{Config, cli::system_clock, config::Keys, wiring};
use signet_core::{KeyLabel, KeyManager, Time};
use signet_kms::{KmsKeys, Order, Reply};
use thiserror::Error as ThisError;

/// How long policies are set for one order, in milliseconds: its caller has a time limit too, and goes on with another.
const ONE_ORDER: i64 = 15_000;

/// Why a run failed. Logged, and tried again by whoever called.
#[derive(Debug, ThisError)]
pub enum KeymakerError {
    /// The event is none that this function knows.
    #[error("the event is no order: {0}")]
    Event(serde_json::Error),
    /// A setting that is needed is missing.
    #[error("{0}")]
    Settings(String),
}

/// What the runtime reports of a failed run.
impl From<KeymakerError> for Diagnostic {
    fn from(error: KeymakerError) -> Self {
        Self { error_type: "Keymaker".into(), error_message: error.to_string() }
    }
}

/// The function, ready for orders.
#[derive(Debug)]
pub struct Function {
    keys: KmsKeys,
}

impl Function {
    /// Makes the client. Asks nobody anything.
    pub async fn open(config: &Config) -> Result<Self, KeymakerError> {
        // Without, KMS's default policy would leave it to IAM who signs.
        if !matches!(&config.keys, Keys::Kms { tenant_key_policy: Some(_), maker: None, .. }) {
            return Err(KeymakerError::Settings("set SIGNET_KEYS__KIND=kms and SIGNET_KEYS__TENANT_KEY_POLICY".into()));
        }
        let keys = wiring::kms_keys(config).await.map_err(|error| KeymakerError::Settings(error.to_string()))?;
        Ok(Self { keys })
    }

    /// Carries out one order.
    pub async fn call(&self, event: Value) -> Result<Value, KeymakerError> {
        let clock = system_clock();
        let begun = clock();
        let go_on = || Some(clock()).filter(|now: &Time| now.millis_since(begun) < ONE_ORDER);
        let reply = match serde_json::from_value(event).map_err(KeymakerError::Event)? {
            Order::CreateKey { tenant, ca } => {
                self.keys.create(&KeyLabel { tenant, ca }).await.map_or_else(Reply::from, Reply::Key)
            }
            Order::EndKey { key, tenant } => {
                self.keys.end(&key, &tenant).await.map_or_else(Reply::from, |()| Reply::Ended)
            }
            Order::ApplyPolicies { from } => {
                self.keys.set_policies(from, &go_on).await.map_or_else(Reply::from, Reply::Policies)
            }
        };
        tracing::info!(?reply, "done");
        serde_json::to_value(reply).map_err(KeymakerError::Event)
    }
}
