//! What is done with a line that was typed.

use ntproto_core::ids::{ClientMsgId, ConversationId, GroupId, Uin};
use ntproto_proto::v2;

use super::account::{Link, Target};
use super::command::{self, Command, Group, group_id};
use super::layout;
use super::log::{Change, Entry};
use super::model::{Hit, Model, Overlay};
use super::said::{Draft, Quote, Reaction, Said};
use super::update::{Ask, Deed, Effect, notice, open, scroll, switch, to_end, typing};
use super::wrap::clip;

/// Columns of what is quoted in an answer.
const MAX_QUOTE: usize = 60;
/// The number of the first account: a smaller one after `@` calls nobody.
const FIRST_UIN: u64 = 10_001;
/// A minute.
const MINUTE_MS: u64 = 60_000;

/// Enter: a message, or a command.
pub(super) fn enter(model: &mut Model) -> Vec<Effect> {
    let line = model.editor.take();
    if line.trim().is_empty() {
        return Vec::new();
    }
    let mut effects: Vec<Effect> = typing(model, false).into_iter().collect();
    match line.strip_prefix('/') {
        Some(rest) if !rest.starts_with('/') => match Command::parse(rest) {
            Ok(command) => match run(model, command) {
                Ok(more) => effects.extend(more),
                Err(why) => notice(model, &why),
            },
            Err(why) => notice(model, &why),
        },
        rest => {
            let text = rest.unwrap_or(&line).to_owned();
            match send(model, Draft { text, ..Draft::default() }) {
                Ok(more) => effects.extend(more),
                Err(why) => notice(model, &why),
            }
        }
    }
    effects
}

/// What a command comes to; an error is shown.
type Done = Result<Vec<Effect>, String>;

fn run(model: &mut Model, command: Command) -> Done {
    let account = model.current;
    let ask = |ask: Ask| Ok(vec![Effect::Of(account, Deed::Ask(ask))]);
    match command {
        Command::Help => model.overlay = Some(Overlay::Help),
        Command::Quit => return Ok(vec![Effect::Quit]),
        Command::Numbers => model.numbers = !model.numbers,
        Command::Open(who) => {
            let conversation = conversation(model, &who)?;
            return Ok(open(model, conversation));
        }
        Command::Account(name) => {
            let named = |a: &super::account::Account| a.name == name || a.me.to_string() == name;
            let account = model.accounts.iter().position(named);
            let account = account.ok_or("no such account here: start with --profile for each")?;
            return Ok(switch(model, account));
        }
        Command::Search(words) => return Ok(vec![Effect::Of(account, Deed::Search(words))]),
        Command::Friend { who, message } => return ask(Ask::Befriend(other(model, &who)?, message)),
        Command::Accept(who) => return ask(Ask::Answer(other(model, &who)?, true)),
        Command::Decline(who) => return ask(Ask::Answer(other(model, &who)?, false)),
        Command::Unfriend(who) => return ask(Ask::Unfriend(other(model, &who)?)),
        Command::Block(who) => return ask(Ask::Block(other(model, &who)?, true)),
        Command::Unblock(who) => return ask(Ask::Block(other(model, &who)?, false)),
        Command::Remark { who, text } => return ask(Ask::Remark(other(model, &who)?, text)),
        Command::Nick(nick) => return ask(Ask::Nick(nick)),
        Command::Presence(status) => {
            let status = match status.as_str() {
                "online" => v2::OnlineStatus::Online,
                "away" => v2::OnlineStatus::Away,
                "offline" => v2::OnlineStatus::Offline,
                _ => return Err("/presence online, away or offline".into()),
            };
            model.account_mut().status = status;
            return ask(Ask::Presence(status));
        }
        Command::Edit { number, text } => return edit(model, number, &text),
        Command::Recall(number) => return recall(model, number),
        Command::Reply { number, text } => {
            let reply = Some(quote(model, number)?);
            return send(model, Draft { text, reply, ..Draft::default() });
        }
        Command::Download(number) => {
            let seq = quote(model, number)?.seq;
            let conversation = here(model)?;
            notice(model, "fetching…");
            return ask(Ask::Download(conversation, seq));
        }
        Command::React { number, text, remove } => {
            let seq = quote(model, number)?.seq;
            let reaction = Some(Reaction { seq, text, remove });
            return send(model, Draft { reaction, ..Draft::default() });
        }
        Command::Group(group) => return run_group(model, group),
    }
    Ok(Vec::new())
}

