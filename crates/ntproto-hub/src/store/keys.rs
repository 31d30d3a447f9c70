//! Keys: fixed-width fields side by side, numbers big-endian, so that ranges sort as they count.

use alloc::vec::Vec;

use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, Uin};
use ntproto_core::time::UnixMillis;

/// Meta: the format version, u32.
pub(super) const FORMAT: &[u8] = b"format";
/// Meta: the epoch, 16 bytes.
pub(super) const EPOCH: &[u8] = b"epoch";
/// Meta: the clock floor, u64 milliseconds.
pub(super) const CLOCK_FLOOR: &[u8] = b"clock_floor";
/// Meta: the next account number, u64.
pub(super) const NEXT_UIN: &[u8] = b"next_uin";

/// Meta: what every number given out is above, u64; absent as long as the store was never restored.
pub(super) const NUMBER_BASE: &[u8] = b"number_base";

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

pub(super) fn receipt_at(owner: Uin, conversation: ConversationId, member: Uin) -> [u8; 32] {
    join(&[&owner.0.to_be_bytes(), &conversation.0, &member.0.to_be_bytes()])
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
    }
}
