//! `ntp search`: finds messages on this disk.

use ntproto_sdk::store::SearchQuery;

use super::history::{Place, line, place, tell};
use crate::exit::{Code, Failure, Outcome};
use crate::session::{self, ProfileArgs, Session, TimeoutArg};

/// Find messages on this disk. Needs no connection.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp search kettle
  ntp search kettle --in '#7' --json | jq .conv_seq

Exit code 1: nothing was found.")]
pub(crate) struct Args {
    /// What the messages say, in upper or lower case.
    words: String,
    /// In this conversation only; # and a number is a group.
    #[arg(long = "in", value_name = "UIN|#GROUP", value_parser = place)]
    within: Option<Place>,
    /// How many messages, at most.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    timeout: TimeoutArg,
    /// Print JSON, a line each.
    #[arg(long)]
    json: bool,
}

/// Finds them.
pub(crate) fn run(args: &Args) -> Outcome {
    let found = session::block_on(async {
        let session = Session::open(&args.profile).await?;
        let me = match session.client.identity() {
            Some(me) => me.uin,
            None => session.online(args.timeout.get()).await?.uin,
        };
        let mut query = SearchQuery {
            conversation: args.within.map(|place| place.conversation(me)),
            text: Some(args.words.clone()),
            limit: args.count as usize,
            ..SearchQuery::default()
        };
        let mut found = Vec::new();
        // A page may be empty although more follows.
        while found.len() < args.count as usize {
            let page = session.client.search(query.clone()).await;
            let page = page.map_err(|e| Failure::failed(e.to_string()))?;
            found.extend(page.found);
            match page.next {
                Some(next) => query.before = Some(next),
                None => break,
            }
        }
        session.close().await;
        Ok(found)
    })?;
    for hit in found.iter().take(args.count as usize) {
        let mut line = line(&hit.stored);
        line["conversation"] = hit.conversation.to_string().into();
        tell(args.json, line, &hit.stored)?;
    }
    if found.is_empty() {
        return Err(Failure::failed("nothing on this disk says that"));
    }
    Ok(Code::Ok)
}
