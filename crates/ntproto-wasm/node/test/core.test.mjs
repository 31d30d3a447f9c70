// The core in Node without a server: what it wants, what it does with noise, what it keeps.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Client, directConversation, newDevice } from "../core.mjs";
import { CONNECT } from "../samples.mjs";
import { FileStore } from "../store.mjs";

const random = () => crypto.getRandomValues(new Uint8Array(32));

/** A client and a clock that is moved by hand. */
class Bench {
  constructor(options = {}, seed = random()) {
    this.mono = 1000;
    this.unix = 1_750_000_000_000;
    this.client = new Client(CONNECT, { device: newDevice(random()), open: true, ...options }, seed, ...this.now());
    this.kept = [this.client.snapshot()];
    this.sent = [];
    this.events = [];
    this.others = [];
  }

  now() {
    return [this.mono, this.unix];
  }

  /** Polls until it waits; returns the wait. */
  turn(writable = true) {
    for (;;) {
      const output = this.client.poll(...this.now(), writable);
      switch (output.type) {
        case "wait":
          return output;
        case "store":
          this.kept.push(output.record);
          this.client.stored(...this.now(), output.op);
          break;
        case "transmit":
          this.sent.push(output.bytes);
          break;
        case "event":
          this.events.push(output.event);
          break;
        default:
          this.others.push(output);
      }
    }
  }

  after(ms) {
    this.mono += ms;
    this.unix += ms;
  }

  start() {
    this.client.start(...this.now());
    this.turn();
    assert.deepEqual(this.others.pop(), { type: "connect", attempt: 0 });
    this.client.connected(...this.now());
    return this.turn();
  }
}

