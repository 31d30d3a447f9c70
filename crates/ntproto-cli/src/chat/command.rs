//! Lines that begin with a slash.

/// What somebody typed to have done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Quit,
    Numbers,
    Open(String),
    Account(String),
    Search(String),
    Friend { who: String, message: String },
    Accept(String),
    Decline(String),
    Unfriend(String),
    Block(String),
    Unblock(String),
    Remark { who: String, text: String },
    Nick(String),
    Presence(String),
    Edit { number: Option<u64>, text: String },
    Recall(Option<u64>),
    Reply { number: Option<u64>, text: String },
    Download(Option<u64>),
    React { number: Option<u64>, text: String, remove: bool },
    Group(Group),
}

/// What is done with groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Group {
    New { name: String, members: Vec<String> },
    Join(u64),
    Leave,
    Dissolve,
    Members,
    Invite(Vec<String>),
    Remove(String),
    Role { who: String, role: String },
    Mute { who: String, minutes: Option<u64> },
    Name(String),
    Notice(String),
}

/// What the commands are: as they are typed, and what they do.
pub(super) const COMMANDS: &[(&str, &str)] = &[
    ("/open WHO", "a conversation: a number, a name, #7 for group 7"),
    ("/friend UIN [words]", "ask somebody to be a friend"),
    ("/accept WHO, /decline", "answer who asked"),
    ("/unfriend, /block, /unblock", "end it, hear no more, hear again"),
    ("/remark WHO name", "what you call them; nobody else sees it"),
    ("/group new NAME with WHO…", "and invite, leave, members, role, mute,"),
    ("", "remove, join, name, notice, dissolve"),
    ("/edit [#n] text, /recall [#n]", "your last message, or number n"),
    ("/reply [#n] text", "answer the last of theirs, or number n"),
    ("/react [#n] 👍, /unreact", "a reaction, and take it back"),
    ("/download [#n]", "the files of a message, into this folder"),
    ("/numbers, /search words", "number messages; find what was said"),
    ("/nick name, /presence away", "what others see of you"),
    ("/account NAME", "another of your accounts"),
    ("//text", "a message that begins with a slash"),
];

impl Command {
    /// Reads a line without its slash. An error says how it is written.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        let (name, rest) = word(line);
        let who = |usage: &str| {
            let (who, more) = word(rest);
            if who.is_empty() || !more.is_empty() { Err(usage.to_owned()) } else { Ok(who.to_owned()) }
        };
        let all = |usage: &str| {
            if rest.is_empty() { Err(usage.to_owned()) } else { Ok(rest.to_owned()) }
        };
        Ok(match name {
            "help" | "?" => Self::Help,
            "quit" | "q" => Self::Quit,
            "numbers" => Self::Numbers,
            "open" | "o" => Self::Open(all("/open WHO")?),
            "account" => Self::Account(all("/account NAME")?),
            "search" | "s" => Self::Search(all("/search words")?),
            "friend" => {
                let (who, message) = word(rest);
                if who.is_empty() {
                    return Err("/friend UIN [words]".into());
                }
                Self::Friend { who: who.into(), message: message.into() }
            }
            "accept" => Self::Accept(who("/accept WHO")?),
            "decline" => Self::Decline(who("/decline WHO")?),
            "unfriend" => Self::Unfriend(who("/unfriend WHO")?),
            "block" => Self::Block(who("/block WHO")?),
            "unblock" => Self::Unblock(who("/unblock WHO")?),
            "remark" => {
                let (who, text) = word(rest);
                if who.is_empty() {
                    return Err("/remark WHO name, and without a name to take it away".into());
                }
                Self::Remark { who: who.into(), text: text.into() }
            }
            "nick" => Self::Nick(all("/nick name")?),
            "presence" => Self::Presence(all("/presence online, away or offline")?),
            "edit" => match numbered(rest) {
                (_, "") => return Err("/edit [#n] text".into()),
                (number, text) => Self::Edit { number, text: text.into() },
            },
            "recall" => match numbered(rest) {
                (number, "") => Self::Recall(number),
                _ => return Err("/recall [#n]".into()),
            },
            "download" | "d" => match numbered(rest) {
                (number, "") => Self::Download(number),
                _ => return Err("/download [#n]".into()),
            },
            "reply" | "r" => match numbered(rest) {
                (_, "") => return Err("/reply [#n] text".into()),
                (number, text) => Self::Reply { number, text: text.into() },
            },
            "react" | "unreact" => match numbered(rest) {
                (_, "") => return Err(format!("/{name} [#n] 👍")),
                (number, text) => Self::React { number, text: text.into(), remove: name == "unreact" },
            },
            "group" | "g" => Self::Group(Group::parse(rest)?),
            other => {
                return Err(format!(
                    "there is no /{}; /help shows what there is",
                    crate::text::harmless(other)
                ));
            }
        })
    }
}

