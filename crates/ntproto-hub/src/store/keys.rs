//! Keys: fixed-width fields side by side, numbers big-endian, so that ranges sort as they count.

use alloc::vec::Vec;

use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, FileId, GroupId, Uin};
use ntproto_core::time::UnixMillis;

use super::file::Doomed;

/// Meta: the format version, u32.
pub(super) const FORMAT: &[u8] = b"format";
/// Meta: the epoch, 16 bytes.
pub(super) const EPOCH: &[u8] = b"epoch";
/// Meta: the clock floor, u64 milliseconds.
pub(super) const CLOCK_FLOOR: &[u8] = b"clock_floor";
/// Meta: the next account number, u64.
pub(super) const NEXT_UIN: &[u8] = b"next_uin";
/// Meta: the next group number, u64.
pub(super) const NEXT_GROUP: &[u8] = b"next_group";
/// Meta: accounts there are, u64.
pub(super) const ACCOUNTS: &[u8] = b"accounts";
/// Meta: groups there are, without those that were dissolved, u64.
pub(super) const GROUPS: &[u8] = b"groups";
/// Meta: what the operator has settled: friends only, u8; members of a group, u32.
pub(super) const RULES: &[u8] = b"rules";
/// Meta: what every number given out is above, u64; absent as long as the store was never restored.
pub(super) const NUMBER_BASE: &[u8] = b"number_base";

/// What stands once in an inbox, in keys of `Latest`: the event types of the specification.
const RECEIPT: u8 = 2;
const FRIEND: u8 = 3;
const GROUP: u8 = 4;
const PROFILE: u8 = 6;

/// Fields side by side. `N` is their total width.
fn join<const N: usize>(fields: &[&[u8]]) -> [u8; N] {
    let mut key = [0; N];
    let mut at = 0;
    for field in fields {
        key[at..at + field.len()].copy_from_slice(field);
        at += field.len();
    }
    debug_assert_eq!(at, N, "a key's fields fill it");
    key
}

pub(super) fn account(uin: Uin) -> [u8; 8] {
    uin.0.to_be_bytes()
}

pub(super) fn account_device(uin: Uin, device: DeviceId) -> [u8; 24] {
    join(&[&uin.0.to_be_bytes(), &device.0])
}

pub(super) fn used_link(expires: UnixMillis, uin: Uin, nonce: &[u8; 16]) -> [u8; 32] {
    join(&[&expires.0.to_be_bytes(), &uin.0.to_be_bytes(), nonce])
}

pub(super) fn log(conversation: ConversationId, seq: u64) -> [u8; 24] {
    join(&[&conversation.0, &seq.to_be_bytes()])
}

pub(super) fn sent(device: DeviceId, id: ClientMsgId) -> [u8; 32] {
    join(&[&device.0, &id.0])
}

pub(super) fn inbox(uin: Uin, position: u64) -> [u8; 16] {
    join(&[&uin.0.to_be_bytes(), &position.to_be_bytes()])
}

pub(super) fn marks(conversation: ConversationId, member: Uin) -> [u8; 24] {
    join(&[&conversation.0, &member.0.to_be_bytes()])
}

/// Of format 1 only.
#[cfg(test)]
pub(super) fn receipt_at(owner: Uin, conversation: ConversationId, member: Uin) -> [u8; 32] {
    join(&[&owner.0.to_be_bytes(), &conversation.0, &member.0.to_be_bytes()])
}

pub(super) fn latest_receipt(owner: Uin, conversation: ConversationId, member: Uin) -> [u8; 33] {
    join(&[&owner.0.to_be_bytes(), &[RECEIPT], &conversation.0, &member.0.to_be_bytes()])
}

pub(super) fn latest_friend(owner: Uin, other: Uin) -> [u8; 17] {
    join(&[&owner.0.to_be_bytes(), &[FRIEND], &other.0.to_be_bytes()])
}

pub(super) fn latest_group(owner: Uin, group: GroupId) -> [u8; 17] {
    join(&[&owner.0.to_be_bytes(), &[GROUP], &group.0.to_be_bytes()])
}

pub(super) fn latest_profile(owner: Uin) -> [u8; 9] {
    join(&[&owner.0.to_be_bytes(), &[PROFILE]])
}

pub(super) fn conversation_of(uin: Uin, conversation: ConversationId) -> [u8; 24] {
    join(&[&uin.0.to_be_bytes(), &conversation.0])
}

