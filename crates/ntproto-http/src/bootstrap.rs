//! A client's bootstrap: one GET over HTTPS, and what of its answer may be believed.
//!
//! ```no_run
//! use ntproto_http::bootstrap::{Ask, Whom, sign_in};
//! use ntproto_sdk::{Credential, store::MemoryStore};
//! # use ntproto_core::crypto::identity::DeviceKeys;
//! # async fn example<R: ntproto_drive::Runtime>(
//! #     runtime: R,
//! #     keys: DeviceKeys,
//! #     roots: std::sync::Arc<rustls::RootCertStore>,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! let ask = Ask::new("https://chat.example.org:7424", Whom::Public(roots))?;
//! // Bootstrap, ticket, AuthRequest, AuthResponse: one call, and the client is on its way.
//! let store = Box::new(MemoryStore::new());
//! let client = sign_in(runtime, ask, keys, store, Some(Credential::Open)).await?;
//! client.online().await?;
//! # Ok(()) }
//! ```

use std::fmt;
use std::future::Future;
use std::net::Ipv6Addr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, header};
use ntproto_core::bootstrap::{
    AnswerError, LearnError, Learned, MAX_ANSWER, Problem, Query, Trust, read_answer,
};
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::time::UnixMillis;
use ntproto_drive::{ConnectError, Runtime};
use ntproto_sdk::driver::{Server, ServerError};
use ntproto_sdk::store::ClientStore;
use ntproto_sdk::{BootstrapSource, Client, ConnectString, Credential, Options};
use rustls::RootCertStore;
use rustls::pki_types::ServerName;

use crate::client::site::{Site, Speak};
use crate::client::trust::Trust as Tls;
use crate::client::{HttpError, Outgoing, h2};

/// How long all of it may take, looking the host up included. The client's machine waits as long.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// What HTTPS is reached by where the address names no port.
const HTTPS_PORT: u16 = 443;
/// The longest address.
const MAX_URL: usize = 300;

/// By what a server is known over HTTPS.
#[derive(Clone, Debug)]
pub enum Whom {
    /// By a certificate for its name that one of these vouches for.
    Public(Arc<RootCertStore>),
    /// By one of these certificates: SHA-256 of each.
    Certificates(Vec<[u8; 32]>),
    /// By the operator, whose key is known: his signature in the answer is enough, whoever carried it. It leads to no other host than
    /// the one that is asked.
    Operator([u8; 32]),
    /// By what is known of it already: the operator's signature is enough, unless it is an older one. So renewals need no authority,
    /// and lead to no other host than the one that is asked or the one that is known.
    Known(Box<ConnectString>),
}

/// Whom to ask, for which application.
#[derive(Clone, Debug)]
pub struct Ask {
    host: String,
    port: u16,
    whom: Whom,
    /// Which application this is.
    pub app_id: u32,
    /// By which HTTP it is asked. By itself: HTTP/2, and HTTP/3 beside it where TCP is slow to answer or does not.
    pub speak: Speak,
}

impl Ask {
    /// The server at an address such as `https://chat.example.org:7424`. There is nothing behind the port.
    ///
    /// # Errors
    /// [`BootstrapError::Url`].
    pub fn new(url: &str, whom: Whom) -> Result<Self, BootstrapError> {
        let (host, port) = split(url).ok_or(BootstrapError::Url)?;
        Ok(Self { host: host.to_owned(), port, whom, app_id: 10001, speak: Speak::Auto })
    }

    /// The address, as a profile keeps it.
    #[must_use]
    pub fn url(&self) -> String {
        self.site().base()
    }

    fn site(&self) -> Site {
        let trust = match self.whom.clone() {
            Whom::Public(roots) => Tls::Roots(roots),
            Whom::Certificates(hashes) => Tls::Certificates(hashes),
            Whom::Operator(_) | Whom::Known(_) => Tls::Anybody,
        };
        Site { host: self.host.clone(), port: self.port, trust }
    }
}

/// Host, without brackets, and port.
fn split(url: &str) -> Option<(&str, u16)> {
    let url = url.trim();
    //= spec: bootstrap-1
    let authority = url.strip_prefix("https://").filter(|_| url.len() <= MAX_URL)?;
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port != 0)?,
        None => HTTPS_PORT,
    };
    ServerName::try_from(host).ok()?;
    Some((host, port))
}

/// Asks, and believes the answer or not.
///
/// # Errors
/// See [`BootstrapError`].
pub async fn bootstrap<R: Runtime>(runtime: &R, ask: &Ask) -> Result<Learned, BootstrapError> {
    let (status, body) = h2::within(runtime, PATIENCE, fetch(runtime, ask)).await??;
    let answer = read_answer(status, &body).map_err(|why| match why {
        Ok(problem) => BootstrapError::Problem(Box::new(problem)),
        Err(error) => BootstrapError::Answer(error),
    })?;
    let trust = match &ask.whom {
        Whom::Public(_) | Whom::Certificates(_) => Trust::Connection,
        Whom::Operator(key) => Trust::Operator { key: *key, asked: Some(&ask.host) },
        Whom::Known(server) => Trust::Known { server, asked: &ask.host },
    };
    answer.learn(&RUSTCRYPTO, trust, now()).map_err(BootstrapError::Learn)
}

/// Status and body.
async fn fetch<R: Runtime>(runtime: &R, ask: &Ask) -> Result<(u16, Vec<u8>), BootstrapError> {
    let site = ask.site();
    let connection = site.connect(runtime, ask.speak).await?;
    let request = Request::get(format!("{}{}", site.base(), Query::of(ask.app_id).target()))
        .header(header::ACCEPT, "application/json, application/problem+json")
        .body(Outgoing::Empty)
        .map_err(|e| HttpError(e.to_string()))?;
    let response = connection.exchange(request).await?;
    let status = response.status().as_u16();
    Ok((status, response.into_body().whole(MAX_ANSWER).await?))
}

