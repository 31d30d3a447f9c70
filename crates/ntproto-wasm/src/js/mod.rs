//! What JavaScript sees.
//!
//! Time comes as two numbers of milliseconds, as `performance.now()` and `Date.now()` give them. Numbers of the protocol that may
//! be above 2⁵³ are `bigint`.

mod types;
mod values;

use ntproto_core::client::{ClientConfig, Command, Credential, OpId, SendAction, StoreError, Target};
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::crypto::secret::Secret;
use ntproto_core::ids::{ClientMsgId, ConversationId, Uin};
use ntproto_core::rng::Rng;
use ntproto_core::text::{ConnectString, EnrolCode};
use ntproto_core::time::{Instant, Now, UnixMillis};
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::packet::PacketId;
use wasm_bindgen::prelude::*;
use zeroize::Zeroize as _;

use crate::bridge::Bridge;
use crate::state::State;
pub use types::{JsOptions, JsSendOptions};

/// Bytes of a device's secret keys: Ed25519, then X25519.
pub const DEVICE_LEN: usize = 64;

/// Makes the secret keys of a new device out of 32 random bytes (`crypto.getRandomValues`): 64 bytes to be kept in a safe
/// place, as whoever has them is the device.
///
/// # Errors
/// When `seed` is not 32 bytes.
#[wasm_bindgen(js_name = newDevice)]
pub fn new_device(seed: &[u8]) -> Result<Vec<u8>, JsError> {
    let mut seed: [u8; 32] = array(seed, "the seed", 32)?;
    let keys = DeviceKeys::generate(&mut Rng::new(seed), &RUSTCRYPTO);
    seed.zeroize();
    Ok([&keys.signing_secret().expose()[..], keys.static_secret().expose()].concat())
}

/// The conversation of two accounts.
#[wasm_bindgen(js_name = directConversation)]
#[must_use]
pub fn direct_conversation(a: u64, b: u64) -> Vec<u8> {
    ConversationId::direct(Uin(a), Uin(b)).0.to_vec()
}

/// A client, without a socket, a clock or a disk: the host brings them.
///
/// The host polls until it is told to wait, does what each output says, sleeps until something comes or the time of `wait`
/// is there, and tells the client.
#[wasm_bindgen(js_name = Client)]
pub struct JsClient {
    bridge: Bridge,
    host: String,
    port: u16,
}

#[wasm_bindgen(js_class = Client)]
impl JsClient {
    /// A client for the server of this connect string. `seed` are 32 random bytes, new ones every time.
    ///
    /// # Errors
    /// When the connect string, the code, the keys or what was kept can't be read, or the operator does not vouch for the
    /// server's key at this time.
    #[wasm_bindgen(constructor)]
    pub fn new(
        connect: &str,
        options: &JsOptions,
        seed: &[u8],
        mono: f64,
        unix: f64,
    ) -> Result<Self, JsError> {
        let now = now(mono, unix);
        let connect: ConnectString = connect.parse()?;
        let certificate = connect.certificate(&RUSTCRYPTO, now.unix)?;
        let enrol = match (options.code(), options.open()) {
            (Some(code), _) => Some(Credential::from(code.parse::<EnrolCode>()?)),
            (None, Some(true)) => Some(Credential::Open),
            (None, _) => None,
        };
        let state = match options.saved() {
            Some(saved) => State::read(&saved)?,
            None => State::default(),
        };
        let defaults = ClientConfig::new(&RUSTCRYPTO, certificate.static_key, device(options.device())?);
        let config = ClientConfig {
            since: certificate.not_before,
            operator: Some(connect.operator_key),
            server_speaks_first: options.server_speaks_first().unwrap_or(false),
            enrol,
            app_id: options.app_id().unwrap_or(defaults.app_id),
            device_name: options.device_name().unwrap_or_default(),
            ..defaults
        };
        let seed = array(seed, "the seed", 32)?;
        let make = if options.web() == Some(true) { Bridge::over_web } else { Bridge::new };
        let bridge = make(config, state, seed, now);
        Ok(Self { bridge, host: connect.host, port: connect.port })
    }

    /// The server's name or address.
    #[wasm_bindgen(getter)]
    #[must_use]
    pub fn host(&self) -> String {
        self.host.clone()
    }

