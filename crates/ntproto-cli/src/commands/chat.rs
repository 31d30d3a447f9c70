//! `ntp chat`: a conversation on the terminal.

use std::future::poll_fn;
use std::io::IsTerminal as _;
use std::time::Duration;

use bytes::Bytes;
use crossterm::event::{Event as Input, EventStream, KeyEventKind, MouseEventKind};
use futures_core::Stream as _;
use jiff::tz::TimeZone;
use ntproto_sdk::store::Stored;
use ntproto_sdk::{
    ClientMsgId, ConversationId, Ended, Event, Identity, SendOptions, SendOutcome, State, Uin,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::chat::terminal::Screen;
use crate::chat::{Effect, Entry, Link, Model, Msg, update};
use crate::exit::{Code, Failure, Outcome};
use crate::output::Style;
use crate::session::{self, ProfileArgs, Session, TimeoutArg};

/// Messages of history loaded at a time.
const PAGE: usize = 200;
/// The screen is drawn at most this often.
const FRAME: Duration = Duration::from_millis(16);
/// Answers of tasks that may wait.
const MAX_ANSWERS: usize = 256;

/// Talk with somebody.
///
/// Shows what was said before, takes what you type while the server is away, and sends it when it is back. The
/// tick says how far a message is: · on your disk, ✓ on the server's, ✓✓ with the other.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp chat 10002
  ntp chat 10001 --profile other    the other end, in a second terminal

F1 shows the keys. NO_COLOR=1 switches colours off.")]
pub(crate) struct Args {
    /// With whom.
    #[arg(value_name = "UIN", value_parser = crate::commands::send::uin)]
    with: Uin,
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    timeout: TimeoutArg,
}

/// Shows it.
pub(crate) fn run(args: &Args) -> Outcome {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(Failure::usage("ntp chat needs a terminal; in a script use ntp send and ntp recv"));
    }
    session::block_on(async {
        let session = Session::open(&args.profile).await?;
        // Without an account there is no conversation yet.
        let me = match session.client.identity() {
            Some(Identity { uin, .. }) => uin,
            None => session.online(args.timeout.get()).await?.uin,
        };
        if me == args.with {
            return Err(Failure::usage(format!("{me} is this very account: name another")));
        }
        let mut chat = Chat::open(session, me, args.with)?;
        let result = chat.run().await;
        let Chat { screen, session, .. } = chat;
        drop(screen);
        session.close().await;
        result.map(|()| Code::Ok)
    })
}

struct Chat {
    screen: Screen,
    session: Session,
    model: Model,
    conversation: ConversationId,
    peer: Uin,
    answers: (mpsc::Sender<Msg>, mpsc::Receiver<Msg>),
    quit: bool,
    dirty: bool,
}

impl Chat {
    fn open(session: Session, me: Uin, peer: Uin) -> Result<Self, Failure> {
        let seed = session::entropy()?;
        let screen = Screen::take().map_err(terminal)?;
        let size = screen.size().map_err(terminal)?;
        let mut model = Model::new(me, peer, TimeZone::system(), seed, size);
        if !Style::of_stdout().is_on() {
            model = model.plain();
        }
        let conversation = ConversationId::direct(me, peer);
        let answers = mpsc::channel(MAX_ANSWERS);
        Ok(Self { screen, session, model, conversation, peer, answers, quit: false, dirty: true })
    }

    async fn run(&mut self) -> Result<(), Failure> {
        let mut events = self.session.client.events().map_err(|e| Failure::failed(e.to_string()))?;
        let mut input = EventStream::new();
        let mut drawn = Instant::now() - FRAME;
        let mut over = false;
        let interrupted = crate::signals::interrupted();
        tokio::pin!(interrupted);
        self.resume().await;
        let (width, height) = self.screen.size().map_err(terminal)?;
        self.take(Msg::Resize(width, height))?;
        while !self.quit {
            if self.dirty && drawn.elapsed() >= FRAME {
                self.screen.draw(&self.model).map_err(terminal)?;
                self.dirty = false;
                drawn = Instant::now();
            }
            let redraw = drawn + FRAME;
            let tick = self.model.next_tick_ms();
            let tick_in = tick.map_or(FRAME, |at| Duration::from_millis(at.saturating_sub(session::now().0)));
            tokio::select! {
                event = poll_fn(|cx| Pin::new(&mut input).poll_next(cx)) => match event {
                    Some(event) => self.input(event.map_err(terminal)?)?,
                    // The terminal is gone.
                    None => return Ok(()),
                },
                event = events.next(), if !over => match event {
                    Some(event) => self.event(event).await?,
                    None => over = true,
                },
                Some(msg) = self.answers.1.recv() => self.take(msg)?,
                () = tokio::time::sleep(tick_in), if tick.is_some() => self.take(Msg::Tick)?,
                () = tokio::time::sleep_until(redraw), if self.dirty => {}
                () = &mut interrupted => return Ok(()),
            }
        }
        Ok(())
    }

    /// What the local disk knows beside the messages: who has how much, what waits, how the connection is.
    async fn resume(&mut self) {
        let client = self.session.client.clone();
        for mark in client.marks(self.conversation).await.unwrap_or_default() {
            if mark.member == self.peer {
                self.model_only(Msg::Receipt(mark.delivered_seq, mark.read_seq));
            }
        }
        for waiting in client.outbox().await.unwrap_or_default() {
            if waiting.conversation == self.conversation {
                let now = session::now().0;
                let entry = Entry::new(waiting.client_msg_id, self.me(), &waiting.body, now);
                self.model_only(Msg::Waiting(entry));
            }
        }
        match client.state() {
            State::Online { caught_up, .. } => self.model_only(Msg::Link(Link::Online { caught_up })),
            State::Offline { why, retry_in } => self.model_only(offline(why.to_string(), retry_in)),
            State::Ended(why) => self.model_only(Msg::Link(Link::Stopped(why.to_string()))),
            State::Starting => {}
        }
    }

