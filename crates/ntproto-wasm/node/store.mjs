// What a client keeps, in one file: records appended one after another.

import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { dirname } from "node:path";

/** A file this many times as large as its first record, and at least this large, is started anew. */
const GROWTH = 4;
const LARGE = 1 << 20;

/** Writes all of it, and waits until it is on the disk. */
function write(file, bytes) {
  let written = 0;
  while (written < bytes.length) written += writeSync(file, bytes, written);
  fsyncSync(file);
}

export class FileStore {
  #path;
  #file;
  #failed;
  #first = 0;
  #size = 0;

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
   * Starts the file anew with one record that says it all. Until that is durable, the old file stays and goes on.
   * @param {Uint8Array} snapshot
   */
  begin(snapshot) {
    const fresh = `${this.#path}.new`;
    const file = openSync(fresh, "w", 0o600);
    try {
      write(file, snapshot);
      renameSync(fresh, this.#path);
    } catch (error) {
      closeSync(file);
      throw error;
    }
    this.close();
    this.#file = file;
    this.#first = this.#size = snapshot.length;
    this.#guard(() => {
      const folder = openSync(dirname(this.#path), "r");
      fsyncSync(folder);
      closeSync(folder);
    });
  }

  /**
   * Durable when it returns. What follows a record that was not written whole could not be read, so after an error there is
   * nothing but errors.
   * @param {Uint8Array} record
   */
  append(record) {
    if (this.#failed !== undefined) throw this.#failed;
    this.#guard(() => write(this.#file, record));
    this.#size += record.length;
  }

  #guard(step) {
    try {
      step();
    } catch (error) {
      this.#failed = error;
      throw error;
    }
  }

  /** Whether it is time to start anew: most of what is in the file is of no use any more. */
  get isLarge() {
    return this.#size > Math.max(LARGE, GROWTH * this.#first);
  }

  close() {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }
}
