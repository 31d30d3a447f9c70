// What a client keeps, in one file: records appended one after another.

import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";

export class FileStore {
  #path;
  #file;

  /** @param {string} path */
  constructor(path) {
    this.#path = path;
  }

  /** What was kept: nothing, when there is no file yet. */
  load() {
    try {
      return readFileSync(this.#path);
    } catch (error) {
      if (error.code === "ENOENT") return undefined;
      throw error;
    }
  }

  /**
   * Starts the file anew with one record that says it all. The old file stays until the new one is durable.
   * @param {Uint8Array} snapshot
   */
  begin(snapshot) {
    const fresh = `${this.#path}.new`;
    this.#file = openSync(fresh, "w", 0o600);
    this.append(snapshot);
    renameSync(fresh, this.#path);
  }

  /** Durable when it returns. @param {Uint8Array} record */
  append(record) {
    let written = 0;
    while (written < record.length) written += writeSync(this.#file, record, written);
    fsyncSync(this.#file);
  }

  close() {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }
}