pub(super) fn friend(owner: Uin, other: Uin) -> [u8; 16] {
    join(&[&owner.0.to_be_bytes(), &other.0.to_be_bytes()])
}

pub(super) fn group(group: GroupId) -> [u8; 8] {
    group.0.to_be_bytes()
}

pub(super) fn member(group: GroupId, uin: Uin) -> [u8; 16] {
    join(&[&group.0.to_be_bytes(), &uin.0.to_be_bytes()])
}

pub(super) fn slot(group: GroupId, slot: u32) -> [u8; 12] {
    join(&[&group.0.to_be_bytes(), &slot.to_be_bytes()])
}

pub(super) fn member_of(uin: Uin, group: GroupId) -> [u8; 16] {
    join(&[&uin.0.to_be_bytes(), &group.0.to_be_bytes()])
}

pub(super) fn change(group: GroupId, version: u64) -> [u8; 16] {
    join(&[&group.0.to_be_bytes(), &version.to_be_bytes()])
}

pub(super) fn group_request(uin: Uin, request: &[u8; 16]) -> [u8; 24] {
    join(&[&uin.0.to_be_bytes(), request])
}

pub(super) fn upload_id(uin: Uin, id: &[u8; 16]) -> [u8; 24] {
    join(&[&uin.0.to_be_bytes(), id])
}

pub(super) fn upload_end(at_ms: u64, file: FileId) -> [u8; 24] {
    join(&[&at_ms.to_be_bytes(), &file.0])
}

/// Kinds in keys of `Doomed`.
const PARTIAL: u8 = 1;
const CONTENT: u8 = 2;
/// The longest key of `Doomed`.
pub(super) const DOOMED_LEN: usize = 33;

pub(super) fn doomed(what: &Doomed) -> Vec<u8> {
    match what {
        Doomed::Partial(file) => join::<17>(&[&[PARTIAL], &file.0]).to_vec(),
        Doomed::Content(hash) => join::<DOOMED_LEN>(&[&[CONTENT], hash]).to_vec(),
    }
}

pub(super) fn read_doomed(key: &[u8]) -> Option<Doomed> {
    match key.split_first()? {
        (&PARTIAL, id) => id.try_into().ok().map(|id| Doomed::Partial(FileId(id))),
        (&CONTENT, hash) => hash.try_into().ok().map(Doomed::Content),
        _ => None,
    }
}

/// The last key before this one among keys of its width; `false`: there is none.
pub(super) fn step_down(key: &mut [u8]) -> bool {
    for byte in key.iter_mut().rev() {
        let (less, borrowed) = byte.overflowing_sub(1);
        *byte = less;
        if !borrowed {
            return true;
        }
    }
    false
}

/// The conversation a key of `Conversations` ends with.
pub(super) fn trailing_conversation(key: &[u8]) -> Option<ConversationId> {
    key.last_chunk().map(|tail| ConversationId(*tail))
}

/// The number a key ends with.
pub(super) fn trailing_u64(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|tail| u64::from_be_bytes(*tail))
}

/// A value that is one number.
pub(super) fn number(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}

/// The device id a key of `AccountDevices` ends with.
pub(super) fn trailing_device(key: &[u8]) -> Option<DeviceId> {
    key.last_chunk().map(|tail| DeviceId(*tail))
}

/// An owned copy, for keys that outlive a scan.
pub(super) fn owned(key: &[u8]) -> Vec<u8> {
    key.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_numbers() {
        assert!(inbox(Uin(1), u64::MAX) < inbox(Uin(2), 0));
        assert!(inbox(Uin(7), 255) < inbox(Uin(7), 256));
        let conversation = ConversationId::direct(Uin(1), Uin(2));
        assert!(log(conversation, 9) < log(conversation, 10));
        assert_eq!(trailing_u64(&log(conversation, 10)), Some(10));
        assert_eq!(trailing_device(&account_device(Uin(3), DeviceId([9; 16]))), Some(DeviceId([9; 16])));
        assert_eq!(trailing_u64(&[1, 2]), None);
        assert_eq!(number(&[1, 2]), None);
        assert_eq!(trailing_conversation(&conversation_of(Uin(3), conversation)), Some(conversation));
    }

    #[test]
    fn a_key_steps_down_as_a_number_does() {
        let mut key = inbox(Uin(1), 0);
        assert!(step_down(&mut key));
        assert_eq!(key, inbox(Uin(0), u64::MAX));
        assert!(!step_down(&mut [0, 0]));
    }
}
