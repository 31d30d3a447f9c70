//! Settings: defaults < TOML file < environment (`NTP_…`) < flags.
//!
//! Every source speaks the same words: a setting `data_dir` is a line of the file, the variable `NTP_DATA_DIR` and
//! the flag `--data-dir`, and is read by one function. What is wrong is said in one line: where it came from, what
//! it is, and what to write instead.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ntproto_core::client::MAX_BODY;
use ntproto_core::liveness::{LONGEST_INTERVAL, SHORTEST_INTERVAL};
use ntproto_hub::HubConfig;
use ntproto_hub::store::execute::{FANOUT, MAX_GROUP_MEMBERS};
use ntproto_hub::store::txn::Rules;

use crate::bucket::Bucket;
use crate::keys::WebFiles;

mod error;
mod files;

use self::error::variable;
pub use self::error::{ConfigError, Source};
pub use self::files::{FilesConfig, Place};

/// The UDP port, unless told otherwise.
pub const DEFAULT_PORT: u16 = 7424;

/// The application of our own clients.
pub const DEFAULT_APP: u32 = 10001;

/// How a server runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where it listens (UDP).
    pub listen: SocketAddr,
    /// What clients reach it by, where that is not `listen`: a host name or address, with a port if it differs.
    pub public_host: Option<String>,
    /// What the TLS certificate is for, besides the public host.
    pub tls_names: Vec<String>,
    /// Pages of which origins may open sessions, besides those of its own host; `*` is every page.
    pub web_origins: Vec<String>,
    /// Keys and store.
    pub data_dir: PathBuf,
    /// Whether anybody may make an account.
    pub open_registration: bool,
    /// Who may write to whom, and how large a group may be.
    pub rules: Rules,
    /// What is logged: a level, or a filter such as `info,ntproto_server=debug`.
    pub log_level: String,
    /// How it is logged.
    pub log_format: LogFormat,
    /// Where `/metrics`, `/healthz` and `/readyz` are, over plain HTTP. `None`: nowhere.
    pub ops_listen: Option<SocketAddr>,
    /// Whether that may be another address than one of this machine's own.
    pub ops_public: bool,
    /// The collector that whoever has the subscriber of this process exports spans to: see `otlp`.
    pub otlp_endpoint: Option<String>,
    /// The folder for qlog files of connections; `None`: no such files.
    pub qlog_dir: Option<PathBuf>,
    /// Connections in all.
    pub max_connections: usize,
    /// Half-open handshakes above which an address must prove itself first.
    pub retry_above: usize,
    /// Half-open handshakes above which new ones are refused.
    pub max_half_open: usize,
    /// TCP connections one network may open at once.
    pub tcp_burst: u32,
    /// TCP connections one network may open a second after that.
    pub tcp_rate: u32,
    /// Who may ask to come in from one address (a /64 of IPv6).
    pub auth: Bucket,
    /// Messages of one device.
    pub message: Bucket,
    /// Other requests of one device.
    pub request: Bucket,
    /// Messages to one conversation.
    pub conversation: Bucket,
    /// Bytes that may wait for devices to read them, of all together.
    pub max_waiting: usize,
    /// The largest message body, in bytes.
    pub max_message: usize,
    /// How long a session ticket is good for.
    pub ticket_lifetime: Duration,
    /// How long a session may be renewed by tickets, before its device key is asked for again.
    pub session_lifetime: Duration,
    /// How often a silent connection is asked whether it lives.
    pub heartbeat: Duration,
    /// Memory the store may use for its cache, in bytes.
    pub store_cache: usize,
    /// How long a stop may take until what is left is cut off.
    pub drain_timeout: Duration,
    /// The applications whose clients may ask for a bootstrap.
    pub app_ids: Vec<u32>,
    /// Whether a device that comes over QUIC or the web without a session ticket must have bootstrapped.
    pub require_bootstrap: bool,
    /// The certificate that browsers are shown, with its chain, instead of one made here.
    pub web_certificate: Option<PathBuf>,
    /// Its key.
    pub web_key: Option<PathBuf>,
    /// Files that people send.
    pub files: FilesConfig,
    /// Whether this start makes an invitation though there are accounts: for when the keys of all who may invite
    /// are lost. No setting of the file or the environment, where every restart would make another.
    pub new_invitation: bool,
    /// The operator's public key, when its secret is kept elsewhere.
    pub operator_public: Option<[u8; 32]>,
    /// The certificate the operator signed elsewhere.
    pub certificate: Option<PathBuf>,
}