    /// The server's port.
    #[wasm_bindgen(getter)]
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What to do next. `writable` says whether the stream takes bytes now.
    #[wasm_bindgen(unchecked_return_type = "Output")]
    pub fn poll(&mut self, mono: f64, unix: f64, writable: bool) -> JsValue {
        values::output(self.bridge.poll(now(mono, unix), writable))
    }

    /// The stream asked for is open.
    pub fn connected(&mut self, mono: f64, unix: f64) {
        self.bridge.connected(now(mono, unix));
    }

    /// Bytes of the stream, in order.
    pub fn receive(&mut self, mono: f64, unix: f64, bytes: &[u8]) {
        self.bridge.receive(now(mono, unix), bytes);
    }

    /// Bytes of a channel's stream, in order: over WebTransport.
    ///
    /// # Errors
    /// There is no such channel.
    #[wasm_bindgen(js_name = receiveOn)]
    pub fn receive_on(&mut self, mono: f64, unix: f64, channel: u32, bytes: &[u8]) -> Result<(), JsError> {
        let named = Channel::STREAMS.into_iter().find(|c| c.index() as u32 == channel);
        let channel = named.ok_or_else(|| JsError::new(&format!("there is no channel {channel}")))?;
        self.bridge.receive_on(now(mono, unix), channel, bytes);
        Ok(())
    }

    /// The stream is closed, or could not be opened.
    pub fn disconnected(&mut self, mono: f64, unix: f64) {
        self.bridge.disconnected(now(mono, unix));
    }

    /// The device has another network, or woke up: try at once.
    #[wasm_bindgen(js_name = networkChanged)]
    pub fn network_changed(&mut self, mono: f64, unix: f64) {
        self.bridge.network_changed(now(mono, unix));
    }

    /// The time of the last `wait` has come.
    pub fn timeout(&mut self, mono: f64, unix: f64) {
        self.bridge.timeout(now(mono, unix));
    }

    /// A record is durable. They end in the order they were asked for.
    pub fn stored(&mut self, mono: f64, unix: f64, op: u64) {
        self.bridge.stored(now(mono, unix), OpId(op), Ok(()));
    }

    /// A record can't be kept: the client stops. `full` says that there is no room, and that nothing else is wrong.
    #[wasm_bindgen(js_name = storeFailed)]
    pub fn store_failed(&mut self, mono: f64, unix: f64, op: u64, full: bool) {
        let error = if full { StoreError::Full } else { StoreError::Failed };
        self.bridge.stored(now(mono, unix), OpId(op), Err(error));
    }

