//! `ntp chat`: conversations on the terminal.

mod asks;
mod host;

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use crossterm::event::{Event as Input, EventStream, KeyEventKind, MouseEventKind};
use futures_core::Stream as _;
use jiff::tz::TimeZone;
use ntproto_sdk::{ConversationId, Identity, Uin};
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::host::Host;
use crate::chat::terminal::Screen;
use crate::chat::{Account, Effect, Model, Msg, update};
use crate::exit::{Code, Failure, Outcome};
use crate::output::Style;
use crate::session::{self, LinkArgs, ProfileArgs, Session, TimeoutArg};

/// The screen is drawn at most this often.
const FRAME: Duration = Duration::from_millis(16);
/// What accounts have to tell may wait.
const MAX_NEWS: usize = 256;
/// Accounts on one screen.
const MAX_ACCOUNTS: usize = 16;

/// Talk with people and groups.
///
/// Shows what was said before, takes what you type while the server is away, and sends it when it is back. The
/// tick says how far a message is: · on your disk, ✓ on the server's, ✓✓ with the others, read.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp chat                          contacts, groups, and whoever wrote
  ntp chat 10002                    with somebody
  ntp chat -p work -p home          two accounts at once

F1 shows the keys and commands. NO_COLOR=1 switches colours off.")]
pub(crate) struct Args {
    /// With whom.
    #[arg(value_name = "UIN", value_parser = crate::commands::send::uin)]
    with: Option<Uin>,
    /// The profiles, one for each account; UIN is the first one's.
    #[arg(
        long = "profile",
        short,
        value_name = "NAME",
        default_value = "default",
        env = "NTP_PROFILE",
        value_delimiter = ','
    )]
    profiles: Vec<String>,
    /// Where profiles are kept [default: ~/.local/share/ntproto].
    #[arg(long, value_name = "DIR", env = "NTP_HOME")]
    home: Option<PathBuf>,
    #[command(flatten)]
    link: LinkArgs,
    #[command(flatten)]
    timeout: TimeoutArg,
}

/// Shows it.
pub(crate) fn run(args: &Args) -> Outcome {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(Failure::usage("ntp chat needs a terminal; in a script use ntp send and ntp recv"));
    }
    let different: BTreeSet<&String> = args.profiles.iter().collect();
    if different.len() != args.profiles.len() || args.profiles.len() > MAX_ACCOUNTS {
        return Err(Failure::usage(format!("name each profile once, at most {MAX_ACCOUNTS}")));
    }
    session::block_on(async {
        let mut sessions = Vec::new();
        for name in &args.profiles {
            let profile = ProfileArgs::named(name, args.home.clone(), args.link);
            let session = Session::open(&profile).await?;
            // Without an account there is no conversation yet.
            let me = match session.client.identity() {
                Some(Identity { uin, .. }) => uin,
                None => session.online(args.timeout.get()).await?.uin,
            };
            sessions.push((name.clone(), me, session));
        }
        if let (Some(with), Some((_, me, _))) = (args.with, sessions.first())
            && with == *me
        {
            return Err(Failure::usage(format!("{me} is this very account: name another")));
        }
        let mut chat = Chat::open(&sessions, args.with)?;
        let result = chat.run().await;
        chat.end().await;
        for (_, _, session) in sessions {
            session.close().await;
        }
        result.map(|()| Code::Ok)
    })
}

struct Chat {
    screen: Screen,
    model: Model,
    hosts: Vec<Host>,
    news: mpsc::Receiver<Msg>,
    quit: bool,
    dirty: bool,
}

impl Chat {
    /// The terminal is given back, then what was sent reaches the disk.
    async fn end(self) {
        let Self { screen, mut hosts, news, .. } = self;
        drop((screen, news));
        for host in &mut hosts {
            host.finish().await;
        }
    }

    fn open(sessions: &[(String, Uin, Session)], with: Option<Uin>) -> Result<Self, Failure> {
        let (tell, news) = mpsc::channel(MAX_NEWS);
        let mut accounts = Vec::new();
        let mut hosts = Vec::new();
        for (at, (name, me, session)) in sessions.iter().enumerate() {
            let mut account = Account::new(name, *me);
            if let Some(with) = with.filter(|_| at == 0) {
                account = account.open(ConversationId::direct(*me, with));
            }
            accounts.push(account);
            let connect = session.profile.connect().clone();
            hosts.push(Host::start(at, *me, session.client.clone(), connect, tell.clone())?);
        }
        let seed = session::entropy()?;
        let screen = Screen::take().map_err(terminal)?;
        let size = screen.size().map_err(terminal)?;
        let mut model = Model::new(accounts, TimeZone::system(), seed, size);
        if !Style::of_stdout().is_on() {
            model = model.plain();
        }
        Ok(Self { screen, model, hosts, news, quit: false, dirty: true })
    }

    async fn run(&mut self) -> Result<(), Failure> {
        let mut input = EventStream::new();
        let mut drawn = Instant::now() - FRAME;
        let interrupted = crate::signals::interrupted();
        tokio::pin!(interrupted);
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
                Some(msg) = self.news.recv() => self.take(msg)?,
                () = tokio::time::sleep(tick_in), if tick.is_some() => self.take(Msg::Tick)?,
                () = tokio::time::sleep_until(redraw), if self.dirty => {}
                () = &mut interrupted => return Ok(()),
            }
        }
        Ok(())
    }

    fn take(&mut self, msg: Msg) -> Result<(), Failure> {
        self.dirty = true;
        for effect in update(&mut self.model, session::now().0, msg) {
            match effect {
                Effect::Of(account, deed) => self.hosts[account].act(deed),
                Effect::Redraw => self.screen.redraw(&self.model).map_err(terminal)?,
                Effect::Bell => Screen::bell().map_err(terminal)?,
                Effect::Quit => self.quit = true,
            }
        }
        Ok(())
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
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn terminal(e: std::io::Error) -> Failure {
    Failure::failed(format!("the terminal fails: {e}"))
}
