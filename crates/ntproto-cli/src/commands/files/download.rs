//! `ntp download`: the file of a message.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ntproto_core::crypto::file::FileKey;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::ids::{ConversationId, FileId};
use ntproto_core::model::content::{self, Body};
use ntproto_core::rng::Rng;
use ntproto_core::transfer::download::{Download, Plan};
use ntproto_core::transfer::{Event, Progress};
use ntproto_http::client::site::Speak;
use ntproto_http::files::{PlaceError, Reach, Sink, Watch, download, place as give_name};
use ntproto_proto::store::DownloadState;
use ntproto_proto::v2::Attachment;
use ntproto_sdk::{Client, ConnectString, Profile};
use ntproto_tokio::Tokio;
use prost::Message as _;
use serde_json::json;

use super::{Bar, HttpArg, job};
use crate::commands::history::{Place, place};
use crate::exit::{Code, Failure, Outcome};
use crate::output;
use crate::session::{self, ProfileArgs, Session, TimeoutArg};
use crate::text::harmless;

/// What a file is called until it is whole.
const PART: &str = "part";

/// Fetch the file of a message.
///
/// It is decrypted on its way, and verified before it gets its name. Interrupted or killed, it goes on where it was when the same
/// command is run again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp history 10002                     shows which messages have files, and their numbers
  ntp download 10002 7
  ntp download '#7' 12 --file 2 --out ~/Downloads

