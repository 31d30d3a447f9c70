//! `ntp history`: what was said in a conversation.

use ntproto_core::ids::GroupId;
use ntproto_core::model::content::{self, Body};
use ntproto_proto::v2::Attachment;
use ntproto_sdk::store::Stored;
use ntproto_sdk::{ConversationId, Uin};
use serde_json::{Value, json};

use crate::exit::{Code, Failure, Outcome};
use crate::output;
use crate::session::{self, ProfileArgs, Session, TimeoutArg};
use crate::text::harmless;

/// Messages of a page from the server.
const PAGE: u32 = 200;

/// Print what was said in a conversation, oldest first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp history 10002
  ntp history '#7' --count 20        of group 7
  ntp history 10002 --json | jq -r .text")]
pub(crate) struct Args {
    /// With whom; # and a number is a group.
    #[arg(value_name = "UIN|#GROUP", value_parser = place)]
    with: Place,
    /// How many messages, at most.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
    /// Before the message with this number.
    #[arg(long, value_name = "N")]
    before: Option<u64>,
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    timeout: TimeoutArg,
    /// Print JSON, a line each.
    #[arg(long)]
    json: bool,
}

/// Somebody, or a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    With(Uin),
    Group(GroupId),
}

impl Place {
    pub(super) fn conversation(self, me: Uin) -> ConversationId {
        match self {
            Self::With(uin) => ConversationId::direct(me, uin),
            Self::Group(group) => ConversationId::of_group(group),
        }
    }
}

/// Reads where something was said.
pub(super) fn place(text: &str) -> Result<Place, String> {
    match text.strip_prefix('#') {
        Some(group) => match group.parse() {
            Ok(id @ 1..) => Ok(Place::Group(GroupId(id))),
            _ => Err("a group is # and a number, such as #7".into()),
        },
        None => super::send::uin(text).map(Place::With),
    }
}

/// Prints it.
pub(crate) fn run(args: &Args) -> Outcome {
    let messages = session::block_on(async {
        let session = Session::open(&args.profile).await?;
        let me = session.online(args.timeout.get()).await?.uin;
        let messages = read(args, &session, args.with.conversation(me)).await;
        session.close().await;
        messages
    })?;
    for stored in messages.iter().rev() {
        tell(args.json, line(stored), stored)?;
    }
    Ok(Code::Ok)
}

/// From the server, which has what this device never got; newest first.
async fn read(args: &Args, session: &Session, conversation: ConversationId) -> Result<Vec<Stored>, Failure> {
    let (mut all, mut before) = (Vec::new(), args.before);
    let count = args.count as usize;
    while all.len() < count {
        let limit = (count - all.len()).min(PAGE as usize) as u32;
        let page = session.client.history_from_server(conversation, before, limit).await?;
        all.extend(page.messages);
        match page.next {
            Some(next) => before = Some(next),
            None => break,
        }
    }
    all.truncate(count);
    Ok(all)
}

/// Prints one message.
pub(super) fn tell(json: bool, line: Value, stored: &Stored) -> Result<(), Failure> {
    if json {
        output::json_line(&line)?;
        return Ok(());
    }
    let at = output::utc(stored.stored_ms).unwrap_or_default();
    let text = line["text"].as_str().map_or_else(|| format!("({} bytes)", stored.body.len()), harmless);
    let names = line["files"].as_array().into_iter().flatten().filter_map(|file| file["name"].as_str());
    let files = names.map(|name| format!("[{}] ", harmless(name))).collect::<String>();
    let note = match (stored.recalled, stored.edited) {
        (Some(_), _) => " (taken back)",
        (_, Some(_)) => " (edited)",
        _ => "",
    };
    output::line(&format!("{at}  {}  {files}{text}{note}", stored.sender))?;
    Ok(())
}

/// As JSON.
pub(super) fn line(stored: &Stored) -> Value {
    let mut line = json!({
        "conv_seq": stored.conv_seq, "sender": stored.sender.0, "stored_ms": stored.stored_ms,
        "client_msg_id": stored.client_msg_id.to_string(), "edited": stored.edited.is_some(),
        "recalled": stored.recalled.is_some(),
    });
    say(&mut line, &stored.body);
    line
}

/// A file of a message, without its key.
fn file(file: &Attachment) -> Value {
    json!({
        "file": output::hex(&file.file), "size": file.size, "name": file.name, "mime": file.mime,
        "encrypted": !file.key.is_empty(),
    })
}

/// Adds what a body says.
pub(super) fn say(line: &mut Value, body: &[u8]) {
    match content::decode(body) {
        Body::Text(text) => line["text"] = text.into(),
        Body::Content(content) => {
            line["text"] = content.text.into();
            line["mentions"] = content.mentions.iter().map(|mention| mention.uin).collect();
            if let Some(reply) = content.reply {
                line["reply"] =
                    json!({ "conv_seq": reply.conv_seq, "sender": reply.sender, "excerpt": reply.excerpt });
            }
            if !content.attachments.is_empty() {
                line["files"] = content.attachments.iter().map(file).collect();
            }
            if let Some(reaction) = content.reaction {
                line["reaction"] = json!({ "conv_seq": reaction.conv_seq, "text": reaction.text, "remove": reaction.remove });
            }
        }
        _ => line["hex"] = output::hex(body).into(),
    }
}
