//! `ntp bench`: a quick load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use indicatif::{ProgressBar, ProgressDrawTarget};
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::rng::Rng;
use ntproto_hub::config::MAX_INVITATION_USES;
use ntproto_sdk::driver::Server;
use ntproto_sdk::store::MemoryStore;
use ntproto_sdk::{Client, ConnectString, EnrolCode, Event, Options, RequestError, SendOptions, Uin};
use serde_json::json;
use tokio::task::JoinSet;

use crate::demo::process::OwnServer;
use crate::demo::report::{Latency, grouped, millis};
use crate::exit::{Code, Failure, Outcome};
use crate::output::{self, Style};
use crate::session::{self, LinkArgs, Runtime, seconds};

/// How long clients may take to get in.
const ENROL: Duration = Duration::from_secs(30);
/// How long the last messages may take to arrive.
const ARRIVE: Duration = Duration::from_secs(10);
/// How long an invitation of the first client for the others is good for.
const INVITATION: Duration = Duration::from_secs(3600);

/// Measure acknowledged messages a second, and how long an acknowledgement takes.
///
/// Clients in this process send to each other; each message is acknowledged when it is on the server's disk.
/// Without --connect a server of its own is started on a temporary store. With it, the clients become accounts
/// of that server, and remain. Clients keep nothing on disk: it is the server that is measured.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp bench
  ntp bench --clients 256 --window 1 --messages 50000     one message at a time each
  ntp bench --connect 'ntp://…' --invitation invite.…     another server; its invitation lets the first one in
  ntp bench --json | jq .messages_per_second")]
pub(crate) struct Args {
    /// Clients.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(2..=2000))]
    clients: u16,
    /// Messages in all.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    messages: u64,
    /// Messages each client has on their way at once.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    window: u16,
    /// Bytes of a message.
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u32).range(0..=262_144))]
    size: u32,
    /// A server's connect string.
    #[arg(long, value_name = "STRING", requires = "invitation")]
    connect: Option<String>,
    /// An invitation of that server: for all of the clients, or for one that may invite.
    #[arg(long, value_name = "CODE", requires = "connect")]
    invitation: Option<String>,
    /// Give up on a message after this.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = seconds)]
    deadline: f64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Measures.
pub(crate) fn run(args: &Args) -> Outcome {
    session::block_on(async {
        tokio::select! {
            result = measure(args) => result,
            () = crate::signals::interrupted() => Err(Failure::new(Code::Interrupted, "interrupted")),
        }
    })
}

async fn measure(args: &Args) -> Outcome {
    let folder = tempfile::Builder::new().prefix("ntp-bench-").tempdir();
    let folder = folder.map_err(|e| Failure::failed(format!("no temporary folder: {e}")))?;
    // Ends when it is dropped.
    let mut own = None;
    let (connect, invitation) = match (&args.connect, &args.invitation) {
        (Some(connect), Some(invitation)) => (connect.clone(), invitation.clone()),
        _ => {
            let server = own.insert(OwnServer::start(folder.path(), Runtime::default()).await?);
            (server.connect.clone(), server.invitation.clone().unwrap_or_default())
        }
    };
    let connect: ConnectString = connect.parse().map_err(|e| Failure::usage(format!("--connect: {e}")))?;
    let invitation: EnrolCode =
        invitation.parse().map_err(|e| Failure::usage(format!("--invitation: {e}")))?;
    let clients = enrol(args, &connect, invitation).await?;
    let load = load(args, &clients).await;
    for (client, _) in &clients {
        client.close().await;
    }
    tell(args, &load?)
}

/// Lets all clients in: the first with the invitation, the others with one of the first's, where it may invite.
async fn enrol(
    args: &Args,
    connect: &ConnectString,
    invitation: EnrolCode,
) -> Result<Vec<(Client, Uin)>, Failure> {
    let mut rng = Rng::new(session::entropy()?);
    let first = enter(connect, invitation.clone(), &mut rng).await?;
    let mut codes = Vec::new();
    for uses in shares(u32::from(args.clients) - 1) {
        let code = match first.0.invite(uses, INVITATION, false).await {
            Ok((code, _)) => code,
            Err(RequestError::Refused(..)) => invitation.clone(),
            Err(e) => return Err(e.into()),
        };
        codes.extend(std::iter::repeat_n(code, uses as usize));
    }
    let mut clients = vec![first];
    let mut entering = JoinSet::new();
    for code in codes {
        let (connect, mut rng) = (connect.clone(), rng.fork());
        entering.spawn(async move { enter(&connect, code, &mut rng).await });
    }
    while let Some(entered) = entering.join_next().await {
        clients.push(entered.map_err(|e| Failure::failed(format!("a client: {e}")))??);
    }
    Ok(clients)
}

/// How many accounts each of the invitations is for that let so many in.
fn shares(accounts: u32) -> impl Iterator<Item = u32> {
    let starts = (0..accounts).step_by(MAX_INVITATION_USES as usize);
    starts.map(move |start| (accounts - start).min(MAX_INVITATION_USES))
}

