//! The `enroll` Lambda. Wiring and nothing else; see the library.

use std::time::Instant;

use lambda_http::{Adapter, Error, lambda_runtime, service_fn};
use signet_control_plane::{Config, telemetry};
use signet_enroll_lambda::{Function, essential};
use tower::ServiceExt as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let started = Instant::now();
    let config = Config::from_environment()?;
    let _flushed_at_the_end = telemetry::init(&config.telemetry, &config.environment.name)?;
    let function = Function::open(&config).await?;
    tracing::info!(init_ms = started.elapsed().as_millis() as u64, environment = config.environment.name, "ready");
    let answers = Adapter::from(service_fn(|request| function.call(request)));
    lambda_runtime::run(answers.map_request(essential)).await
}
