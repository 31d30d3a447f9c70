//! What the process logs, and the spans it exports.

use std::sync::OnceLock;

use ntproto_sdk::trace::{TARGET, TraceContext};
use ntproto_server::config::LogFormat;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::exit::Failure;
use crate::output::Style;

#[cfg(feature = "otlp")]
type Export = ntproto_server::otlp::Otlp;
#[cfg(not(feature = "otlp"))]
type Export = std::convert::Infallible;

/// The export of this process, if it has one.
static EXPORT: OnceLock<Export> = OnceLock::new();

type Boxed = Box<dyn Layer<Registry> + Send + Sync>;

/// Begins: what is logged, if anything, and where spans go, if anywhere. `service` names the process there.
pub(crate) fn start(
    endpoint: Option<&str>,
    service: &str,
    log: Option<(&str, LogFormat)>,
) -> Result<(), Failure> {
    let mut layers: Vec<Boxed> = Vec::new();
    if let Some((level, format)) = log {
        let filter =
            EnvFilter::try_new(level).map_err(|e| Failure::usage(format!("log_level {level:?}: {e}")))?;
        let lines = fmt::layer().with_writer(std::io::stderr);
        layers.push(match format {
            LogFormat::Json => lines.json().with_filter(filter).boxed(),
            LogFormat::Text => lines.with_ansi(Style::of_stderr().is_on()).with_filter(filter).boxed(),
        });
    }
    if let Some(endpoint) = endpoint {
        layers.push(export(endpoint, service)?);
    }
    if !layers.is_empty() {
        tracing_subscriber::registry().with(layers).init();
    }
    Ok(())
}

#[cfg(feature = "otlp")]
fn export(endpoint: &str, service: &str) -> Result<Boxed, Failure> {
    let otlp = Export::start(endpoint, service).map_err(|e| Failure::usage(e.to_string()))?;
    let only = Targets::new().with_target(TARGET, LevelFilter::INFO);
    let layer = otlp.layer().with_filter(only).boxed();
    // It is begun once.
    let _ = EXPORT.set(otlp);
    Ok(layer)
}

#[cfg(not(feature = "otlp"))]
fn export(_: &str, _: &str) -> Result<Boxed, Failure> {
    Err(Failure::usage("this program was built without the feature otlp: it exports no spans"))
}

/// Whether what this process sends begins traces.
pub(crate) fn keeps_traces() -> bool {
    EXPORT.get().is_some()
}

/// The trace that whoever started this process gave it, in the variable `TRACEPARENT`.
pub(crate) fn parent() -> Option<TraceContext> {
    TraceContext::parse(std::env::var("TRACEPARENT").ok()?.trim())
}

/// Sends the last spans.
pub(crate) fn finish() {
    #[cfg(feature = "otlp")]
    if let Some(export) = EXPORT.get() {
        export.finish();
    }
}
