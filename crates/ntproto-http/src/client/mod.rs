//! A client's side: one connection to one server, whichever HTTP it speaks.
//!
//! | file | is |
//! | --- | --- |
//! | [`Http`] | a connection that exchanges requests for responses, several at once |
//! | [`body`] | what goes with a request and comes with a response |
//! | [`h2`] | HTTP/2 over TLS over a stream of the runtime |
//! | [`h3`] | HTTP/3 over QUIC over a UDP socket |
//! | [`site`] | a server's addresses, and which HTTP is spoken to it |
//! | [`trust`] | whom TLS trusts |

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use http::{Request, Response};

pub mod body;
pub mod h2;
pub mod h3;
pub mod site;
pub mod trust;

pub use body::{Incoming, Outgoing};

/// A future in a box: connections are told apart at run time.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A connection to a server. Several exchanges may be under way on it at once; one that is dropped is taken back.
///
/// ```no_run
/// use http::Request;
/// use ntproto_http::client::{Http, HttpError, Outgoing};
///
/// async fn is_ready(connection: &dyn Http) -> Result<bool, HttpError> {
///     let request = Request::get("https://example.com/readyz").body(Outgoing::Empty);
///     let request = request.map_err(|e| HttpError(e.to_string()))?;
///     Ok(connection.exchange(request).await?.status().is_success())
/// }
/// ```
pub trait Http: Send + Sync + 'static {
    /// Sends a request, and waits for the head of its response. The body of the request is taken meanwhile. Requests leave in the order of
    /// these calls, whenever their futures are polled.
    fn exchange(&self, request: Request<Outgoing>)
    -> Pending<'static, Result<Response<Incoming>, HttpError>>;

    /// Whether it is there still, as far as is known here. One that nothing is asked of for a while ends by itself.
    fn is_open(&self) -> bool;

    /// What is spoken, as ALPN calls it.
    fn protocol(&self) -> &'static str;
}

/// Why there was no response, or no more of it. For people: whoever tries again does so whatever it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpError(pub String);

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for HttpError {}

impl HttpError {
    /// With all that lies behind an error.
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut words = error.to_string();
        let mut below = error.source();
        while let Some(cause) = below {
            words.push_str(": ");
            words.push_str(&cause.to_string());
            below = cause.source();
        }
        Self(words)
    }
}
