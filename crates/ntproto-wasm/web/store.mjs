// What a client keeps, in the browser's database: records one after another. One page at a time has them.

/** As much as this many first records, and at least this much: then it is begun anew. */
const GROWTH = 4;
const LARGE = 1 << 20;
/** How long another page may take to let go of them: one that is loaded again comes before the old one is gone. */
const PATIENCE_MS = 5_000;

const RECORDS = "records";

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
const answer = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** Waits until this page alone has the name; returns what lets go of it. */
function hold(name) {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const held = () => new Promise((release) => resolve(release));
    navigator.locks.request(`ntproto ${name}`, { signal }, held).catch((error) => {
      const late = `another page has ${name}: one at a time speaks for a device`;
      reject(signal.aborted ? new Error(late, { cause: error }) : error);
    });
  });
}

export class DatabaseStore {
  #database;
  #release;
  #failed;
  #first = 0;
  #size = 0;

  /**
   * The records of this name, for this page alone.
   * @param {string} name
   */
  static async open(name) {
    const release = await hold(name);
    try {
      const opening = indexedDB.open(`ntproto ${name}`, 1);
      opening.onupgradeneeded = () => opening.result.createObjectStore(RECORDS, { autoIncrement: true });
      return new DatabaseStore(await answer(opening), release);
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Use {@link DatabaseStore.open}. */
  constructor(database, release) {
    this.#database = database;
    this.#release = release;
  }

  async load() {
    const records = await answer(this.#database.transaction(RECORDS).objectStore(RECORDS).getAll());
    if (records.length === 0) return undefined;
    return new Uint8Array(await new Blob(records).arrayBuffer());
  }

  /** Until it is durable, what was there stays. */
  async begin(snapshot) {
    await this.#write((records) => {
      records.clear();
      records.add(snapshot);
    });
    this.#first = this.#size = snapshot.length;
  }

  /**
   * A record that finds no room leaves nothing behind, and costs one message: what comes after it may find some. After any other
   * error there is nothing but errors, as for a client that stops for it.
   */
  async append(record) {
    if (this.#failed !== undefined) throw this.#failed;
    try {
      await this.#write((records) => records.add(record));
    } catch (error) {
      if (error?.name !== "QuotaExceededError") this.#failed = error;
      throw error;
    }
    this.#size += record.length;
  }

  get isLarge() {
    return this.#size > Math.max(LARGE, GROWTH * this.#first);
  }

  close() {
    this.#database.close();
    this.#release();
  }

  #write(change) {
    return new Promise((resolve, reject) => {
      const transaction = this.#database.transaction(RECORDS, "readwrite", { durability: "strict" });
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error);
      try {
        change(transaction.objectStore(RECORDS));
      } catch (error) {
        // Else the half of it that was asked for would be done.
        transaction.abort();
        throw error;
      }
    });
  }
}
