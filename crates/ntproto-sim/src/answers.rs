//! What users asked, and what they make of the answers.

use bytes::Bytes;
use ntproto_core::client::Failure;
use ntproto_core::code::ErrorCode;
use ntproto_core::ids::Uin;
use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;
use prost::Message;

use crate::deed::Deed;
use crate::draw::Draw;
use crate::ledger::Check;
use crate::world::{Ev, World};

/// What an application asked, for when it is answered.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    /// Whatever the answer is: the store was right to give it.
    Any,
    /// It must be refused, with one of these.
    Refused(&'static [ErrorCode]),
    /// A presence write.
    Presence,
    /// To hear of these, and how often the sight of each was lost before.
    Watch(Vec<(Uin, u64)>),
    /// A page of a group's members.
    Page(u64, u32),
    /// Changes of a group.
    Changes(u64),
    /// All friends, for want of a part of the inbox.
    Friends,
    /// All groups, for the same reason.
    Groups,
    /// A page after a cursor that can't be.
    FutureCursor,
}

/// What any request may be answered when much goes wrong.
const ALWAYS: [ErrorCode; 4] =
    [ErrorCode::RetryAfter, ErrorCode::Unavailable, ErrorCode::DeadlineExceeded, ErrorCode::Revoked];

impl World {
    /// A question was answered.
    pub(crate) fn answered(&mut self, d: usize, question: Question, result: Result<Bytes, Failure>) -> Check {
        let told = match &result {
            Err(Failure::Refused(Some(code), _)) => Some(*code),
            _ => None,
        };
        match (question, result) {
            (Question::Refused(codes), Err(Failure::Refused(..))) => {
                let right = told.is_some_and(|code| codes.contains(&code) || ALWAYS.contains(&code));
                if right {
                    Ok(())
                } else {
                    Err(format!("device {d} was refused with {told:?} instead of {codes:?}"))
                }
            }
            (Question::Refused(codes), Ok(_)) => Err(format!("device {d} was not refused with {codes:?}")),
            (Question::FutureCursor, Ok(body)) => {
                let page = v2::SyncResponse::decode(body).map_err(|e| e.to_string())?;
                if page.too_long && page.next == 0 && page.deltas.is_empty() {
                    return Ok(());
                }
                Err(format!("device {d} came from the future and was answered {page:?}"))
            }
            (Question::Presence, Ok(body)) => self.presence_answered(d, body),
            (Question::Watch(whom), Ok(body)) => {
                let told = v2::PresenceSubscribeResponse::decode(body).map_err(|e| e.to_string())?;
                if let Some(process) = &mut self.devices[d].process {
                    process.watching.extend(whom);
                }
                self.presence_told(d, told.states)
            }
            (Question::Page(group, page), Ok(body)) => {
                let told = v2::GroupMembersResponse::decode(body).map_err(|e| e.to_string())?;
                let asks = self.watched(d, group).map(|w| w.page(page, told)).unwrap_or_default();
                self.ask_all(d, group, asks)
            }
            (Question::Changes(group), Ok(body)) => {
                let told = v2::GroupChangesResponse::decode(body).map_err(|e| e.to_string())?;
                let asks = self.watched(d, group).map(|w| w.changes(&told)).transpose()?.unwrap_or_default();
                self.ask_all(d, group, asks)
            }
            (Question::Page(group, _) | Question::Changes(group), Err(_)) => {
                let over = [ErrorCode::Forbidden, ErrorCode::Gone, ErrorCode::NotFound];
                let Some(process) = &mut self.devices[d].process else { return Ok(()) };
                let boot = process.boot;
                if told.is_some_and(|code| over.contains(&code)) {
                    process.watched.take_if(|w| w.group == group);
                } else {
                    let at = self.schedule.now().plus_ms(700);
                    self.schedule.at(at, Ev::WatchAgain { d, boot });
                }
                Ok(())
            }
            (Question::Friends, Ok(body)) => {
                let told = v2::FriendsResponse::decode(body).map_err(|e| e.to_string())?;
                self.devices[d].disk.view.listed_friends(told.friends);
                Ok(())
            }
            (Question::Groups, Ok(body)) => {
                let told = v2::GroupsResponse::decode(body).map_err(|e| e.to_string())?;
                self.devices[d].disk.view.listed_groups(told.groups);
                Ok(())
            }
            // The application asked well: it is told so, whatever else is wrong.
            (Question::Any | Question::Watch(_), Err(why))
                if matches!(
                    told,
                    Some(ErrorCode::BadRequest | ErrorCode::UnknownPacket | ErrorCode::Internal)
                ) =>
            {
                Err(format!("device {d} asked well and was refused: {why}"))
            }
            // What could not be had is asked for again, or the device would not know it.
            (Question::Friends | Question::Groups, Err(_)) => self.list_again(d),
            _ => Ok(()),
        }
    }

