//! A collector of spans: a small HTTP server that decodes real OTLP.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use prost::Message as _;

use super::{PATIENCE, hex};

/// A span as it came.
#[derive(Clone, Debug)]
pub struct Came {
    /// `service.name`.
    pub service: String,
    pub name: String,
    pub trace: String,
    pub id: String,
    /// Empty at the root.
    pub parent: String,
    pub kind: i32,
    pub attributes: BTreeMap<String, String>,
    pub lasted: Duration,
}

#[derive(Default)]
struct Got {
    spans: Vec<Came>,
    raw: Vec<u8>,
}

/// The collector. It listens until the test ends.
pub struct Collector {
    pub url: String,
    got: Arc<Mutex<Got>>,
}

impl Collector {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let got = Arc::new(Mutex::new(Got::default()));
        let shared = Arc::clone(&got);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                take(stream.unwrap(), &shared);
            }
        });
        Self { url, got }
    }

    /// Waits until spans like this one are there.
    pub fn wait(&self, what: &str, enough: impl Fn(&[Came]) -> bool) -> Vec<Came> {
        let until = Instant::now() + PATIENCE;
        loop {
            let spans = self.got.lock().unwrap().spans.clone();
            if enough(&spans) {
                return spans;
            }
            assert!(Instant::now() < until, "{what}: {spans:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Every byte that came.
    pub fn raw(&self) -> Vec<u8> {
        self.got.lock().unwrap().raw.clone()
    }
}

fn take(stream: TcpStream, got: &Mutex<Got>) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    assert_eq!(line, "POST /v1/traces HTTP/1.1\r\n");
    let mut length = 0;
    let mut protobuf = false;
    loop {
        line.clear();
        stream.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "content-type" => protobuf = value == "application/x-protobuf",
            _ => {}
        }
    }
    assert!(protobuf, "OTLP as protobuf");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    let request = ExportTraceServiceRequest::decode(&body[..]).unwrap();
    let mut got = got.lock().unwrap();
    got.raw.extend_from_slice(&body);
    for resource in request.resource_spans {
        let attributes = map(resource.resource.unwrap().attributes);
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            got.spans.push(Came {
                service: attributes["service.name"].clone(),
                name: span.name,
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                kind: span.kind,
                attributes: map(span.attributes),
                lasted: Duration::from_nanos(span.end_time_unix_nano - span.start_time_unix_nano),
            });
        }
    }
    drop(got);
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
    stream.get_mut().write_all(answer.as_bytes()).unwrap();
}

fn map(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<AnyValue>| match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        other => panic!("only texts are told: {other:?}"),
    };
    attributes.into_iter().map(|attribute| (attribute.key, text(attribute.value))).collect()
}