fn now() -> UnixMillis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixMillis(since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}

/// Bootstraps, and starts a client with what was told: it shows the ticket in its first AUTH_REQ, and bootstraps anew, by
/// what it has learnt, whenever what it knows of the server is of no more use.
///
/// # Errors
/// See [`SignInError`]. That the server refuses the device is no such error: [`Client::online`] tells.
pub async fn sign_in<R: Runtime>(
    runtime: R,
    ask: Ask,
    keys: DeviceKeys,
    store: Box<dyn ClientStore>,
    enrol: Option<Credential>,
) -> Result<Client, SignInError> {
    let learned = bootstrap(&runtime, &ask).await.map_err(SignInError::Bootstrap)?;
    let server = Server::learned(&learned, now()).map_err(SignInError::Server)?;
    let mut options = Options::new(server, keys, store);
    options.app_id = ask.app_id;
    options.enrol = enrol;
    options.bootstrap_source = Some(Arc::new(Source::new(runtime.clone(), ask, &learned.connect)));
    options.bootstrap = Some(learned.bootstrap);
    ntproto_drive::connect(runtime, options).await.map_err(SignInError::Connect)
}

/// Who is told what was learnt.
type Keep = Box<dyn Fn(&ConnectString) + Send + Sync>;

/// Where a client bootstraps anew, by what it knows of the server.
pub struct Source<R> {
    runtime: R,
    /// Whom it asks, by what was learnt last.
    ask: Mutex<Ask>,
    keep: Option<Keep>,
}

impl<R: Runtime> Source<R> {
    /// The same server as `ask`'s, known by `connect` from now on, and by what is learnt after it.
    #[must_use]
    pub fn new(runtime: R, ask: Ask, connect: &ConnectString) -> Self {
        let whom = Whom::Known(Box::new(connect.clone()));
        Self { runtime, ask: Mutex::new(Ask { whom, ..ask }), keep: None }
    }

    fn lock(&self) -> MutexGuard<'_, Ask> {
        // Every change is a single step.
        self.ask.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells `keep` of every connect string that was learnt: it is good at the next start as well.
    #[must_use]
    pub fn keeping(self, keep: impl Fn(&ConnectString) + Send + Sync + 'static) -> Self {
        Self { keep: Some(Box::new(keep)), ..self }
    }
}

impl<R: Runtime> BootstrapSource for Source<R> {
    fn bootstrap(&self) -> Pin<Box<dyn Future<Output = Option<Learned>> + Send + '_>> {
        Box::pin(async {
            let ask = self.lock().clone();
            //= spec: bootstrap-16
            let learned = bootstrap(&self.runtime, &ask).await.ok()?;
            self.lock().whom = Whom::Known(Box::new(learned.connect.clone()));
            if let Some(keep) = &self.keep {
                keep(&learned.connect);
            }
            Some(learned)
        })
    }
}

/// Why a bootstrap came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootstrapError {
    /// The address is not `https://host` or `https://host:port`.
    Url,
    /// The server can't be reached, or is not whom it should be.
    Http(HttpError),
    /// The server has no answer, and says why.
    Problem(Box<Problem>),
    /// What it answers can't be read.
    Answer(AnswerError),
    /// What it answers is not believed.
    Learn(LearnError),
}

impl From<HttpError> for BootstrapError {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

impl fmt::Display for BootstrapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url => f.write_str("the address of a bootstrap is https://host or https://host:port"),
            Self::Http(error) => write!(f, "the bootstrap failed: {error}"),
            Self::Problem(problem) => problem.fmt(f),
            Self::Answer(error) => error.fmt(f),
            Self::Learn(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BootstrapError {}

/// Why a client can't start by a bootstrap.
#[derive(Debug)]
pub enum SignInError {
    /// The bootstrap came to nothing.
    Bootstrap(BootstrapError),
    /// The server it told of can't be used.
    Server(ServerError),
    /// The client can't start.
    Connect(ConnectError),
}

impl fmt::Display for SignInError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bootstrap(error) => error.fmt(f),
            Self::Server(error) => error.fmt(f),
            Self::Connect(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SignInError {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    //= proof: bootstrap-1
    #[test]
    fn addresses() {
        let ask = |url: &str| Ask::new(url, Whom::Operator([0; 32])).map(|ask| ask.url());
        for (url, is) in [
            ("https://chat.example.org", "https://chat.example.org:443"),
            (" https://chat.example.org:7424/\n", "https://chat.example.org:7424"),
            ("https://[::1]:7424", "https://[::1]:7424"),
            ("https://[::1]", "https://[::1]:443"),
            ("https://192.0.2.1:1", "https://192.0.2.1:1"),
        ] {
            assert_eq!(ask(url), Ok(is.into()), "{url}");
        }
        let long = format!("https://{}", "a.".repeat(200));
        for bad in [
            "http://chat.example.org",
            "chat.example.org",
            "https://",
            "https://:7424",
            "https://a:0",
            "https://a:70000",
            "https://a/path",
            "https://a?query",
            "https://user@a",
            "https://[::1",
            "https://[::1]7424",
            "https://[a]:1",
            "https://a b",
            &long,
        ] {
            assert_eq!(ask(bad), Err(BootstrapError::Url), "{bad}");
        }
    }
}