fn run_group(model: &mut Model, group: Group) -> Done {
    let all = |names: &[String]| names.iter().map(|who| other(model, who)).collect::<Result<Vec<_>, _>>();
    let here = model.account().open.and_then(ConversationId::group);
    let here = here.ok_or_else(|| "open a group first: /open #7, or Ctrl-N".to_owned());
    let ask = match group {
        Group::New { name, members } => Ask::NewGroup(name, all(&members)?),
        Group::Join(id) => Ask::Join(GroupId(id)),
        Group::Leave => Ask::Leave(here?),
        Group::Dissolve => Ask::Dissolve(here?),
        Group::Members => Ask::Members(here?, true),
        Group::Invite(who) => Ask::Invite(here?, all(&who)?),
        Group::Remove(who) => Ask::Remove(here?, other(model, &who)?),
        Group::Role { who, role } => {
            let role = match role.as_str() {
                "member" => v2::Role::Member,
                "admin" => v2::Role::Admin,
                "owner" => v2::Role::Owner,
                _ => return Err("a role is member, admin or owner".into()),
            };
            Ask::Role(here?, other(model, &who)?, role)
        }
        Group::Mute { who, minutes } => {
            let until = minutes.map_or(0, |minutes| model.now_ms + minutes * MINUTE_MS);
            Ask::Mute(here?, other(model, &who)?, until)
        }
        Group::Name(name) => Ask::Rename(here?, name),
        Group::Notice(text) => Ask::Notice(here?, text),
    };
    Ok(vec![Effect::Of(model.current, Deed::Ask(ask))])
}

/// Who is meant, and is not oneself.
fn other(model: &Model, who: &str) -> Result<Uin, String> {
    let account = model.account();
    let group = account.open.and_then(ConversationId::group);
    let found = account.people.find(who, group).filter(|uin| *uin != account.me);
    found.ok_or_else(|| format!("who is {who}? Give a number, or a name from the list"))
}

fn conversation(model: &Model, who: &str) -> Result<ConversationId, String> {
    let account = model.account();
    if who.starts_with('#')
        && let Some(id) = group_id(who)
    {
        return Ok(ConversationId::of_group(GroupId(id)));
    }
    let wanted = who.to_lowercase();
    let group = account.people.groups().into_iter().find(|(_, name)| name.to_lowercase() == wanted);
    match group {
        Some((id, _)) => Ok(ConversationId::of_group(id)),
        None => Ok(ConversationId::direct(account.me, other(model, who)?)),
    }
}

fn new_id(model: &mut Model) -> ClientMsgId {
    ClientMsgId(model.ids.array())
}

/// The conversation on the screen, if something can be sent there.
fn here(model: &Model) -> Result<ConversationId, String> {
    if let Link::Stopped(_) = model.account().link {
        return Err("the connection is over; nothing can be sent".into());
    }
    model.account().open.ok_or_else(|| "open a conversation first: /open WHO, or Ctrl-N".into())
}

fn send(model: &mut Model, mut draft: Draft) -> Done {
    let conversation = here(model)?;
    draft.mentions = mentions(model, &draft.text);
    let id = new_id(model);
    let entry = Entry::new(id, model.account().me, Said::draft(&draft), model.now_ms);
    if let Some((_, talk)) = model.account_mut().talk_mut() {
        talk.log.wait(entry);
    }
    let mut effects = to_end(model);
    effects.push(Effect::Of(model.current, Deed::Send(conversation, id, draft)));
    Ok(effects)
}

