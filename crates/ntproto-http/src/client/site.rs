//! A server as a client of HTTP knows it: where it is, whom to trust, and which HTTP is spoken to it.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ntproto_drive::Runtime;
use ntproto_drive::runtime::Timer as _;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::ServerName;

use super::trust::Trust;
use super::{Http, HttpError, Pending, h2, h3};

/// Addresses of one host that are tried.
pub const MAX_ADDRESSES: usize = 8;
/// An address gets this long before the next one is tried beside it (RFC 8305 recommends 250 ms).
pub const STAGGER: Duration = Duration::from_millis(250);

/// Which HTTP is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speak {
    /// Whichever gets through. Whoever takes this says which goes first.
    #[default]
    Auto,
    /// HTTP/3, over UDP, or nothing.
    Three,
    /// HTTP/2, over TCP, or nothing.
    Two,
}

/// A server.
#[derive(Clone, Debug)]
pub struct Site {
    /// A DNS name or an IP address, without brackets.
    pub host: String,
    /// The port, of UDP or TCP.
    pub port: u16,
    /// By what it is known.
    pub trust: Trust,
}

impl Site {
    /// Where requests go: `https://example.com:4433`, without a path.
    #[must_use]
    pub fn base(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("https://[{host}]:{port}") } else { format!("https://{host}:{port}") }
    }

    async fn addresses<R: Runtime>(&self) -> Vec<SocketAddr> {
        let mut addresses = match self.host.parse() {
            Ok(ip) => vec![SocketAddr::new(ip, self.port)],
            Err(_) => R::look_up(self.host.clone(), self.port).await,
        };
        addresses.truncate(MAX_ADDRESSES);
        addresses
    }

    fn nowhere(&self) -> HttpError {
        HttpError(format!("there is no such host as {}", self.host))
    }

    /// A connection over TCP. Each address gets [`CONNECT_TIME`](h2::CONNECT_TIME).
    ///
    /// # Errors
    /// It can't be reached, is not trusted, or does not speak HTTP/2.
    pub async fn h2<R: Runtime>(&self, runtime: &R) -> Result<Arc<dyn Http>, HttpError> {
        let name = ServerName::try_from(self.host.clone()).map_err(|e| HttpError::of(&e))?;
        let config = self.trust.clone().config(provider(), &[h2::ALPN]).map_err(|e| HttpError::of(&e))?;
        let config = Arc::new(config);
        let mut tries: Vec<Pending<'_, _>> = Vec::new();
        for address in self.addresses::<R>().await {
            let (name, config) = (name.clone(), Arc::clone(&config));
            tries.push(Box::pin(h2::connect(runtime, address, name, config)));
        }
        Ok(Arc::new(first(runtime, tries, self.nowhere()).await?))
    }

    /// A connection over UDP, where one is to be had in this time.
    ///
    /// # Errors
    /// See [`ConnectError`](h3::ConnectError).
    pub async fn h3<R: Runtime>(
        &self,
        runtime: &R,
        patience: Duration,
    ) -> Result<Arc<dyn Http>, h3::ConnectError> {
        let tls = self.trust.clone().quic(provider(), &[h3::ALPN]);
        let tls = tls.map_err(|e| h3::ConnectError::Io(std::io::Error::other(e)))?;
        let mut tries: Vec<Pending<'_, _>> = Vec::new();
        for address in self.addresses::<R>().await {
            tries.push(Box::pin(h3::connect(runtime, address, &self.host, &tls, patience)));
        }
        let nowhere = h3::ConnectError::Io(std::io::Error::other(self.nowhere()));
        Ok(Arc::new(first(runtime, tries, nowhere).await?))
    }

    /// A connection over whichever gets through first, TCP being a little ahead; or over the one that is asked for.
    ///
    /// # Errors
    /// None gets through.
    pub async fn connect<R: Runtime>(&self, runtime: &R, speak: Speak) -> Result<Arc<dyn Http>, HttpError> {
        let three = |patience| async move { Ok(self.h3(runtime, patience).await?) };
        match speak {
            Speak::Two => self.h2(runtime).await,
            Speak::Three => three(h2::CONNECT_TIME).await,
            Speak::Auto => {
                let tries: Vec<Pending<'_, _>> =
                    vec![Box::pin(self.h2(runtime)), Box::pin(three(h3::UDP_TIME))];
                first(runtime, tries, self.nowhere()).await
            }
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

/// Begins one after the other, a little apart or when the one before has failed, and gives the first that comes to something; else
/// what the first one failed of, or `error` of none.
async fn first<R: Runtime, T, E>(
    runtime: &R,
    tries: Vec<Pending<'_, Result<T, E>>>,
    error: E,
) -> Result<T, E> {
    let mut waiting = tries.into_iter();
    let mut trying: Vec<_> = waiting.next().into_iter().collect();
    let (mut error, mut first) = (Some(error), true);
    let mut timer = runtime.timer();
    timer.set(STAGGER);
    poll_fn(|cx| {
        loop {
            let (mut failed, mut done) = (false, None);
            trying.retain_mut(|one| match one.as_mut().poll(cx) {
                _ if done.is_some() => true,
                Poll::Pending => true,
                Poll::Ready(Ok(value)) => {
                    done = Some(value);
                    false
                }
                Poll::Ready(Err(why)) => {
                    if std::mem::take(&mut first) {
                        error = Some(why);
                    }
                    failed = true;
                    false
                }
            });
            if let Some(value) = done {
                return Poll::Ready(Ok(value));
            }
            if waiting.len() > 0 && (failed || trying.is_empty() || timer.poll(cx).is_ready()) {
                trying.extend(waiting.next());
                timer.set(STAGGER);
                continue;
            }
            return match (trying.is_empty(), error.take()) {
                (true, Some(error)) => Poll::Ready(Err(error)),
                (_, kept) => {
                    error = kept;
                    Poll::Pending
                }
            };
        }
    })
    .await
}
