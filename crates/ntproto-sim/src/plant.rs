//! Bugs planted at the simulator's edges. A simulator that does not find them would not find the
//! real ones either.
//!
//! None of them touches the code under test: stores lie, disks lie, the provider lies.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ntproto_core::client::{Apply, ClientTxn};
use ntproto_core::ids::{ClientMsgId, DeviceId, Uin};
use ntproto_hub::store::{Outcome, StoreError, Txn};

use crate::disk::{ClientDisk, apply};
use crate::server::ServerDisk;
use crate::world::World;

macro_rules! plants {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// A planted bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Plant {
            $($(#[$doc])* $name,)*
        }

        impl Plant {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

plants! {
    /// The server answers when a message is written, not when it is durable.
    AckBeforeSync = "ack-before-sync";
    /// A device's disk moves the cursor, and the messages up to it are lost with the power.
    CursorFirst = "cursor-before-messages";
    /// The server stores a message again when its answer was lost.
    DedupSkipped = "dedup-skipped";
    /// A push is lost, and the one after it says that nothing is missing.
    GapHidden = "gap-hidden";
    /// A client starts from the same seed every time.
    NonceReuse = "nonce-reuse";
    /// A tag that does not match is good enough.
    TagIgnored = "tag-ignored";
    /// The store forgets revocations.
    RevocationForgotten = "revocation-forgotten";
    /// The server's clock starts from the wall clock, whatever time it was before.
    FloorForgotten = "clock-floor-forgotten";
    /// A page of an inbox loses its last line.
    PageShort = "page-loses-a-line";
    /// Confirming a message confirms all that came after it.
    ConfirmTooMuch = "confirm-too-much";
    /// A settled message stays in the outbox on the disk.
    SettleForgotten = "settled-stays";
    /// A queued message reaches the disk one sync after it was said to.
    QueuedEarly = "queued-before-sync";
    /// A device's disk answers when it has written, not when that is durable.
    DeviceAcksEarly = "device-acks-before-sync";
    /// A failed fsync is taken for a good one.
    SyncErrorIgnored = "sync-error-ignored";
    /// The store numbers two messages of a conversation alike.
    SequenceReused = "conv-seq-reused";
    /// The store raises a watermark to the head of the conversation.
    WatermarkTooHigh = "watermark-too-high";
    /// The store takes a lower watermark too: it does not compare before it sets.
    WatermarkFalls = "watermark-compare-skipped";
    /// Nonces are counted in 8 bits.
    ShortNonce = "nonce-from-8-bits";
    /// A device's disk puts the cursor one too far.
    CursorOffByOne = "cursor-off-by-one";
    /// Two answers of a batch go to each other's connection.
    AnswersSwapped = "answers-swapped";
    /// What is written to a stream whose window is full is lost.
    StreamLosesBytes = "stream-loses-bytes";
    /// The first message of a session that moved, or came back early, is taken for the one before it.
    MoveForgets = "moved-message-forgotten";
    /// One member's inbox never gets the pointer to a message of a group.
    PointerLost = "pointer-lost";
    /// A recall leaves the body where it was.
    RecallKeepsBody = "recall-keeps-body";
    /// A presence write does not compare.
    PresenceUncompared = "presence-compare-skipped";
    /// A watermark of what was read falls.
    ReadFalls = "read-watermark-falls";
    /// Who left a group, or was taken out, goes on hearing of it.
    LeftStillHears = "left-still-hears";
    /// Anybody edits anything.
    StrangerEdits = "stranger-edits";
    /// The disk of files answers a sync that it did not make.
    FileSyncLies = "file-sync-lies";
    /// It takes a failed sync for a good one.
    FileSyncErrorIgnored = "file-sync-error-ignored";
    /// It writes beside where it should.
    FileWriteMisplaced = "file-write-misplaced";
    /// It reads the bytes before those that were asked for.
    FileReadShifted = "file-read-shifted";
    /// It keeps what is to be removed.
    FileNeverDiscarded = "file-never-discarded";
    /// Nobody is charged for bytes that do not count yet.
    FileNotCharged = "file-not-charged";
    /// Whoever shows a token acts for the first account.
    StrangerReads = "stranger-reads";
}

impl Plant {
    /// Those of the plan `files`, which the others do not have.
    pub const OF_FILES: [Self; 7] = [
        Self::FileSyncLies,
        Self::FileSyncErrorIgnored,
        Self::FileWriteMisplaced,
        Self::FileReadShifted,
        Self::FileNeverDiscarded,
        Self::FileNotCharged,
        Self::StrangerReads,
    ];
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl World {
    pub(crate) fn set_plant(&mut self, plant: Option<Plant>) {
        self.plant = plant;
        self.server.disk.planted.plant = plant;
        for device in &mut self.devices {
            device.disk.plant = plant;
        }
        match plant {
            Some(Plant::TagIgnored) => self.provider.trust_everything(),
            Some(Plant::ShortNonce) => self.provider.shorten_nonces(),
            _ => {}
        }
    }
}

/// What lies of the server's store need to remember.
#[derive(Default)]
pub(crate) struct PlantedStore {
    pub(crate) plant: Option<Plant>,
    seen: BTreeSet<(DeviceId, ClientMsgId)>,
    /// What the next push of an inbox says of the one before it.
    hidden: BTreeMap<Uin, u64>,
    /// Devices that came in while they were in.
    moved: BTreeSet<DeviceId>,
    last: BTreeMap<DeviceId, Outcome>,
    pub(crate) people: crate::plant_people::Lies,
    count: u64,
}

impl ServerDisk {
    pub(crate) fn acks_early(&self) -> bool {
        self.planted.plant == Some(Plant::AckBeforeSync)
    }

    pub(crate) fn write(&mut self, txns: &[Txn]) -> Vec<Result<Outcome, StoreError>> {
        let mut changed: Vec<Txn> = txns.iter().map(|txn| self.planted.change(txn)).collect();
        changed.iter_mut().for_each(|txn| self.planted.change_of_people(txn));
        let mut results = self.write_but_forgotten(&changed);
        for (txn, result) in changed.iter().zip(&mut results) {
            if let Ok(outcome) = result {
                self.planted.lie(outcome);
                self.planted.lie_of_people(txn, outcome);
            }
        }
        if self.planted.plant == Some(Plant::AnswersSwapped) {
            let sent = |result: &&mut Result<Outcome, StoreError>| {
                matches!(result, Ok(Outcome::Appended { duplicate: false, .. }))
            };
            let mut sent = results.iter_mut().filter(sent);
            if let (Some(one), Some(other)) = (sent.next(), sent.next()) {
                std::mem::swap(one, other);
            }
        }
        results
    }

    /// Messages that are taken for others are answered and not written.
    fn write_but_forgotten(&mut self, txns: &[Txn]) -> Vec<Result<Outcome, StoreError>> {
        if self.planted.plant != Some(Plant::MoveForgets) {
            return self.store.write(txns);
        }
        let mut results = Vec::new();
        for txn in txns {
            let Txn::Append(append) = txn else {
                results.extend(self.store.write(std::slice::from_ref(txn)));
                continue;
            };
            let last = self.planted.last.get(&append.device).cloned();
            if let (Some(last), true) = (last, self.planted.moved.remove(&append.device)) {
                results.push(Ok(last));
                continue;
            }
            let wrote = self.store.write(std::slice::from_ref(txn));
            if let Some(Ok(outcome @ Outcome::Appended { duplicate: false, .. })) = wrote.first() {
                self.planted.last.insert(append.device, outcome.clone());
            }
            results.extend(wrote);
        }
        results
    }

    pub(crate) fn ignores_sync_errors(&self) -> bool {
        self.planted.plant == Some(Plant::SyncErrorIgnored)
    }
}

impl PlantedStore {
    /// A device came in while it was in.
    pub(crate) fn moved(&mut self, device: DeviceId) {
        self.moved.insert(device);
    }

    fn change(&mut self, txn: &Txn) -> Txn {
        let mut txn = txn.clone();
        match (&mut txn, self.plant) {
            (Txn::Append(append), Some(Plant::DedupSkipped))
                if !append.resolve_only && !self.seen.insert((append.device, append.client_msg_id)) =>
            {
                self.count += 1;
                append.client_msg_id.0[0] ^= 0x80;
                append.client_msg_id.0[15] ^= self.count as u8;
            }
            (Txn::Delivered { watermarks, .. }, Some(Plant::WatermarkTooHigh)) => {
                watermarks.iter_mut().for_each(|mark| mark.delivered = u64::MAX);
            }
            _ => {}
        }
        txn
    }

    fn lie(&mut self, outcome: &mut Outcome) {
        match (outcome, self.plant) {
            (Outcome::Appended { entries, duplicate: false, .. }, Some(Plant::GapHidden)) => {
                self.count += 1;
                // The first place is the sender's; the other may lose its push.
                if let [_, other] = &mut entries[..] {
                    if let Some(previous) = self.hidden.remove(&other.uin) {
                        other.previous = previous;
                    }
                    if self.count.is_multiple_of(8) {
                        self.hidden.insert(other.uin, other.previous);
                        entries.truncate(1);
                    }
                }
            }
            (Outcome::Appended { conv_seq, duplicate: false, .. }, Some(Plant::SequenceReused)) => {
                self.count += 1;
                if self.count.is_multiple_of(16) {
                    *conv_seq = conv_seq.saturating_sub(1).max(1);
                }
            }
            (Outcome::Delivered { receipts }, Some(Plant::WatermarkFalls)) => {
                self.count += 1;
                if self.count.is_multiple_of(8) {
                    receipts.iter_mut().for_each(|placed| placed.receipt.delivered_seq = 1);
                }
            }
            (Outcome::Device(device), Some(Plant::RevocationForgotten)) => {
                device.revoked = None;
                device.generation = 0;
            }
            (Outcome::Page { deltas, .. }, Some(Plant::PageShort)) => {
                deltas.pop();
            }
            _ => {}
        }
    }
}

impl ClientDisk {
    /// What is kept of a transaction that is durable.
    pub(crate) fn planted_keep(&mut self, txn: &ClientTxn) -> ClientTxn {
        match (txn, self.plant) {
            (ClientTxn::Confirm(_), Some(Plant::ConfirmTooMuch)) => ClientTxn::Confirm(u64::MAX),
            (ClientTxn::Apply(apply), Some(Plant::SettleForgotten)) => {
                ClientTxn::Apply(Apply { settled: Vec::new(), ..apply.clone() })
            }
            (ClientTxn::Apply(apply), Some(Plant::CursorOffByOne)) => {
                ClientTxn::Apply(Apply { cursor: apply.cursor.map(|cursor| cursor + 1), ..apply.clone() })
            }
            (ClientTxn::Enqueue(_), Some(Plant::QueuedEarly)) => {
                match self.late.replace(txn.clone()) {
                    Some(before) => before,
                    // Nothing changes.
                    None => ClientTxn::ReceiptsSent(Vec::new()),
                }
            }
            (_, Some(Plant::QueuedEarly)) => {
                if let Some(before) = self.late.take() {
                    apply(&mut self.durable, &before);
                }
                txn.clone()
            }
            _ => txn.clone(),
        }
    }

    /// What the power took.
    pub(crate) fn planted_crash(&mut self, lost: &[ClientTxn]) {
        self.late = None;
        for txn in lost {
            if let (ClientTxn::Apply(change), Some(Plant::CursorFirst)) = (txn, self.plant) {
                let cursor = Apply { epoch: change.epoch, cursor: change.cursor, ..Apply::default() };
                apply(&mut self.durable, &ClientTxn::Apply(cursor));
            }
        }
    }
}
