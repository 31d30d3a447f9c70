// A host for the client core in a page, or a worker of one: a session over WebTransport, a timer, the page's storage. It
// decides nothing.
//
// Poll until the client wants to wait; do what it says; tell it what comes. That is all a port has to do.

import { Line } from "./line.mjs";
import init, { Client } from "./pkg/ntproto.js";

export { directConversation, newDevice } from "./pkg/ntproto.js";

/** Both clocks, in milliseconds. @returns {[number, number]} */
const now = () => [performance.now(), Date.now()];

/** 32 bytes of the browser's randomness: for newDevice, and for a client's seed. */
export const random = () => crypto.getRandomValues(new Uint8Array(32));

/** Loads the WebAssembly module, which lies in `pkg` beside this file. Everything here needs it. */
export const load = () => init({ module_or_path: new URL("./pkg/ntproto_bg.wasm", import.meta.url) });

/** The longest wait that setTimeout takes. */
const LONGEST_WAIT = 2 ** 31 - 1;

/**
 * What a page keeps for its client: a list of records. Its promises are kept when the record is durable.
 * @typedef {object} Store
 * @property {() => Promise<Uint8Array | undefined>} load all of them, one after another; nothing, when there are none
 * @property {(snapshot: Uint8Array) => Promise<void>} begin puts one in the place of all
 * @property {(record: Uint8Array) => Promise<void>} append
 * @property {boolean} isLarge whether it is time to begin anew
 * @property {() => void} close for good: others may have it
 */

/**
 * @typedef {object} Place where the client keeps what it knows, and where the server is
 * @property {Store} store
 * @property {string} [url] where sessions are opened, if that is not the host and port of the connect string
 * @property {Uint8Array[] | (() => Promise<Uint8Array[]>)} [certificateHashes] SHA-256 of the certificates that are taken, for a
 *   server that made its own: asked for at every connection, as such a certificate is good for 13 days. Without them the
 *   browser's authorities decide.
 */

/**
 * Tells the client's events by their type ("online", "message", …), each also as "event": a CustomEvent whose `detail` is the
 * client's. "error", with an Error as its `detail`, when the store fails, and when no session could be opened: that one's `cause`
 * says why.
 */
