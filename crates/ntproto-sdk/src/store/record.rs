//! How records and keys are written. Fields are only ever added.

use bytes::Bytes;
use ntproto_core::client::{Failure, OutboxEntry, Owed, SendAction, SendOutcome, StoreError, Target};
use ntproto_core::code::ErrorCode;
use ntproto_core::ids::{ClientMsgId, ConversationId, Uin};
use ntproto_core::time::UnixMillis;
use ntproto_core::trace::TraceContext;
use prost::Message;

/// What is on the disk is not what was written.
pub(super) const CORRUPT: StoreError = StoreError::Damaged;

#[derive(Clone, PartialEq, Message)]
pub(super) struct OutboxRecord {
    #[prost(bytes = "bytes", tag = "1")]
    client_msg_id: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    conversation: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    body: Bytes,
    #[prost(uint64, optional, tag = "4")]
    expires_ms: Option<u64>,
    /// 0 a message, 1 an edit, 2 a recall: as the wire has it.
    #[prost(uint32, tag = "5")]
    action: u32,
    #[prost(uint64, tag = "6")]
    target_seq: u64,
    #[prost(bytes = "bytes", tag = "7")]
    target_id: Bytes,
    /// The trace context, if there is one.
    #[prost(bytes = "bytes", tag = "8")]
    trace: Bytes,
}

impl OutboxRecord {
    pub(super) fn new(entry: &OutboxEntry) -> Self {
        let (target_seq, target_id) = match entry.action.target() {
            None => (0, Bytes::new()),
            Some(Target::Number(seq)) => (seq, Bytes::new()),
            Some(Target::Id(id)) => (0, Bytes::copy_from_slice(&id.0)),
        };
        Self {
            client_msg_id: Bytes::copy_from_slice(&entry.client_msg_id.0),
            conversation: Bytes::copy_from_slice(&entry.conversation.0),
            body: entry.body.clone(),
            expires_ms: entry.expires.map(|at| at.0),
            action: entry.action.to_wire() as u32,
            target_seq,
            target_id,
            trace: entry.trace.map_or_else(Bytes::new, |trace| Bytes::copy_from_slice(&trace.to_bytes())),
        }
    }

    pub(super) fn into_entry(self, order: u64) -> Result<OutboxEntry, StoreError> {
        let target = match ClientMsgId::from_slice(&self.target_id) {
            Some(id) => Target::Id(id),
            None if self.target_id.is_empty() => Target::Number(self.target_seq),
            None => return Err(CORRUPT),
        };
        let action = match self.action {
            0 => SendAction::Message,
            1 => SendAction::Edit(target),
            2 => SendAction::Recall(target),
            _ => return Err(CORRUPT),
        };
        Ok(OutboxEntry {
            trace: TraceContext::from_bytes(&self.trace),
            order,
            client_msg_id: ClientMsgId::from_slice(&self.client_msg_id).ok_or(CORRUPT)?,
            conversation: ConversationId::from_slice(&self.conversation).ok_or(CORRUPT)?,
            body: self.body,
            expires: self.expires_ms.map(UnixMillis),
            action,
        })
    }
}

/// What became of a message: stored, or failed for a reason.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OutcomeRecord {
    #[prost(bytes = "bytes", tag = "1")]
    conversation: Bytes,
    #[prost(uint64, tag = "2")]
    conv_seq: u64,
    #[prost(uint64, tag = "3")]
    stored_ms: u64,
    /// Set when it failed.
    #[prost(uint32, optional, tag = "4")]
    failure: Option<u32>,
    #[prost(uint32, tag = "5")]
    code: u32,
    #[prost(string, tag = "6")]
    detail: String,
}

const REFUSED: u32 = 1;
const DEADLINE: u32 = 2;
const DISCONNECTED: u32 = 3;
const STORE_FULL: u32 = 4;
const STORE_FAILED: u32 = 5;
const STORE_DAMAGED: u32 = 6;
const CANCELLED: u32 = 7;

