//! Logs to standard error, one line per event, and spans to an OTLP collector where one is configured.

use std::io::IsTerminal;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use thiserror::Error;
use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{Log, Telemetry};

/// Why logs or traces cannot be set up.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter.
    #[error("telemetry.filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The collector's address.
    #[error("telemetry.otlp_endpoint: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// Another subscriber is there already.
    #[error("logs are set up twice: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Flushes spans when dropped.
#[derive(Debug)]
#[must_use]
pub struct Guard(Option<SdkTracerProvider>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = &self.0
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "the last trace spans were not sent");
        }
    }
}

/// Sets up the process's logs and traces. Call it once, within a runtime.
pub fn init(telemetry: &Telemetry, environment: &str) -> Result<Guard, TelemetryError> {
    let provider = telemetry.otlp_endpoint.as_deref().map(|endpoint| provider(endpoint, environment)).transpose()?;
    let spans =
        provider.as_ref().map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("signetd")));
    let filter: EnvFilter = telemetry.filter.parse()?;
    tracing_subscriber::registry().with(spans).with(lines(telemetry.log)).with(filter).try_init()?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(tracing::field::display);
        tracing::error!(place, panic = panic.payload_as_str(), "a panic");
    }));
    Ok(Guard(provider))
}

type Spans = tracing_subscriber::layer::Layered<
    Option<tracing_opentelemetry::OpenTelemetryLayer<Registry, opentelemetry_sdk::trace::SdkTracer>>,
    Registry,
>;

/// One line per event, with the fields of the call that it happened in.
fn lines(log: Log) -> Box<dyn Layer<Spans> + Send + Sync> {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if log == Log::Json {
        return lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed();
    }
    lines.with_target(false).with_ansi(std::io::stderr().is_terminal()).boxed()
}

fn provider(endpoint: &str, environment: &str) -> Result<SdkTracerProvider, opentelemetry_otlp::ExporterBuildError> {
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
    let resource = Resource::builder()
        .with_service_name("signetd")
        .with_attribute(opentelemetry::KeyValue::new("deployment.environment.name", environment.to_owned()))
        .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}
