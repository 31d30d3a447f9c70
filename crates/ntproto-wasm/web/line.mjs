// One session over WebTransport: three streams, what is written and not taken yet, and one end.

/** CONTROL, MESSAGE, SYNC: the first byte of each stream. */
const CHANNELS = [0, 1, 2];
/** Bytes that are written and not taken: with more, the client is told to wait. As many as the server holds of a channel. */
const QUEUE = 256 * 1024;
/** How long opening a session may take. A browser that hears nothing gives up by itself, but in its own time. */
const OPENING_MS = 10_000;
/** How long what was written may take to arrive before a session is closed: closing takes back what has not. */
const LINGER_MS = 1_000;

/**
 * @typedef {object} Ear what hears of a line
 * @property {() => void} opened it takes bytes
 * @property {(channel: number, bytes: Uint8Array) => void} received
 * @property {() => void} drained it takes bytes again
 * @property {(error?: unknown) => void} ended it is over, or never was, and then why; comes once, and nothing after it
 */

export class Line {
  #ear;
  #session;
  #writers = [];
  #queued = 0;

  /**
   * @param {string} url
   * @param {() => Promise<Uint8Array[]>} hashes of the certificates that are taken; none: the browser decides
   * @param {Ear} ear
   */
  constructor(url, hashes, ear) {
    this.#ear = ear;
    this.#open(url, hashes).catch((error) => this.#end(error));
  }

  /** Whether it takes bytes. */
  get writable() {
    return this.#writers.length === CHANNELS.length && this.#queued < QUEUE;
  }

  /** Writes bytes of a channel. */
  write(channel, bytes) {
    this.#queued += bytes.length;
    this.#writers[channel].write(bytes).then(
      () => {
        const full = !this.writable;
        this.#queued -= bytes.length;
        if (full && this.writable) this.#ear?.drained();
      },
      () => this.#end(),
    );
  }

  /** Ends it; nothing is heard of it any more. What was written has a moment to arrive. */
  close(code = 0, reason = "") {
    this.#ear = undefined;
    if (this.#session === undefined) return;
    const session = this.#session;
    const close = () => {
      try {
        session.close({ closeCode: code, reason });
      } catch {
        // It was never up, or is closed.
      }
    };
    if (this.#writers.length === 0) return close();
    const late = setTimeout(close, LINGER_MS);
    // The server closes it as soon as it has heard the client's last frame.
    session.closed.catch(() => {}).finally(() => clearTimeout(late));
  }

  async #open(url, hashes) {
    const late = setTimeout(() => this.#end(new Error("it took too long")), OPENING_MS);
    try {
      const taken = await hashes();
      if (this.#ear === undefined) return;
      const serverCertificateHashes = taken.map((value) => ({ algorithm: "sha-256", value }));
      const session = new WebTransport(url, taken.length > 0 ? { serverCertificateHashes } : {});
      this.#session = session;
      const over = () => this.#end();
      // One that never is ready says why there.
      session.closed.catch(() => {});
      await session.ready;
      session.closed.then(over, over);
      const streams = await Promise.all(CHANNELS.map(() => session.createBidirectionalStream()));
      if (this.#ear === undefined) return;
      this.#writers = streams.map(({ writable }) => writable.getWriter());
      CHANNELS.forEach((channel) => this.write(channel, Uint8Array.of(channel)));
      streams.forEach(({ readable }, channel) => this.#read(channel, readable).catch(() => this.#end()));
    } finally {
      clearTimeout(late);
    }
    this.#ear?.opened();
  }

  async #read(channel, readable) {
    // What is not read is the browser's to hold back: one piece at a time, and each is dealt with before the next.
    for (const reader = readable.getReader(); ; ) {
      const { value, done } = await reader.read();
      if (done) return this.#end();
      this.#ear?.received(channel, value);
    }
  }

  #end(error) {
    const ear = this.#ear;
    this.close();
    ear?.ended(error);
  }
}
