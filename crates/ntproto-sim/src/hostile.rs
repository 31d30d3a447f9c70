//! What users try and must be refused, each with its code, and nothing changed.

use bytes::Bytes;
use ntproto_core::code::ErrorCode;
use ntproto_core::ids::{ConversationId, GroupId, Uin};
use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;

use crate::acts::id;
use crate::answers::Question;
use crate::deed::Deed;
use crate::draw::Draw;
use crate::ledger::Check;
use crate::world::World;

/// What nobody may be called.
const BAD_NAMES: [&str; 6] = ["", "a\u{202E}b", "a\nb", "\u{7}bell", "x\u{2066}y", "z\u{2028}z"];
impl World {
    /// What must be refused, and change nothing.
    pub(crate) fn act_of_malice(&mut self, d: usize, me: Uin) -> Check {
        use ErrorCode::{BadName, BadRequest, Forbidden, Gone, NotFound, UnknownPacket};
        let deed = Deed::Hostile;
        let nobody = 5_000_000 + self.acts.below(1_000);
        let bad = *self.acts.pick(&BAD_NAMES);
        let Some(other) = self.somebody(d) else { return Ok(()) };
        let group = self.some_group(me).unwrap_or(nobody);
        match self.acts.below(16) {
            0 => {
                let r = v2::FriendRequestRequest { uin: nobody, message: String::new() };
                self.ask(d, deed, PacketId::FRIEND_REQUEST, &r, Question::Refused(&[NotFound]))
            }
            1 => {
                let r = v2::ProfileSetRequest { nick: bad.into(), ..Default::default() };
                self.ask(d, deed, PacketId::PROFILE_SET, &r, Question::Refused(&[BadName]))
            }
            2 => {
                let r = v2::ProfileSetRequest { nick: "n".repeat(5_000), ..Default::default() };
                self.ask(d, deed, PacketId::PROFILE_SET, &r, Question::Refused(&[BadName]))
            }
            3 => {
                let request = Bytes::copy_from_slice(&self.acts.array::<16>());
                let r = v2::GroupCreateRequest { name: bad.into(), request, ..Default::default() };
                self.ask(d, deed, PacketId::GROUP_CREATE, &r, Question::Refused(&[BadName]))
            }
            4 => {
                let r = v2::GroupRequest { group: nobody };
                self.ask(d, deed, PacketId::GROUP_JOIN, &r, Question::Refused(&[NotFound]))
            }
            5 => {
                // The owner can't leave; nobody else owns it.
                let owned = self.ledger.truth.groups.with(me).find(|(_, g)| g.state.owner == me.0);
                let Some((id, _)) = owned else { return Ok(()) };
                let r = v2::GroupRequest { group: *id };
                // On another device it may be handed over meanwhile: the store is judged, not the answer.
                self.ask(d, deed, PacketId::GROUP_LEAVE, &r, Question::Any)
            }
            6 => {
                let r = v2::GroupRoleRequest { group, uin: me.0, role: 2 };
                self.ask(d, deed, PacketId::GROUP_ROLE, &r, Question::Refused(&[Forbidden, NotFound, Gone]))
            }
            7 => {
                let r = v2::GroupRemoveRequest { group, uin: nobody };
                self.ask(d, deed, PacketId::GROUP_REMOVE, &r, Question::Refused(&[Forbidden, NotFound, Gone]))
            }
            8 => {
                // A conversation of others, of nobody, and of a group that is not theirs.
                let conversation = match self.acts.below(3) {
                    0 => ConversationId::direct(other, Uin(nobody)),
                    1 => ConversationId::of_group(GroupId(nobody)),
                    _ => ConversationId([0; 16]),
                };
                let r = v2::HistoryRequest { conversation: id(conversation), limit: 5, ..Default::default() };
                let codes = &[Forbidden, NotFound, BadRequest];
                self.ask(d, deed, PacketId::HISTORY, &r, Question::Refused(codes))
            }
            9 => {
                let conversation = ConversationId::direct(other, Uin(nobody));
                let r = v2::TypingRequest { conversation: id(conversation), active: true };
                self.ask(d, deed, PacketId::TYPING, &r, Question::Refused(&[Forbidden, NotFound]))
            }
            10 => {
                let r = v2::PresenceSubscribeRequest { add: vec![nobody], remove: vec![] };
                self.ask(d, deed, PacketId::PRESENCE_SUBSCRIBE, &r, Question::Refused(&[Forbidden, NotFound]))
            }
            11 => {
                // A version that is not the record's; one from the future is as stale.
                self.stats.deeds.count(deed);
                self.devices[d].presence_version = self.acts.below(1_000_000);
                self.set_presence(d, 1)
            }
            12 => {
                let r = v2::AdminRevokeRequest { uin: other.0, device_id: Bytes::from_static(&[1; 16]) };
                self.ask(d, deed, PacketId::ADMIN_REVOKE, &r, Question::Refused(&[Forbidden]))
            }
            13 => {
                self.stats.deeds.count(deed);
                let packet =
                    if self.acts.chance(50) { PacketId::FRIEND_REQUEST } else { PacketId::GROUP_UPDATE };
                let body = Bytes::from_static(&[0xFF, 0xFF, 0xFF]);
                self.ask_bytes(d, packet, body, Question::Refused(&[BadRequest]))
            }
            14 => {
                self.stats.deeds.count(deed);
                let question = Question::Refused(&[UnknownPacket]);
                self.ask_bytes(d, PacketId(0x0799), Bytes::new(), question)
            }
            _ if self.scenario.fanout.is_none() => {
                let epoch = self.saved(d).epoch.map_or(Bytes::new(), |e| Bytes::copy_from_slice(&e));
                if epoch.is_empty() {
                    return Ok(());
                }
                let r = v2::SyncRequest { epoch, cursor: u64::MAX / 2, limit: 10 };
                self.ask(d, deed, PacketId::SYNC, &r, Question::FutureCursor)
            }
            _ => Ok(()),
        }
    }
}
