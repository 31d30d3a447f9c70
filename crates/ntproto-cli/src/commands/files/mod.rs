//! Files: what `ntp upload` and `ntp download` have in common.

pub(crate) mod download;
mod job;
pub(crate) mod upload;

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ntproto_core::transfer::{Event, Failure as Why, Fault, Progress};
use ntproto_http::client::site::Speak;
use ntproto_http::files::{Reach, TransferError};
use ntproto_tokio::Tokio;

use crate::exit::{Code, Failure};
use crate::session::Session;

/// Which HTTP files travel over.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct HttpArg {
    /// HTTP/3 over UDP, or HTTP/2 over TCP. auto: 3 when the session runs over QUIC, 2 where UDP does not answer in 3 seconds; from then on
    /// this file stays with 2.
    #[arg(long, value_enum, value_name = "HTTP", default_value_t, env = "NTP_HTTP")]
    http: Http,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Http {
    #[default]
    Auto,
    #[value(name = "3")]
    Three,
    #[value(name = "2")]
    Two,
}

impl HttpArg {
    /// The server of a session.
    pub(super) fn reach(self, session: &Session) -> Reach<Tokio> {
        let speak = match self.http {
            Http::Auto => Speak::Auto,
            Http::Three => Speak::Three,
            Http::Two => Speak::Two,
        };
        Reach::new(Tokio, &session.client, session.profile.connect(), speak)
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
