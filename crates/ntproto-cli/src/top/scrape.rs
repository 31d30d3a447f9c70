//! Asking for `/metrics`: plain HTTP/1.1, one request a connection.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::exit::{Code, Failure};

/// The port that Prometheus' list has for OpenTelemetry exporters, and that the guide uses.
const PORT: u16 = 9464;
/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer: a server tells some tens of kilobytes.
const MAX_ANSWER: u64 = 4 << 20;

/// `host[:port]` of an address or a URL.
pub(crate) fn authority(text: &str) -> Result<String, Failure> {
    let rest = text.strip_prefix("http://").unwrap_or(text);
    let rest = rest.split('/').next().unwrap_or_default();
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '@' | '?' | '#');
    if rest.is_empty() || rest.contains(odd) || text.starts_with("https://") {
        let advice = "write the address of its operations listener, such as 127.0.0.1:9464";
        return Err(Failure::usage(format!("--ops {text:?}: {advice}")));
    }
    let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Ok(if has_port { rest.to_owned() } else { format!("{rest}:{PORT}") })
}

/// The text that the server at `authority` tells.
pub(crate) async fn metrics(authority: &str) -> Result<String, Failure> {
    let failed = |why: String| Failure::new(Code::Unreachable, format!("{authority}: {why}"));
    let looked = tokio::time::timeout(PATIENCE, async {
        let mut stream = TcpStream::connect(authority).await?;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    });
    let answer = match looked.await {
        Ok(Ok(answer)) => String::from_utf8_lossy(&answer).into_owned(),
        Ok(Err(error)) => {
            return Err(failed(format!("{error}; was the server started with --ops-listen?")));
        }
        Err(_) => return Err(failed("no answer".into())),
    };
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => Err(failed("that is no server's /metrics".into())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_urls() {
        for (text, known) in [
            ("127.0.0.1:99", "127.0.0.1:99"),
            ("http://host/metrics", "host:9464"),
            ("[::1]:7", "[::1]:7"),
            ("[::1]", "[::1]:9464"),
        ] {
            assert_eq!(authority(text).unwrap(), known);
        }
        for bad in ["", "https://a", "a b", "u@h", "http://"] {
            assert!(authority(bad).is_err(), "{bad}");
        }
    }
}