/// How lines of the log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let hub = HubConfig::default();
        Self {
            listen: SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), DEFAULT_PORT),
            public_host: None,
            tls_names: Vec::new(),
            web_origins: Vec::new(),
            data_dir: PathBuf::from("ntproto-data"),
            open_registration: false,
            rules: Rules::default(),
            log_level: "info".into(),
            log_format: LogFormat::Text,
            ops_listen: None,
            ops_public: false,
            otlp_endpoint: None,
            qlog_dir: None,
            max_connections: hub.max_connections,
            retry_above: ntproto_quic::config::RETRY_ABOVE,
            max_half_open: ntproto_quic::config::MAX_HALF_OPEN,
            tcp_burst: ntproto_net::tcp::gate::BURST,
            tcp_rate: ntproto_net::tcp::gate::RATE,
            auth: hub.auth_rate.into(),
            message: hub.device_messages.into(),
            request: hub.device_requests.into(),
            conversation: hub.conversation_messages.into(),
            max_waiting: hub.max_waiting,
            max_message: hub.max_body,
            ticket_lifetime: hub.ticket_lifetime,
            session_lifetime: hub.ticket_cap,
            heartbeat: hub.heartbeat,
            store_cache: crate::store::redb::DEFAULT_CACHE,
            drain_timeout: hub.drain_timeout,
            app_ids: vec![DEFAULT_APP],
            require_bootstrap: false,
            web_certificate: None,
            web_key: None,
            files: FilesConfig::default(),
            new_invitation: false,
            operator_public: None,
            certificate: None,
        }
    }
}

/// A setting: its name, how it is read, and what a reader is told it should be.
struct Setting {
    key: &'static str,
    read: fn(&mut ServerConfig, &str) -> Option<()>,
    expected: &'static str,
}

const BURST: &str = "a number from 1 to 1000000";
const RATE: &str = "a number from 1 to 1000000, or 0 for no limit";

