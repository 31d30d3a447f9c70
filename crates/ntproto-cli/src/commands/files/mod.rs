//! Files: what `ntp upload` and `ntp download` have in common.

pub(crate) mod download;
mod job;
pub(crate) mod upload;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::transfer::{Event, Failure as Why, Fault, Progress};
use ntproto_http::client::trust::Trust;
use ntproto_http::client::{Http, HttpError, Pending, h2};
use ntproto_http::files::{Host, TransferError};
use ntproto_sdk::{Client, ConnectString};
use ntproto_tokio::Tokio;
use zeroize::Zeroizing;

use crate::exit::{Code, Failure};

/// The server of a session, by HTTPS on the port of the session.
pub(crate) struct Reach {
    client: Client,
    base: String,
    host: String,
    port: u16,
    config: Arc<rustls::ClientConfig>,
}

impl Reach {
    /// The server shows a key that the connect string pins.
    pub(crate) fn of(client: &Client, connect: &ConnectString) -> Result<Self, Failure> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = Trust::Keys(connect.tls_pins(&RUSTCRYPTO)).config(provider, &[h2::ALPN]);
        let config = config.map_err(|e| Failure::failed(format!("TLS can't be set up: {e}")))?;
        let (host, port) = (connect.host.clone(), connect.port);
        let base = if host.contains(':') {
            format!("https://[{host}]:{port}")
        } else {
            format!("https://{host}:{port}")
        };
        Ok(Self { client: client.clone(), base, host, port, config: Arc::new(config) })
    }

    async fn addresses(&self) -> Vec<SocketAddr> {
        match self.host.parse() {
            Ok(ip) => vec![SocketAddr::new(ip, self.port)],
            Err(_) => <Tokio as ntproto_drive::Runtime>::look_up(self.host.clone(), self.port).await,
        }
    }
}

impl Host for Reach {
    fn base(&self) -> &str {
        &self.base
    }

    fn connect(&self) -> Pending<'_, Result<Arc<dyn Http>, HttpError>> {
        Box::pin(async {
            let name = self.host.clone().try_into();
            let name: rustls::pki_types::ServerName<'static> = name.map_err(|e| HttpError::of(&e))?;
            let mut last = HttpError(format!("{} is nowhere", self.host));
            for address in self.addresses().await {
                match h2::connect(&Tokio, address, name.clone(), Arc::clone(&self.config)).await {
                    Ok(connection) => return Ok(Arc::new(connection) as Arc<dyn Http>),
                    Err(error) => last = error,
                }
            }
            Err(last)
        })
    }

    fn token(&self) -> Pending<'_, Option<Zeroizing<String>>> {
        // A client that is over has none; the transfer gives up by itself.
        Box::pin(async { self.client.http_token().await.ok().flatten().map(|token| token.text()) })
    }
}

/// A bar on a terminal; nothing elsewhere.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(what: &str, silent: bool) -> Self {
        let target = if silent { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = "{prefix} {bar:24} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} {msg}";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(what.to_owned());
        // Time goes on when nothing moves.
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    pub(super) fn show(&self, progress: Progress) {
        self.0.set_length(progress.total);
        self.0.set_position(progress.confirmed + progress.moving);
    }

    pub(super) fn tell(&self, event: &Event) {
        self.0.set_message(match event {
            Event::Progress(_) | Event::Ended(_) => String::new(),
            Event::Resumed { offset } => format!("goes on at {offset}"),
            Event::Waiting { fault, wait } => {
                let why = match fault {
                    Fault::Busy(_) => "the server is busy",
                    _ => "no connection",
                };
                format!("{why}, again in {:.1} s", wait.as_secs_f64())
            }
        });
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// What a transfer that did not come to its end means for a script.
impl From<TransferError> for Failure {
    fn from(error: TransferError) -> Self {
        let code = match &error {
            TransferError::Failed(Why::Unreachable) => Code::Unreachable,
            TransferError::Failed(Why::Quota | Why::Unauthorized | Why::Gone | Why::Refused(_)) => {
                Code::Refused
            }
            _ => Code::Failed,
        };
        Self::new(code, error.to_string())
    }
}
