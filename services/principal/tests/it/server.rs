//! A control plane in this process, for the binary to call.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use signet_control_plane::{Config, Running, serve, wiring};
use signet_core::Time;
use tokio_util::sync::CancellationToken;

use crate::run::{Machine, Outcome};

/// A control plane whose clock can be moved on.
pub(crate) struct Server {
    pub(crate) running: Running,
    shutdown: CancellationToken,
    pub(crate) ahead_millis: Arc<AtomicI64>,
}

impl Server {
    pub(crate) async fn start(config_file: &Path) -> Self {
        let config = Config::load(config_file).unwrap();
        let wired = wiring::open(&config).await.unwrap();
        let (shutdown, ahead_millis) = (CancellationToken::new(), Arc::new(AtomicI64::new(0)));
        let ahead = Arc::clone(&ahead_millis);
        let clock = Arc::new(move || {
            Time::from_unix_millis(jiff::Timestamp::now().as_millisecond() + ahead.load(Ordering::Relaxed))
        });
        let running = serve(config, wired, shutdown.clone(), clock).await.unwrap();
        Self { running, shutdown, ahead_millis }
    }

    /// For callers of the API.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.running.grpc_addr.port())
    }

    /// The public listener.
    pub(crate) fn public(&self) -> String {
        format!("http://{}", self.running.public_addr)
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.running.ended().await.unwrap();
    }
}

/// Asks until `done` says yes.
pub(crate) fn until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "{what} did not happen within {limit:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// An environment in the folder `env`, on free ports.
pub(crate) fn bootstrap(machine: &Machine) -> Outcome {
    let addresses = ["--grpc-address", "--public-address", "--metrics-address"].map(|name| [name, "127.0.0.1:0"]);
    let fixed = ["bootstrap", "--local", "env", "--seal-delay-seconds", "1", "--output", "json"];
    machine.principal(&[&fixed[..], &addresses.concat()].concat()).ok()
}

/// Waits for the first good answer.
pub(crate) fn ready(machine: &Machine) {
    until("readiness", Duration::from_secs(20), || {
        let checks = machine.principal(&["doctor", "-o", "json"]).json();
        checks.as_array().unwrap().iter().any(|check| check["check"] == "server" && check["status"] == "ok")
    });
}
