//! `ntp serve`: the server.

use std::io::Read as _;
use std::path::PathBuf;

use ntproto_server::config::{Overrides, ServerConfig};
use ntproto_server::run::{RunError, Running, Server, Signals, StartOptions};
use ntproto_smol::Smol;
use serde_json::json;

use crate::exit::{Code, Failure, Outcome};
use crate::output::{self, Style};
use crate::session::{self, Runtime};
use crate::telemetry;

/// Run the server.
///
/// Makes its keys and its store at the first start, prints a connect string to hand out, and an invitation as
/// long as there is no account (or with --new-invitation). SIGTERM or Ctrl-C ends it in order; killing it outright loses nothing that was
/// acknowledged either. Logs go to standard error.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp serve                                        on port 7424, data in ~/.local/share/ntproto/server
  ntp serve --listen 0.0.0.0:7424 --public-host chat.example.org --data-dir /srv/ntp
  ntp serve --config /etc/ntproto.toml             settings by name: listen = \"[::]:7424\"
  NTP_LOG_LEVEL=debug ntp serve                    every setting is a variable, too
  ntp serve --listen 127.0.0.1:0 --json            one line of JSON when it is ready

A flag stands above a variable, a variable above the file, the file above the default.")]
pub(crate) struct Args {
    /// A file of settings (TOML), by the names of these flags with _ for -; also NTP_CONFIG.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    /// The data directory was put back from a backup: number new messages above all that were given out since then,
    /// and void all tickets. For one start; without it, clients take new messages for ones they know.
    #[arg(long)]
    restored: bool,
    /// Make an invitation for an account that may invite others, though there are accounts: when whoever may
    /// invite has lost their keys.
    #[arg(long)]
    new_invitation: bool,
    /// Print one line of JSON when it is ready: listening, connect, invitation (or null), https.
    #[arg(long)]
    json: bool,
    /// End at once when standard input closes: for a parent process that may be killed.
    #[arg(long, hide = true)]
    end_with_stdin: bool,
    /// The async runtime that drives it.
    #[arg(long, value_enum, default_value_t)]
    runtime: Runtime,
}