const SETTINGS: &[Setting] = &[
    Setting {
        key: "listen",
        read: |c, v| set(&mut c.listen, v.parse().ok()),
        expected: "an address with a port, such as 0.0.0.0:7424 or [::]:7424",
    },
    Setting {
        key: "public_host",
        read: |c, v| {
            split_host(v)?;
            set(&mut c.public_host, Some(Some(v.to_owned())))
        },
        expected: "a host name or address, with a port if it is another, such as chat.example.org or 192.0.2.1:443",
    },
    Setting {
        key: "tls_names",
        read: |c, v| {
            let names: Vec<String> =
                v.split(',').map(str::trim).filter(|n| !n.is_empty()).map(str::to_owned).collect();
            let good = names.iter().all(|name| is_host(name));
            set(&mut c.tls_names, good.then_some(names))
        },
        expected: "host names or addresses, such as \"chat.example.org, 192.0.2.1\"",
    },
    Setting {
        key: "data_dir",
        read: |c, v| set(&mut c.data_dir, (!v.is_empty()).then(|| v.into())),
        expected: "a folder",
    },
    Setting {
        key: "open_registration",
        read: |c, v| set(&mut c.open_registration, v.parse().ok()),
        expected: "true or false",
    },
    Setting {
        key: "friends_only",
        read: |c, v| set(&mut c.rules.friends_only, v.parse().ok()),
        expected: "true or false",
    },
    Setting {
        key: "max_group_members",
        read: |c, v| set(&mut c.rules.max_group_members, number(v, 1, MAX_GROUP_MEMBERS)),
        expected: "a number from 1 to 100000",
    },
    Setting {
        key: "group_fanout",
        read: |c, v| set(&mut c.rules.fanout, number(v, 1, FANOUT)),
        expected: "a number from 1 to 500",
    },
    Setting {
        key: "log_level",
        read: |c, v| set(&mut c.log_level, is_filter(v).then(|| v.to_owned())),
        expected: "error, warn, info, debug, trace or off, or such levels by module (info,ntproto_server=debug)",
    },
    Setting {
        key: "log_format",
        read: |c, v| {
            let format = match v {
                "text" => Some(LogFormat::Text),
                "json" => Some(LogFormat::Json),
                _ => None,
            };
            set(&mut c.log_format, format)
        },
        expected: "text or json",
    },
    Setting {
        key: "ops_listen",
        read: |c, v| set(&mut c.ops_listen, v.parse().ok().map(Some)),
        expected: "an address with a port, such as 127.0.0.1:9464",
    },
    Setting {
        key: "ops_public",
        read: |c, v| set(&mut c.ops_public, v.parse().ok()),
        expected: "true or false",
    },
    Setting {
        key: "otlp_endpoint",
        read: |c, v| {
            let good = v.starts_with("http://") || v.starts_with("https://");
            set(&mut c.otlp_endpoint, good.then(|| Some(v.to_owned())))
        },
        expected: "the URL of a collector, such as http://127.0.0.1:4318",
    },
    Setting {
        key: "qlog_dir",
        read: |c, v| set(&mut c.qlog_dir, (!v.is_empty()).then(|| Some(v.into()))),
        expected: "a folder",
    },
    Setting {
        key: "max_connections",
        read: |c, v| set(&mut c.max_connections, number(v, 1, 1 << 20)),
        expected: "a number from 1 to 1048576",
    },
    Setting {
        key: "retry_above",
        read: |c, v| set(&mut c.retry_above, number(v, 0, 1 << 20)),
        expected: "a number from 0 to 1048576",
    },
    Setting {
        key: "max_half_open",
        read: |c, v| set(&mut c.max_half_open, number(v, 1, 1 << 20)),
        expected: "a number from 1 to 1048576",
    },
    Setting {
        key: "tcp_burst",
        read: |c, v| set(&mut c.tcp_burst, number(v, 1, 1 << 20)),
        expected: "a number from 1 to 1048576",
    },
    Setting {
        key: "tcp_rate",
        read: |c, v| set(&mut c.tcp_rate, number(v, 1, 1 << 20)),
        expected: "a number from 1 to 1048576",
    },
    Setting {
        key: "auth_burst",
        read: |c, v| set(&mut c.auth.burst, number(v, 1, Bucket::MOST)),
        expected: BURST,
    },
    Setting {
        key: "auth_rate",
        read: |c, v| set(&mut c.auth.rate, number(v, 0, Bucket::MOST)),
        expected: RATE,
    },
    Setting {
        key: "message_burst",
        read: |c, v| set(&mut c.message.burst, number(v, 1, Bucket::MOST)),
        expected: BURST,
    },
    Setting {
        key: "message_rate",
        read: |c, v| set(&mut c.message.rate, number(v, 0, Bucket::MOST)),
        expected: RATE,
    },
    Setting {
        key: "request_burst",
        read: |c, v| set(&mut c.request.burst, number(v, 1, Bucket::MOST)),
        expected: BURST,
    },
    Setting {
        key: "request_rate",
        read: |c, v| set(&mut c.request.rate, number(v, 0, Bucket::MOST)),
        expected: RATE,
    },
    Setting {
        key: "conversation_burst",
        read: |c, v| set(&mut c.conversation.burst, number(v, 1, Bucket::MOST)),
        expected: BURST,
    },
    Setting {
        key: "conversation_rate",
        read: |c, v| set(&mut c.conversation.rate, number(v, 0, Bucket::MOST)),
        expected: RATE,
    },
    Setting {
        key: "max_waiting",
        read: |c, v| set(&mut c.max_waiting, number(v, 1 << 20, 1 << 40)),
        expected: "a number of bytes from 1048576 up",
    },
    Setting {
        key: "max_message",
        read: |c, v| set(&mut c.max_message, number(v, 1, MAX_BODY)),
        expected: "a number of bytes from 1 to 262144",
    },
    Setting {
        key: "ticket_lifetime",
        read: |c, v| set(&mut c.ticket_lifetime, seconds(v, 60, 24 * 3600)),
        expected: "a number of seconds from 60 to 86400",
    },
    Setting {
        key: "session_lifetime",
        read: |c, v| set(&mut c.session_lifetime, seconds(v, 60, 366 * 24 * 3600)),
        expected: "a number of seconds from 60 to 31622400",
    },
    Setting {
        key: "heartbeat",
        read: |c, v| {
            set(&mut c.heartbeat, seconds(v, SHORTEST_INTERVAL.as_secs(), LONGEST_INTERVAL.as_secs()))
        },
        expected: "a number of seconds from 1 to 45",
    },
    Setting {
        key: "store_cache",
        read: |c, v| set(&mut c.store_cache, number(v, 1 << 20, 1 << 40)),
        expected: "a number of bytes from 1048576 up",
    },
    Setting {
        key: "drain_timeout",
        read: |c, v| set(&mut c.drain_timeout, seconds(v, 1, 600)),
        expected: "a number of seconds from 1 to 600",
    },
    Setting {
        key: "operator_public",
        read: |c, v| set(&mut c.operator_public, crate::keys::parse_key(v).map(Some)),
        expected: "the operator's public key: 64 hexadecimal digits",
    },
    Setting {
        key: "certificate",
        read: |c, v| set(&mut c.certificate, (!v.is_empty()).then(|| Some(v.into()))),
        expected: "the file with the certificate that the operator signed",
    },
];

