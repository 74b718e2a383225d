//! A world's parts with a store that fails when told to.

use std::sync::Arc;

use secrecy::SecretString;
use signet_app::{App, Settings};
use signet_control_plane::wiring::Wired;
use signet_softkey::SoftKeys;
use signet_sqlite::SqliteStore;
use signet_testkit::faulty::FaultyStore;

use crate::world::{PASSPHRASE, World};

/// The environment's parts over a faulty store.
pub fn faulty(world: &World) -> (Wired, Arc<FaultyStore>) {
    let store = SqliteStore::open(&world.dir.path().join("signet.db")).unwrap();
    let keys = SoftKeys::open(&world.dir.path().join("keys"), SecretString::from(PASSPHRASE)).unwrap();
    let store = FaultyStore::new(Arc::new(store));
    let environment = world.wired.app.environment().clone();
    let entropy = Arc::clone(&world.wired.entropy);
    let app = App::new(store.clone(), Arc::new(keys), entropy, environment, Settings::default());
    (Wired { app: Arc::new(app), ..world.wired.clone() }, store)
}
