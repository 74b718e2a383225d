//! The embedded default: one SQLite file, keys encrypted in a folder; a process that ends and one that starts again.

use std::{path::Path, sync::Arc};

use secrecy::SecretString;
use signet_app::{
    App, Call, Settings, bootstrap,
    certificates::{issuance, renewal},
    principals, tenants,
};
use signet_core::PrincipalType;
use signet_softkey::{OsEntropy, SoftKeys};
use signet_sqlite::SqliteStore;
use signet_testkit::fixtures::NOW;
use signet_x509::Environment;

use crate::world::*;

fn open(folder: &Path) -> Arc<App> {
    let store = SqliteStore::open(&folder.join("store")).unwrap();
    let keys = SoftKeys::open(&folder.join("keys"), SecretString::from("correct horse battery staple")).unwrap();
    let environment = Environment::with_default_arc("test.example.com".parse().unwrap()).unwrap();
    Arc::new(App::new(Arc::new(store), Arc::new(keys), Arc::new(OsEntropy), environment, Settings::default()))
}

#[tokio::test]
async fn another_process_goes_on_with_the_same_file_and_keys() {
    let folder = tempfile::tempdir().unwrap();
    let (csr, issue) = (csr(), call_with_id("IssueCertificate", "one"));
    let first = {
        let app = open(folder.path());
        bootstrap::bootstrap(&app, &Call::process("bootstrap", NOW), &bootstrap_input()).await.unwrap();
        tenants::create_tenant(&app, &call("CreateTenant"), &environment(), new_tenant("acme")).await.unwrap();
        let input = new_principal("worker", PrincipalType::Worker, &[]);
        principals::create_principal(&app, &call("CreatePrincipal"), &acme(), input).await.unwrap();
        issuance::issue_certificate(&app, &issue, &acme(), &pid("worker"), &csr).await.unwrap()
    };
    let app = open(folder.path());
    assert_eq!(issuance::issue_certificate(&app, &issue, &acme(), &pid("worker"), &csr).await.unwrap(), first);
    let second = renewal::renew_certificate(&app, &call("Renew"), &renewal_of(&first), &acme(), &crate::world::csr())
        .await
        .unwrap();
    assert_eq!(second.chain_der[1], first.chain_der[1]);
}
