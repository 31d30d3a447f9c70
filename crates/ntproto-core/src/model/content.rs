//! What clients put into bodies: text with mentions, a reply, files, a reaction (specification, "Bodies"). Servers never look.

use alloc::string::String;
use core::fmt;
use core::ops::Range;
use core::str;

use bytes::Bytes;
use ntproto_proto::v2::{Attachment, Content, Mention};
use prost::Message as _;

use crate::client::MAX_BODY;

/// The first byte of a body that is a `Content`. No text in UTF-8 has it anywhere.
pub const MARK: u8 = 0xC1;
/// Mentions of one message: who calls more means everybody.
pub const MAX_MENTIONS: usize = 100;
/// Characters of a reply's excerpt: a line or two above the answer.
pub const MAX_EXCERPT: usize = 200;
/// Bytes of a reaction: an emoji joined from several, or a short word.
pub const MAX_REACTION: usize = 64;
/// Files of one message: a selection of photographs; who sends more sends an archive or another message.
pub const MAX_ATTACHMENTS: usize = 20;
/// Bytes of a file's name: what file systems take.
pub const MAX_FILE_NAME: usize = 255;
/// Bytes of a media type (RFC 6838: twice 127 at most, of which none comes near).
pub const MAX_MIME: usize = 127;

/// What a body says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Body<'a> {
    /// Plain text.
    Text(&'a str),
    /// Text with something to it, or a reaction.
    Content(Content),
    /// Nothing that can be shown here: of a newer client, of another kind, or broken.
    Unknown,
}

/// A body as bytes.
///
/// ```
/// use ntproto_core::model::content::{Body, decode, encode};
/// use ntproto_proto::v2::{Attachment, Content, Mention};
///
/// let mentions = vec![Mention { uin: 10002, start: 3, length: 4 }];
/// let content = Content { text: "Hi @Bob!".into(), mentions, ..Default::default() };
/// assert_eq!(decode(&encode(&content).unwrap()), Body::Content(content));
/// assert_eq!(decode(b"Hi Bob!"), Body::Text("Hi Bob!"));
/// assert_eq!(decode(&[0xC1, 0xFF]), Body::Unknown);
/// ```
///
/// # Errors
/// It breaks a rule or a limit, and others would not show it as it is.
pub fn encode(content: &Content) -> Result<Bytes, BadContent> {
    check(content)?;
    let len = 1 + content.encoded_len();
    if len > MAX_BODY {
        return Err(BadContent::TooLarge);
    }
    let mut body = alloc::vec::Vec::with_capacity(len);
    body.push(MARK);
    content.encode_raw(&mut body);
    Ok(body.into())
}

fn check(content: &Content) -> Result<(), BadContent> {
    if let Some(reaction) = &content.reaction {
        if reaction.conv_seq == 0 || reaction.text.is_empty() || reaction.text.len() > MAX_REACTION {
            return Err(BadContent::Reaction);
        }
        let alone = content.text.is_empty()
            && content.mentions.is_empty()
            && content.reply.is_none()
            && content.attachments.is_empty();
        return if alone { Ok(()) } else { Err(BadContent::Reaction) };
    }
    if content.attachments.len() > MAX_ATTACHMENTS || !content.attachments.iter().all(is_attachment) {
        return Err(BadContent::Attachments);
    }
    if content.text.is_empty() && content.attachments.is_empty() {
        return Err(BadContent::Empty);
    }
    if content.mentions.len() > MAX_MENTIONS {
        return Err(BadContent::Mentions);
    }
    let mut stands = one_after_the_other(&content.text);
    if !content.mentions.iter().all(&mut stands) {
        return Err(BadContent::Mentions);
    }
    match &content.reply {
        Some(reply) if reply.conv_seq == 0 || reply.excerpt.chars().count() > MAX_EXCERPT => {
            Err(BadContent::Reply)
        }
        _ => Ok(()),
    }
}

fn is_attachment(attachment: &Attachment) -> bool {
    let Attachment { file, key, size: _, sha256, name, mime } = attachment;
    let printable = mime.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    file.len() == 16
        && matches!(key.len(), 0 | 32)
        && sha256.len() == 32
        && is_file_name(name)
        && mime.len() <= MAX_MIME
        && printable
}

/// Whether it is one name, and no path on any system: it can be put behind the folder that a user chose.
///
/// ```
/// use ntproto_core::model::content::is_file_name;
/// assert!(is_file_name("report (final).pdf"));
/// assert!(!["", "..", "a/b", "C:\\x", "a\nb"].into_iter().any(is_file_name));
/// ```
//= spec: content-2
#[must_use]
pub fn is_file_name(name: &str) -> bool {
    let odd = |c: char| c.is_control() || matches!(c, '/' | '\\' | ':');
    !matches!(name, "" | "." | "..") && name.len() <= MAX_FILE_NAME && !name.contains(odd)
}