impl Group {
    fn parse(line: &str) -> Result<Self, String> {
        const USAGE: &str =
            "/group new, invite, leave, members, role, mute, remove, join, name, notice or dissolve";
        let (name, rest) = word(line);
        let names = || rest.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        Ok(match name {
            "new" => {
                let (name, members) = rest.rsplit_once(" with ").unwrap_or((rest, ""));
                if name.trim().is_empty() {
                    return Err("/group new NAME [with WHO…]".into());
                }
                let members = members.split_whitespace().map(str::to_owned).collect();
                Self::New { name: name.trim().into(), members }
            }
            "join" => Self::Join(group_id(rest).ok_or("/group join ID")?),
            "leave" => Self::Leave,
            "dissolve" => Self::Dissolve,
            "members" => Self::Members,
            "invite" if !rest.is_empty() => Self::Invite(names()),
            "invite" => return Err("/group invite WHO…".into()),
            "remove" => match &names()[..] {
                [who] => Self::Remove(who.clone()),
                _ => return Err("/group remove WHO".into()),
            },
            "role" => match &names()[..] {
                [who, role] => Self::Role { who: who.clone(), role: role.clone() },
                _ => return Err("/group role WHO member, admin or owner".into()),
            },
            "mute" => match &names()[..] {
                [who] => Self::Mute { who: who.clone(), minutes: Some(60) },
                [who, off] if off == "off" => Self::Mute { who: who.clone(), minutes: None },
                [who, minutes] => match minutes.parse() {
                    Ok(minutes @ 1..=525_600) => Self::Mute { who: who.clone(), minutes: Some(minutes) },
                    _ => return Err("/group mute WHO [minutes], or off".into()),
                },
                _ => return Err("/group mute WHO [minutes], or off".into()),
            },
            "name" if !rest.is_empty() => Self::Name(rest.into()),
            "notice" => Self::Notice(rest.into()),
            _ => return Err(USAGE.into()),
        })
    }
}

/// The number of a group, with or without `#`.
pub(super) fn group_id(text: &str) -> Option<u64> {
    text.strip_prefix('#').unwrap_or(text).parse().ok().filter(|id| *id > 0)
}

/// The first word, and what follows it.
fn word(line: &str) -> (&str, &str) {
    let line = line.trim();
    line.split_once(char::is_whitespace).map_or((line, ""), |(first, rest)| (first, rest.trim_start()))
}

/// `#n` in front, if it is there, and what follows.
fn numbered(line: &str) -> (Option<u64>, &str) {
    let (first, rest) = word(line);
    match first.strip_prefix('#').and_then(|n| n.parse().ok()) {
        Some(number) => (Some(number), rest),
        None => (None, line.trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read() {
        let parse = |line: &str| Command::parse(line);
        let friend = Command::Friend { who: "10002".into(), message: "it's me, really".into() };
        assert_eq!(parse("friend  10002 it's me, really"), Ok(friend));
        assert_eq!(parse("recall"), Ok(Command::Recall(None)));
        assert_eq!(parse("recall #12"), Ok(Command::Recall(Some(12))));
        assert_eq!(
            parse("edit #3 two  words"),
            Ok(Command::Edit { number: Some(3), text: "two  words".into() })
        );
        let text = "#hash is no number".to_owned();
        assert_eq!(parse("edit #hash is no number"), Ok(Command::Edit { number: None, text }));
        let new = Group::New { name: "tea with milk".into(), members: vec!["10002".into(), "@bo".into()] };
        assert_eq!(parse("group new tea with milk with 10002 @bo"), Ok(Command::Group(new)));
        let mute = Group::Mute { who: "bo".into(), minutes: None };
        assert_eq!(parse("group mute bo off"), Ok(Command::Group(mute)));
        assert_eq!(parse("g join #7"), Ok(Command::Group(Group::Join(7))));
    }

    #[test]
    fn what_is_wrong_says_how_it_is_written() {
        for line in [
            "friend",
            "accept",
            "accept a b",
            "edit",
            "edit #3",
            "recall x",
            "react",
            "group",
            "group new",
            "group mute a b",
            "group role a",
            "nonsense",
            "",
            "search",
            "open",
        ] {
            let said = Command::parse(line).unwrap_err();
            assert!(said.contains('/'), "{line}: {said}");
        }
        assert!(!Command::parse("\x1b[2J").unwrap_err().contains('\x1b'));
    }
}
