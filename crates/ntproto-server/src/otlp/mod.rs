//! Spans to a collector, as OTLP: `tracing` spans of [`ntproto_sdk::trace`], exported by the OpenTelemetry SDK.
//!
//! Nothing here is global: an [`Otlp`] is made for an endpoint, and its [`layer`](Otlp::layer) goes into whatever
//! subscriber the process has. Batches leave from a thread of their own; a collector that is gone costs spans, never
//! time. Spans of other targets are not looked at.
//!
//! ```no_run
//! use ntproto_sdk::trace::TARGET;
//! use ntproto_server::otlp::Otlp;
//! use tracing_subscriber::filter::{LevelFilter, Targets};
//! use tracing_subscriber::prelude::*;
//!
//! let otlp = Otlp::start("http://127.0.0.1:4318", "ntproto")?;
//! let only = Targets::new().with_target(TARGET, LevelFilter::INFO);
//! tracing_subscriber::registry().with(otlp.layer().with_filter(only)).init();
//! // … and at the end, what is left:
//! otlp.finish();
//! # Ok::<(), ntproto_server::otlp::OtlpError>(())
//! ```

mod client;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ntproto_sdk::trace::{Operation, TARGET};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use self::client::{Client, Url, system_roots};

/// Spans that may wait for the collector; more are dropped.
const MAX_QUEUE: usize = 2048;
/// Spans of one request.
const MAX_BATCH: usize = 512;
/// How long a span waits for others.
const DELAY: Duration = Duration::from_secs(1);
/// How long the last batch may take when the process ends.
const LAST: Duration = Duration::from_secs(3);

/// Why nothing can be exported.
#[derive(Debug, PartialEq, Eq)]
pub enum OtlpError {
    /// The endpoint is not `http://host[:port]` or `https://host[:port]`, with a path or without.
    Endpoint(String),
    /// TLS to the collector can't be set up: this machine trusts nobody.
    Tls(String),
    /// The exporter would not have it.
    Exporter(String),
}

impl fmt::Display for OtlpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(url) => {
                write!(f, "{url:?} is no endpoint of a collector: write http://host:4318 or https://host")
            }
            Self::Tls(why) => write!(f, "no TLS to the collector: {why}"),
            Self::Exporter(why) => write!(f, "the OTLP exporter can't be made: {why}"),
        }
    }
}

impl std::error::Error for OtlpError {}

/// Whether this can be exported to: for whoever reads settings.
#[must_use]
pub fn is_endpoint(url: &str) -> bool {
    Url::parse(url).is_some()
}

/// An export that runs. Cheap to clone.
#[derive(Clone)]
pub struct Otlp(Arc<BatchSpanProcessor>);

impl Otlp {
    /// Exports to a collector's base URL, to which `/v1/traces` is added, as `service`. By HTTPS it must show a certificate for
    /// its name that one of the system's authorities vouches for.
    ///
    /// # Errors
    /// See [`OtlpError`].
    pub fn start(endpoint: &str, service: &str) -> Result<Self, OtlpError> {
        let url = Url::parse(endpoint).ok_or_else(|| OtlpError::Endpoint(endpoint.to_owned()))?;
        let client = Client::new(&url, system_roots).map_err(OtlpError::Tls)?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", url.text()))
            .build()
            .map_err(|why| OtlpError::Exporter(why.to_string()))?;
        let batch = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_QUEUE)
            .with_max_export_batch_size(MAX_BATCH)
            .with_scheduled_delay(DELAY)
            .build();
        let mut processor = BatchSpanProcessor::builder(exporter).with_batch_config(batch).build();
        let resource = Resource::builder_empty()
            .with_service_name(service.to_owned())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        processor.set_resource(&resource);
        Ok(Self(Arc::new(processor)))
    }

    /// What takes spans out of a subscriber.
    #[must_use]
    pub fn layer(&self) -> OtlpLayer {
        OtlpLayer(self.clone())
    }

    /// Sends what is left, and takes no more. Waits a few seconds at the most.
    pub fn finish(&self) {
        // A collector that is gone has been told of in vain; there is nobody to tell that to.
        let _ = self.0.shutdown_with_timeout(LAST);
    }
}

/// Takes spans of [`TARGET`] out of a subscriber: see [`Otlp::layer`].
pub struct OtlpLayer(Otlp);

impl<S: Subscriber> Layer<S> for OtlpLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        if is_ours(attributes.metadata()) {
            let mut seen = Seen::default();
            attributes.record(&mut seen);
            if let Some(span) = seen.finish(SystemTime::now()) {
                self.0.0.on_end(span);
            }
        }
    }
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target() == TARGET
}

/// The fields of a span, which says everything when it is made.
#[derive(Default)]
struct Seen {
    trace: Option<TraceId>,
    span: Option<SpanId>,
    parent: Option<SpanId>,
    operation: String,
    method: String,
    status: String,
    failed: bool,
    lasted: Duration,
    attributes: Vec<KeyValue>,
}

impl Visit for Seen {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "messaging.operation" => value.clone_into(&mut self.operation),
            "rpc.method" => value.clone_into(&mut self.method),
            "rpc.status_code" => value.clone_into(&mut self.status),
            _ => {}
        }
        self.attributes.push(KeyValue::new(field.name(), value.to_owned()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "lasted_us" {
            self.lasted = Duration::from_micros(value);
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "failed" {
            self.failed = value;
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "trace_id" => self.trace = TraceId::from_hex(&text).ok(),
            "span_id" => self.span = SpanId::from_hex(&text).ok(),
            "parent_span_id" => self.parent = SpanId::from_hex(&text).ok(),
            _ => {}
        }
    }
}

impl Seen {
    fn finish(self, end: SystemTime) -> Option<SpanData> {
        let (trace, span) = (self.trace?, self.span?);
        let is = |operation: Operation| self.operation == operation.name();
        let span_kind = match () {
            () if is(Operation::Process) => SpanKind::Server,
            () if is(Operation::Receive) => SpanKind::Consumer,
            () if self.method == "SEND" => SpanKind::Producer,
            () => SpanKind::Client,
        };
        Some(SpanData {
            span_context: SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: self.parent.unwrap_or(SpanId::INVALID),
            // A parent is always another process's, or the application's.
            parent_span_is_remote: self.parent.is_some(),
            span_kind,
            name: format!("{} {}", self.operation, self.method).into(),
            start_time: end.checked_sub(self.lasted).unwrap_or(end),
            end_time: end,
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: if self.failed { Status::error(self.status) } else { Status::Unset },
            instrumentation_scope: InstrumentationScope::builder("ntproto").build(),
        })
    }
}