/// Says of one mention after the other whether it stands in the text, behind those before. The characters are counted once.
fn one_after_the_other(text: &str) -> impl FnMut(&Mention) -> bool {
    let (mut at, count) = (0, text.chars().count() as u64);
    move |mention| {
        let (start, end) = (u64::from(mention.start), u64::from(mention.start) + u64::from(mention.length));
        let stands = start >= at && start < end && end <= count;
        if stands {
            at = end;
        }
        stands
    }
}

/// What a body says. Never fails: what can't be read is [`Body::Unknown`]. Of what comes from others, all that breaks a rule and can be left out
/// is left out: mentions outside the text or over each other, what is too long of an excerpt.
#[must_use]
pub fn decode(body: &[u8]) -> Body<'_> {
    let Some(encoded) = body.strip_prefix(&[MARK]) else {
        //= spec: content-1
        return str::from_utf8(body).map_or(Body::Unknown, Body::Text);
    };
    let Ok(mut content) = Content::decode(encoded) else { return Body::Unknown };
    if content.reaction.is_some() {
        content.text = String::new();
        content.mentions.clear();
        content.reply = None;
        content.attachments.clear();
    }
    content.attachments.retain(is_attachment);
    content.attachments.truncate(MAX_ATTACHMENTS);
    content.mentions.truncate(MAX_MENTIONS);
    content.mentions.retain(one_after_the_other(&content.text));
    if content.reply.as_ref().is_some_and(|reply| reply.conv_seq == 0) {
        content.reply = None;
    }
    if let Some(reply) = &mut content.reply {
        let end = reply.excerpt.char_indices().nth(MAX_EXCERPT).map(|(at, _)| at);
        reply.excerpt.truncate(end.unwrap_or(reply.excerpt.len()));
    }
    if check(&content).is_ok() { Body::Content(content) } else { Body::Unknown }
}

/// Where a mention stands in the text, in bytes; `None` when it stands outside of it.
///
/// ```
/// use ntproto_core::model::content::span;
/// use ntproto_proto::v2::Mention;
/// let (text, mention) = ("你好 @李雷", Mention { uin: 10002, start: 3, length: 3 });
/// assert_eq!(span(text, &mention).map(|at| &text[at]), Some("@李雷"));
/// ```
#[must_use]
pub fn span(text: &str, mention: &Mention) -> Option<Range<usize>> {
    if mention.length == 0 {
        return None;
    }
    let mut edges = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    let start = edges.nth(mention.start as usize)?;
    let end = edges.nth(mention.length as usize - 1)?;
    Some(start..end)
}

/// Whether a message calls an account: by name, or with everybody if its sender [may](crate::model::permission::Action::MentionAll)
/// do that. No server can check it, so every reader does.
///
/// ```
/// use ntproto_core::ids::Uin;
/// use ntproto_core::model::content::calls;
/// use ntproto_proto::v2::{Attachment, Content, Mention};
/// let mentions = vec![Mention { uin: 0, start: 0, length: 4 }];
/// let content = Content { text: "@all lunch".into(), mentions, ..Default::default() };
/// assert!(calls(&content, Uin(10001), true));
/// assert!(!calls(&content, Uin(10001), false));
/// ```
#[must_use]
pub fn calls(content: &Content, uin: crate::ids::Uin, may_call_all: bool) -> bool {
    content.mentions.iter().any(|m| if m.uin == 0 { may_call_all } else { m.uin == uin.0 })
}

/// Why a content is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadContent {
    /// Neither text, nor a file, nor a reaction.
    Empty,
    /// Longer than a body may be.
    TooLarge,
    /// Outside the text, over each other, out of order, or more than [`MAX_MENTIONS`].
    Mentions,
    /// To no message, or with an excerpt of more than [`MAX_EXCERPT`].
    Reply,
    /// More than [`MAX_ATTACHMENTS`], or one without a file, with a key of another size, or with a name that is none.
    Attachments,
    /// To no message, without a text or with more than [`MAX_REACTION`], or with something else beside it.
    Reaction,
}

impl fmt::Display for BadContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("nothing to send"),
            Self::TooLarge => write!(f, "more than {} KiB", MAX_BODY / 1024),
            Self::Mentions => f.write_str("mentions that don't stand one after the other in the text"),
            Self::Reply => f.write_str("a reply to no message, or with too long an excerpt"),
            Self::Attachments => write!(f, "not up to {MAX_ATTACHMENTS} files with a name each"),
            Self::Reaction => {
                write!(f, "a reaction names a message and has 1 to {MAX_REACTION} bytes of its own")
            }
        }
    }
}

impl core::error::Error for BadContent {}

#[cfg(test)]
mod tests;
