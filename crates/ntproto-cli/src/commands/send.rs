//! `ntp send`: sends a message and waits until it is durable.

use std::io::Read as _;
use std::time::Duration;

use bytes::Bytes;
use ntproto_core::client::MAX_BODY;
use ntproto_core::code::ErrorCode;
use ntproto_sdk::{ClientMsgId, Event, SendError, SendOptions, Sent, State, Uin};
use serde_json::json;

use crate::exit::{Code, Failure, Outcome};
use crate::output;
use crate::session::{self, ProfileArgs, Session, seconds};
use crate::telemetry;

/// Send a message, and wait until the server has it on its disk.
///
/// Before the deadline nothing is given up: a lost connection is made again, a lost answer asked for. After it
/// the message is taken back, unless --queue leaves it on this disk for the next command of this profile.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp send 10002 'hello'
  uptime | ntp send 10002 -
  ntp send 10002 'when you are back' --queue --deadline 1
  ntp send 10002 - --json < notes.txt | jq .conv_seq

Exit code 4: the server can't be reached, nothing was sent. 6: the deadline passed on the way.")]
pub(crate) struct Args {
    /// Whom.
    #[arg(value_name = "UIN", value_parser = uin)]
    to: Uin,
    /// What; `-` reads standard input to its end. At most 256 KiB.
    text: String,
    /// How long to try, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = seconds)]
    deadline: f64,
    /// After the deadline leave it on this disk: it goes out when this profile connects again.
    #[arg(long)]
    queue: bool,
    #[command(flatten)]
    profile: ProfileArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Reads an account's number.
pub(crate) fn uin(text: &str) -> Result<Uin, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(Uin(n)),
        _ => Err("an account is a number, such as 10002".into()),
    }
}

/// What became of it.
enum Fate {
    Sent(Sent),
    Queued(ClientMsgId),
}

/// Sends it.
pub(crate) fn run(args: &Args) -> Outcome {
    let body = body(&args.text)?;
    session::block_on(async {
        let session = Session::open(&args.profile).await?;
        if session.client.identity().is_some_and(|me| me.uin == args.to) {
            return Err(Failure::usage(format!("{} is this very account: name another", args.to)));
        }
        let result =
            if args.queue { queue(args, &session, body).await } else { send(args, &session, body).await };
        session.close().await;
        match (result?, args.json) {
            (Fate::Sent(sent), true) => output::json_line(&json!({
                "sent": true, "client_msg_id": sent.client_msg_id.to_string(), "conv_seq": sent.conv_seq,
                "stored_ms": sent.stored_ms,
            }))?,
            (Fate::Sent(sent), false) => {
                output::line(&format!("Stored, number {} of this conversation.", sent.conv_seq))?;
            }
            (Fate::Queued(id), true) => {
                output::json_line(&json!({ "sent": false, "client_msg_id": id.to_string() }))?;
            }
            (Fate::Queued(_), false) => {
                output::line("Queued on this disk; it goes out with the next connection.")?
            }
        }
        Ok(Code::Ok)
    })
}

fn body(text: &str) -> Result<Bytes, Failure> {
    let mut body = text.as_bytes().to_vec();
    if text == "-" {
        body.clear();
        std::io::stdin().lock().take(MAX_BODY as u64 + 1).read_to_end(&mut body)?;
    }
    if body.len() > MAX_BODY {
        return Err(Failure::usage(format!("a message has at most {MAX_BODY} bytes")));
    }
    Ok(body.into())
}

async fn send(args: &Args, session: &Session, body: Bytes) -> Result<Fate, Failure> {
    let deadline = Duration::from_secs_f64(args.deadline);
    // A device that is not enrolled yet must be, first.
    if session.client.identity().is_none() {
        session.online(deadline).await?;
    }
    let options = SendOptions { deadline: Some(deadline), client_msg_id: None, trace: telemetry::parent() };
    match session.client.send_with(args.to, body, options).await {
        Ok(sent) => Ok(Fate::Sent(sent)),
        Err(SendError::DeadlineExceeded) if !matches!(session.client.state(), State::Online { .. }) => {
            Err(session.unreachable())
        }
        Err(SendError::Refused(code, detail)) => Err(refused(args, code, &detail)),
        Err(e) => Err(e.into()),
    }
}

/// What the server's refusal means here.
fn refused(args: &Args, code: Option<ErrorCode>, detail: &str) -> Failure {
    let text = match code {
        Some(ErrorCode::NotFound) => format!("there is no account {}", args.to),
        Some(code) => format!("the server refuses the message: {code} {detail}"),
        None => format!("the server refuses the message: {detail}"),
    };
    Failure::new(Code::Refused, text.trim_end())
}

async fn queue(args: &Args, session: &Session, body: Bytes) -> Result<Fate, Failure> {
    let mut events = session.client.events().map_err(|e| Failure::failed(e.to_string()))?;
    let options = SendOptions { trace: telemetry::parent(), ..SendOptions::default() };
    let id = session.client.enqueue_with(args.to, body, options).await?;
    let settled = async {
        while let Some(event) = events.next().await {
            match event {
                Event::Sent(sent) if sent.client_msg_id == id => return Ok(Fate::Sent(sent)),
                Event::SendFailed { client_msg_id, why } if client_msg_id == id => {
                    return Err(match why {
                        ntproto_sdk::Failure::Refused(code, detail) => refused(args, code, &detail),
                        other => Failure::failed(other.to_string()),
                    });
                }
                Event::Ended(why) => return Err(why.into()),
                _ => {}
            }
        }
        Ok(Fate::Queued(id))
    };
    tokio::time::timeout(Duration::from_secs_f64(args.deadline), settled)
        .await
        .unwrap_or(Ok(Fate::Queued(id)))
}