macro_rules! settings {
    ($($(#[$attr:meta])* $name:ident: $value:literal,)*) => {
        /// What can be set; each is checked by the server's own configuration.
        #[derive(Debug, Default, clap::Args)]
        struct Settings {
            $($(#[$attr])* #[arg(long, value_name = $value, allow_hyphen_values = true)] $name: Option<String>,)*
        }

        impl Settings {
            fn overrides(&self, config: Option<PathBuf>) -> Overrides {
                let mut overrides = Overrides { config, ..Overrides::default() };
                $(overrides.set(stringify!($name), self.$name.clone());)*
                overrides
            }
        }
    };
}

settings! {
    /// The address and port to listen on, UDP and TCP.
    listen: "ADDRESS",
    /// What clients reach it by, if that is not where it listens.
    public_host: "HOST",
    /// Further names for the TLS certificate.
    tls_names: "NAMES",
    /// Origins of pages that may open sessions, besides its own host; * is every page.
    web_origins: "ORIGINS",
    /// Keys and store.
    data_dir: "DIR",
    /// Whether anybody may make an account: true or false.
    open_registration: "BOOL",
    /// Whether only friends write to each other.
    friends_only: "BOOL",
    /// Members of a group.
    max_group_members: "N",
    /// Members above which a group is a large one, whose messages wait in the log until they are asked for.
    group_fanout: "N",
    /// What is logged: a level, or a filter such as info,ntproto_server=debug.
    log_level: "FILTER",
    /// How it is logged: text or json.
    #[arg(visible_alias = "log")]
    log_format: "FORMAT",
    /// Where operators find /metrics, /healthz and /readyz, over plain HTTP; off unless it is given.
    ops_listen: "ADDRESS",
    /// Whether that may be an address that others reach.
    ops_public: "BOOL",
    /// The collector that spans are exported to.
    otlp_endpoint: "URL",
    /// The folder for qlog files of connections.
    qlog_dir: "DIR",
    /// Connections in all.
    max_connections: "N",
    /// Half-open handshakes above which an address must prove itself first.
    retry_above: "N",
    /// Half-open handshakes above which new ones are refused.
    max_half_open: "N",
    /// TCP connections one network may open at once.
    tcp_burst: "N",
    /// TCP connections one network may open a second after that.
    tcp_rate: "N",
    /// Who may ask to come in from one address, at once.
    auth_burst: "N",
    /// And a second after that; 0 is no limit, here and below.
    auth_rate: "N",
    /// Messages of one device at once.
    message_burst: "N",
    /// And a second after that.
    message_rate: "N",
    /// Other requests of one device at once.
    request_burst: "N",
    /// And a second after that.
    request_rate: "N",
    /// Messages to one conversation at once.
    conversation_burst: "N",
    /// And a second after that.
    conversation_rate: "N",
    /// Bytes that may wait for devices to read them, of all together.
    max_waiting: "BYTES",
    /// The largest message, in bytes.
    max_message: "BYTES",
    /// How long a session ticket is good for.
    ticket_lifetime: "SECONDS",
    /// How long tickets may be renewed before the device key is asked for again.
    session_lifetime: "SECONDS",
    /// How often a silent connection is asked whether it lives.
    heartbeat: "SECONDS",
    /// Memory for the store's cache.
    store_cache: "BYTES",
    /// How long an orderly end may take.
    drain_timeout: "SECONDS",
    /// The operator's public key, when its secret is kept elsewhere.
    operator_public: "HEX",
    /// The certificate the operator signed elsewhere.
    certificate: "FILE",
    /// The applications whose clients may ask for a bootstrap.
    app_ids: "NUMBERS",
    /// Whether a device that comes over QUIC or the web without a session ticket must have bootstrapped.
    require_bootstrap: "BOOL",
    /// The certificate chain that browsers are shown (PEM), instead of one made here.
    web_certificate: "FILE",
    /// Its key (PEM).
    web_key: "FILE",
    /// Where files are kept: a folder, or s3://bucket/prefix.
    files_dir: "DIR",
    /// When files are made durable: always or never.
    files_sync: "WHEN",
    /// The largest file.
    max_file: "BYTES",
    /// Bytes of files that one account may have.
    file_quota: "BYTES",
    /// How long an upload that nothing comes for is kept.
    upload_lifetime: "SECONDS",
}

/// Runs it.
pub(crate) fn run(args: &Args, endpoint: Option<&str>) -> Outcome {
    let overrides = args.settings.overrides(args.config.clone());
    let config = ServerConfig::from_process(&overrides).map_err(|e| Failure::usage(e.to_string()))?;
    let config = ServerConfig { new_invitation: args.new_invitation, ..config };
    let endpoint = config.otlp_endpoint.as_deref().or(endpoint);
    telemetry::start(endpoint, "ntp serve", Some((&config.log_level, config.log_format)))?;
    if args.end_with_stdin {
        end_with_stdin()?;
    }
    session::block_on(async {
        let options = StartOptions { restored: args.restored, ..StartOptions::default() };
        let running = match args.runtime {
            Runtime::Tokio => Server::start_with(config, options).await,
            Runtime::Smol => Server::start_on(Smol::global(), config, options).await,
        };
        let running = running.map_err(|e| Failure::failed(e.to_string()))?;
        // Before anybody hears that it is there, and may want it to end.
        let signals = Signals::listen().map_err(|e| Failure::failed(format!("no signal handlers: {e}")))?;
        greet(args, &running)?;
        match running.until(signals).await {
            Ok(()) => Ok(Code::Ok),
            Err(RunError::Interrupted) => Ok(Code::Interrupted),
            Err(e) => Err(Failure::failed(e.to_string())),
        }
    })
}

/// A parent that is gone can't end its server: when the pipe from it closes, the process ends. Nothing is lost,
/// as with any other sudden end.
fn end_with_stdin() -> Result<(), Failure> {
    let watch = || {
        let mut byte = [0; 1];
        while std::io::stdin().read(&mut byte).is_ok_and(|n| n > 0) {}
        std::process::exit(Code::Ok as i32);
    };
    let thread = std::thread::Builder::new().name("ntp-stdin".into()).spawn(watch);
    thread.map(drop).map_err(|e| Failure::failed(format!("the system gives no thread: {e}")))
}

fn greet(args: &Args, running: &Running) -> Result<(), Failure> {
    let connect = running.connect_string.to_string();
    let invitation = running.invitation.as_ref().map(ToString::to_string);
    if args.json {
        let listening = running.local_addr.to_string();
        let ops = running.ops_addr.map(|address| address.to_string());
        output::json_line(&json!({
            "listening": listening,
            "connect": connect,
            "invitation": invitation,
            "ops": ops,
            "https": running.https_url,
        }))?;
        return Ok(());
    }
    let style = Style::of_stdout();
    output::line(&format!(
        "{} on {} (UDP and TCP).",
        style.bold("ntproto is listening"),
        running.local_addr
    ))?;
    output::line(&format!("\nConnect string, for everybody who is to find it:\n\n  {connect}"))?;
    output::line(&format!("\nHTTPS, on the same port: {}", running.https_url))?;
    if let Some(code) = invitation {
        let what = if args.new_invitation {
            "Make an account, which may invite others, with:"
        } else {
            "There is no account yet. Make the first one, which may invite others, with:"
        };
        output::line(&format!("\n{what}\n\n  ntp register --connect '{connect}' --invitation {code}"))?;
    }
    output::line(&format!("\n{}", style.dim("Ctrl-C ends it in order.")))?;
    Ok(())
}
