//! `ntp keys`: the keys of a server, and of the operator that vouches for them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ntproto_core::crypto::CryptoProvider as _;
use ntproto_core::crypto::identity::MAX_TLS_PINS;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::rng::Rng;
use ntproto_server::config::{Overrides, ServerConfig};
use ntproto_server::keys::{self, KeyError, ShownKey, SignedFor};
use serde_json::{Value, json};

use crate::exit::{Code, Failure, Outcome};
use crate::output;
use crate::session;

/// Seconds of a day.
const DAY: u64 = 86_400;

/// Show, certify and rotate the keys of a server.
///
/// Clients pin the operator's key. It signs a certificate for the server's own key, and is needed for nothing
/// else: it may stay on a machine that is never online. A rotated server key takes over at the next start, and the
/// one before it is answered until its certificate ends, so that nobody is cut off.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With the operator's key beside the server (as the first start makes it):
  ntp keys rotate                                        then start the server again

With the operator's key kept offline:
  offline$ ntp keys new operator.key                     prints the public key
  server$  ntp serve --operator-public HEX --certificate server.cert
                                                         stops, and names the key to certify
  offline$ ntp keys certify --operator-key operator.key --server-key HEX --id 1 --tls-pin HEX > server.cert
  server$  ntp serve --operator-public HEX --certificate server.cert
and to rotate:
  server$  ntp keys rotate                               names the next key to certify
  offline$ ntp keys certify --operator-key operator.key --server-key HEX --id 2 --tls-pin HEX > server.cert
  server$  put server.cert in place of the old one, and start the server again")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    New(New),
    Show(Show),
    Certify(Certify),
    Rotate(Rotate),
}

