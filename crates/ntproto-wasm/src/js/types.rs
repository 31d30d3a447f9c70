//! The objects that come in, and the TypeScript types of those that go out.

use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// What a client may be told when it is made.
    #[wasm_bindgen(typescript_type = "ClientOptions")]
    pub type JsOptions;

    #[wasm_bindgen(method, getter)]
    pub(super) fn device(this: &JsOptions) -> Vec<u8>;
    #[wasm_bindgen(method, getter)]
    pub(super) fn saved(this: &JsOptions) -> Option<Vec<u8>>;
    #[wasm_bindgen(method, getter)]
    pub(super) fn code(this: &JsOptions) -> Option<String>;
    #[wasm_bindgen(method, getter)]
    pub(super) fn open(this: &JsOptions) -> Option<bool>;
    #[wasm_bindgen(method, getter, js_name = deviceName)]
    pub(super) fn device_name(this: &JsOptions) -> Option<String>;
    #[wasm_bindgen(method, getter, js_name = appId)]
    pub(super) fn app_id(this: &JsOptions) -> Option<u32>;
    #[wasm_bindgen(method, getter, js_name = serverSpeaksFirst)]
    pub(super) fn server_speaks_first(this: &JsOptions) -> Option<bool>;
    #[wasm_bindgen(method, getter)]
    pub(super) fn web(this: &JsOptions) -> Option<bool>;

    /// What may be said about a message that is sent.
    #[wasm_bindgen(typescript_type = "SendOptions")]
    pub type JsSendOptions;

    #[wasm_bindgen(method, getter, js_name = clientMsgId)]
    pub(super) fn client_msg_id(this: &JsSendOptions) -> Option<Vec<u8>>;
    #[wasm_bindgen(method, getter, js_name = deadlineMs)]
    pub(super) fn deadline_ms(this: &JsSendOptions) -> Option<f64>;
    #[wasm_bindgen(method, getter)]
    pub(super) fn edits(this: &JsSendOptions) -> Option<u64>;
    #[wasm_bindgen(method, getter)]
    pub(super) fn recalls(this: &JsSendOptions) -> Option<u64>;
}

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** What a client may be told when it is made. */
export interface ClientOptions {
  /** The secret keys of the device: 64 bytes, of newDevice. */
  device: Uint8Array;
  /** What was kept so far: a snapshot, and the records that followed it. */
  saved?: Uint8Array;
  /** The code of an invitation or a link, for a device that the server does not know yet. */
  code?: string;
  /** Register without a code, where the operator allows it. */
  open?: boolean;
  /** What the list of devices shows; at most 64 bytes. */
  deviceName?: string;
  /** The application's number. */
  appId?: number;
  /** Let the server speak first, although its key is known. */
  serverSpeaksFirst?: boolean;
  /** The host brings WebTransport (https://host:port/v2/session) in place of TCP: one bidirectional stream a channel, 0, 1 and 2, whose first byte is that number. */
  web?: boolean;
}

/** What may be said about a message that is sent. */
export interface SendOptions {
  /** 16 bytes that name the message: the same again is the same message. */
  clientMsgId?: Uint8Array;
  /** Give up after so many milliseconds. */
  deadlineMs?: number;
  /** The body takes the place of that of the message with this number. */
  edits?: bigint;
  /** Takes the message with this number back; the body is not sent. */
  recalls?: bigint;
}

/** What the client wants next. */
export type Output =
  /** Write these bytes to the stream; over WebTransport to that of the channel. */
  | { type: "transmit"; channel: number; bytes: Uint8Array }
  /** Open a stream to host and port; answer with connected or disconnected. */
  | { type: "connect"; attempt: number }
  /** Close the stream; answer with disconnected. */
  | { type: "disconnect"; code: number; name: string }
  /** Append the record to what is kept; answer with stored when it is durable. */
  | { type: "store"; op: bigint; record: Uint8Array }
  /** Tell the application. */
  | { type: "event"; event: Event }
  /** Nothing before `at`, on the monotonic clock, unless something comes. */
  | { type: "wait"; at: number | null; why: string };

/** A message of the inbox. Positions only rise. */
export interface Message {
  position: bigint;
  conversation: Uint8Array;
  convSeq: bigint;
  sender: bigint;
  senderDevice: Uint8Array;
  clientMsgId: Uint8Array;
  storedMs: bigint;
  /** 0 a message, 1 an edit of an earlier one, 2 its recall. */
  action: number;
  /** Of an edit or a recall: the number of the message it is about. */
  targetSeq: bigint;
  body: Uint8Array;
}

/** Why something failed. `code` is the server's, where it gave one that is known. */
export interface Failure {
  why: string;
  code: number | null;
}

/** What happened. */
export type Event =
  | { type: "online"; session: Uint8Array; uin: bigint; device: Uint8Array }
  | { type: "caughtUp" }
  | { type: "offline"; why: string; retryInMs: number }
  /** Over for good; comes once, last. */
  | { type: "stopped"; reason: "closed" | "refused" | "superseded" | "store" | "configuration"; why: string; code: number | null }
  | { type: "queued"; request: bigint; clientMsgId: Uint8Array }
  | { type: "sent"; request: bigint; clientMsgId: Uint8Array; conversation: Uint8Array; convSeq: bigint; storedMs: bigint }
  | { type: "sendExpired"; request: bigint; clientMsgId: Uint8Array }
  | ({ type: "sendFailed"; request: bigint; clientMsgId: Uint8Array } & Failure)
  | ({ type: "message" } & Message)
  | { type: "receipt"; conversation: Uint8Array; member: bigint; deliveredSeq: bigint; readSeq: bigint }
  /** A record of a friend, a group, this account's profile: messages of the schema. */
  | { type: "friend" | "group" | "profile"; payload: Uint8Array }
  /** These messages are not in the inbox: read them by HISTORY. */
  | { type: "gap"; conversation: Uint8Array; fromSeq: bigint; toSeq: bigint }
  /** The inbox was too far behind and was skipped: gaps follow. */
  | { type: "skipped" }
  | { type: "typing"; conversation: Uint8Array; uin: bigint; active: boolean }
  /** A PresencePush, a PresenceRecord, a GroupDelta of the schema. */
  | { type: "presence" | "ownPresence" | "groupDelta"; payload: Uint8Array }
  /** A change of a type that this version does not know. */
  | { type: "other"; eventType: number; payload: Uint8Array }
  | { type: "response"; request: bigint; body: Uint8Array }
  | ({ type: "refused"; request: bigint } & Failure)
  | { type: "deferred"; request: bigint }
  | { type: "push"; packet: number; body: Uint8Array };
"#;
