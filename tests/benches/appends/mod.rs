//! Messages as the store sees them.

use bytes::Bytes;
use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId};
use ntproto_core::time::UnixMillis;
use ntproto_hub::store::txn::{Append, Change, DeviceInfo, EnrolVia, NewDevice};
use ntproto_hub::store::{Outcome, Store, Txn};

/// Bytes of a message.
pub const BODY: usize = 256;

/// Devices of as many accounts.
pub fn devices(store: &mut dyn Store, count: usize) -> Vec<DeviceInfo> {
    let enrol = |n: usize| {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(n as u64 + 1).to_be_bytes());
        let key: [u8; 32] = [id; 2].concat().try_into().unwrap();
        let device = NewDevice { id: DeviceId(id), signing_key: key, static_key: key, name: "bench".into() };
        Txn::Enrol { via: EnrolVia::Open, device, now: UnixMillis(1) }
    };
    let answers = store.commit(&(0..count).map(enrol).collect::<Vec<_>>());
    answers
        .into_iter()
        .map(|answer| match answer {
            Ok(Outcome::Enrolled(device)) => device,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Message `n`: the devices take turns, and each writes to the one after it.
pub fn append(devices: &[DeviceInfo], n: u64) -> Txn {
    let turn = n as usize % devices.len();
    let (from, to) = (&devices[turn], &devices[(turn + 1) % devices.len()]);
    let mut id = [0; 16];
    // Spread like the random ones that clients choose.
    id[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    id[8..].copy_from_slice(&n.to_be_bytes());
    Txn::Append(Append {
        trace: None,
        sender: from.uin,
        device: from.id,
        conversation: ConversationId::direct(from.uin, to.uin),
        client_msg_id: ClientMsgId(id),
        after: None,
        action: Change::Message,
        body_hash: [1; 32],
        body: Bytes::from_static(&[7; BODY]),
        now: UnixMillis(n),
        resolve_only: false,
    })
}