/// Who is called by `@name` in a text.
fn mentions(model: &Model, text: &str) -> Vec<(Uin, u32, u32)> {
    let account = model.account();
    let group = account.open.and_then(ConversationId::group);
    let mut all = Vec::new();
    let mut at = 0u32;
    for word in text.split_inclusive(char::is_whitespace) {
        let length = word.chars().count() as u32;
        let name = word.trim_end().trim_end_matches([',', '.', ':', ';', '!', '?', ')']);
        if let Some(who) = name.strip_prefix('@').filter(|who| !who.is_empty()) {
            let numbered = who.chars().all(|c| c.is_ascii_digit());
            let found = match who {
                "all" if group.is_some() => Some(Uin(0)),
                who => account.people.find(who, group).filter(|uin| !numbered || uin.0 >= FIRST_UIN),
            };
            all.extend(found.map(|uin| (uin, at, name.chars().count() as u32)));
        }
        at += length;
    }
    all
}

/// The message of another, or with this number, that is answered.
fn quote(model: &Model, number: Option<u64>) -> Result<Quote, String> {
    here(model)?;
    let account = model.account();
    match account.target(number, false) {
        Some((Target::Number(seq), Some(entry))) if !entry.recalled => {
            let text = clip(&entry.said.beginning(), MAX_QUOTE);
            Ok(Quote { seq, from: entry.from.0, text })
        }
        _ => Err("there is no such message here; /numbers shows the numbers".into()),
    }
}

fn edit(model: &mut Model, number: Option<u64>, text: &str) -> Done {
    let conversation = here(model)?;
    let mut draft = Draft { text: text.to_owned(), ..Draft::default() };
    draft.mentions = mentions(model, text);
    let account = model.account();
    let me = account.me;
    let target = match account.target(number, true) {
        Some((_, Some(entry))) if entry.from != me => {
            return Err("only one's own messages can be changed".into());
        }
        Some((_, Some(entry))) if entry.recalled => return Err("that message was taken back".into()),
        Some((_, Some(entry))) if entry.said.files > 0 => {
            return Err("a message with files can be taken back, not changed".into());
        }
        Some((target, entry)) => {
            // What it answers it answers still.
            draft.reply = entry.and_then(|entry| entry.said.reply.clone());
            target
        }
        None => return Err("there is no message of yours here".into()),
    };
    let id = new_id(model);
    let change = Change::Edit(Said::draft(&draft));
    if let Some((_, talk)) = model.account_mut().talk_mut() {
        talk.pending.insert(id, (target, change));
    }
    Ok(vec![Effect::Of(model.current, Deed::Edit(conversation, id, target, draft))])
}

fn recall(model: &mut Model, number: Option<u64>) -> Done {
    let conversation = here(model)?;
    let (target, _) = model.account().target(number, true).ok_or("there is no message of yours here")?;
    let id = new_id(model);
    if let Some((_, talk)) = model.account_mut().talk_mut() {
        talk.pending.insert(id, (target, Change::Recall));
    }
    Ok(vec![Effect::Of(model.current, Deed::Recall(conversation, id, target))])
}

/// Shows a message that was found, if it is loaded; its conversation anyway.
pub(super) fn go_to(model: &mut Model, hit: &Hit) -> Vec<Effect> {
    let mut effects = open(model, hit.conversation);
    match layout::rows_below(model, hit.seq) {
        Some(rows) => {
            let height = model.log_height();
            effects.extend(to_end(model));
            effects.extend(scroll(model, true, rows.saturating_sub(height / 2)));
        }
        None => notice(model, &format!("message #{} stands further up", hit.seq)),
    }
    effects
}

/// The commands, for the help.
pub(super) const fn help() -> &'static [(&'static str, &'static str)] {
    command::COMMANDS
}
