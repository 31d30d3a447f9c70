//! A client process of the demo: `ntp demo-worker`. It may be killed at any instant and started again.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use ntproto_sdk::{Event, Message, Misuse, SendError, SendOptions, Uin};
use tokio::sync::{mpsc, oneshot};

use super::ledger::{Ledger, Received, Sent};
use super::plan::{Plan, fingerprint};
use crate::exit::{Code, Failure, Outcome};
use crate::output;
use crate::session::{self, LinkArgs, ProfileArgs, Session};

/// How often the parent hears of progress.
const TICK: Duration = Duration::from_millis(20);
/// The profile in the worker's home.
pub(crate) const PROFILE: &str = "demo";

/// A client of `ntp demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where its profile and its ledgers are.
    #[arg(long)]
    home: PathBuf,
    /// Which client it is.
    #[arg(long)]
    index: usize,
    /// The accounts of all clients, by index.
    #[arg(long, value_delimiter = ',')]
    uins: Vec<u64>,
    /// Messages each sends.
    #[arg(long)]
    each: u64,
    /// Bytes of a message.
    #[arg(long)]
    size: usize,
    /// Messages on their way at once.
    #[arg(long)]
    window: usize,
    #[command(flatten)]
    link: LinkArgs,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Outcome {
    session::block_on(async {
        let plan = Plan { clients: args.uins.len(), each: args.each, size: args.size };
        let mut worker = Worker::open(args, plan).await?;
        worker.run().await?;
        worker.session.close().await;
        Ok(Code::Ok)
    })
}

struct Worker<'a> {
    args: &'a Args,
    plan: Plan,
    session: Session,
    sent: Ledger,
    inbox: Ledger,
    started: BTreeSet<u64>,
    acked: BTreeSet<u64>,
    in_flight: BTreeSet<u64>,
    /// The next number to hand over; those that are acknowledged are passed over.
    next: u64,
    received: u64,
    /// The place of the last message in the ledger.
    position: u64,
}

impl<'a> Worker<'a> {
    async fn open(args: &'a Args, plan: Plan) -> Result<Self, Failure> {
        let io = |e: std::io::Error| Failure::failed(format!("a ledger can't be opened: {e}"));
        let (sent, lines) = Ledger::open::<Sent>(&args.home.join("sent.log")).map_err(io)?;
        let (mut started, mut acked) = (BTreeSet::new(), BTreeSet::new());
        for line in lines {
            match line {
                Sent::Started(number, _) => started.insert(number),
                Sent::Acked(number, _) => acked.insert(number),
            };
        }
        let (inbox, lines) = Ledger::open::<Received>(&args.home.join("inbox.log")).map_err(io)?;
        let profile = ProfileArgs::new(PROFILE, args.home.clone(), args.link);
        let session = Session::open(&profile).await?;
        Ok(Self {
            args,
            plan,
            session,
            sent,
            inbox,
            started,
            acked,
            in_flight: BTreeSet::new(),
            next: 0,
            received: lines.len() as u64,
            position: lines.last().map_or(0, |l| l.position),
        })
    }

    async fn run(&mut self) -> Result<(), Failure> {
        let mut events = self.session.client.events().map_err(|e| Failure::failed(e.to_string()))?;
        let mut finish = end_of_stdin()?;
        // One a message on its way at most.
        let (failed, mut failures) = mpsc::channel::<Failure>(self.args.window);
        let mut tick = tokio::time::interval(TICK);
        let mut told = None;
        loop {
            self.hand_over(&failed)?;
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.event(event).await?,
                    None => return Err(Failure::failed("the client ended")),
                },
                Some(failure) = failures.recv() => return Err(failure),
                _ = &mut finish => return Ok(()),
                _ = tick.tick() => {
                    let now = (self.acked.len(), self.received);
                    if told != Some(now) {
                        told = Some(now);
                        output::line(&format!("{} {}", now.0, now.1))?;
                    }
                }
            }
        }
    }

    /// Hands messages to the client, as many as may be on their way. One that was handed over in a former life
    /// and not acknowledged is handed over again: its id is the same, so it is stored once.
    fn hand_over(&mut self, failed: &mpsc::Sender<Failure>) -> Result<(), Failure> {
        while self.in_flight.len() < self.args.window && self.next < self.plan.each {
            let number = self.next;
            self.next += 1;
            if self.acked.contains(&number) {
                continue;
            }
            if self.started.insert(number) {
                self.sent.add(&Sent::Started(number, session::now_us()))?;
            }
            self.in_flight.insert(number);
            let to = Uin(self.args.uins[self.plan.recipient(self.args.index, number)]);
            let body = self.plan.body(self.args.index, number);
            let options = SendOptions {
                client_msg_id: Some(Plan::id(self.args.index, number)),
                ..SendOptions::default()
            };
            let (client, failed) = (self.session.client.clone(), failed.clone());
            tokio::spawn(async move {
                match client.enqueue_with(to, body, options).await {
                    // From the outbox of a former life it is on its way already.
                    Ok(_) | Err(SendError::Misuse(Misuse::DuplicateId)) => {}
                    Err(e) => drop(failed.send(e.into()).await),
                }
            });
        }
        Ok(())
    }

    async fn event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Online { transport, .. } => output::line(&format!("online {}", transport.name()))?,
            Event::Message(message) => self.message(message).await?,
            Event::Sent(sent) => self.acknowledged(Plan::number(sent.client_msg_id))?,
            Event::SendFailed { client_msg_id, why } => {
                return Err(Failure::failed(format!(
                    "message {} failed: {why}",
                    Plan::number(client_msg_id)
                )));
            }
            Event::Lagged => {
                // Acknowledgements may have been left out: the disk knows them.
                for number in self.in_flight.clone() {
                    let id = Plan::id(self.args.index, number);
                    if let Ok(Some(ntproto_sdk::SendOutcome::Stored { .. })) =
                        self.session.client.outcome(id).await
                    {
                        self.acknowledged(number)?;
                    }
                }
            }
            Event::Ended(why) => return Err(why.into()),
            _ => {}
        }
        Ok(())
    }

    fn acknowledged(&mut self, number: u64) -> Result<(), Failure> {
        self.in_flight.remove(&number);
        if self.acked.insert(number) {
            self.sent.add(&Sent::Acked(number, session::now_us()))?;
        }
        Ok(())
    }

    /// What is at or before the last place was done in a former life, which was killed before it could say so.
    async fn message(&mut self, message: Message) -> Result<(), Failure> {
        if message.position > self.position {
            let stored = &message.stored;
            let (sender, number) = self
                .plan
                .parse(&stored.body)
                .ok_or_else(|| Failure::failed("a message came that no worker sent"))?;
            let fingerprint = fingerprint(&stored.body);
            let line = Received {
                position: message.position,
                sender,
                number,
                conv_seq: stored.conv_seq,
                fingerprint,
            };
            self.inbox.add(&line)?;
            self.position = message.position;
            self.received += 1;
        }
        self.session.client.confirm(message.position).await;
        Ok(())
    }
}

/// Resolves when the parent closes the pipe, or is gone.
fn end_of_stdin() -> Result<oneshot::Receiver<()>, Failure> {
    let (tell, told) = oneshot::channel();
    let watch = move || {
        let mut byte = [0; 1];
        while std::io::stdin().read(&mut byte).is_ok_and(|n| n > 0) {}
        let _ = tell.send(());
    };
    let thread = std::thread::Builder::new().name("ntp-stdin".into()).spawn(watch);
    thread.map(|_| told).map_err(|e| Failure::failed(format!("the system gives no thread: {e}")))
}
