//! A state machine of one's own over the core's client: it counts what each conversation brings, exactly once.
//!
//! The worked example of `docs/property-testing.md` and `docs/fuzzing.md`.

use std::collections::{BTreeMap, VecDeque};

use ntproto_core::client::{
    self, Client, ClientConfig, ClientEvent, ClientTxn, Command, Inbound, Input, Misuse, OpId, Saved,
};
use ntproto_core::ids::{ConversationId, Uin};
use ntproto_core::time::{Instant, Now};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::Channel;

/// What the application keeps: the counts, and the position that they are the state of. Both change together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    last: u64,
    pub counts: BTreeMap<ConversationId, u64>,
}

impl Tally {
    /// Counts a message, unless it was told before.
    pub fn count(&mut self, inbound: &Inbound) {
        if inbound.position > self.last {
            self.last = inbound.position;
            *self.counts.entry(inbound.conversation).or_default() += 1;
        }
    }
}

/// What the machine wants of its host.
pub enum Output {
    /// The buffer holds bytes for this channel.
    Transmit(Channel),
    /// Bring up a transport, in place of the one there is.
    Connect,
    /// Take the transport down.
    Disconnect,
    /// Run this on the disk.
    Store(OpId, ClientTxn),
    /// Keep this, then say [`Machine::saved`].
    Save(Tally),
    /// Nothing before this instant.
    Wait(Option<Instant>),
}

/// The client and the application behind it.
pub struct Machine {
    client: Client,
    tally: Tally,
    out: VecDeque<Output>,
}

impl Machine {
    /// A machine on what its disk holds.
    pub fn new(config: ClientConfig, saved: Saved, tally: Tally, seed: [u8; 32], now: Now) -> Self {
        let mut client = Client::new(config, saved, seed, now);
        client.call(now, Command::Start).expect("a new client can be started");
        Self { client, tally, out: VecDeque::new() }
    }

    /// What the world brings.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        self.client.handle(now, input);
    }

    /// A tally is on the disk: the client need not tell again what it counts.
    pub fn saved(&mut self, now: Now, tally: &Tally) {
        // One that has stopped confirms nothing; what was counted is skipped when it is told again.
        let _ = self.client.call(now, Command::Confirm(tally.last));
    }

    /// Who this is, once enrolled.
    pub fn uin(&self) -> Option<Uin> {
        self.client.identity().map(|(uin, _)| uin)
    }

    /// Whether it is connected.
    pub fn is_online(&self) -> bool {
        self.client.is_online()
    }

    /// Sends a message.
    pub fn send(&mut self, now: Now, to: Uin, body: Vec<u8>) -> Result<(), Misuse> {
        let conversation = ConversationId::direct(self.uin().ok_or(Misuse::State)?, to);
        let send = Command::Send {
            trace: None,
            conversation,
            client_msg_id: None,
            body: body.into(),
            deadline: None,
            action: ntproto_core::client::SendAction::Message,
        };
        self.client.call(now, send).map(drop)
    }

    /// What it wants next.
    pub fn poll_output(&mut self, now: Now, mut tx: Option<&mut TxBuf>) -> Output {
        loop {
            if let Some(output) = self.out.pop_front() {
                return output;
            }
            return match self.client.poll_output(now, tx.as_deref_mut()) {
                client::Output::Transmit { channel } => Output::Transmit(channel),
                client::Output::Connect { .. } => Output::Connect,
                client::Output::Disconnect(_) => Output::Disconnect,
                client::Output::Store(op, txn) => Output::Store(op, txn),
                client::Output::Wait { at, .. } => Output::Wait(at),
                client::Output::Event(event) => {
                    self.event(event);
                    continue;
                }
            };
        }
    }

    fn event(&mut self, event: ClientEvent) {
        if let ClientEvent::Message(inbound) = event {
            self.tally.count(&inbound);
            self.out.push_back(Output::Save(self.tally.clone()));
        }
    }
}
