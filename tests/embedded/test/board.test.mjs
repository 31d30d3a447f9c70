// The firmware runs on an emulated board and talks with a client in Node, through a real server. BOARD names the firmware, NTP the server.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { directConversation, newDevice } from "../../../crates/ntproto-wasm/node/core.mjs";
import { Host } from "../../../crates/ntproto-wasm/node/host.mjs";
import { Server } from "../../../crates/ntproto-wasm/node/server.mjs";
import { FileStore } from "../../../crates/ntproto-wasm/node/store.mjs";

/** The last page of the board's flash. */
const PAGE = 0x000ff000;

const random = (count) => crypto.getRandomValues(new Uint8Array(count));

/** The server's static key: the first field of the certificate's body, which is the first field of the certificate. */
function serverKey(connect) {
  const certificate = Buffer.from(new URL(connect).searchParams.get("cert"), "base64url");
  const body = certificate.subarray(2, 2 + certificate[1]);
  assert.deepEqual([...body.subarray(0, 2)], [0x0a, 32]);
  return body.subarray(2, 34);
}

/** Server key, seed and time, as the firmware reads them. */
function page(connect) {
  const time = Buffer.alloc(8);
  time.writeBigUInt64LE(BigInt(Date.now()));
  return Buffer.concat([serverKey(connect), random(32), time]);
}

/** A board whose first serial port is a connection to the server; gives out the lines of its log. */
function board(server) {
  const file = join(server.folder, "page");
  writeFileSync(file, page(server.connect));
  const { host } = new URL(server.connect);
  const board = spawn("qemu-system-arm", [
    ...["-M", "mps2-an386", "-display", "none", "-monitor", "none", "-kernel", process.env.BOARD],
    ...["-device", `loader,file=${file},addr=${PAGE},force-raw=on`],
    ...["-serial", `tcp:${host}`, "-serial", "stdio"],
  ], { stdio: ["pipe", "pipe", "inherit"] });
  return [board, createInterface({ input: board.stdout })[Symbol.asyncIterator]()];
}

test("a board without an operating system is a client like any other", { timeout: 120_000 }, async () => {
  const server = await new Server().start();
  const [process, log] = board(server);
  const line = async () => (await log.next()).value;
  try {
    const [, uin] = (await line()).match(/^online as (\d+)$/);

    const options = { device: newDevice(random(32)), open: true };
    const host = new Host(server.connect, options, new FileStore(join(server.folder, "store")));
    const online = once(host, "online");
    host.start();
    const conversation = directConversation((await online)[0].uin, BigInt(uin));

    for (const [n, text] of ["hello", "x".repeat(5_000), "bye"].entries()) {
      const echo = new Promise((resolve) => {
        const hear = (message) => {
          host.confirm(message.position);
          if (message.sender !== BigInt(uin)) return;
          host.off("message", hear);
          resolve(new TextDecoder().decode(message.body));
        };
        host.on("message", hear);
      });
      host.send(conversation, new TextEncoder().encode(text));
      assert.equal(await echo, `echo: ${text}`);
      assert.match(await line(), /^message \d+$/);
      assert.equal(await line(), `stored as ${2 * n + 2}`);
    }
    const stopped = once(host, "stopped");
    host.close();
    await stopped;
  } finally {
    process.kill();
    await server.stop();
  }
});
