//! The client's store with its values sealed, beside the same store with a cipher that does nothing: what sealing costs.
//!
//! `cargo bench -p ntproto-tests --bench local [-- DIR]`; DIR is where the files go. The sides take turns, and each keeps
//! its fastest. Timing is no test.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ntproto_core::client::{Apply, ClientTxn, Inbound};
use ntproto_core::crypto::aws_lc::AWS_LC;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::crypto::secret::Secret;
use ntproto_core::crypto::{AeadKey, AgreementKey, CryptoError, CryptoProvider, NONCE_LEN, TAG_LEN};
use ntproto_core::ids::{ConversationId, DeviceId, Uin};
use ntproto_proto::v2;
use ntproto_sdk::store::{ClientStore, Keystore, KeystoreError, RedbStore, SearchQuery, StoreId};

/// Bytes of a message.
const BODY: usize = 256;
/// Messages in the store that is read.
const MESSAGES: u64 = 20_000;
/// How long a turn is.
const TURN: Duration = Duration::from_millis(100);
/// Turns each side gets.
const ROUNDS: usize = 12;

struct Fixed;

impl Keystore for Fixed {
    fn data_key(&self, _: &StoreId) -> Result<Secret<32>, KeystoreError> {
        Ok(Secret::new([7; 32]))
    }
}

/// A provider whose cipher leaves everything as it is. For nothing but this measurement.
struct Nothing;

struct Plain;

impl AeadKey for Plain {
    fn seal_in_place(&self, _: &[u8; NONCE_LEN], _: &[u8], _: &mut [u8]) -> [u8; TAG_LEN] {
        [0; TAG_LEN]
    }

    fn open_in_place(
        &self,
        _: &[u8; NONCE_LEN],
        _: &[u8],
        _: &mut [u8],
        _: &[u8; TAG_LEN],
    ) -> Result<(), CryptoError> {
        Ok(())
    }
}

impl CryptoProvider for Nothing {
    fn x25519(&self, secret: &Secret<32>) -> Box<dyn AgreementKey> {
        RUSTCRYPTO.x25519(secret)
    }

    fn ed25519_public(&self, seed: &Secret<32>) -> [u8; 32] {
        RUSTCRYPTO.ed25519_public(seed)
    }

    fn ed25519_sign(&self, seed: &Secret<32>, message: &[u8]) -> [u8; 64] {
        RUSTCRYPTO.ed25519_sign(seed, message)
    }

    fn ed25519_verify(
        &self,
        public: &[u8; 32],
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), CryptoError> {
        RUSTCRYPTO.ed25519_verify(public, message, signature)
    }

    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        RUSTCRYPTO.sha256(parts)
    }

    fn hmac_sha256(&self, key: &[u8], parts: &[&[u8]]) -> Secret<32> {
        RUSTCRYPTO.hmac_sha256(key, parts)
    }

    fn hkdf_extract(&self, salt: &[u8], ikm: &[u8]) -> Secret<32> {
        RUSTCRYPTO.hkdf_extract(salt, ikm)
    }

    fn hkdf_expand(&self, prk: &Secret<32>, info: &[&[u8]], out: &mut [u8]) {
        RUSTCRYPTO.hkdf_expand(prk, info, out);
    }

    fn aes256gcm(&self, _: &Secret<32>) -> Box<dyn AeadKey> {
        Box::new(Plain)
    }
}

const SIDES: [(&str, &dyn CryptoProvider); 3] =
    [("does nothing", &Nothing), ("RustCrypto", &RUSTCRYPTO), ("aws-lc", &AWS_LC)];

fn talk() -> ConversationId {
    ConversationId::direct(Uin(10_001), Uin(10_002))
}

fn message(n: u64) -> Inbound {
    let message = v2::StoredMessage {
        conversation: Bytes::copy_from_slice(&talk().0),
        conv_seq: n,
        sender: 10_002,
        sender_device: Bytes::from_static(&[2; 16]),
        client_msg_id: Bytes::copy_from_slice(&u128::from(n).to_be_bytes()),
        stored_ms: n,
        body: Bytes::from(vec![b'a' + (n % 26) as u8; BODY]),
        ..Default::default()
    };
    Inbound { position: n, conversation: talk(), message }
}

/// A store, and the number of its last message.
struct Side {
    store: RedbStore,
    last: u64,
}

impl Side {
    fn open(dir: &Path, (name, provider): (&str, &'static dyn CryptoProvider)) -> Self {
        let mut store = RedbStore::open_with(&dir.join(name), &Fixed, provider).unwrap();
        store.commit(&[ClientTxn::SaveIdentity(Uin(10_001), DeviceId([1; 16]))]).unwrap();
        let mut side = Self { store, last: 0 };
        while side.last < MESSAGES {
            side.receive(500);
        }
        side
    }

    fn receive(&mut self, count: u64) {
        let messages = (self.last + 1..=self.last + count).map(message).collect();
        self.last += count;
        let apply = Apply { cursor: Some(self.last), messages, ..Apply::default() };
        self.store.commit(&[ClientTxn::Apply(apply)]).unwrap();
    }
}

type Step = fn(&mut Side) -> u64;

/// What is measured, in messages a second.
const WORK: [(&str, Step); 4] = [
    ("one received, durable", |side| {
        side.receive(1);
        1
    }),
    ("64 received together, durable", |side| {
        side.receive(64);
        64
    }),
    ("pages of 50 read", |side| side.store.history(talk(), Some(MESSAGES / 2), 50).unwrap().len() as u64),
    ("searched", |side| {
        let text = Some("nobody said this".into());
        let page = side.store.search(&SearchQuery { text, limit: 10, ..SearchQuery::default() }).unwrap();
        assert!(page.found.is_empty());
        ntproto_sdk::store::MAX_SEARCHED as u64
    }),
];

fn turn(side: &mut Side, step: Step) -> f64 {
    let (start, mut done) = (Instant::now(), 0);
    while start.elapsed() < TURN {
        done += step(side);
    }
    done as f64 / start.elapsed().as_secs_f64()
}

fn main() {
    let folder = match std::env::args().skip(1).find(|arg| !arg.starts_with('-')) {
        Some(folder) => tempfile::tempdir_in(folder).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let mut sides = SIDES.map(|side| Side::open(folder.path(), side));
    println!("{BODY} bytes a message, {MESSAGES} in the store; messages a second");
    println!(
        "{:<32} {:>14} {:>14} {:>7} {:>14} {:>7}",
        "", SIDES[0].0, SIDES[1].0, "ratio", SIDES[2].0, "ratio"
    );
    for (what, step) in WORK {
        let mut best = [0f64; 3];
        for _ in 0..ROUNDS {
            for (best, side) in best.iter_mut().zip(&mut sides) {
                *best = best.max(turn(side, step));
            }
        }
        let [plain, ours, lc] = best;
        println!(
            "{what:<32} {plain:>14.0} {ours:>14.0} {:>7.2} {lc:>14.0} {:>7.2}",
            ours / plain,
            lc / plain
        );
    }
}