Exit code 3: the file is gone, or was never for this account. 4: the server can't be reached; run the command again to go on.")]
pub(crate) struct Args {
    /// The conversation: an account, or # and a group.
    #[arg(value_name = "UIN|#GROUP", value_parser = place)]
    with: Place,
    /// The message's number.
    #[arg(value_name = "NUMBER")]
    number: u64,
    /// Which of its files.
    #[arg(long, value_name = "N", default_value_t = 1)]
    file: usize,
    /// Where to put it: a folder, or a new name [default: here, by its own name].
    #[arg(long, short, value_name = "PATH")]
    out: Option<PathBuf>,
    /// Replace a file that is there.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    http: HttpArg,
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    timeout: TimeoutArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Fetches it.
pub(crate) fn run(args: &Args) -> Outcome {
    let (out, size, http) = session::block_on(async {
        let session = Session::open(&args.profile).await?;
        let done = tokio::select! {
            done = bring(args, &session) => done,
            () = crate::signals::interrupted() => {
                Err(Failure::new(Code::Interrupted, "interrupted; run the command again to go on"))
            }
        };
        session.close().await;
        done
    })?;
    if args.json {
        output::json_line(&json!({ "path": out.to_string_lossy(), "size": size, "http": http }))?;
    } else {
        output::line(&harmless(&out.to_string_lossy()))?;
    }
    Ok(Code::Ok)
}

/// Where it is, how large, and what was spoken last.
type Fetched = (PathBuf, u64, Option<&'static str>);

async fn bring(args: &Args, session: &Session) -> Result<Fetched, Failure> {
    let me = session.online(args.timeout.get()).await?.uin;
    let conversation = args.with.conversation(me);
    let mut files = named(&session.client, conversation, args.number).await?;
    let index = args.file.checked_sub(1).ok_or_else(|| Failure::usage("files are counted from 1"))?;
    if index >= files.len() {
        return Err(Failure::failed(format!("message {} has {} files", args.number, files.len())));
    }
    let attachment = files.swap_remove(index);
    let out = match &args.out {
        Some(out) if out.is_dir() => out.join(own_name(&attachment.name)),
        Some(out) => out.clone(),
        None => own_name(&attachment.name).into(),
    };
    if out.exists() && !args.force {
        return Err(Failure::failed(format!("{} is there: give --out, or --force", out.display())));
    }
    let wanted = Wanted::of(&attachment)?;
    let absolute = std::path::absolute(&out).unwrap_or_else(|_| out.clone());
    let name = job::download_name(&absolute, wanted.file);
    let bar = Bar::new(&harmless(&attachment.name), args.json);
    let mut kept = Kept { profile: &session.profile, name, bar };
    let state = session.profile.kept(&kept.name)?;
    let state = state.and_then(|kept| DownloadState::decode(kept.as_slice()).ok());
    let reach = args.http.reach(session);
    let size = fetch(&reach, wanted, (&out, args.force), state, &mut kept).await?;
    kept.profile.forget(&kept.name)?;
    Ok((out, size, reach.spoken()))
}

/// Fetches all files of a message into the folder one is in, for who looks at other things meanwhile. Says what they are called there.
pub(crate) async fn here(
    client: &Client,
    connect: &ConnectString,
    conversation: ConversationId,
    number: u64,
) -> Result<String, Failure> {
    let mut names = Vec::new();
    for attachment in named(client, conversation, number).await? {
        let name = own_name(&attachment.name);
        let out = PathBuf::from(&name);
        if out.exists() {
            return Err(Failure::failed(format!("{} is there already", out.display())));
        }
        let reach = Reach::new(Tokio, client, connect, Speak::Auto);
        fetch(&reach, Wanted::of(&attachment)?, (&out, false), None, &mut Unkept).await?;
        names.push(name);
    }
    Ok(names.join(", "))
}

/// What a file is called here when nobody says. One whose name begins with a dot would be hidden, and may be what some program obeys: as in
/// browsers, the dot is not taken over.
fn own_name(name: &str) -> String {
    match name.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => name.to_owned(),
    }
}

/// The files that a message names; at least one.
async fn named(
    client: &Client,
    conversation: ConversationId,
    number: u64,
) -> Result<Vec<Attachment>, Failure> {
    let before = number.checked_add(1).ok_or_else(|| Failure::usage("there is no such number"))?;
    let page = client.history_from_server(conversation, Some(before), 1).await?;
    let message = page.messages.into_iter().find(|stored| stored.conv_seq == number);
    let message = message.ok_or_else(|| Failure::failed(format!("there is no message {number}")))?;
    match content::decode(&message.body) {
        Body::Content(content) if !content.attachments.is_empty() => Ok(content.attachments),
        _ => Err(Failure::failed(format!("message {number} has no file"))),
    }
}

/// A file that a message names.
struct Wanted {
    file: FileId,
    size: u64,
    sha256: [u8; 32],
    key: Option<FileKey>,
}

impl Wanted {
    fn of(attachment: &Attachment) -> Result<Self, Failure> {
        let key = FileKey::from_slice(&attachment.key);
        match (FileId::from_slice(&attachment.file), attachment.sha256.as_ref().try_into()) {
            (Some(file), Ok(sha256)) => Ok(Self { file, size: attachment.size, sha256, key }),
            _ => Err(Failure::failed("the message names no file")),
        }
    }
}

/// Fetches a file to `out`, which it replaces only if it may, going on with what an earlier run has if its bytes are still there. Says how
/// large it is.
async fn fetch(
    reach: &Reach<Tokio>,
    wanted: Wanted,
    (out, force): (&Path, bool),
    state: Option<DownloadState>,
    watch: &mut (dyn Watch<DownloadState> + Send),
) -> Result<u64, Failure> {
    let Wanted { file, size, sha256, key } = wanted;
    // Named by the file, not by what somebody called it: nothing of the user's is in the way, nor another download.
    let part = out.with_file_name(format!(".{file}.{PART}"));
    let sink = Sink::open(&part, &RUSTCRYPTO, key, size)
        .map_err(|e| Failure::failed(format!("{}: {e}", part.display())))?;
    let plan = Plan { file, size, sha256, unit: sink.unit() };
    let machine = state
        .filter(|state| sink.holds(state.written).unwrap_or(false))
        .and_then(|state| Download::resume(&state, Rng::new(session::entropy().ok()?)))
        .filter(|machine| *machine.plan() == plan);
    let machine = match machine {
        Some(machine) => machine,
        None => Download::new(plan, Rng::new(session::entropy()?)),
    };
    let sink = Arc::new(sink);
    download(&Tokio, reach, Arc::clone(&sink), machine, watch).await?;
    give_name(&part, out, force).map_err(|error| {
        let (out, part) = (out.display(), part.display());
        Failure::failed(match error {
            PlaceError::Taken => {
                format!("{out} was made meanwhile by somebody: what was fetched is in {part}; the same command with --force replaces it")
            }
            PlaceError::Io(error) => format!("{out}: {error}; what was fetched is in {part}"),
        })
    })?;
    Ok(sink.plain())
}

/// A download that is not gone on with by a later run.
struct Unkept;

impl Watch<DownloadState> for Unkept {
    fn save(&mut self, _: &DownloadState) -> io::Result<()> {
        Ok(())
    }
}

/// A download between two runs.
struct Kept<'a> {
    profile: &'a Profile,
    name: String,
    bar: Bar,
}

impl Watch<DownloadState> for Kept<'_> {
    fn save(&mut self, state: &DownloadState) -> io::Result<()> {
        self.profile.keep(&self.name, &state.encode_to_vec()).map_err(io::Error::other)
    }

    fn progress(&mut self, progress: Progress) {
        self.bar.show(progress);
    }

    fn event(&mut self, event: &Event) {
        self.bar.tell(event);
    }
}
