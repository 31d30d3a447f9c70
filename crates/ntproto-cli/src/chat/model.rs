//! The state of a chat.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use ntproto_core::ids::{ClientMsgId, Uin};
use ntproto_core::rng::Rng;

use super::editor::Editor;
use super::layout;
use super::log::Log;

/// Rows the input may take before it scrolls within itself.
pub(super) const MAX_INPUT_ROWS: usize = 5;

/// The connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// The first attempt is under way.
    Connecting,
    /// Authenticated.
    Online {
        /// The inbox has been read to its end.
        caught_up: bool,
    },
    /// Waiting to try again.
    Offline {
        /// Why.
        why: String,
        /// When, in milliseconds since 1970.
        retry_at_ms: u64,
    },
    /// Over for good.
    Stopped(String),
}

/// All there is to show.
pub(crate) struct Model {
    pub(super) me: Uin,
    pub(super) peer: Uin,
    pub(super) zone: TimeZone,
    pub(super) log: Log,
    pub(super) editor: Editor,
    pub(super) link: Link,
    /// Now, in milliseconds since 1970: set before every update.
    pub(super) now_ms: u64,
    /// Columns and rows of the screen.
    pub(super) size: (u16, u16),
    /// Rows the end of the log is below the screen's.
    pub(super) scroll: usize,
    /// Messages that came while scrolled up.
    pub(super) unseen: usize,
    /// Everything there is on this disk is loaded.
    pub(super) complete: bool,
    /// A page of history is being loaded.
    pub(super) loading: bool,
    /// Messages of others than the peer that came meanwhile.
    pub(super) elsewhere: BTreeMap<Uin, usize>,
    /// Something to be told, until the given time.
    pub(super) notice: Option<(String, u64)>,
    pub(super) help: bool,
    pub(super) colours: bool,
    pub(super) focused: bool,
    pub(super) ids: Rng,
}

impl Model {
    /// A chat of `me` with `peer`. `seed` makes the ids of messages.
    pub(crate) fn new(me: Uin, peer: Uin, zone: TimeZone, seed: [u8; 32], size: (u16, u16)) -> Self {
        Self {
            me,
            peer,
            zone,
            log: Log::default(),
            editor: Editor::default(),
            link: Link::Connecting,
            now_ms: 0,
            size,
            scroll: 0,
            unseen: 0,
            complete: false,
            loading: false,
            elsewhere: BTreeMap::new(),
            notice: None,
            help: false,
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

    /// Who one is.
    pub(crate) const fn me(&self) -> Uin {
        self.me
    }

    /// Messages of one's own that wait.
    pub(crate) fn waiting(&self) -> Vec<ClientMsgId> {
        self.log.waiting().collect()
    }

    /// When the screen changes by itself: a countdown ticks, a notice ends.
    pub(crate) fn next_tick_ms(&self) -> Option<u64> {
        let countdown = match &self.link {
            Link::Offline { retry_at_ms, .. } if *retry_at_ms > self.now_ms => {
                // To the next full second that is left.
                let left = *retry_at_ms - self.now_ms;
                Some(self.now_ms + (left - 1) % 1000 + 1)
            }
            _ => None,
        };
        let notice = self.notice.as_ref().map(|(_, until)| *until);
        [countdown, notice].into_iter().flatten().min()
    }

    /// What the terminal's title says.
    pub(crate) fn title(&self) -> String {
        match self.unseen {
            0 => format!("ntp: {}", self.peer),
            n => format!("({n}) ntp: {}", self.peer),
        }
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