/// All of them, in the order of the page for operators.
fn settings() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().chain(files::SETTINGS)
}

fn set<T>(field: &mut T, value: Option<T>) -> Option<()> {
    *field = value?;
    Some(())
}

fn number<T: FromStr + PartialOrd>(text: &str, least: T, most: T) -> Option<T> {
    text.parse().ok().filter(|n| (least..=most).contains(n))
}

fn seconds(text: &str, least: u64, most: u64) -> Option<Duration> {
    text.parse().ok().filter(|n| (least..=most).contains(n)).map(Duration::from_secs)
}

fn is_filter(text: &str) -> bool {
    let is_level = |level: &str| {
        ["off", "error", "warn", "info", "debug", "trace"]
            .iter()
            .any(|known| level.eq_ignore_ascii_case(known))
    };
    !text.is_empty()
        && text.split(',').all(|part| {
            part.split_once('=').map_or_else(|| is_level(part), |(m, l)| !m.is_empty() && is_level(l))
        })
}

/// Whether it is a DNS name or an IP address, without a port.
fn is_host(text: &str) -> bool {
    rustls::pki_types::ServerName::try_from(text).is_ok()
}

/// The host and port of `name`, `name:port`, `1.2.3.4:port`, `::1` or `[::1]:port`.
fn split_host(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = if let Ok(ip) = text.parse::<IpAddr>() {
        (ip.to_string(), None)
    } else if let Ok(address) = text.parse::<SocketAddr>() {
        (address.ip().to_string(), Some(address.port()))
    } else if let Some((host, port)) = text.split_once(':') {
        (host.to_owned(), Some(port.parse().ok()?))
    } else {
        (text.to_owned(), None)
    };
    (is_host(&host) && port != Some(0)).then_some((host, port))
}

/// What flags say: texts, as they were typed. Each stands above every other source.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The configuration file; `NTP_CONFIG` names it otherwise.
    pub config: Option<PathBuf>,
    /// Settings by name, with `_` or `-`: `("data_dir", "/srv/ntp")`.
    pub settings: Vec<(String, String)>,
}