    fn me(&self) -> Uin {
        self.model.me()
    }

    /// For what has no effects but on the screen.
    fn model_only(&mut self, msg: Msg) {
        let _ = update(&mut self.model, session::now().0, msg);
        self.dirty = true;
    }

    fn take(&mut self, msg: Msg) -> Result<(), Failure> {
        self.dirty = true;
        for effect in update(&mut self.model, session::now().0, msg) {
            match effect {
                Effect::Send(id, text) => self.send(id, text.into()),
                Effect::Load(before) => self.load(before),
                Effect::Reconnect => {
                    let client = self.session.client.clone();
                    tokio::spawn(async move { client.network_changed().await });
                }
                Effect::Redraw => self.screen.redraw(&self.model).map_err(terminal)?,
                Effect::Bell => Screen::bell().map_err(terminal)?,
                Effect::Quit => self.quit = true,
            }
        }
        Ok(())
    }

    fn send(&self, id: ClientMsgId, body: Bytes) {
        let (client, answers, to) = (self.session.client.clone(), self.answers.0.clone(), self.conversation);
        tokio::spawn(async move {
            let options = SendOptions { deadline: None, client_msg_id: Some(id) };
            if let Err(e) = client.enqueue_with(to, body, options).await {
                let _ = answers.send(Msg::Failed(id, e.to_string())).await;
            }
        });
    }

    fn load(&self, before: Option<u64>) {
        let (client, answers, conversation) =
            (self.session.client.clone(), self.answers.0.clone(), self.conversation);
        tokio::spawn(async move {
            // A disk that can't be read shows no history; what happens now is shown nevertheless.
            let page = client.history(conversation, before, PAGE).await.unwrap_or_default();
            let complete = page.len() < PAGE;
            let page = page.into_iter().map(|stored| (stored.conv_seq, entry(&stored))).collect();
            let _ = answers.send(Msg::History(page, complete)).await;
        });
    }

    fn input(&mut self, input: Input) -> Result<(), Failure> {
        match input {
            Input::Key(key) if key.kind != KeyEventKind::Release => self.take(Msg::Key(key)),
            Input::Paste(text) => self.take(Msg::Paste(text)),
            Input::Resize(width, height) => self.take(Msg::Resize(width, height)),
            Input::FocusGained => self.take(Msg::Focus(true)),
            Input::FocusLost => self.take(Msg::Focus(false)),
            Input::Mouse(mouse) => match mouse.kind {
                MouseEventKind::ScrollUp => self.take(Msg::Wheel { up: true }),
                MouseEventKind::ScrollDown => self.take(Msg::Wheel { up: false }),
                _ => Ok(()),
            },
            Input::Key(_) => Ok(()),
        }
    }

    async fn event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Online { .. } => self.take(Msg::Link(Link::Online { caught_up: false })),
            Event::CaughtUp => self.take(Msg::Link(Link::Online { caught_up: true })),
            Event::Offline { why, retry_in } => self.take(offline(why.to_string(), retry_in)),
            Event::Ended(why) => self.take(Msg::Link(Link::Stopped(ended(&why)))),
            Event::Message(message) => {
                let msg = if message.conversation == self.conversation {
                    Msg::Message(message.stored.conv_seq, entry(&message.stored))
                } else {
                    Msg::Elsewhere(message.stored.sender)
                };
                self.take(msg)?;
                // It is in this disk's history, where `ntp chat` of that conversation finds it.
                self.session.client.confirm(message.position).await;
                Ok(())
            }
            Event::Sent(sent) if sent.conversation == self.conversation => {
                self.take(Msg::Stored(sent.client_msg_id, sent.conv_seq, sent.stored_ms))
            }
            Event::SendFailed { client_msg_id, why } => {
                self.take(Msg::Failed(client_msg_id, why.to_string()))
            }
            Event::Receipt { conversation, mark }
                if conversation == self.conversation && mark.member == self.peer =>
            {
                self.take(Msg::Receipt(mark.delivered_seq, mark.read_seq))
            }
            Event::Lagged => self.catch_up().await,
            _ => Ok(()),
        }
    }

    /// Events were left out: the disk knows what they said.
    async fn catch_up(&mut self) -> Result<(), Failure> {
        let client = self.session.client.clone();
        for id in self.model.waiting() {
            match client.outcome(id).await {
                Ok(Some(SendOutcome::Stored { conv_seq, stored_ms, .. })) => {
                    self.take(Msg::Stored(id, conv_seq, stored_ms))?;
                }
                Ok(Some(SendOutcome::Failed(why))) => self.take(Msg::Failed(id, why.to_string()))?,
                _ => {}
            }
        }
        self.resume().await;
        Ok(())
    }
}

fn entry(stored: &Stored) -> Entry {
    Entry::new(stored.client_msg_id, stored.sender, &stored.body, stored.stored_ms)
}

fn offline(why: String, retry_in: Duration) -> Msg {
    let retry_at_ms = (session::now() + retry_in).0;
    Msg::Link(Link::Offline { why, retry_at_ms })
}

fn ended(why: &Ended) -> String {
    Failure::from(why.clone()).to_string()
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn terminal(e: std::io::Error) -> Failure {
    Failure::failed(format!("the terminal fails: {e}"))
}
