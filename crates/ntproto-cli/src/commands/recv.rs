//! `ntp recv`: messages as JSON lines.

use std::time::Duration;

use ntproto_sdk::{Event, Message, MessageAction, State};
use serde_json::{Value, json};

use crate::exit::{Code, Failure, Outcome};
use crate::output;
use crate::session::{self, ProfileArgs, Session, TimeoutArg};

/// How long what waits to be sent may take once the inbox is read.
const OUTBOX_PATIENCE: Duration = Duration::from_secs(10);
/// How often the outbox is looked at meanwhile.
const OUTBOX_TICK: Duration = Duration::from_millis(20);

/// Print messages that came, one line of JSON each.
///
/// A message is confirmed once it is printed, and is not printed again. A crash in between prints it again: keep
/// the last `position` you handled, and pass over what is not above it, for exactly once. Messages that wait to
/// be sent go out meanwhile.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp recv                              what came meanwhile, then end
  ntp recv --follow | jq -r .text       for ever
  ntp recv --count 1 --timeout 60       the next one
  ntp recv --peek                       leaves everything unconfirmed

Each line: position, conversation, conv_seq, sender, stored_ms, client_msg_id, and text, or hex if it is no text;
mentions, reply, reaction where there are some; action (edit, recall) and target_seq when it is about an earlier message.
Exit code 4: the server can't be reached; what is on this disk already was printed.")]
pub(crate) struct Args {
    /// Go on for ever.
    #[arg(long, short)]
    follow: bool,
    /// End after this many messages.
    #[arg(long, short = 'n', value_name = "N", conflicts_with = "follow")]
    count: Option<u64>,
    /// Do not confirm: they are printed again next time.
    #[arg(long)]
    peek: bool,
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    timeout: TimeoutArg,
}

/// Prints them.
pub(crate) fn run(args: &Args) -> Outcome {
    session::block_on(async {
        let session = Session::open(&args.profile).await?;
        let result = tokio::select! {
            result = receive(args, &session) => result,
            () = crate::signals::interrupted() => Ok(Code::Interrupted),
        };
        session.close().await;
        result
    })
}

async fn receive(args: &Args, session: &Session) -> Outcome {
    let mut events = session.client.events().map_err(|e| Failure::failed(e.to_string()))?;
    let mut left = args.count;
    if left == Some(0) {
        return Ok(Code::Ok);
    }
    // Without --follow the server must answer in time, and with --count the messages must come in time.
    let patience = tokio::time::sleep(args.timeout.get());
    tokio::pin!(patience);
    loop {
        let event = tokio::select! {
            biased;
            event = events.next() => event,
            () = &mut patience, if !args.follow => {
                return match session.client.state() {
                    State::Online { .. } if args.count.is_some() => {
                        let left = left.unwrap_or(0);
                        Err(Failure::failed(format!("{left} messages did not come in time; see --timeout")))
                    }
                    _ => Err(session.unreachable()),
                };
            }
        };
        match event {
            Some(Event::Message(message)) => {
                output::json_line(&line(&message))?;
                if !args.peek {
                    session.client.confirm(message.position).await;
                }
                left = left.map(|n| n - 1);
                if left == Some(0) {
                    return Ok(Code::Ok);
                }
            }
            Some(Event::CaughtUp) if !args.follow && args.count.is_none() => {
                flush(session).await;
                return Ok(Code::Ok);
            }
            Some(Event::Ended(why)) => return Err(why.into()),
            Some(_) => {}
            None => return Err(Failure::failed("the client ended")),
        }
    }
}

/// Gives what waits to be sent a moment.
async fn flush(session: &Session) {
    let empty = async {
        while session.client.outbox().await.is_ok_and(|outbox| !outbox.is_empty()) {
            tokio::time::sleep(OUTBOX_TICK).await;
        }
    };
    // What is left stays on the disk.
    let _ = tokio::time::timeout(OUTBOX_PATIENCE, empty).await;
}

fn line(message: &Message) -> Value {
    let stored = &message.stored;
    let mut line = json!({
        "position": message.position, "conversation": message.conversation.to_string(),
        "conv_seq": stored.conv_seq, "sender": stored.sender.0, "stored_ms": stored.stored_ms,
        "client_msg_id": stored.client_msg_id.to_string(),
    });
    match message.action {
        MessageAction::New => {}
        MessageAction::Edit { target } => {
            (line["action"], line["target_seq"]) = ("edit".into(), target.into())
        }
        MessageAction::Recall { target } => {
            (line["action"], line["target_seq"]) = ("recall".into(), target.into())
        }
    }
    super::history::say(&mut line, &stored.body);
    line
}