    fn watched(&mut self, d: usize, group: u64) -> Option<&mut crate::watch::Watched> {
        self.devices[d].process.as_mut()?.watched.as_mut().filter(|w| w.group == group)
    }

    /// It asks anew for what its watched group is.
    pub(crate) fn watch_again(&mut self, d: usize, boot: u32) -> Check {
        let Some(process) = self.devices[d].running(boot).filter(|p| p.online && p.caught_up) else {
            return Ok(());
        };
        let Some(watched) = &mut process.watched else { return Ok(()) };
        let (group, asks) = (watched.group, watched.again());
        self.ask_all(d, group, asks)
    }

    /// Friends and groups are listed: part of the inbox was skipped.
    pub(crate) fn list_again(&mut self, d: usize) -> Check {
        self.devices[d].disk.view.must_list = true;
        let at = self.schedule.now().plus_ms(900);
        self.schedule.at(at, Ev::ListAgain { d });
        Ok(())
    }

    pub(crate) fn list(&mut self, d: usize) -> Check {
        let ready = self.devices[d].process.as_ref().is_some_and(|p| p.online && p.caught_up && !p.stopped);
        if self.devices[d].dead || !self.devices[d].disk.view.must_list {
            return Ok(());
        }
        if !ready {
            return self.list_again(d);
        }
        let r = v2::FriendsRequest { after: 0, limit: 100 };
        self.ask(d, Deed::Read, PacketId::FRIENDS, &r, Question::Friends)?;
        let r = v2::GroupsRequest { after: 0, limit: 100 };
        self.ask(d, Deed::Read, PacketId::GROUPS, &r, Question::Groups)
    }

    /// A presence write was answered: who was told that it won did, and who lost knows.
    fn presence_answered(&mut self, d: usize, body: Bytes) -> Check {
        let told = v2::PresenceSetResponse::decode(body).map_err(|e| e.to_string())?;
        let record = told.record.ok_or("no presence record")?;
        let Some((_, device)) = self.devices[d].identity else { return Ok(()) };
        self.devices[d].presence_version = record.version;
        if told.stale {
            self.stats.deeds.count(Deed::Lost);
            // It tries again with what it was told, or leaves it.
            return if self.acts.chance(60) { self.set_presence(d, 1) } else { Ok(()) };
        }
        if self.ledger.truth.presence.won(device, record.version) {
            return Ok(());
        }
        Err(format!("device {d} was told that it is in version {}, and is not", record.version))
    }

    /// Others appear otherwise.
    pub(crate) fn presence_told(&mut self, d: usize, states: Vec<v2::Presence>) -> Check {
        let Some(process) = &mut self.devices[d].process else { return Ok(()) };
        for state in states {
            let known = process.appear.entry(Uin(state.uin)).or_default();
            if state.version >= known.1 {
                *known = (state.status, state.version);
            }
        }
        Ok(())
    }
}
