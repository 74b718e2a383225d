//! The `keymaker` Lambda. Wiring and nothing else; see the library.

use std::time::Instant;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use signet_control_plane::{Config, telemetry};
use signet_keymaker_lambda::Function;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let started = Instant::now();
    let config = Config::from_environment()?;
    let _flushed_at_the_end = telemetry::init(&config.telemetry, &config.environment.name)?;
    let function = Function::open(&config).await?;
    tracing::info!(init_ms = started.elapsed().as_millis() as u64, environment = config.environment.name, "ready");
    let function = &function;
    run(service_fn(move |event: LambdaEvent<Value>| async move { function.call(event.payload).await })).await
}