impl Overrides {
    /// Adds a setting, if it was given.
    pub fn set(&mut self, key: &str, value: Option<impl Into<String>>) {
        if let Some(value) = value {
            self.settings.push((key.to_owned(), value.into()));
        }
    }
}

impl ServerConfig {
    /// The settings of every source, the later ones above the earlier: defaults, file, `env`, flags.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(flags: &Overrides, env: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let mut config = Self { data_dir: default_data_dir(&env), ..Self::default() };
        let file = flags.config.clone().or_else(|| env("NTP_CONFIG").map(PathBuf::from));
        if let Some(path) = file {
            let text =
                std::fs::read_to_string(&path).map_err(|e| ConfigError::Unreadable(path.clone(), e))?;
            config.apply_file(&path, &text)?;
        }
        for setting in settings() {
            if let Some(value) = env(&variable(setting.key)) {
                config.apply(setting, &value.to_string_lossy(), Source::Environment)?;
            }
        }
        for (key, value) in &flags.settings {
            config.apply(find(key, &Source::Flag)?, value, Source::Flag)?;
        }
        config.check()?;
        Ok(config)
    }

    /// The settings of the process: its environment and these flags.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn from_process(flags: &Overrides) -> Result<Self, ConfigError> {
        Self::load(flags, |name| std::env::var_os(name))
    }

    fn apply_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
            let line = e.span().map_or(0, |span| text[..span.start].matches('\n').count()) + 1;
            let message = e.message().lines().next().unwrap_or_default();
            ConfigError::Syntax(path.to_owned(), format!("line {line}: {message}"))
        })?;
        let source = Source::File(path.to_owned());
        for (key, value) in &table {
            let setting = find(key, &source)?;
            let text = plain(value).ok_or_else(|| ConfigError::Value {
                key: setting.key,
                value: value.to_string(),
                source: source.clone(),
                expected: setting.expected,
            })?;
            self.apply(setting, &text, source.clone())?;
        }
        Ok(())
    }

    fn apply(&mut self, setting: &Setting, value: &str, source: Source) -> Result<(), ConfigError> {
        (setting.read)(self, value).ok_or_else(|| ConfigError::Value {
            key: setting.key,
            value: value.to_owned(),
            source,
            expected: setting.expected,
        })
    }

    /// What no single setting shows.
    fn check(&self) -> Result<(), ConfigError> {
        if self.certificate.is_some() && self.operator_public.is_none() {
            return Err(ConfigError::Conflict(
                "certificate is set without operator_public: name the operator's key that signed it as well",
            ));
        }
        if self.ops_listen.is_some_and(|address| !address.ip().is_loopback()) && !self.ops_public {
            return Err(ConfigError::Conflict(
                "ops_listen is an address that others reach: write 127.0.0.1, or set ops_public as well",
            ));
        }
        if self.web_certificate.is_some() != self.web_key.is_some() {
            return Err(ConfigError::Conflict(
                "web_certificate and web_key go together: set both, or neither",
            ));
        }
        if self.session_lifetime < self.ticket_lifetime {
            return Err(ConfigError::Conflict(
                "session_lifetime is shorter than ticket_lifetime: make it at least as long",
            ));
        }
        Ok(())
    }

    /// The operator's own certificate for browsers.
    #[must_use]
    pub fn web_files(&self) -> Option<WebFiles> {
        let (certificate, key) = self.web_certificate.clone().zip(self.web_key.clone())?;
        Some(WebFiles { certificate, key })
    }

    /// What clients reach it by: host and port. `bound` is where it listens.
    #[must_use]
    pub fn public_address(&self, bound: SocketAddr) -> (String, u16) {
        match self.public_host.as_deref().and_then(split_host) {
            Some((host, port)) => (host, port.unwrap_or(bound.port())),
            None if bound.ip().is_unspecified() => ("localhost".into(), bound.port()),
            None => (bound.ip().to_string(), bound.port()),
        }
    }

    /// What the TLS certificate is for.
    #[must_use]
    pub fn certificate_names(&self) -> Vec<String> {
        let host = self.public_host.as_deref().and_then(split_host).map(|(host, _)| host);
        let bound = Some(self.listen.ip()).filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string());
        let own = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let mut names: Vec<String> = Vec::new();
        for name in host.into_iter().chain(self.tls_names.iter().cloned()).chain(bound).chain(own) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

