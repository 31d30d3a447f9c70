//! `ntp top`: a live view of a server.

use std::future::poll_fn;
use std::io::IsTerminal as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossterm::event::{Event as Input, EventStream, KeyCode, KeyEventKind, KeyModifiers};
use futures_core::Stream as _;
use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use tokio::time::Instant;

use crate::chat::terminal::Screen;
use crate::exit::{Code, Failure, Outcome};
use crate::output::{self, Style};
use crate::session::{self, ProfileArgs, Session, TimeoutArg};
use crate::top::{Board, Sample, scrape, view};

/// Columns and rows of `--once`.
const PAGE: (u16, u16) = (110, 24);
/// How long an administrator waits for an answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Watch a server: who is connected, what goes through it, how its disk does.
///
/// Reads the metrics of the operations listener (ntp serve --ops-listen). Without --ops it asks the profile's server instead, which tells an
/// administrator's device less.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp top --ops 127.0.0.1:9464
  ntp top --ops 127.0.0.1:9464 --once
  ntp top --ops 127.0.0.1:9464 --json | jq .store
  ntp top                                  as an administrator of the profile's server")]
pub(crate) struct Args {
    /// The server's operations listener.
    #[arg(long, value_name = "ADDRESS", env = "NTP_OPS")]
    ops: Option<String>,
    /// Look twice, print, and end.
    #[arg(long)]
    once: bool,
    /// Print a line of JSON after each look but the first.
    #[arg(long)]
    json: bool,
    /// Seconds between looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = interval)]
    interval: f64,
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    timeout: TimeoutArg,
}

fn interval(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|s| (0.1..=3600.0).contains(s)).ok_or_else(|| "0.1 to 3600 seconds".to_owned())
}

/// Whom to ask.
enum From {
    Listener(String),
    Administrator(Box<Session>),
}

impl From {
    fn name(&self) -> &str {
        match self {
            Self::Listener(authority) => authority,
            Self::Administrator(_) => "as its administrator",
        }
    }

    async fn look(&self, began: Instant) -> Result<Sample, Failure> {
        // From 1: at 0 nothing was seen yet.
        let at = || 1.0 + began.elapsed().as_secs_f64();
        let unix = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        match self {
            Self::Listener(authority) => {
                let text = scrape::metrics(authority).await?;
                Ok(Sample::parse(&text, at(), unix()))
            }
            Self::Administrator(session) => {
                let request = v2::AdminStatsRequest {};
                let client = &session.client;
                let stats: v2::AdminStatsResponse =
                    client.request_typed_within(PacketId::ADMIN_STATS, &request, ANSWER).await?;
                Ok(Sample::of_stats(&stats, at(), unix()))
            }
        }
    }
}

/// Watches.
pub(crate) fn run(args: &Args) -> Outcome {
    let live = !args.once && !args.json;
    if live && !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
        return Err(Failure::usage("ntp top needs a terminal; in a script use --once or --json"));
    }
    session::block_on(async {
        let from = match &args.ops {
            Some(ops) => From::Listener(scrape::authority(ops)?),
            None => {
                let session = Session::open(&args.profile).await?;
                session.online(args.timeout.get()).await?;
                From::Administrator(Box::new(session))
            }
        };
        let result = if live { watch(args, &from).await } else { print(args, &from).await };
        if let From::Administrator(session) = from {
            session.close().await;
        }
        result.map(|()| Code::Ok)
    })
}

/// For scripts, and for one look.
async fn print(args: &Args, from: &From) -> Result<(), Failure> {
    let (began, mut board) = (Instant::now(), Board::default());
    board.look(from.look(began).await?);
    loop {
        tokio::time::sleep(Duration::from_secs_f64(args.interval)).await;
        board.look(from.look(began).await?);
        if args.json {
            output::json_line(&board.json())?;
        } else {
            output::line(&page(&board, from.name())?)?;
        }
        if args.once {
            return Ok(());
        }
    }
}

/// The board as lines.
fn page(board: &Board, name: &str) -> Result<String, Failure> {
    let mut terminal =
        Terminal::new(TestBackend::new(PAGE.0, PAGE.1)).map_err(|e| Failure::failed(e.to_string()))?;
    terminal.draw(|frame| view(board, name, false, frame)).map_err(|e| Failure::failed(e.to_string()))?;
    let buffer = terminal.backend().buffer();
    let row = |y| (0..PAGE.0).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    let rows: Vec<String> = (0..PAGE.1 - 1).map(|y| row(y).trim_end().to_owned()).collect();
    Ok(rows.join("\n").trim_end().to_owned())
}

/// On a terminal, until somebody has seen enough.
async fn watch(args: &Args, from: &From) -> Result<(), Failure> {
    let (began, mut board) = (Instant::now(), Board::default());
    let colour = Style::of_stdout().is_on();
    // One that is not there at all is said without taking the screen.
    board.look(from.look(began).await?);
    let mut screen = Screen::take()?;
    let mut keys = EventStream::new();
    let mut next = tokio::time::interval(Duration::from_secs_f64(args.interval));
    next.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    next.tick().await;
    loop {
        screen.draw_with("ntp top", |frame| view(&board, from.name(), colour, frame))?;
        tokio::select! {
            _ = next.tick() => match from.look(began).await {
                Ok(sample) => board.look(sample),
                Err(why) => board.trouble = Some(why.to_string()),
            },
            input = poll_fn(|cx| Pin::new(&mut keys).poll_next(cx)) => match input {
                Some(Ok(Input::Key(key))) if key.kind != KeyEventKind::Release => {
                    let control = key.modifiers.contains(KeyModifiers::CONTROL);
                    match key.code {
                        KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                        KeyCode::Char('c') if control => return Ok(()),
                        _ => {}
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            },
        }
    }
}