export class Host extends EventTarget {
  #client;
  #place;
  #url;
  #line = null;
  #timer = null;
  #turning = false;
  #over = false;
  #closing = false;
  /** What is kept is kept in order. */
  #keeping = Promise.resolve();
  /** The latest position that waits to be confirmed. */
  #confirmed;
  #finish;
  /** Kept when the client has stopped, everything is written down and the store is closed. */
  #finished = new Promise((resolve) => {
    this.#finish = resolve;
  });

  /**
   * A client that goes on where the store was left. It closes the store at its end, or now if it can't begin.
   * @param {string} connectString what the server printed
   * @param {import("./pkg/ntproto.js").ClientOptions} options the keys of the device among them, which the page keeps
   * @param {Place} place
   */
  static async open(connectString, options, place) {
    try {
      await load();
      const saved = await place.store.load();
      const client = new Client(connectString, { ...options, saved, web: true }, random(), ...now());
      await place.store.begin(client.snapshot());
      return new Host(client, place);
    } catch (error) {
      place.store.close();
      throw error;
    }
  }

  /** Use {@link Host.open}. */
  constructor(client, place) {
    super();
    this.#client = client;
    this.#place = place;
    const { host, port } = client;
    this.#url = place.url ?? `https://${host.includes(":") ? `[${host}]` : host}:${port}/v2/session`;
    globalThis.addEventListener("online", this.#wake);
  }

  /** Connects and stays connected. */
  start() {
    this.#do((client) => client.start(...now()));
  }

  /**
   * Sends a message; returns the number that its events carry.
   * @param {Uint8Array} conversation
   * @param {Uint8Array} body
   * @param {import("./pkg/ntproto.js").SendOptions} [options]
   */
  send(conversation, body, options) {
    return this.#do((client) => client.send(...now(), conversation, body, options));
  }

  /** Asks the server something. */
  request(packet, body, deadlineMs) {
    return this.#do((client) => client.request(...now(), packet, body, deadlineMs));
  }

  /** Gives up a message that waits. */
  cancel(clientMsgId) {
    return this.#do((client) => client.cancel(...now(), clientMsgId));
  }

  /** The user has read a conversation up to this number. */
  markRead(conversation, seq) {
    return this.#do((client) => client.markRead(...now(), conversation, seq));
  }

  /** The application is done with every message up to this position. One is written down at a time, and then the latest. */
  confirm(position) {
    const waits = this.#confirmed !== undefined;
    if (!waits || position > this.#confirmed) this.#confirmed = position;
    if (!waits) this.#keeping.then(() => this.#confirmLatest());
  }

  /** Ends it for good: "stopped" comes last. Kept when everything is written down and the store is closed. */
  close() {
    if (!this.#over && !this.#closing) {
      this.#closing = true;
      this.#confirmLatest();
      this.#do((client) => client.close(...now()));
    }
    return this.#finished;
  }

  #confirmLatest() {
    const position = this.#confirmed;
    this.#confirmed = undefined;
    if (position === undefined || this.#over) return;
    try {
      this.#do((client) => client.confirm(...now(), position));
    } catch (error) {
      // The messages are told again.
      this.#dispatch("error", error);
    }
  }

  #do(command) {
    const result = command(this.#client);
    // What an event handler asks for is seen by the turn that called it.
    this.#turn();
    return result;
  }

  #input(hand) {
    if (this.#over) return;
    hand(this.#client);
    this.#turn();
  }

  #wake = () => this.#input((client) => client.networkChanged(...now()));

  /** Does what the client wants, until it wants to wait. */
  #turn() {
    if (this.#turning || this.#over) return;
    this.#turning = true;
    clearTimeout(this.#timer);
    try {
      while (!this.#over && this.#perform(this.#client.poll(...now(), this.#line?.writable ?? false)));
    } finally {
      this.#turning = false;
    }
  }

  /** Does one thing; false when there is nothing to do now. */
  #perform(output) {
    switch (output.type) {
      case "transmit":
        this.#line.write(output.channel, output.bytes);
        return true;
      case "connect":
        this.#connect();
        return true;
      case "disconnect":
        this.#disconnect(output);
        return true;
      case "store":
        this.#keep(output);
        return true;
      case "event":
        this.#tell(output.event);
        return true;
      case "wait":
        if (output.at !== null) {
          const wait = Math.min(Math.max(output.at - performance.now(), 0), LONGEST_WAIT);
          this.#timer = setTimeout(() => this.#input((client) => client.timeout(...now())), wait);
        }
        return false;
    }
  }

  #connect() {
    const { certificateHashes: hashes = [] } = this.#place;
    this.#line?.close();
    this.#line = new Line(this.#url, async () => (typeof hashes === "function" ? hashes() : hashes), {
      opened: () => this.#input((client) => client.connected(...now())),
      received: (channel, bytes) => this.#input((client) => client.receiveOn(...now(), channel, bytes)),
      drained: () => this.#turn(),
      ended: (cause) => {
        this.#line = null;
        if (cause !== undefined) this.#dispatch("error", new Error(`no session at ${this.#url}`, { cause }));
        this.#input((client) => client.disconnected(...now()));
      },
    });
  }

  #disconnect({ code, name }) {
    this.#line?.close(code, name);
    this.#line = null;
    this.#client.disconnected(...now());
  }

  #keep({ op, record }) {
    this.#keeping = this.#keeping.then(() => this.#append(op, record));
  }

  async #append(op, record) {
    const { store } = this.#place;
    try {
      await store.append(record);
    } catch (error) {
      this.#dispatch("error", error);
      return this.#input((client) => client.storeFailed(...now(), op, error?.name === "QuotaExceededError"));
    }
    this.#input((client) => client.stored(...now(), op));
    if (!store.isLarge) return;
    try {
      // What is still to be kept is not in it, and follows.
      await store.begin(this.#client.snapshot());
    } catch (error) {
      // The list goes on as it is.
      this.#dispatch("error", error);
    }
  }

  #tell(event) {
    if (event.type === "stopped") {
      this.#over = true;
      this.#line?.close();
      globalThis.removeEventListener("online", this.#wake);
      this.#keeping = this.#keeping.then(() => this.#place.store.close());
      this.#finish(this.#keeping);
    }
    this.#dispatch(event.type, event);
    this.#dispatch("event", event);
  }

  #dispatch(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
