//! The state of a chat.

use jiff::tz::TimeZone;
use ntproto_core::ids::{ConversationId, Uin};
use ntproto_core::rng::Rng;
use ntproto_proto::v2;

use super::account::{Account, Link, Talk};
use super::editor::Editor;
use super::layout;

/// Rows the input may take before it scrolls within itself.
pub(super) const MAX_INPUT_ROWS: usize = 5;

/// Columns of the side pane with its border.
pub(super) const PANE: u16 = 26;
/// A screen this wide has it beside the messages.
pub(super) const PANE_FROM: u16 = 80;

/// A message that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    /// Where it stands.
    pub(crate) conversation: ConversationId,
    /// Its number there.
    pub(crate) seq: u64,
    /// Who wrote it.
    pub(crate) from: Uin,
    /// How it begins, harmless.
    pub(crate) text: String,
    /// When it was stored, in milliseconds since 1970.
    pub(crate) at_ms: u64,
}

/// What stands above everything else.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Overlay {
    /// Keys and commands.
    Help,
    /// What was found.
    Found { words: String, hits: Vec<Hit>, selected: usize },
    /// The members of the group on the screen.
    Members { title: String, members: Vec<v2::Member>, scroll: usize },
    /// The side pane, where there is no room for it beside the messages.
    Pane,
}

/// All there is to show.
pub(crate) struct Model {
    pub(super) accounts: Vec<Account>,
    pub(super) current: usize,
    pub(super) zone: TimeZone,
    pub(super) editor: Editor,
    /// When the others were told last that one is writing.
    pub(super) typing_told_ms: Option<u64>,
    /// Now, in milliseconds since 1970: set before every update.
    pub(super) now_ms: u64,
    /// Columns and rows of the screen.
    pub(super) size: (u16, u16),
    /// Something to be told, until the given time.
    pub(super) notice: Option<(String, u64)>,
    pub(super) overlay: Option<Overlay>,
    /// Messages are shown with their numbers.
    pub(super) numbers: bool,
    pub(super) colours: bool,
    pub(super) focused: bool,
    pub(super) ids: Rng,
}

impl Model {
    /// A chat of these accounts, at least one. `seed` makes the ids of messages.
    pub(crate) fn new(accounts: Vec<Account>, zone: TimeZone, seed: [u8; 32], size: (u16, u16)) -> Self {
        assert!(!accounts.is_empty(), "a chat is somebody's");
        Self {
            accounts,
            current: 0,
            zone,
            editor: Editor::default(),
            typing_told_ms: None,
            now_ms: 0,
            size,
            notice: None,
            overlay: None,
            numbers: false,
            colours: true,
            focused: true,
            ids: Rng::new(seed),
        }
    }

    /// Without colours.
    pub(crate) fn plain(mut self) -> Self {
        self.colours = false;
        self
    }

    /// The account on the screen.
    pub(super) fn account(&self) -> &Account {
        &self.accounts[self.current]
    }

    pub(super) fn account_mut(&mut self) -> &mut Account {
        &mut self.accounts[self.current]
    }

    /// The conversation on the screen.
    pub(super) fn talk(&self) -> Option<&Talk> {
        self.account().talk().map(|(_, talk)| talk)
    }

    /// When the screen changes by itself: a countdown ticks, a notice ends, somebody stops writing.
    pub(crate) fn next_tick_ms(&self) -> Option<u64> {
        let countdown = match &self.account().link {
            Link::Offline { retry_at_ms, .. } if *retry_at_ms > self.now_ms => {
                // To the next full second that is left.
                let left = *retry_at_ms - self.now_ms;
                Some(self.now_ms + (left - 1) % 1000 + 1)
            }
            _ => None,
        };
        let notice = self.notice.as_ref().map(|(_, until)| *until);
        let typing = self.talk().and_then(|talk| talk.typing.values().min().copied());
        [countdown, notice, typing].into_iter().flatten().min()
    }

    /// What the terminal's title says.
    pub(crate) fn title(&self) -> String {
        let account = self.account();
        let name = account.open.map_or_else(|| account.me.to_string(), |id| account.title(id));
        let elsewhere: u64 = self.accounts.iter().map(Account::unread).sum();
        let seen = self.talk().map_or(0, |talk| talk.unread);
        match self.talk().map_or(0, |talk| talk.unseen as u64) + elsewhere - seen {
            0 => format!("ntp: {name}"),
            n => format!("({n}) ntp: {name}"),
        }
    }

    /// Columns of the side pane; none where there is no room for it.
    pub(super) const fn pane_width(&self) -> u16 {
        if self.size.0 >= PANE_FROM { PANE } else { 0 }
    }

    /// Columns left for messages.
    pub(super) fn log_width(&self) -> usize {
        (self.size.0 - self.pane_width()).into()
    }

    /// Columns of the screen.
    pub(super) fn width(&self) -> usize {
        self.size.0.into()
    }

    /// Rows the input takes.
    pub(super) fn input_rows(&self) -> usize {
        let room = usize::from(self.size.1).saturating_sub(layout::FRAME_ROWS + 1).max(1);
        self.editor.rows(layout::input_width(self.width())).rows.len().min(MAX_INPUT_ROWS).min(room)
    }

    /// Rows left for messages.
    pub(super) fn log_height(&self) -> usize {
        usize::from(self.size.1).saturating_sub(self.input_rows() + layout::FRAME_ROWS)
    }
}
