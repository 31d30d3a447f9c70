// A server for tests: the program that NTP names, in a folder of its own.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export const NTP = process.env.NTP;

export class Server {
  /** A folder for whoever uses the server; it goes with it. */
  folder = mkdtempSync(join(tmpdir(), "ntproto-node-"));
  #process;

  /** Starts it; anybody may make an account. */
  async start() {
    const data = join(this.folder, "server");
    const settings = ["--listen", "127.0.0.1:0", "--data-dir", data, "--open-registration", "true", "--log-level", "error"];
    // It ends with its standard input, so none is left behind when this program is killed.
    this.#process = spawn(NTP, ["serve", "--json", "--end-with-stdin", ...settings], { stdio: ["pipe", "pipe", "inherit"] });
    const [line] = await once(createInterface({ input: this.#process.stdout }), "line");
    this.connect = JSON.parse(line).connect;
    return this;
  }

  async stop() {
    this.#process.kill();
    await once(this.#process, "exit");
    rmSync(this.folder, { recursive: true });
  }
}
