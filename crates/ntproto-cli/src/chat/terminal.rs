//! The screen, taken over for a while and given back on every way out, a panic included.

use std::io::{self, Stdout, Write as _, stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::event::{
    DisableBracketedPaste, DisableFocusChange, DisableMouseCapture, EnableBracketedPaste, EnableFocusChange,
    EnableMouseCapture,
};
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, SetTitle};
use crossterm::{cursor, execute, terminal};
use ratatui::backend::CrosstermBackend;
use ratatui::{Frame, Terminal};

use super::{Model, view};

/// Whether the screen is ours now. One process has one screen.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The screen. Dropping it gives it back.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    title: String,
}

impl Screen {
    /// Takes the screen over.
    pub(crate) fn take() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let earlier = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                // First the screen, so that the message can be read.
                restore();
                earlier(info);
            }));
        });
        terminal::enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        // From here on a failure must give the screen back.
        let screen = Self::enter();
        if screen.is_err() {
            restore();
        }
        screen
    }

    fn enter() -> io::Result<Self> {
        execute!(
            stdout(),
            EnterAlternateScreen,
            EnableBracketedPaste,
            EnableMouseCapture,
            EnableFocusChange
        )?;
        Ok(Self { terminal: Terminal::new(CrosstermBackend::new(stdout()))?, title: String::new() })
    }

    /// Columns and rows.
    pub(crate) fn size(&self) -> io::Result<(u16, u16)> {
        let size = self.terminal.size()?;
        Ok((size.width, size.height))
    }

    /// Draws the model.
    pub(crate) fn draw(&mut self, model: &Model) -> io::Result<()> {
        let title = model.title();
        if title != self.title {
            execute!(stdout(), SetTitle(&title))?;
            self.title = title;
        }
        self.terminal.draw(|frame| view(model, frame))?;
        Ok(())
    }

    /// Draws something else than a chat.
    pub(crate) fn draw_with(&mut self, title: &str, view: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        if title != self.title {
            execute!(stdout(), SetTitle(title))?;
            title.clone_into(&mut self.title);
        }
        self.terminal.draw(view)?;
        Ok(())
    }

    /// Draws everything anew.
    pub(crate) fn redraw(&mut self, model: &Model) -> io::Result<()> {
        self.terminal.clear()?;
        self.draw(model)
    }

    /// Rings.
    pub(crate) fn bell() -> io::Result<()> {
        let mut out = stdout();
        out.write_all(b"\x07")?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the screen back, once.
fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // Nothing can be done about a terminal that is gone.
        let _ = execute!(
            stdout(),
            DisableFocusChange,
            DisableMouseCapture,
            DisableBracketedPaste,
            LeaveAlternateScreen,
            cursor::Show
        );
        let _ = terminal::disable_raw_mode();
    }
}
