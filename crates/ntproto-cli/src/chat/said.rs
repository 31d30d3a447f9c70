//! What a body says, as the screen needs it.

use ntproto_core::ids::Uin;

/// A message being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Draft {
    /// What is shown.
    pub(crate) text: String,
    /// Who is called, and where in the text: first character, number of characters. Uin 0 is everybody.
    pub(crate) mentions: Vec<(Uin, u32, u32)>,
    /// What it answers.
    pub(crate) reply: Option<Quote>,
    /// What it says about another message.
    pub(crate) reaction: Option<Reaction>,
}

/// The message that another one answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quote {
    /// Its number.
    pub(crate) seq: u64,
    /// Who wrote it.
    pub(crate) from: u64,
    /// How it begins.
    pub(crate) text: String,
}

/// A short text at another message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reaction {
    /// The other message.
    pub(crate) seq: u64,
    /// What is shown with it.
    pub(crate) text: String,
    /// It is taken back.
    pub(crate) remove: bool,
}

/// What a message says, harmless.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// Its lines; at least one.
    pub(super) lines: Vec<String>,
    /// Who is called, and by which word of the text.
    pub(super) mentions: Vec<(Uin, String)>,
    pub(super) reply: Option<Quote>,
    pub(super) reaction: Option<Reaction>,
}

/// Columns of a reaction: one picture, or a word.
const MAX_REACTION: usize = 16;

impl Said {
    /// What a draft will say.
    pub(crate) fn draft(draft: &Draft) -> Self {
        let part = |from: u32, len: u32| -> String {
            draft.text.chars().skip(from as usize).take(len as usize).collect()
        };
        let mentions = draft.mentions.iter().map(|(uin, from, len)| (*uin, word(&part(*from, *len))));
        Self {
            lines: crate::text::lines(&draft.text),
            // One outside the text calls nobody.
            mentions: mentions.filter(|(_, word)| !word.is_empty()).collect(),
            reply: draft.reply.clone().map(|quote| Quote { text: word(&quote.text), ..quote }),
            reaction: draft.reaction.clone().map(|reaction| Reaction {
                text: super::wrap::clip(&word(&reaction.text), MAX_REACTION),
                ..reaction
            }),
        }
    }

    /// What can't be shown.
    pub(crate) fn unreadable(bytes: usize) -> Self {
        Self { lines: vec![format!("({bytes} bytes that are no text)")], ..Self::default() }
    }

    /// Whether it calls this account. Everybody is called by who may.
    pub(super) fn mentions(&self, uin: Uin) -> bool {
        self.mentions.iter().any(|(who, _)| *who == uin || *who == Uin(0))
    }

    /// How it begins, on one line.
    pub(super) fn beginning(&self) -> String {
        self.lines.iter().find(|line| !line.trim().is_empty()).cloned().unwrap_or_default()
    }
}

fn word(text: &str) -> String {
    crate::text::harmless(text)
}