/// Make an operator's key, for a machine away from the server.
///
/// Keep the file, and a copy: without it no server key can be certified, and every client needs a new connect
/// string. Whoever has it can pose as the server.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp keys new operator.key     prints the public key, for the server's setting operator_public")]
struct New {
    /// The file to make. One that is there is not overwritten.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Show a server's public keys, and how long their certificates last.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp keys show
  ntp keys show --data-dir /srv/ntp --json | jq .current")]
struct Show {
    #[command(flatten)]
    data: DataDir,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Sign a certificate for a server's key, where the operator's key is.
///
/// Prints the certificate: the file that the server's setting certificate names. It holds no secret. Needs no
/// connection, and no server.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp keys certify --operator-key operator.key --server-key HEX --id 1 --tls-pin HEX > server.cert
  ntp keys certify --operator-key operator.key --server-key HEX --id 2 --tls-pin HEX --days 365 > server.cert")]
struct Certify {
    /// The operator's key, as `ntp keys new` or a server's first start made it.
    #[arg(long, value_name = "FILE")]
    operator_key: PathBuf,
    /// The server's public key, as the server names it.
    #[arg(long, value_name = "HEX", value_parser = key)]
    server_key: [u8; 32],
    /// Its id, as the server names it.
    #[arg(long, value_name = "N")]
    id: u32,
    /// The pin of its TLS key, as the server names it; several times, before it gets another.
    #[arg(long, value_name = "HEX", value_parser = key, required = true)]
    tls_pin: Vec<[u8; 32]>,
    /// How many days it is good for: a connect string is good for no longer.
    #[arg(long, value_name = "N", default_value_t = 730, value_parser = clap::value_parser!(u64).range(1..=3650))]
    days: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Give a server a new key.
///
/// It takes over when the server is started again; without the operator's key in the data directory, once it is
/// certified. Clients with an older connect string go on: the present key is answered until its certificate ends.
/// Give them the new connect string before that (`ntp connect`).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp keys rotate --data-dir /srv/ntp
  ntp keys rotate --now      twice, if a key was stolen: then it is not answered any more")]
struct Rotate {
    #[command(flatten)]
    data: DataDir,
    /// Also while the key before the present one is still answered: its clients are cut off.
    #[arg(long)]
    now: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Where a server's keys are, found as `ntp serve` finds them.
#[derive(Debug, clap::Args)]
struct DataDir {
    /// The server's data directory.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// The server's file of settings; also NTP_CONFIG.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl DataDir {
    fn get(&self) -> Result<PathBuf, Failure> {
        let mut overrides = Overrides { config: self.config.clone(), ..Overrides::default() };
        overrides.set("data_dir", self.data_dir.clone());
        let config = ServerConfig::from_process(&overrides).map_err(|e| Failure::usage(e.to_string()))?;
        Ok(config.data_dir)
    }
}

fn key(text: &str) -> Result<[u8; 32], String> {
    keys::parse_key(text).ok_or_else(|| "a public key is 64 hexadecimal digits".into())
}

impl From<KeyError> for Failure {
    fn from(e: KeyError) -> Self {
        Self::failed(e.to_string())
    }
}

/// Does what is asked.
pub(crate) fn run(args: &Args) -> Outcome {
    match &args.command {
        Command::New(args) => new(args),
        Command::Show(args) => show(&args.data.get()?, args.json),
        Command::Certify(args) => certify(args),
        Command::Rotate(args) => rotate(args),
    }
}

fn new(args: &New) -> Outcome {
    let mut rng = Rng::new(session::entropy()?);
    let public = output::hex(&keys::make_operator_key(&args.file, &RUSTCRYPTO, &mut rng)?);
    if args.json {
        output::json_line(&json!({ "operator_public": public }))?;
    } else {
        output::line(&public)?;
    }
    Ok(Code::Ok)
}

fn certify(args: &Certify) -> Outcome {
    let operator = keys::read_operator_key(&args.operator_key)?;
    let (now, lifetime) = (session::now(), Duration::from_secs(args.days * DAY));
    if args.tls_pin.len() > MAX_TLS_PINS {
        return Err(Failure::usage(format!("--tls-pin: a certificate has {MAX_TLS_PINS} pins at most")));
    }
    let tls_pins = args.tls_pin.clone();
    let what = SignedFor { static_key: args.server_key, key_id: args.id, tls_pins, now, lifetime };
    let certificate = keys::sign_certificate(&RUSTCRYPTO, &operator, what);
    let certificate = certificate.trim_end();
    if args.json {
        let (operator, server) = (RUSTCRYPTO.ed25519_public(&operator), output::hex(&args.server_key));
        output::json_line(&json!({
            "certificate": certificate,
            "operator_public": output::hex(&operator),
            "server_key": server,
            "id": args.id,
            "tls_pins": args.tls_pin.iter().map(|pin| output::hex(pin)).collect::<Vec<_>>(),
            "expires_ms": (now + lifetime).0,
        }))?;
    } else {
        output::line(certificate)?;
    }
    Ok(Code::Ok)
}

fn rotate(args: &Rotate) -> Outcome {
    let dir = args.data.get()?;
    let mut rng = Rng::new(session::entropy()?);
    keys::rotate_server_key(&dir, &RUSTCRYPTO, &mut rng, session::now(), args.now)?;
    show(&dir, args.json)
}

fn show(dir: &Path, as_json: bool) -> Outcome {
    let shown = keys::show(dir, &RUSTCRYPTO)?;
    if as_json {
        let operator = shown.operator.map(|key| output::hex(&key));
        let [current, previous, next] = [Some(shown.current), shown.previous, shown.next].map(to_json);
        output::json_line(&json!({
            "operator_public": operator,
            "current": current,
            "previous": previous,
            "next": next,
            "tls_pin": output::hex(&shown.tls_pin),
        }))?;
        return Ok(Code::Ok);
    }
    match shown.operator {
        Some(key) => output::line(&format!("operator  {}", output::hex(&key)))?,
        None => output::line("operator  its key is not here")?,
    }
    let keys = [("current", Some(shown.current)), ("previous", shown.previous), ("next", shown.next)];
    for (name, key) in keys {
        let Some(key) = key else { continue };
        let until = match key.expires {
            Some(at) => match output::utc(at.0) {
                Some(time) => format!("certified until {time}"),
                None => "certified".into(),
            },
            None => "not certified yet".into(),
        };
        output::line(&format!("{name:<9} {} id {}, {until}", output::hex(&key.static_key), key.key_id))?;
    }
    let pin = output::hex(&shown.tls_pin);
    output::line(&format!("tls pin   {pin}"))?;
    let waits = shown.next.or(shown.current.expires.is_none().then_some(shown.current));
    if let Some(key) = waits {
        output::line(&format!(
            "\nWhere the operator's key is:\n\n  ntp keys certify --operator-key FILE --server-key {} --id {} --tls-pin {pin} > server.cert",
            output::hex(&key.static_key),
            key.key_id
        ))?;
    }
    Ok(Code::Ok)
}

fn to_json(key: Option<ShownKey>) -> Value {
    key.map_or(Value::Null, |key| {
        let expires = key.expires.map(|at| at.0);
        json!({ "server_key": output::hex(&key.static_key), "id": key.key_id, "expires_ms": expires })
    })
}