async fn enter(connect: &ConnectString, code: EnrolCode, rng: &mut Rng) -> Result<(Client, Uin), Failure> {
    let server = Server::new(connect, session::now()).map_err(|e| Failure::failed(e.to_string()))?;
    let keys = DeviceKeys::generate(rng, &RUSTCRYPTO);
    let mut options = Options::new(server, keys, Box::new(MemoryStore::default()));
    options.enrol = Some(code.into());
    options.device_name = "ntp bench".into();
    let client = session::start(options, LinkArgs::default()).await?;
    match tokio::time::timeout(ENROL, client.online()).await {
        Ok(Ok(identity)) => Ok((client, identity.uin)),
        Ok(Err(ended)) => Err(ended.into()),
        Err(_) => {
            let address = format!("{}:{}", connect.host, connect.port);
            Err(Failure::new(Code::Unreachable, format!("the server {address} can't be reached")))
        }
    }
}

/// What came out.
struct Load {
    acked: u64,
    delivered: u64,
    took: Duration,
    latency: Latency,
}

async fn load(args: &Args, clients: &[(Client, Uin)]) -> Result<Load, Failure> {
    let bar = ProgressBar::with_draw_target(Some(args.messages), ProgressDrawTarget::stderr());
    let delivered = Arc::new(AtomicU64::new(0));
    let mut readers = JoinSet::new();
    for (client, _) in clients {
        let mut events = client.events().map_err(|e| Failure::failed(e.to_string()))?;
        let (client, delivered) = (client.clone(), Arc::clone(&delivered));
        readers.spawn(async move {
            while let Some(event) = events.next().await {
                if let Event::Message(message) = event {
                    delivered.fetch_add(1, Ordering::Relaxed);
                    client.confirm(message.position).await;
                }
            }
        });
    }
    let left = Arc::new(AtomicU64::new(args.messages));
    let options =
        SendOptions { deadline: Some(Duration::from_secs_f64(args.deadline)), ..SendOptions::default() };
    let body = Bytes::from(vec![b'x'; args.size as usize]);
    let begun = Instant::now();
    let mut senders: JoinSet<Result<Vec<u64>, Failure>> = JoinSet::new();
    for (at, (client, _)) in clients.iter().enumerate() {
        let to = clients[(at + 1) % clients.len()].1;
        for _ in 0..args.window {
            let (client, left, body, bar) = (client.clone(), Arc::clone(&left), body.clone(), bar.clone());
            senders.spawn(async move {
                let mut times = Vec::new();
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                    let start = Instant::now();
                    client.send_with(to, body.clone(), options).await?;
                    times.push(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
                    bar.inc(1);
                }
                Ok(times)
            });
        }
    }
    let mut times = Vec::new();
    while let Some(sender) = senders.join_next().await {
        times.extend(sender.map_err(|e| Failure::failed(format!("a sender: {e}")))??);
    }
    let took = begun.elapsed();
    bar.finish_and_clear();
    let acked = times.len() as u64;
    let arrive = async {
        while delivered.load(Ordering::Relaxed) < acked {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // What did not come is told.
    let _ = tokio::time::timeout(ARRIVE, arrive).await;
    Ok(Load { acked, delivered: delivered.load(Ordering::Relaxed), took, latency: Latency::of(times) })
}

fn tell(args: &Args, load: &Load) -> Outcome {
    let rate = load.acked as f64 / load.took.as_secs_f64();
    if args.json {
        output::json_line(&json!({
            "clients": args.clients, "window": args.window, "size": args.size, "acknowledged": load.acked,
            "delivered": load.delivered, "seconds": load.took.as_secs_f64(), "messages_per_second": rate,
            "latency": load.latency, "debug_build": cfg!(debug_assertions),
        }))?;
    } else {
        let style = Style::of_stdout();
        let Latency { p50_us, p99_us, max_us, .. } = load.latency;
        let setting =
            format!("{} clients, {} on their way each, {} bytes", args.clients, args.window, args.size);
        output::line(&style.dim(&setting))?;
        let rate = style.bold(&grouped(rate as u64));
        output::line(&format!("{rate} messages/s acknowledged, over {:.1} s", load.took.as_secs_f64()))?;
        let times = [p50_us, p99_us, max_us].map(millis);
        output::line(&format!("ack p50 {}, p99 {}, longest {}", times[0], times[1], times[2]))?;
        output::line(&format!("{} of {} delivered", grouped(load.delivered), grouped(load.acked)))?;
        if cfg!(debug_assertions) {
            output::line(&style.red("This is a debug build: cargo run --release -- bench"))?;
        }
    }
    if load.delivered != load.acked {
        let text = format!("{} acknowledged and {} delivered", load.acked, load.delivered);
        return Err(Failure::new(Code::Broken, text));
    }
    Ok(Code::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_invitation_is_for_more_than_the_server_allows() {
        let most = MAX_INVITATION_USES;
        for (accounts, expect) in
            [(1, vec![1]), (most, vec![most]), (most + 1, vec![most, 1]), (1_999, vec![most, 999])]
        {
            assert_eq!(shares(accounts).collect::<Vec<_>>(), expect);
        }
    }
}
