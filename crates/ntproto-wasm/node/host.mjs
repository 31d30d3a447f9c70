// A host for the client core: one TCP connection, one timer, one file. It decides nothing.
//
// Poll until the client wants to wait; do what it says; tell it what comes. That is all a port has to do.

import { EventEmitter } from "node:events";
import { connect as dial } from "node:net";
import { Client } from "./core.mjs";

/** Both clocks, in milliseconds. @returns {[number, number]} */
const now = () => [performance.now(), Date.now()];

/** The longest wait that setTimeout takes. */
const LONGEST_WAIT = 2 ** 31 - 1;

/**
 * Emits the client's events by their type ("online", "message", …), each also as "event"; "error" when the store fails.
 */
export class Host extends EventEmitter {
  #client;
  #store;
  #socket = null;
  #connected = false;
  #writable = true;
  #timer = null;
  #turning = false;
  #over = false;

  /**
   * @param {string} connectString what the server printed
   * @param {import("./pkg/ntproto.js").ClientOptions} options
   * @param {import("./store.mjs").FileStore} store
   */
  constructor(connectString, options, store) {
    super();
    const seed = crypto.getRandomValues(new Uint8Array(32));
    this.#client = new Client(connectString, { ...options, saved: store.load() }, seed, ...now());
    this.#store = store;
    store.begin(this.#client.snapshot());
  }

  /** Connects and stays connected. */
  start() {
    this.#client.start(...now());
    this.#turn();
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

  /** The application is done with every message up to this position. */
  confirm(position) {
    return this.#do((client) => client.confirm(...now(), position));
  }

  /** Ends it for good: "stopped" comes last. */
  close() {
    return this.#do((client) => client.close(...now()));
  }

  /** Drops the connection, as a network would. */
  cut() {
    this.#socket?.destroy();
  }

  #do(command) {
    const result = command(this.#client);
    // What an event handler asks for is seen by the turn that called it.
    this.#turn();
    return result;
  }

  /** Does what the client wants, until it wants to wait. */
  #turn() {
    if (this.#turning || this.#over) return;
    this.#turning = true;
    clearTimeout(this.#timer);
    try {
      while (!this.#over && this.#perform(this.#client.poll(...now(), this.#connected && this.#writable)));
    } finally {
      this.#turning = false;
    }
  }

  /** Does one thing; false when there is nothing to do now. */
  #perform(output) {
    switch (output.type) {
      case "transmit":
        this.#writable = this.#socket.write(output.bytes);
        return true;
      case "connect":
        this.#connect();
        return true;
      case "disconnect":
        // What was written leaves first.
        this.#socket?.destroySoon();
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

  #input(hand) {
    if (this.#over) return;
    hand(this.#client);
    this.#turn();
  }

  #connect() {
    const { host, port } = this.#client;
    this.#socket?.destroy();
    this.#connected = false;
    const socket = dial({ host, port, noDelay: true });
    this.#socket = socket;
    const ours = (hand) => this.#socket === socket && this.#input(hand);
    socket.on("connect", () => {
      if (this.#socket !== socket) return;
      this.#connected = true;
      this.#writable = true;
      this.#input((client) => client.connected(...now()));
    });
    socket.on("data", (bytes) => ours((client) => client.receive(...now(), bytes)));
    socket.on("drain", () =>
      ours(() => {
        this.#writable = true;
      }),
    );
    // "close" follows in any case.
    socket.on("error", () => {});
    socket.on("close", () => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      this.#connected = false;
      this.#input((client) => client.disconnected(...now()));
    });
  }

  #keep({ op, record }) {
    const { error } = this.#try(() => this.#store.append(record));
    if (error !== undefined) {
      this.#client.storeFailed(...now(), op, error.code === "ENOSPC");
      return;
    }
    this.#client.stored(...now(), op);
    // If it can't be, the file goes on as it is.
    if (this.#store.isLarge) this.#try(() => this.#store.begin(this.#client.snapshot()));
  }

  #try(step) {
    try {
      step();
      return {};
    } catch (error) {
      this.emit("error", error);
      return { error };
    }
  }

  #tell(event) {
    if (event.type === "stopped") {
      this.#over = true;
      this.#socket?.destroySoon();
      this.#store.close();
    }
    this.emit(event.type, event);
    this.emit("event", event);
  }
}
