//! `ntp upload`: a file, and the message that brings it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ntproto_core::crypto::file::FileKey;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::ids::{ConversationId, GroupId, UploadId};
use ntproto_core::model::content;
use ntproto_core::rng::Rng;
use ntproto_core::transfer::Failure as Failed;
use ntproto_core::transfer::upload::{Plan, Upload};
use ntproto_http::files::{Source, TransferError, Watch as _, upload};
use ntproto_proto::v2;
use ntproto_sdk::{SendOptions, Sent, Uin};
use ntproto_tokio::Tokio;
use serde_json::json;

use super::job::{self, Job};
use super::{Bar, HttpArg};
use crate::exit::{Code, Failure, Outcome};
use crate::output;
use crate::session::{self, ProfileArgs, Session, TimeoutArg};
use crate::telemetry;
use crate::text::harmless;

/// How long the message may take once the file is there.
const MESSAGE_TIME: Duration = Duration::from_secs(30);

/// Send a file: to somebody, or to a group.
///
/// The file is encrypted on its way; the server keeps ciphertext, and the key travels in the message. A connection that breaks is made
/// again. Interrupted or killed, it goes on where it was when the same command is run again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp upload photo.jpg --to 10002
  ntp upload talk.mkv --group 7 --text 'as promised'
  ntp upload data.csv --to 10002 --json | jq -r .file
  ntp upload talk.mkv --to 10002 --http 2        over TCP, whatever the session runs over

Exit code 3: the server refuses, its quota for one. 4: it can't be reached; run the command again to go on.")]
pub(crate) struct Args {
    /// The file.
    file: PathBuf,
    #[command(flatten)]
    to: To,
    /// Words to go with it.
    #[arg(long, default_value = "")]
    text: String,
    /// Do not encrypt it: whoever runs the server can read it.
    #[arg(long)]
    plain: bool,
    /// Its media type, such as image/jpeg.
    #[arg(long, value_name = "TYPE", default_value = "")]
    mime: String,
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

/// Where to.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct To {
    /// Whom.
    #[arg(long, value_name = "UIN", value_parser = crate::commands::send::uin)]
    to: Option<Uin>,
    /// Which group.
    #[arg(long, value_name = "GROUP")]
    group: Option<u64>,
}

impl To {
    fn conversation(self, me: Uin) -> Result<ConversationId, Failure> {
        match (self.to, self.group) {
            (Some(uin), _) if uin == me => {
                Err(Failure::usage(format!("{uin} is this very account: name another")))
            }
            (Some(uin), _) => Ok(ConversationId::direct(me, uin)),
            (None, group) => Ok(ConversationId::of_group(GroupId(group.unwrap_or_default()))),
        }
    }
}

/// What became of it.
struct Done {
    file: Bytes,
    size: u64,
    sent: Sent,
    /// What was spoken last.
    http: Option<&'static str>,
}

/// Sends it.
pub(crate) fn run(args: &Args) -> Outcome {
    let done = session::block_on(async {
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
        output::json_line(&json!({
            "file": output::hex(&done.file), "size": done.size, "conv_seq": done.sent.conv_seq,
            "client_msg_id": done.sent.client_msg_id.to_string(), "http": done.http,
        }))?;
    } else {
        output::line(&format!("Sent, number {} of this conversation.", done.sent.conv_seq))?;
    }
    Ok(Code::Ok)
}

async fn bring(args: &Args, session: &Session) -> Result<Done, Failure> {
    let conversation = match session.client.identity() {
        Some(me) => args.to.conversation(me.uin)?,
        None => args.to.conversation(session.online(args.timeout.get()).await?.uin)?,
    };
    let path = args.file.canonicalize().map_err(|e| named(&args.file, &e))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !content::is_file_name(&name) {
        return Err(Failure::usage(format!(
            "{} can't be told by its name: copy it to another",
            harmless(&name)
        )));
    }
    let mut rng = Rng::new(session::entropy()?);
    // What it is gone on with, if an earlier run has not begun it.
    let bare = Source::open(&path, &RUSTCRYPTO, None).map_err(|e| named(&args.file, &e))?;
    let fresh = FileKey::random(&mut rng);
    let wanted = ntproto_proto::store::UploadJob {
        key: if args.plain { Bytes::new() } else { Bytes::copy_from_slice(fresh.expose()) },
        client_msg_id: Bytes::copy_from_slice(&rng.array::<16>()),
        name: name.clone(),
        mime: args.mime.clone(),
        text: args.text.clone(),
        ..job::record(&path, &bare)
    };
    let bar = Bar::new(&harmless(&name), args.json);
    let mut job = Job::find(&session.profile, &wanted, conversation, bar)?;
    let key = job.key();
    let source = Arc::new(Source::open(&path, &RUSTCRYPTO, key.as_ref()).map_err(|e| named(&args.file, &e))?);
    // The key was chosen for the file that was looked at.
    if source.stamp() != bare.stamp() {
        return Err(TransferError::Changed.into());
    }
    let machine = match job.upload(rng.array()) {
        Some(machine) => machine,
        None => {
            let hashed = Arc::clone(&source);
            let hash = tokio::task::spawn_blocking(move || hashed.hash(&RUSTCRYPTO)).await;
            let sha256 = hash.map_err(|e| Failure::failed(e.to_string()))??;
            let plan = Plan { upload_id: UploadId(rng.array()), conversation, size: source.size(), sha256 };
            Upload::new(plan, rng)
        }
    };
    // Before anything leaves: the same key must never seal another file.
    job.save(&machine.state())?;
    let state = machine.state();
    session.online(args.timeout.get()).await?;
    let reach = args.http.reach(session);
    let uploaded = upload(&Tokio, &reach, source, machine, &mut job).await;
    if let Err(TransferError::Changed | TransferError::Failed(Failed::Refused(_) | Failed::Mismatch)) =
        &uploaded
    {
        job.forget()?;
    }
    let file = uploaded?;
    let attachment = job.attachment(file, job.state().unwrap_or(&state));
    let content =
        v2::Content { text: args.text.clone(), attachments: vec![attachment], ..Default::default() };
    let body = content::encode(&content).map_err(|e| Failure::usage(e.to_string()))?;
    let options = SendOptions {
        deadline: Some(MESSAGE_TIME),
        client_msg_id: job.message(),
        trace: telemetry::parent(),
    };
    let sent = session.client.send_with(conversation, body, options).await?;
    job.forget()?;
    Ok(Done { file: Bytes::copy_from_slice(&file.0), size: state.size, sent, http: reach.spoken() })
}

fn named(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{}: {error}", path.display()))
}
