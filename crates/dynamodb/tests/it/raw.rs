//! The way around the adapter.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::{Client, types::AttributeValue};
use serde_json::Value;
use signet_core::store::Key;
use signet_testkit::store_suite::{Raw, RawStore};

use crate::support::{aws, store, variable};

signet_testkit::raw_suite!(raw_store);

async fn raw_store() -> (RawStore, ()) {
    let client = Client::new(&aws(&variable("SIGNET_TEST_AWS_ENDPOINT")).await);
    ((store().await.0, Arc::new(RawTables { client, prefix: variable("SIGNET_TEST_AWS_PREFIX") })), ())
}

struct RawTables {
    client: Client,
    prefix: String,
}

impl RawTables {
    async fn set(&self, key: &Key, name: &str, value: AttributeValue) {
        let request = self.client.update_item().table_name(format!("{}-{}", self.prefix, key.table.name()));
        let request = request.key("pk", AttributeValue::S(key.partition.clone()));
        let request = request.key("sk", AttributeValue::S(key.sort.clone()));
        let request = request.update_expression("SET #n = :v").condition_expression("attribute_exists(pk)");
        let request = request.expression_attribute_names("#n", name).expression_attribute_values(":v", value);
        request.send().await.unwrap();
    }
}

#[async_trait]
impl Raw for RawTables {
    async fn body(&self, key: &Key) -> Value {
        let request = self.client.get_item().table_name(format!("{}-{}", self.prefix, key.table.name()));
        let request = request.key("pk", AttributeValue::S(key.partition.clone()));
        let request = request.key("sk", AttributeValue::S(key.sort.clone())).consistent_read(true);
        let item = request.send().await.unwrap().item.unwrap();
        serde_dynamo::from_attribute_value(item["body"].clone()).unwrap()
    }

    async fn set_body(&self, key: &Key, body: Value) {
        self.set(key, "body", serde_dynamo::to_attribute_value(body).unwrap()).await;
    }

    async fn set_schema(&self, key: &Key, version: u32) {
        self.set(key, "schema_version", AttributeValue::N(version.to_string())).await;
    }
}
