//! What can be done with messages that are there: edit, recall, read, look back; and what became of one's own.

use std::time::Duration;

use bytes::Bytes;
use ntproto_core::client::{self as core, DEFAULT_DEADLINE, Failure, SendAction, SendOutcome, Target};
use ntproto_core::ids::{ClientMsgId, ConversationId};
use ntproto_core::model::lifecycle::{Outgoing, OutgoingStep};
use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;

use super::calls::{Reply, Want};
use super::{Client, QueryError, Recipient, RequestError, SendError, SendOptions, Sent, send_error};
use crate::store::{ClientStore, Fetched, Gap, Stored};

/// The most entries a server gives at once.
const MAX_PAGE: u32 = 200;
/// Members whose watermarks are read at once.
const MARKS_PAGE: u32 = 200;

/// That somebody is writing is no news after this: told to come again later, it does not.
const TYPING_DEADLINE: Duration = Duration::from_secs(1);

/// Where a message of this device is on its way, as the local disk knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    /// How far it is.
    pub state: Outgoing,
    /// Its number, once it is stored.
    pub conv_seq: Option<u64>,
    /// How many other members are known to have it on a device.
    pub delivered_to: usize,
    /// How many other members are known to have read it.
    pub read_by: usize,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// A page of a conversation, as the server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// Messages, newest first, as their edits and recalls leave them. All of them are on the local disk now.
    pub messages: Vec<Stored>,
    /// Where the next page begins; `None` at the beginning of what this account may see.
    pub next: Option<u64>,
}

impl Client {
    // ── edits and recalls ───────────────────────────────────────────────────────────────────────

    /// Gives a message of this account another body, and waits until the server has stored that, at most 5 seconds.
    ///
    /// ```no_run
    /// use ntproto_sdk::{Client, SendError, Target, Uin};
    ///
    /// async fn correct(client: &Client) -> Result<(), SendError> {
    ///     // It need not even have left: the edit waits for it.
    ///     let id = client.enqueue(Uin(10002), "teh answer").await?;
    ///     client.edit(Uin(10002), Target::Id(id), "the answer").await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// See [`SendError`]. The message may be too old, recalled, or somebody else's.
    pub async fn edit(
        &self,
        to: impl Into<Recipient>,
        target: Target,
        body: impl Into<Bytes>,
    ) -> Result<Sent, SendError> {
        self.act(to.into(), SendAction::Edit(target), body.into()).await
    }