fn find(key: &str, source: &Source) -> Result<&'static Setting, ConfigError> {
    // The file has one spelling; flags may use either.
    let wanted = if *source == Source::Flag { key.replace('-', "_") } else { key.to_owned() };
    settings()
        .find(|setting| setting.key == wanted)
        .ok_or_else(|| ConfigError::Unknown { key: key.to_owned(), source: source.clone() })
}

/// A TOML value as the text that a variable would hold.
fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(n) => Some(n.to_string()),
        toml::Value::Boolean(b) => Some(b.to_string()),
        toml::Value::Array(items) => {
            Some(items.iter().map(toml::Value::as_str).collect::<Option<Vec<_>>>()?.join(","))
        }
        _ => None,
    }
}

/// Where systemd says, where the desktop says, or here.
fn default_data_dir(env: &impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let dir = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    dir("STATE_DIRECTORY")
        .or_else(|| dir("XDG_DATA_HOME").map(|home| home.join("ntproto/server")))
        .or_else(|| dir("HOME").map(|home| home.join(".local/share/ntproto/server")))
        .unwrap_or_else(|| ServerConfig::default().data_dir)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn load(file: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<ServerConfig, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ntp.toml");
        std::fs::write(&path, file).unwrap();
        let settings = flags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let flags = Overrides { config: Some(path), settings };
        let env = |name: &str| env.iter().find(|(k, _)| *k == name).map(|(_, v)| OsString::from(v));
        let folder = dir.path().display().to_string();
        ServerConfig::load(&flags, env).map_err(|e| e.to_string().replace(&folder, "."))
    }

    #[test]
    fn later_sources_stand_above_earlier_ones() {
        let file = "listen = '0.0.0.0:1'\nmax_message = 1000\nopen_registration = true\nlog_level = 'debug'";
        let env = [("NTP_LISTEN", "0.0.0.0:2"), ("NTP_MAX_MESSAGE", "2000"), ("HOME", "/h")];
        let config = load(file, &env, &[("listen", "0.0.0.0:3")]).unwrap();
        assert_eq!(config.listen.port(), 3);
        assert_eq!(config.max_message, 2000);
        assert!(config.open_registration);
        assert_eq!(config.log_level, "debug");
        assert_eq!(config.data_dir, Path::new("/h/.local/share/ntproto/server"));
        assert_eq!(config.ticket_lifetime, Duration::from_secs(900));
        let config = load("", &[("STATE_DIRECTORY", "/s"), ("HOME", "/h")], &[]).unwrap();
        assert_eq!(config.data_dir, Path::new("/s"));
    }

    #[test]
    fn defaults_are_closed_and_within_bounds() {
        let config = ServerConfig::default();
        assert!(!config.open_registration);
        config.check().unwrap();
        let idle = ntproto_quic::config::IDLE_TIMEOUT;
        assert!(config.heartbeat < idle && LONGEST_INTERVAL < idle, "a heartbeat keeps QUIC awake");
    }

    type Pairs = &'static [(&'static str, &'static str)];

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        let cases: &[(&str, Pairs, Pairs, &str)] = &[
            (
                "listen = '0.0.0.0'",
                &[],
                &[],
                "./ntp.toml: listen = \"0.0.0.0\": write an address with a port, such as 0.0.0.0:7424 or [::]:7424",
            ),
            (
                "",
                &[("NTP_MAX_MESSAGE", "1e9")],
                &[],
                "NTP_MAX_MESSAGE = \"1e9\": write a number of bytes from 1 to 262144",
            ),
            (
                "",
                &[],
                &[("max-connections", "0")],
                "--max-connections = \"0\": write a number from 1 to 1048576",
            ),
            ("lisen = 'x'", &[], &[], "./ntp.toml: lisen: no such setting; did you mean listen?"),
            ("colour = 'red'", &[], &[], "./ntp.toml: colour: no such setting; remove it"),
            ("", &[], &[("datadir", "x")], "--datadir: no such setting; did you mean data_dir?"),
            ("a\nb = 1", &[], &[], "./ntp.toml is not TOML: line 1: "),
            ("[listen]\nport = 1", &[], &[], "./ntp.toml: listen = \"{ port = 1 }\": write an address"),
            ("open_registration = 'yes'", &[], &[], "write true or false"),
            ("log_level = 'loud'", &[], &[], "./ntp.toml: log_level = \"loud\": write error, warn"),
            ("log_format = 'xml'", &[], &[], "write text or json"),
            ("message_rate = -1", &[], &[], "write a number from 1 to 1000000, or 0 for no limit"),
            ("auth_burst = 0", &[], &[], "write a number from 1 to 1000000"),
            ("ticket_lifetime = 5", &[], &[], "write a number of seconds from 60 to 86400"),
            ("ticket_lifetime = -5", &[], &[], "write a number of seconds from 60 to 86400"),
            ("public_host = 'a b'", &[], &[], "write a host name or address"),
            ("public_host = 'a:0'", &[], &[], "write a host name or address"),
            ("operator_public = 'abc'", &[], &[], "write the operator's public key: 64 hexadecimal digits"),
            ("certificate = 'x'", &[], &[], "certificate is set without operator_public"),
            ("session_lifetime = 60", &[], &[], "session_lifetime is shorter"),
            ("data_dir = ''", &[], &[], "write a folder"),
        ];
        for (file, env, flags, expected) in cases {
            let error = load(file, env, flags).unwrap_err();
            assert!(error.contains(expected), "{error:?} lacks {expected:?}");
            assert!(!error.contains('\n'), "{error:?}");
        }
        let flags = Overrides { config: Some("/no/such.toml".into()), settings: Vec::new() };
        let error = ServerConfig::load(&flags, |_| None).unwrap_err().to_string();
        assert!(error.starts_with("can't read the configuration /no/such.toml: "), "{error}");
    }

    #[test]
    fn the_public_address_is_what_clients_can_use() {
        let bound = "[::]:7424".parse().unwrap();
        let with = |host: &str| ServerConfig { public_host: Some(host.into()), ..ServerConfig::default() };
        let host = |host: &str| with(host).public_address(bound);
        assert_eq!(host("chat.example.org"), ("chat.example.org".into(), 7424));
        assert_eq!(host("chat.example.org:443"), ("chat.example.org".into(), 443));
        assert_eq!(host("[2001:db8::1]:443"), ("2001:db8::1".into(), 443));
        assert_eq!(host("2001:db8::1"), ("2001:db8::1".into(), 7424));
        let none = ServerConfig::default();
        assert_eq!(none.public_address(bound), ("localhost".into(), 7424));
        assert_eq!(none.public_address("192.0.2.7:9".parse().unwrap()), ("192.0.2.7".into(), 9));
        let names = with("chat.example.org:443").certificate_names();
        assert_eq!(names, ["chat.example.org", "localhost", "127.0.0.1", "::1"]);
    }

    #[test]
    fn the_page_for_operators_lists_every_setting() {
        let page = include_str!("../../../../docs/operating.md");
        let rows: Vec<&str> =
            page.lines().filter_map(|l| l.strip_prefix("| `")?.split_once('`')).map(|r| r.0).collect();
        // Other tables list files and commands.
        let listed: Vec<&str> = rows.into_iter().filter(|name| !name.contains(['.', ' ', '/'])).collect();
        assert_eq!(listed, settings().map(|s| s.key).collect::<Vec<_>>());
    }
}