test("the module imports nothing but what its own JavaScript gives it", () => {
  const module = new WebAssembly.Module(readFileSync(new URL("../pkg/ntproto_bg.wasm", import.meta.url)));
  const from = new Set(WebAssembly.Module.imports(module).map((entry) => entry.module));
  assert.deepEqual([...from], ["./ntproto_bg.js"]);
  // And that reads no clock and draws no random numbers.
  const glue = readFileSync(new URL("../pkg/ntproto.js", import.meta.url), "utf8");
  const code = glue.replaceAll(/\/\*[^]*?\*\//g, "");
  assert.equal(code.match(/\b(Date|performance|getRandomValues|Math\.random)\b/), null);
});

test("it knows where to connect", () => {
  const { client } = new Bench();
  assert.equal(client.host, "127.0.0.1");
  assert.equal(client.port, 4433);
});

test("the handshake is an NTHD message; when its server is silent, it gives up", () => {
  const bench = new Bench();
  const wait = bench.start();
  assert.equal(wait.why, "Authentication");
  const [hello] = bench.sent;
  assert.deepEqual([...hello.subarray(0, 8)], [0x4e, 0x54, 0x48, 0x44, 1, 0, 0, 0]);
  assert.equal(new DataView(hello.buffer, hello.byteOffset).getUint32(8), hello.length - 12);

  bench.after(wait.at - bench.mono);
  bench.client.timeout(...bench.now());
  bench.turn();
  const [offline] = bench.events;
  assert.equal(offline.type, "offline");
  assert.ok(offline.retryInMs >= 0);
});

test("let the server speak first, and the draft's twelve bytes are sent", () => {
  const bench = new Bench({ serverSpeaksFirst: true });
  bench.start();
  assert.deepEqual([...bench.sent[0]], [0x4e, 0x54, 0x48, 0x44, 1, 0, 0, 0, 0, 0, 0, 0]);
});

test("nothing is given out while the stream takes nothing", () => {
  const bench = new Bench();
  bench.client.start(...bench.now());
  bench.turn();
  bench.client.connected(...bench.now());
  bench.turn(false);
  assert.equal(bench.sent.length, 0);
  bench.turn();
  assert.equal(bench.sent.length, 1);
});

test("noise ends the connection and nothing else", () => {
  for (const noise of ["HTTP/1.1 400 Bad Request\r\n\r\n", "NTHD\x02", "\x16\x03\x01", "\x02\xff\xff\xff"]) {
    const bench = new Bench();
    bench.start();
    bench.client.receive(...bench.now(), new TextEncoder().encode(noise.padEnd(64, "\0")));
    const wait = bench.turn();
    assert.equal(bench.events[0].type, "offline", noise);
    assert.ok(bench.others.some((output) => output.type === "disconnect"));
    assert.ok(wait.at >= bench.mono, "it will try again");
  }
});

test("the same seed and the same inputs give the same bytes", () => {
  const [device, seed] = [newDevice(random()), random()];
  const [one, two] = [new Bench({ device }, seed), new Bench({ device }, seed)];
  one.start();
  two.start();
  assert.deepEqual(one.sent, two.sent);
  assert.notDeepEqual(one.sent, (() => { const other = new Bench({ device }); other.start(); return other.sent; })());
});

test("a client that was stopped says so last", () => {
  const bench = new Bench();
  bench.start();
  bench.client.close(...bench.now());
  for (let i = 0; i < 5 && bench.events.at(-1)?.type !== "stopped"; i++) {
    const wait = bench.turn();
    bench.client.disconnected(...bench.now());
    if (wait.at !== null) bench.after(Math.max(wait.at - bench.mono, 0));
    bench.client.timeout(...bench.now());
  }
  assert.equal(bench.events.at(-1).type, "stopped");
  assert.equal(bench.events.at(-1).reason, "closed");
  assert.throws(() => bench.client.send(...bench.now(), new Uint8Array(16), new Uint8Array(1)), /not running/);
});

test("mistakes are errors that say what is wrong", () => {
  const device = newDevice(random());
  const make = (connect, options, seed = random()) => new Client(connect, options, seed, 0, 1_750_000_000_000);
  assert.throws(() => make("http://example.org", { device }), /begins with ntp:/);
  assert.throws(() => make(CONNECT, { device: device.subarray(1) }), /63 bytes, should be 64/);
  assert.throws(() => make(CONNECT, { device, code: "hello" }), /invite\. or link\./);
  assert.throws(() => make(CONNECT, { device, saved: new Uint8Array(20).fill(1) }), /damaged/);
  assert.throws(() => make(CONNECT, { device }, new Uint8Array(31)), /31 bytes, should be 32/);
  assert.throws(() => newDevice(new Uint8Array(3)), /3 bytes, should be 32/);
  assert.throws(() => new Client(CONNECT, { device }, random(), 0, 9_999_999_999_999), /expired|valid/);
});

test("what was kept comes back", () => {
  const bench = new Bench();
  const joined = Buffer.concat([bench.client.snapshot(), bench.client.snapshot()]);
  // A record that was cut off by a power failure never happened.
  const again = new Bench({ saved: joined.subarray(0, joined.length - 1) });
  assert.deepEqual(again.client.snapshot(), bench.client.snapshot());
});

test("a file of records is started anew when most of it is of no use any more", () => {
  const folder = mkdtempSync(join(tmpdir(), "ntproto-store-"));
  try {
    const path = join(folder, "store");
    const store = new FileStore(path);
    assert.equal(store.load(), undefined);
    store.begin(Buffer.from("first"));
    while (!store.isLarge) store.append(Buffer.alloc(64 * 1024, "x"));
    assert.ok(store.load().length > 1 << 20);
    store.begin(Buffer.from("second"));
    store.append(Buffer.from("+"));
    store.close();
    assert.equal(new FileStore(path).load().toString(), "second+");
    // It is closed: from here on there are only errors, and the file is as it was.
    assert.throws(() => store.append(Buffer.from("-")));
    assert.throws(() => store.append(Buffer.from("-")));
    assert.equal(store.load().toString(), "second+");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("the conversation of two is the same from both sides", () => {
  assert.deepEqual(directConversation(10001n, 10002n), directConversation(10002n, 10001n));
  assert.equal(directConversation(1n, 2n).length, 16);
});
