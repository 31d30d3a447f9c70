//! What a body says, as the screen needs it.

use bytes::Bytes;
use ntproto_core::ids::Uin;
use ntproto_core::model::content::{self, Body};
use ntproto_proto::v2;

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

impl Draft {
    /// As it travels: plain text where that is all.
    pub(crate) fn body(&self) -> Result<Bytes, String> {
        if self.mentions.is_empty() && self.reply.is_none() && self.reaction.is_none() {
            return Ok(Bytes::copy_from_slice(self.text.as_bytes()));
        }
        let mention = |(uin, start, length): &(Uin, u32, u32)| v2::Mention {
            uin: uin.0,
            start: *start,
            length: *length,
        };
        let content = v2::Content {
            text: self.text.clone(),
            mentions: self.mentions.iter().map(mention).collect(),
            reply: self.reply.as_ref().map(|quote| v2::Reply {
                conv_seq: quote.seq,
                sender: quote.from,
                excerpt: quote.text.clone(),
            }),
            reaction: self.reaction.as_ref().map(|reaction| v2::Reaction {
                conv_seq: reaction.seq,
                text: reaction.text.clone(),
                remove: reaction.remove,
            }),
            attachments: Vec::new(),
        };
        content::encode(&content).map_err(|e| e.to_string())
    }
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
    /// Files that come with it; each has a line.
    pub(super) files: usize,
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
            files: 0,
        }
    }

    /// With a line for each file, behind the words.
    fn with_files(mut self, files: &[v2::Attachment]) -> Self {
        if !files.is_empty() && self.lines.iter().all(String::is_empty) {
            self.lines.clear();
        }
        let line = |file: &v2::Attachment| {
            format!("[{}, {}] /download", word(&file.name), indicatif::HumanBytes(file.size))
        };
        self.lines.extend(files.iter().map(line));
        self.files = files.len();
        self
    }

    /// What a body says. One that can't be read is one that can't be shown.
    pub(crate) fn read(body: &[u8]) -> Self {
        match content::decode(body) {
            Body::Text(text) => Self::draft(&Draft { text: text.to_owned(), ..Draft::default() }),
            Body::Content(content) => {
                let mentions = content.mentions.iter().map(|m| (Uin(m.uin), m.start, m.length)).collect();
                let reply = content.reply.map(|r| Quote { seq: r.conv_seq, from: r.sender, text: r.excerpt });
                let reaction = content.reaction;
                let reaction = reaction.map(|r| Reaction { seq: r.conv_seq, text: r.text, remove: r.remove });
                let said = Self::draft(&Draft { text: content.text, mentions, reply, reaction });
                said.with_files(&content.attachments)
            }
            _ => Self::unreadable(body.len()),
        }
    }

    /// What can't be shown.
    fn unreadable(bytes: usize) -> Self {
        Self { lines: vec![format!("({bytes} bytes that are no text)")], ..Self::default() }
    }

    /// Whether it calls this account, by name or, if its sender may, with everybody.
    pub(super) fn mentions(&self, uin: Uin, may_call_all: bool) -> bool {
        self.mentions.iter().any(|(who, _)| *who == uin || (*who == Uin(0) && may_call_all))
    }

    /// How it begins, on one line.
    pub(crate) fn beginning(&self) -> String {
        self.lines.iter().find(|line| !line.trim().is_empty()).cloned().unwrap_or_default()
    }
}

fn word(text: &str) -> String {
    crate::text::harmless(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_it_will_be_shown() {
        let plain = Draft { text: "hello @Bo".into(), ..Draft::default() };
        assert_eq!(plain.body().as_deref(), Ok(&b"hello @Bo"[..]));
        let called = Draft { mentions: vec![(Uin(10002), 6, 3)], ..plain.clone() };
        let reply = Some(Quote { seq: 4, from: 10002, text: "how?".into() });
        let reaction = Some(Reaction { seq: 4, text: "👍".into(), remove: true });
        for draft in [plain.clone(), called, Draft { reply, ..plain }, Draft { reaction, ..Draft::default() }]
        {
            let body = draft.body().unwrap_or_default();
            assert_eq!(Said::read(&body), Said::draft(&draft));
        }
        let file = |name: &str| v2::Attachment {
            file: vec![1; 16].into(),
            sha256: vec![2; 32].into(),
            size: 2048,
            name: name.into(),
            ..v2::Attachment::default()
        };
        let content =
            v2::Content { attachments: vec![file("a.png"), file("b\u{202e}")], ..v2::Content::default() };
        let said = Said::read(&content::encode(&content).unwrap_or_default());
        let lines = ["[a.png, 2.00 KiB] /download", "[b⟨U+202E⟩, 2.00 KiB] /download"];
        assert_eq!((said.lines, said.files), (lines.map(str::to_owned).to_vec(), 2));
        let said = Said::read(&[0xc1, 0xff]);
        assert_eq!(said.lines, ["(2 bytes that are no text)"]);
        assert!(Draft { reaction: Some(Reaction::default()), ..Draft::default() }.body().is_err());
    }
}
