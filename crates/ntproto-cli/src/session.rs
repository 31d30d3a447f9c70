//! A profile opened and its client started: what every command that talks to a server begins with.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ntproto_core::code::ErrorCode;
use ntproto_core::time::UnixMillis;
use ntproto_sdk::driver::Transports;
use ntproto_sdk::profile::ProfileError;
use ntproto_sdk::{
    Client, Down, Ended, Identity, Options, Profile, QuicFailure, RequestError, SendError, State, Stopped,
    TransportFailure,
};

use crate::bootstrap;
use crate::exit::{Code, Failure};
use crate::telemetry;

/// The longest name of a profile.
const MAX_NAME: usize = 64;
/// How long an orderly goodbye may take; what is stored is safe either way.
const GOODBYE: Duration = Duration::from_secs(3);

/// Which profile.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ProfileArgs {
    /// The profile: a device of an account, with its keys, its outbox and its messages.
    #[arg(long, short, value_name = "NAME", default_value = "default", env = "NTP_PROFILE")]
    profile: String,
    /// Where profiles are kept [default: ~/.local/share/ntproto].
    #[arg(long, value_name = "DIR", env = "NTP_HOME")]
    home: Option<PathBuf>,
    #[command(flatten)]
    link: LinkArgs,
}

/// How a client reaches its server, and what drives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct LinkArgs {
    /// The transport: race tries QUIC, and TCP where QUIC does not get through.
    #[arg(long, value_enum, default_value_t, env = "NTP_TRANSPORT")]
    pub(crate) transport: Transport,
    /// The async runtime that drives it.
    #[arg(long, value_enum, default_value_t, env = "NTP_RUNTIME")]
    pub(crate) runtime: Runtime,
}

/// Which transports may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Transport {
    /// QUIC, and TCP where it does not get through.
    #[default]
    Race,
    /// QUIC or nothing.
    Quic,
    /// TCP or nothing.
    Tcp,
}

impl Transport {
    /// As it is given on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Race => "race",
            Self::Quic => "quic",
            Self::Tcp => "tcp",
        }
    }
}

impl From<Transport> for Transports {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Race => Self::Any,
            Transport::Quic => Self::RequireQuic,
            Transport::Tcp => Self::RequireTcp,
        }
    }
}

/// What drives a client or a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Runtime {
    /// tokio.
    #[default]
    Tokio,
    /// smol.
    Smol,
}

impl Runtime {
    /// As it is given on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tokio => "tokio",
            Self::Smol => "smol",
        }
    }
}

impl ProfileArgs {
    /// A profile in a folder of its own.
    pub(crate) fn new(name: &str, home: PathBuf, link: LinkArgs) -> Self {
        Self { profile: name.to_owned(), home: Some(home), link }
    }

    /// A profile by its name.
    pub(crate) fn named(name: &str, home: Option<PathBuf>, link: LinkArgs) -> Self {
        Self { profile: name.to_owned(), home, link }
    }

    /// How it reaches its server.
    pub(crate) const fn link(&self) -> LinkArgs {
        self.link
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.profile
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> Result<PathBuf, Failure> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let name = &self.profile;
        if name.is_empty() || name.len() > MAX_NAME || name.starts_with('.') || !name.chars().all(allowed) {
            return Err(Failure::usage(format!(
                "the profile name {name:?} is no good: up to {MAX_NAME} letters, digits, -, _ and dots, no dot first"
            )));
        }
        let home = self.home.clone().or_else(default_home);
        let home = home.ok_or_else(|| Failure::usage("there is no home directory: give --home DIR"))?;
        Ok(home.join("profiles").join(name))
    }
}

fn default_home() -> Option<PathBuf> {
    let data = std::env::var_os("XDG_DATA_HOME").filter(|v| !v.is_empty()).map(PathBuf::from);
    data.or_else(|| Some(std::env::home_dir()?.join(".local/share"))).map(|data| data.join("ntproto"))
}

/// How long a connection is waited for.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct TimeoutArg {
    /// How long to try to reach the server, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    timeout: f64,
}

impl TimeoutArg {
    /// As a duration.
    pub(crate) fn get(self) -> Duration {
        Duration::from_secs_f64(self.timeout)
    }
}

/// Reads seconds, as a number that makes a duration.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    /// A year: more is surely a mistake.
    const MOST: f64 = 366.0 * 86_400.0;
    match text.parse::<f64>() {
        Ok(s) if s > 0.0 && s <= MOST => Ok(s),
        _ => Err("a number of seconds above 0, such as 2.5".into()),
    }
}

/// The clock on the wall.
pub(crate) fn now() -> UnixMillis {
    UnixMillis(now_us() / 1000)
}

/// The clock on the wall in microseconds since 1970.
pub(crate) fn now_us() -> u64 {
    // A clock set before 1970 is 1970: the server tells the right time.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Randomness of the operating system.
pub(crate) fn entropy<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|e| Failure::failed(format!("the system gives no randomness: {e}")))?;
    Ok(bytes)
}

/// The runtime of a command: one thread, as cross-thread wake-ups cost more than they bring.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| Failure::failed(format!("the system gives no threads: {e}")))?.block_on(future)
}

/// A profile in use, and its client.
pub(crate) struct Session {
    /// The client.
    pub(crate) client: Client,
    /// Keeps others from using the profile meanwhile.
    pub(crate) profile: Profile,
}