impl From<&SendOutcome> for OutcomeRecord {
    fn from(outcome: &SendOutcome) -> Self {
        match outcome {
            SendOutcome::Stored { conversation, conv_seq, stored_ms } => Self {
                conversation: Bytes::copy_from_slice(&conversation.0),
                conv_seq: *conv_seq,
                stored_ms: *stored_ms,
                ..Self::default()
            },
            SendOutcome::Failed(failure) => {
                let (kind, code, detail) = match failure {
                    Failure::Refused(code, detail) => {
                        (REFUSED, code.map_or(u32::MAX, |c| c as u32), detail.clone())
                    }
                    Failure::DeadlineExceeded => (DEADLINE, 0, String::new()),
                    Failure::Cancelled => (CANCELLED, 0, String::new()),
                    Failure::Disconnected => (DISCONNECTED, 0, String::new()),
                    Failure::Store(StoreError::Full) => (STORE_FULL, 0, String::new()),
                    Failure::Store(StoreError::Failed) => (STORE_FAILED, 0, String::new()),
                    Failure::Store(StoreError::Damaged) => (STORE_DAMAGED, 0, String::new()),
                };
                Self { failure: Some(kind), code, detail, ..Self::default() }
            }
        }
    }
}

impl OutcomeRecord {
    pub(super) fn into_outcome(self) -> Result<SendOutcome, StoreError> {
        Ok(match self.failure {
            None => SendOutcome::Stored {
                conversation: ConversationId::from_slice(&self.conversation).ok_or(CORRUPT)?,
                conv_seq: self.conv_seq,
                stored_ms: self.stored_ms,
            },
            Some(kind) => SendOutcome::Failed(match kind {
                REFUSED => Failure::Refused(ErrorCode::from_wire(self.code), self.detail),
                DEADLINE => Failure::DeadlineExceeded,
                CANCELLED => Failure::Cancelled,
                DISCONNECTED => Failure::Disconnected,
                STORE_FULL => Failure::Store(StoreError::Full),
                STORE_FAILED => Failure::Store(StoreError::Failed),
                STORE_DAMAGED => Failure::Store(StoreError::Damaged),
                _ => return Err(CORRUPT),
            }),
        })
    }
}

/// Reads a record.
pub(super) fn decode<M: Message + Default>(bytes: Bytes) -> Result<M, StoreError> {
    M::decode(bytes).map_err(|_| CORRUPT)
}

/// Reads a number.
pub(super) fn number(bytes: &[u8]) -> Result<u64, StoreError> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| CORRUPT)
}

/// Key of a message, and of a member's mark: a conversation and a number.
pub(super) fn in_conversation(conversation: ConversationId, number: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&conversation.0);
    key[16..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Key of an edit or recall: the message it is about, then itself.
pub(super) fn edit(conversation: ConversationId, target: u64, number: u64) -> [u8; 32] {
    let mut key = [0; 32];
    key[..24].copy_from_slice(&in_conversation(conversation, target));
    key[24..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Two numbers.
pub(super) fn pair(first: u64, second: u64) -> [u8; 16] {
    let mut value = [0; 16];
    value[..8].copy_from_slice(&first.to_be_bytes());
    value[8..].copy_from_slice(&second.to_be_bytes());
    value
}

/// The two numbers.
pub(super) fn split_pair(value: &[u8]) -> Result<(u64, u64), StoreError> {
    let (first, second) = value.split_at_checked(8).ok_or(CORRUPT)?;
    Ok((number(first)?, number(second)?))
}

/// What is owed of a conversation.
pub(super) fn owed(value: &[u8]) -> Result<Owed, StoreError> {
    split_pair(value).map(|(delivered, read)| Owed { delivered, read })
}

/// The key's two halves.
pub(super) fn split(key: &[u8]) -> Result<(ConversationId, u64), StoreError> {
    let (conversation, rest) = key.split_at_checked(16).ok_or(CORRUPT)?;
    Ok((ConversationId::from_slice(conversation).ok_or(CORRUPT)?, number(rest)?))
}

/// Key of a place in the inbox.
pub(super) fn place(generation: u32, position: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&generation.to_be_bytes());
    key[4..].copy_from_slice(&position.to_be_bytes());
    key
}

/// Who a device is: account, then device.
pub(super) fn identity(uin: Uin, device: &[u8; 16]) -> [u8; 24] {
    let mut value = [0; 24];
    value[..8].copy_from_slice(&uin.0.to_be_bytes());
    value[8..].copy_from_slice(device);
    value
}
