//! Warnings as events on an EventBridge bus. Terraform's rules take them to people.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_eventbridge::{Client, types::PutEventsRequestEntry};
use serde_json::{Value, json};
use signet_app::Notifier;
use signet_core::certificates::expiry::ExpiryWarning;

use crate::said;

/// The events' source; the function's role may send no other.
const SOURCE: &str = "signet";
/// The events' detail type.
const EXPIRY: &str = "Certificate Expiry";

/// A bus.
#[derive(Clone, Debug)]
pub(crate) struct Bus {
    client: Client,
    name: String,
}

impl Bus {
    pub(crate) fn new(aws: &SdkConfig, name: &str) -> Self {
        Self { client: Client::new(aws), name: name.to_owned() }
    }
}

/// An event's `detail`: the warning, with times that people can read.
fn detail(warning: &ExpiryWarning) -> Value {
    let time = jiff::Timestamp::from_second(warning.not_after.unix_seconds());
    let mut detail = serde_json::to_value(&warning.ending).unwrap_or_default();
    if let Some(members) = detail.as_object_mut() {
        members.insert("tenant".into(), json!(warning.tenant.as_str()));
        members.insert("threshold".into(), json!(warning.threshold.name()));
        members.insert("not_after".into(), json!(time.map(|time| time.to_string()).unwrap_or_default()));
        members.insert("seconds_left".into(), json!(warning.not_after.millis_since(warning.at) / 1000));
        members.insert("runbook".into(), json!("CertificateExpiry"));
    }
    detail
}

#[async_trait]
impl Notifier for Bus {
    async fn tell(&self, warnings: &[ExpiryWarning]) -> Vec<(usize, String)> {
        let entry = |warning: &ExpiryWarning| {
            PutEventsRequestEntry::builder()
                .event_bus_name(&self.name)
                .source(SOURCE)
                .detail_type(EXPIRY)
                .detail(detail(warning).to_string())
                .build()
        };
        let entries = warnings.iter().map(entry).collect();
        match self.client.put_events().set_entries(Some(entries)).send().await {
            Ok(answer) => {
                let failed = answer.entries().iter().enumerate();
                failed
                    .filter_map(|(index, entry)| {
                        let code = entry.error_code()?;
                        Some((index, format!("{code}: {}", entry.error_message().unwrap_or_default())))
                    })
                    .collect()
            }
            Err(error) => {
                let cause = said(&error);
                (0..warnings.len()).map(|index| (index, cause.clone())).collect()
            }
        }
    }
}