    /// All that is kept, as one record that takes the place of those so far: for a host that starts its file anew. Records that
    /// are still being written must follow it.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        self.bridge.snapshot()
    }

    /// Connects and stays connected.
    ///
    /// # Errors
    /// When it was started already.
    pub fn start(&mut self, mono: f64, unix: f64) -> Result<(), JsError> {
        self.call(mono, unix, Command::Start).map(drop)
    }

    /// Sends a message; events tell what becomes of it, with the number that is returned.
    ///
    /// # Errors
    /// When the client stopped, the body is too large, the outbox is full or `conversation` is none of this account's.
    pub fn send(
        &mut self,
        mono: f64,
        unix: f64,
        conversation: &[u8],
        body: Vec<u8>,
        options: Option<JsSendOptions>,
    ) -> Result<u64, JsError> {
        let client_msg_id = match options.as_ref().and_then(JsSendOptions::client_msg_id) {
            Some(id) => Some(ClientMsgId(array(&id, "clientMsgId", 16)?)),
            None => None,
        };
        let number = |read: fn(&JsSendOptions) -> Option<u64>| options.as_ref().and_then(read);
        let action = match (number(JsSendOptions::edits), number(JsSendOptions::recalls)) {
            (Some(seq), _) => SendAction::Edit(Target::Number(seq)),
            (None, Some(seq)) => SendAction::Recall(Target::Number(seq)),
            (None, None) => SendAction::Message,
        };
        let command = Command::Send {
            trace: None,
            conversation: ConversationId(array(conversation, "the conversation", 16)?),
            client_msg_id,
            body: body.into(),
            deadline: values::duration(options.as_ref().and_then(JsSendOptions::deadline_ms)),
            action,
        };
        self.call(mono, unix, command)
    }

    /// Asks the server something; the event `response` or `refused` has the number that is returned.
    ///
    /// # Errors
    /// When the client stopped, the body is too large or too many requests wait.
    pub fn request(
        &mut self,
        mono: f64,
        unix: f64,
        packet: u16,
        body: Vec<u8>,
        deadline_ms: Option<f64>,
    ) -> Result<u64, JsError> {
        let deadline = values::duration(deadline_ms);
        self.call(
            mono,
            unix,
            Command::Request { trace: None, packet: PacketId(packet), body: body.into(), deadline },
        )
    }

    /// The user has read a conversation up to this number. It is told to the server sooner or later, also after a restart.
    ///
    /// # Errors
    /// When the client stopped, or `conversation` is none of this account's.
    #[wasm_bindgen(js_name = markRead)]
    pub fn mark_read(&mut self, mono: f64, unix: f64, conversation: &[u8], seq: u64) -> Result<(), JsError> {
        let conversation = ConversationId(array(conversation, "the conversation", 16)?);
        self.call(mono, unix, Command::Read { conversation, seq }).map(drop)
    }

    /// Gives up a message that waits, by its `clientMsgId`. One that may have reached the server is asked after: its end is
    /// `sendFailed` or `sent`.
    ///
    /// # Errors
    /// When the client stopped, or no message with this id waits.
    pub fn cancel(&mut self, mono: f64, unix: f64, client_msg_id: &[u8]) -> Result<(), JsError> {
        let id = ClientMsgId(array(client_msg_id, "clientMsgId", 16)?);
        self.call(mono, unix, Command::Cancel(id)).map(drop)
    }

    /// The application is done with every message up to this position.
    ///
    /// # Errors
    /// When the client stopped.
    pub fn confirm(&mut self, mono: f64, unix: f64, position: u64) -> Result<(), JsError> {
        self.call(mono, unix, Command::Confirm(position)).map(drop)
    }

    /// Renews the ticket now.
    ///
    /// # Errors
    /// When the client stopped.
    #[wasm_bindgen(js_name = refreshTicket)]
    pub fn refresh_ticket(&mut self, mono: f64, unix: f64) -> Result<(), JsError> {
        self.call(mono, unix, Command::RefreshTicket).map(drop)
    }

    /// Moves the session's keys on now.
    ///
    /// # Errors
    /// When the client stopped.
    #[wasm_bindgen(js_name = updateKeys)]
    pub fn update_keys(&mut self, mono: f64, unix: f64) -> Result<(), JsError> {
        self.call(mono, unix, Command::UpdateKeys).map(drop)
    }

    /// Disconnects for good; the event `stopped` comes last.
    ///
    /// # Errors
    /// When the client stopped already.
    pub fn close(&mut self, mono: f64, unix: f64) -> Result<(), JsError> {
        self.call(mono, unix, Command::Close).map(drop)
    }

    fn call(&mut self, mono: f64, unix: f64, command: Command) -> Result<u64, JsError> {
        Ok(self.bridge.call(now(mono, unix), command)?.0)
    }
}

/// Both clocks. What is no time counts as zero.
fn now(mono: f64, unix: f64) -> Now {
    Now { mono: Instant::from_micros((mono * 1000.0) as u64), unix: UnixMillis(unix as u64) }
}

fn device(mut bytes: Vec<u8>) -> Result<DeviceKeys, JsError> {
    let mut secrets: [u8; DEVICE_LEN] = array(&bytes, "the device's keys", DEVICE_LEN)?;
    bytes.zeroize();
    let half = |n: usize| Secret::new(std::array::from_fn(|i| secrets[n + i]));
    let keys = DeviceKeys::from_secrets(&RUSTCRYPTO, half(0), half(DEVICE_LEN / 2));
    secrets.zeroize();
    Ok(keys)
}

fn array<const N: usize>(bytes: &[u8], what: &str, len: usize) -> Result<[u8; N], JsError> {
    bytes.try_into().map_err(|_| JsError::new(&format!("{what}: {} bytes, should be {len}", bytes.len())))
}
