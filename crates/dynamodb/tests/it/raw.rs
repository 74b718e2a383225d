//! The way around the adapter.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use aws_sdk_dynamodb::{Client, types::AttributeValue};
use serde_json::Value;
use signet_core::store::{Entity, Key, Write};
use signet_testkit::{
    fixtures::{NOW, principal, transaction, unique_tenant},
    store_suite::{Raw, RawStore},
};

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
    async fn item(&self, key: &Key) -> HashMap<String, AttributeValue> {
        let request = self.client.get_item().table_name(format!("{}-{}", self.prefix, key.table.name()));
        let request = request.key("pk", AttributeValue::S(key.partition.clone()));
        let request = request.key("sk", AttributeValue::S(key.sort.clone())).consistent_read(true);
        request.send().await.unwrap().item.unwrap()
    }

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
        serde_dynamo::from_attribute_value(self.item(key).await["body"].clone()).unwrap()
    }

    async fn set_body(&self, key: &Key, body: Value) {
        self.set(key, "body", serde_dynamo::to_attribute_value(body).unwrap()).await;
    }

    async fn set_schema(&self, key: &Key, version: u32) {
        self.set(key, "schema_version", AttributeValue::N(version.to_string())).await;
    }
}

/// A later release may keep attributes beside the body, such as the keys of a new index.
#[tokio::test]
async fn attributes_of_a_later_release_survive_a_replacement() {
    let client = Client::new(&aws(&variable("SIGNET_TEST_AWS_ENDPOINT")).await);
    let raw = RawTables { client, prefix: variable("SIGNET_TEST_AWS_PREFIX") };
    let (store, ()) = store().await;
    let worker = principal(&unique_tenant(), "worker");
    store.transact(transaction([Write::create(worker.clone())])).await.unwrap();
    raw.set(&worker.key(), "by_owner_pk", AttributeValue::S("of a later release".into())).await;
    let version = store.get(&worker.key(), NOW).await.unwrap().unwrap().version;
    store.transact(transaction([Write::replace(worker.clone(), version)])).await.unwrap();
    let item = raw.item(&worker.key()).await;
    assert_eq!(item["by_owner_pk"], AttributeValue::S("of a later release".into()));
    assert_eq!(item["version"], AttributeValue::N("2".into()));
}