    /// Takes a message back: its body is erased at the server, here and at whoever received it. One of somebody else in
    /// a group takes the permission.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn recall(&self, to: impl Into<Recipient>, target: Target) -> Result<Sent, SendError> {
        self.act(to.into(), SendAction::Recall(target), Bytes::new()).await
    }

    async fn act(&self, to: Recipient, action: SendAction, body: Bytes) -> Result<Sent, SendError> {
        let options = SendOptions { deadline: Some(DEFAULT_DEADLINE), ..SendOptions::default() };
        match self.submit_as(to, body, options, action, Want::Settled).await? {
            Reply::Sent(sent) => Ok(sent),
            other => Err(send_error(other)),
        }
    }

    /// [`edit`](Self::edit) and [`recall`](Self::recall) for whoever does not wait: on the local disk when it returns,
    /// and sent however long that takes, after the message it is about.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn enqueue_action(
        &self,
        to: impl Into<Recipient>,
        action: SendAction,
        body: impl Into<Bytes>,
    ) -> Result<ClientMsgId, SendError> {
        self.enqueue_action_with(to, action, body, SendOptions::default()).await
    }

    /// [`enqueue_action`](Self::enqueue_action) with a deadline and a key of one's own.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn enqueue_action_with(
        &self,
        to: impl Into<Recipient>,
        action: SendAction,
        body: impl Into<Bytes>,
        options: SendOptions,
    ) -> Result<ClientMsgId, SendError> {
        match self.submit_as(to.into(), body.into(), options, action, Want::Queued).await? {
            Reply::Queued(id) => Ok(id),
            other => Err(send_error(other)),
        }
    }

    // ── reading ─────────────────────────────────────────────────────────────────────────────────

    /// The user has read a conversation up to this number: told to the server sooner or later, also after a restart,
    /// and by it to the account's other devices, so that all count alike what is unread.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn mark_read(&self, conversation: ConversationId, up_to: u64) -> Result<(), RequestError> {
        self.order(core::Command::Read { conversation, seq: up_to }).await
    }

    /// Tells the others that this user is writing, or has stopped. It is not tried again later, when it is of no use.
    /// The server takes one in 2 seconds for a conversation.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn typing(&self, to: impl Into<Recipient>, active: bool) -> Result<(), RequestError> {
        let conversation = self.conversation_of(to.into()).ok_or(RequestError::NotEnrolled)?;
        let request = v2::TypingRequest { conversation: Bytes::copy_from_slice(&conversation.0), active };
        let _: v2::TypingResponse =
            self.request_typed_within(PacketId::TYPING, &request, TYPING_DEADLINE).await?;
        Ok(())
    }

    /// A page of a conversation from the server: messages before `before` (from the end if `None`), newest first, about
    /// `limit` of them. They are kept on the local disk, and gaps there are closed by them.
    ///
    /// ```no_run
    /// use ntproto_sdk::{Client, ConversationId, RequestError};
    ///
    /// /// Reads back what this device missed.
    /// async fn catch_up(client: &Client, talk: ConversationId) -> Result<(), Box<dyn std::error::Error>> {
    ///     while let Some(gap) = client.gaps(talk).await?.pop() {
    ///         client.history_from_server(talk, Some(gap.to + 1), 200).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn history_from_server(
        &self,
        conversation: ConversationId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<HistoryPage, RequestError> {
        if before.is_some_and(|before| before <= 1) {
            return Ok(HistoryPage { messages: Vec::new(), next: None });
        }
        let query = v2::HistoryRequest { before_seq: before.unwrap_or(0), ..Default::default() };
        self.read_history(conversation, query, limit).await
    }

    /// [`history_from_server`](Self::history_from_server) of a stretch of time, by the server's clock in milliseconds
    /// since 1970: stored at or after `since_ms` and before `until_ms`.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn history_between(
        &self,
        conversation: ConversationId,
        (since_ms, until_ms): (u64, u64),
        before: Option<u64>,
        limit: u32,
    ) -> Result<HistoryPage, RequestError> {
        if until_ms == 0 || before.is_some_and(|before| before <= 1) {
            return Ok(HistoryPage { messages: Vec::new(), next: None });
        }
        let query =
            v2::HistoryRequest { before_seq: before.unwrap_or(0), since_ms, until_ms, ..Default::default() };
        self.read_history(conversation, query, limit).await
    }

    async fn read_history(
        &self,
        conversation: ConversationId,
        query: v2::HistoryRequest,
        limit: u32,
    ) -> Result<HistoryPage, RequestError> {
        let id = Bytes::copy_from_slice(&conversation.0);
        let limit = limit.clamp(1, MAX_PAGE);
        // Only what was asked for without any other bound leaves nothing out.
        let whole = query.since_ms == 0 && query.until_ms == 0;
        let request = v2::HistoryRequest { conversation: id.clone(), limit, ..query };
        let answer: v2::HistoryResponse = self.request_typed(PacketId::HISTORY, &request).await?;
        let end = match request.before_seq {
            0 => answer.head_seq.saturating_add(1),
            before => before,
        };
        let falls = answer.messages.windows(2).all(|two| two[1].conv_seq < two[0].conv_seq);
        let fits = answer.messages.iter().all(|message| message.conversation == id && message.conv_seq < end);
        let last = answer.messages.last().map(|message| message.conv_seq);
        if !falls || !fits || (answer.has_more && last.is_none()) {
            return Err(RequestError::BadAnswer);
        }
        let next = last.filter(|_| answer.has_more);
        let covered = Gap { from: next.unwrap_or(1), to: end.saturating_sub(1) };
        let numbers: Vec<_> = answer.messages.iter().map(|message| message.conv_seq).collect();
        let complete = whole.then_some((conversation, covered));
        self.keep(Fetched { messages: answer.messages, complete, ..Fetched::default() }).await?;
        let read = move |store: &mut dyn ClientStore| {
            let messages = numbers.into_iter().map(|number| store.message(conversation, number));
            Ok(messages.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        };
        let messages = self.query(read).await.map_err(|_| RequestError::Store(core::StoreError::Failed))?;
        Ok(HistoryPage { messages, next })
    }

    /// What of a conversation is known to be missing on the local disk, in order.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn gaps(&self, conversation: ConversationId) -> Result<Vec<Gap>, QueryError> {
        self.query(move |store| store.gaps(conversation)).await
    }

    /// One message, from the local disk, as its edits and recalls leave it.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn message(
        &self,
        conversation: ConversationId,
        number: u64,
    ) -> Result<Option<Stored>, QueryError> {
        self.query(move |store| store.message(conversation, number)).await
    }

    /// Reads from the server how far the members of a large group have it, after this uin; whether more follow. In
    /// direct conversations and small groups the inbox tells. What was read is in [`marks`](Self::marks).
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn refresh_marks(
        &self,
        conversation: ConversationId,
        after: Option<ntproto_core::ids::Uin>,
    ) -> Result<Option<ntproto_core::ids::Uin>, RequestError> {
        let request = v2::MarksRequest {
            conversation: Bytes::copy_from_slice(&conversation.0),
            after: after.map_or(0, |uin| uin.0),
            limit: MARKS_PAGE,
        };
        let answer: v2::MarksResponse = self.request_typed(PacketId::MARKS, &request).await?;
        let next = answer.marks.last().map(|mark| ntproto_core::ids::Uin(mark.member));
        let fits = answer.marks.iter().all(|mark| mark.conversation == request.conversation);
        if !fits || (answer.has_more && next <= after) {
            return Err(RequestError::BadAnswer);
        }
        self.keep(Fetched { marks: answer.marks, ..Fetched::default() }).await?;
        Ok(next.filter(|_| answer.has_more))
    }

    // ── one's own ───────────────────────────────────────────────────────────────────────────────

    /// Where a message of this device is on its way; `None` if there is no such message.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn lifecycle(&self, id: ClientMsgId) -> Result<Option<Lifecycle>, QueryError> {
        let me = self.identity().map(|identity| identity.uin);
        self.query(move |store| {
            let outcome = store.outcome(id)?;
            if outcome.is_none() && !store.outbox()?.iter().any(|entry| entry.client_msg_id == id) {
                return Ok(None);
            }
            let mut steps = vec![OutgoingStep::Kept];
            let mut way = Lifecycle {
                state: Outgoing::New,
                conv_seq: None,
                delivered_to: 0,
                read_by: 0,
                failure: None,
            };
            match outcome {
                None => {}
                Some(SendOutcome::Failed(why)) => {
                    steps.push(OutgoingStep::Refused);
                    way.failure = Some(why);
                }
                Some(SendOutcome::Stored { conversation, conv_seq, .. }) => {
                    steps.push(OutgoingStep::Acknowledged);
                    way.conv_seq = Some(conv_seq);
                    let mut marks = store.marks(conversation)?;
                    marks.retain(|mark| Some(mark.member) != me);
                    way.delivered_to = marks.iter().filter(|mark| mark.delivered_seq >= conv_seq).count();
                    way.read_by = marks.iter().filter(|mark| mark.read_seq >= conv_seq).count();
                    steps.extend((way.delivered_to > 0).then_some(OutgoingStep::Delivered));
                    steps.extend((way.read_by > 0).then_some(OutgoingStep::Read));
                }
            }
            way.state = steps.into_iter().fold(way.state, |at, step| at.step(step).unwrap_or(at));
            Ok(Some(way))
        })
        .await
    }
}