impl Session {
    /// Opens the profile and starts its client, which connects in the background.
    pub(crate) async fn open(args: &ProfileArgs) -> Result<Self, Failure> {
        let mut profile = Profile::open(&args.dir()?)?;
        let options = match profile.options(now()) {
            // The certificate in its connect string has ended: there may be a newer one.
            Err(ProfileError::Server(_)) if profile.bootstrap().is_some() => {
                bootstrap::renew(&mut profile).await?;
                profile.options(now())?
            }
            options => options?,
        };
        Self::start(profile, options, args.link).await
    }

    /// Starts a client with options made of the profile.
    pub(crate) async fn start(
        profile: Profile,
        mut options: Options,
        link: LinkArgs,
    ) -> Result<Self, Failure> {
        options.device_name = device_name();
        options.bootstrap_source = bootstrap::source(&profile, link)?;
        let client = start(options, link).await?;
        Ok(Self { client, profile })
    }

    /// Waits until the server knows this device.
    pub(crate) async fn online(&self, timeout: Duration) -> Result<Identity, Failure> {
        match tokio::time::timeout(timeout, self.client.online()).await {
            Ok(Ok(identity)) => Ok(identity),
            Ok(Err(ended)) => Err(ended.into()),
            Err(_) => Err(self.unreachable()),
        }
    }

    /// Why it is not online.
    pub(crate) fn unreachable(&self) -> Failure {
        let connect = self.profile.connect();
        let address = format!("{}:{}", connect.host, connect.port);
        let why = match (self.client.state(), self.client.transport_failure()) {
            (_, Some(TransportFailure::Quic(QuicFailure::Tls { by_peer: false, text, .. }))) => {
                format!("what answers there is not the server of the connect string ({text})")
            }
            (State::Offline { why: Down::Closed(why), .. }, _) => format!("the connection failed: {why}"),
            (_, Some(failure)) => failure.to_string(),
            (_, None) => "no answer: does it run, and do UDP or TCP reach it?".into(),
        };
        Failure::new(Code::Unreachable, format!("the server {address} can't be reached: {why}"))
    }

    /// Ends the client in order.
    pub(crate) async fn close(self) {
        // A server that does not answer is not waited for: the local disk has everything.
        let _ = tokio::time::timeout(GOODBYE, self.client.close()).await;
    }
}

/// Starts a client. On smol it runs on a thread of its own; what is here asks it from tokio all the same.
pub(crate) async fn start(mut options: Options, link: LinkArgs) -> Result<Client, Failure> {
    options.server.transports = link.transport.into();
    options.traces = telemetry::keeps_traces();
    let started = match link.runtime {
        Runtime::Tokio => ntproto_tokio::connect(options).await,
        Runtime::Smol => ntproto_smol::connect(options).await,
    };
    started.map_err(|e| Failure::failed(format!("the client can't be started: {e}")))
}

/// What the list of devices shows of this one.
fn device_name() -> String {
    /// The longest the protocol takes.
    const MAX: usize = 64;
    let host = std::env::var("HOSTNAME").or_else(|_| std::fs::read_to_string("/etc/hostname"));
    let host = host.unwrap_or_default();
    let mut name: String = host.trim().chars().filter(|c| !c.is_control()).collect();
    while name.len() > MAX {
        name.pop();
    }
    if name.is_empty() { "ntp".into() } else { name }
}

impl From<ProfileError> for Failure {
    fn from(e: ProfileError) -> Self {
        Self::failed(e.to_string())
    }
}

impl From<Ended> for Failure {
    fn from(why: Ended) -> Self {
        let code = match why {
            Ended::Stopped(Stopped::Refused(_) | Stopped::Superseded) => Code::Refused,
            _ => Code::Failed,
        };
        let hint = match why {
            Ended::Stopped(Stopped::Refused(ErrorCode::BadCredential)) => {
                ": the invitation or link is unknown, used up or too old, or this account is gone"
            }
            Ended::Stopped(Stopped::Refused(ErrorCode::RegistrationClosed)) => {
                ": ask for an invitation and give it as --invitation"
            }
            Ended::Stopped(Stopped::Configuration) => ": is the connect string the server's newest?",
            _ => "",
        };
        Self::new(code, format!("{why}{hint}"))
    }
}

impl From<RequestError> for Failure {
    fn from(e: RequestError) -> Self {
        let code = match &e {
            RequestError::Ended(why) => return why.clone().into(),
            RequestError::Refused(..) => Code::Refused,
            RequestError::DeadlineExceeded | RequestError::Disconnected => Code::Unreachable,
            _ => Code::Failed,
        };
        Self::new(code, e.to_string())
    }
}

impl From<SendError> for Failure {
    fn from(e: SendError) -> Self {
        let code = match &e {
            SendError::Ended(why) => return why.clone().into(),
            SendError::Refused(..) => Code::Refused,
            SendError::DeadlineExceeded | SendError::Unresolved(_) => Code::Expired,
            _ => Code::Failed,
        };
        Self::new(code, e.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn profile_names_stay_in_their_folder() {
        let dir = |name: &str| ProfileArgs::new(name, "/h".into(), LinkArgs::default()).dir();
        assert_eq!(dir("work-2.a").unwrap(), PathBuf::from("/h/profiles/work-2.a"));
        for name in ["", ".", "..", "../x", "a/b", "a\\b", "ä", &"x".repeat(65)] {
            assert_eq!(dir(name).unwrap_err().code, Code::Usage, "{name}");
        }
    }

    #[test]
    fn durations_are_sane() {
        assert_eq!(seconds("2.5"), Ok(2.5));
        for text in ["0", "-1", "nan", "inf", "1e30", "x"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
