//! `DynamoStore::check`.

use signet_dynamodb::{DynamoStore, Limits, SchemaError};

use crate::support::{aws, store_at, variable};

#[tokio::test]
async fn the_tables_that_terraform_made_fit() {
    let store = store_at(&variable("SIGNET_TEST_AWS_ENDPOINT"), Limits::default()).await;
    store.check().await.unwrap();
}

#[tokio::test]
async fn every_missing_table_is_named_with_what_to_do() {
    let config = aws(&variable("SIGNET_TEST_AWS_ENDPOINT")).await;
    let error = DynamoStore::new(&config, "signet-nowhere", Limits::default()).check().await.unwrap_err();
    let text = error.to_string();
    for needed in
        ["signet-nowhere-tenants does not exist", "signet-nowhere-audit does not exist", "infra/modules/tables"]
    {
        assert!(text.contains(needed), "{text}");
    }
    let SchemaError::Mismatch { problems, .. } = error else { panic!("{error}") };
    assert_eq!(problems.len(), 7);
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_unavailable() {
    let store = store_at("http://127.0.0.1:9", Limits::default()).await;
    let error = store.check().await.unwrap_err();
    assert!(matches!(&error, SchemaError::Unavailable { table, .. } if table.ends_with("-tenants")), "{error}");
}
