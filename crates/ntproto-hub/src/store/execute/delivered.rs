//! Watermarks: how far members have a conversation, and who is told.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use super::super::act::{Acted, Actor};
use super::super::keys;
use super::super::kv::{Kv, Table};
use super::super::txn::{Outcome, ReceiptPlaced, StoreError, Watermark};
use super::{acts, decode, history, inbox, messages, packets, pages, read, roster, write};
use ntproto_core::ids::{ConversationId, Uin};
use ntproto_proto::store as record;
use ntproto_proto::store::inbox_entry::Entry;
use ntproto_proto::v2;

/// Members of a group up to which every member's watermarks stand in every inbox. In larger ones they would be more than the messages.
pub const RECEIPT_FANOUT: u32 = 32;

pub(super) fn delivered(kv: &mut dyn Kv, uin: Uin, watermarks: &[Watermark]) -> Result<Outcome, StoreError> {
    let mut highest: BTreeMap<ConversationId, record::Marks> = BTreeMap::new();
    for mark in watermarks {
        let highest = highest.entry(mark.conversation).or_default();
        highest.read_seq = highest.read_seq.max(mark.read);
        // What is read is delivered.
        highest.delivered_seq = highest.delivered_seq.max(mark.delivered).max(mark.read);
    }
    let mut receipts = Vec::new();
    for (conversation, claimed) in highest {
        let Some(others) = told(kv, conversation, uin)? else { continue };
        let head = messages::head(kv, conversation)?;
        let key = keys::marks(conversation, uin);
        let marks: record::Marks = read(kv, Table::Marks, &key)?.unwrap_or_default();
        //= spec: messages-24
        let now = record::Marks {
            delivered_seq: marks.delivered_seq.max(claimed.delivered_seq.min(head)),
            read_seq: marks.read_seq.max(claimed.read_seq.min(head)),
        };
        if now == marks {
            continue;
        }
        write(kv, Table::Marks, &key, &now)?;
        let entry = Entry::Receipt(record::ReceiptEntry {
            conversation: packets::bytes_of(conversation),
            member: uin.0,
        });
        let own = (now.read_seq > marks.read_seq).then_some(uin);
        for inbox in others.into_iter().chain(own) {
            let place = inbox::put(kv, inbox, &entry)?;
            receipts.push(ReceiptPlaced { place, receipt: packets::receipt(conversation, uin, now) });
        }
    }
    Ok(Outcome::Delivered { receipts })
}

/// The others whose inboxes tell of a member's watermarks. `None`: it is a group that the account is not in.
fn told(kv: &dyn Kv, conversation: ConversationId, uin: Uin) -> Result<Option<Vec<Uin>>, StoreError> {
    let Some(id) = conversation.group() else {
        let [_, other] = messages::members(conversation, uin)?;
        return Ok(Some(vec![other]));
    };
    let group = match roster::joined(kv, id, uin) {
        Ok((group, _)) => group,
        Err(StoreError::NotFound | StoreError::Gone | StoreError::Forbidden) => return Ok(None),
        Err(error) => return Err(error),
    };
    if group.members > RECEIPT_FANOUT {
        return Ok(Some(Vec::new()));
    }
    let mut others = roster::uins(kv, id)?;
    others.retain(|other| *other != uin);
    Ok(Some(others))
}

/// MARKS.
pub(super) fn marks(kv: &dyn Kv, by: &Actor, request: &v2::MarksRequest) -> Result<Acted, StoreError> {
    let conversation = history::conversation(&request.conversation)?;
    history::readable_from(kv, conversation, by.uin)?;
    let after = keys::marks(conversation, Uin(request.after));
    let to = keys::marks(conversation, Uin(u64::MAX));
    let (marks, has_more) = pages::rows(kv, Table::Marks, (&after, &to), request.limit, |key, value| {
        let member = Uin(keys::trailing_u64(key).ok_or(StoreError::Corrupt)?);
        // Those of who left are kept, and nobody's business.
        if let Some(group) = conversation.group()
            && roster::member(kv, group, member)?.is_none()
        {
            return Ok(None);
        }
        Ok(Some(packets::receipt(conversation, member, decode(value)?)))
    })?;
    Ok(acts::answered(&v2::MarksResponse { marks, has_more }))
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn a_receipt_is_small() {
        let receipt = v2::Receipt {
            conversation: vec![0xff; 16].into(),
            member: u64::MAX,
            delivered_seq: u64::MAX,
            read_seq: u64::MAX,
        };
        // A page of them is bounded by their number.
        assert!(receipt.encoded_len() * (pages::MAX_ITEMS as usize) < pages::PAGE_BYTES);
    }
}
