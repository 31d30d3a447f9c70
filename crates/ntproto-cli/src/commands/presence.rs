//! `ntp presence`: who of one's friends is there.

use ntproto_core::presence::State;
use ntproto_sdk::{Appearance, Event, Uin};
use serde_json::json;

use crate::exit::{Code, Failure, Outcome};
use crate::output::{self, Style, Table};
use crate::session::{self, ProfileArgs, Session, TimeoutArg};

/// The most that one connection may watch.
const MAX_WATCHED: usize = 500;

/// Show who of one's friends is there.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp presence
  ntp presence --follow --json | jq -r '\"\\(.uin) \\(.state)\"'")]
pub(crate) struct Args {
    /// Go on for ever, a line for each change.
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    timeout: TimeoutArg,
    /// Print JSON, a line each.
    #[arg(long)]
    json: bool,
}

/// Shows it.
pub(crate) fn run(args: &Args) -> Outcome {
    session::block_on(async {
        let session = Session::open(&args.profile).await?;
        session.online(args.timeout.get()).await?;
        let result = tokio::select! {
            result = watch(args, &session) => result,
            () = crate::signals::interrupted() => Ok(Code::Interrupted),
        };
        session.close().await;
        result
    })
}

async fn watch(args: &Args, session: &Session) -> Outcome {
    let mut events = session.client.events().map_err(|e| Failure::failed(e.to_string()))?;
    let states = subscribe(session).await?;
    if args.json || args.follow {
        states.iter().try_for_each(|state| tell(args, state))?;
    } else {
        let mut table = Table::new(&["UIN", "STATE"]);
        for Appearance { uin, state } in states {
            table.row(&[&uin.to_string(), word(state)]);
        }
        output::line(table.show(Style::of_stdout()).trim_end())?;
    }
    if !args.follow {
        return Ok(Code::Ok);
    }
    loop {
        match events.next().await {
            Some(Event::Presence(states)) => {
                states.into_iter().try_for_each(|state| tell(args, &state.into()))?;
            }
            // A subscription ends with the connection.
            Some(Event::Online { .. }) => {
                subscribe(session).await?.iter().try_for_each(|state| tell(args, state))?;
            }
            Some(Event::Ended(why)) => return Err(why.into()),
            Some(_) => {}
            None => return Err(Failure::failed("the client ended")),
        }
    }
}

async fn subscribe(session: &Session) -> Result<Vec<Appearance>, Failure> {
    let friends = session.client.friends().refresh().await?.into_iter();
    let friends = friends.filter(|friend| friend.state() == ntproto_proto::v2::FriendState::Friend);
    let friends: Vec<Uin> = friends.map(|friend| Uin(friend.uin)).take(MAX_WATCHED).collect();
    Ok(session.client.presence().subscribe(&friends).await?)
}

fn tell(args: &Args, state: &Appearance) -> Result<(), Failure> {
    let (uin, word) = (state.uin, word(state.state));
    if args.json {
        output::json_line(&json!({ "uin": uin.0, "state": word }))?;
    } else {
        output::line(&format!("{uin} {word}"))?;
    }
    Ok(())
}

const fn word(state: State) -> &'static str {
    match state {
        State::Offline => "offline",
        State::Online => "online",
        State::Away => "away",
    }
}
