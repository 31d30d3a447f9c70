// Two clients in Node talk through a real server over TCP. NTP names the server's program; without it there is nothing to do.

import assert from "node:assert/strict";
import { once } from "node:events";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { directConversation, newDevice } from "../core.mjs";
import { Host } from "../host.mjs";
import { NTP, Server } from "../server.mjs";
import { FileStore } from "../store.mjs";

const skip = NTP === undefined && "NTP is not set";
/** How long anything may take on a busy machine. */
const PATIENCE = { timeout: 60_000, skip };

const text = (bytes) => new TextDecoder().decode(bytes);
const bytes = (string) => new TextEncoder().encode(string);

let server;

before(async () => {
  if (!skip) server = await new Server().start();
}, PATIENCE);

after(() => server?.stop());

/** A client that keeps all it hears. */
class Person {
  constructor(name, options = {}) {
    this.name = name;
    this.device = options.device ?? newDevice(crypto.getRandomValues(new Uint8Array(32)));
    this.inbox = [];
    const store = new FileStore(join(server.folder, `${name}.store`));
    this.host = new Host(server.connect, { device: this.device, open: true, deviceName: name, ...options }, store);
    this.host.on("message", (message) => {
      this.inbox.push(message);
      this.host.confirm(message.position);
    });
  }

  async online() {
    const online = once(this.host, "online");
    this.host.start();
    const [event] = await online;
    this.uin = event.uin;
    return this;
  }

  async say(to, what) {
    const request = this.host.send(directConversation(this.uin, to), bytes(what));
    for await (const [event] of on(this.host, "event")) {
      if (event.request === request && event.type === "sent") return event;
      assert.ok(!(event.request === request && event.type === "sendFailed"), event.why);
    }
  }

  /** Waits until it has heard this from the others. */
  async hears(...expected) {
    const heard = () => this.inbox.filter((message) => message.sender !== this.uin).map((m) => text(m.body));
    while (heard().length < expected.length) await once(this.host, "message");
    assert.deepEqual(heard(), expected);
  }

  async close() {
    const stopped = once(this.host, "stopped");
    this.host.close();
    assert.equal((await stopped)[0].reason, "closed");
  }
}

/** Like events.on, which is used where one event is not enough. */
async function* on(emitter, name) {
  const waiting = [];
  let wake = () => {};
  const listener = (...args) => {
    waiting.push(args);
    wake();
  };
  emitter.on(name, listener);
  try {
    for (;;) {
      while (waiting.length > 0) yield waiting.shift();
      await new Promise((resolve) => (wake = resolve));
    }
  } finally {
    emitter.off(name, listener);
  }
}

test("two clients talk, are cut off, and come back", PATIENCE, async () => {
  const [ann, bob] = await Promise.all([new Person("ann").online(), new Person("bob").online()]);
  assert.notEqual(ann.uin, bob.uin);

  const sent = await ann.say(bob.uin, "hello");
  assert.equal(sent.convSeq, 1n);
  await bob.hears("hello");
  await bob.say(ann.uin, "hello yourself");
  await ann.hears("hello yourself");

  // The connection breaks: nothing is lost, nothing comes twice.
  const back = once(bob.host, "online");
  bob.host.cut();
  await ann.say(bob.uin, "are you there?");
  await back;
  await bob.hears("hello", "are you there?");

  // A client that ends comes back as the same device, and hears what it missed.
  await bob.close();
  await ann.say(bob.uin, "while you were away");
  const again = await new Person("bob", { device: bob.device }).online();
  assert.equal(again.uin, bob.uin);
  await again.hears("while you were away");

  await Promise.all([ann.close(), again.close()]);
});

test("many messages keep their order", PATIENCE, async () => {
  const [cid, dan] = await Promise.all([new Person("cid").online(), new Person("dan").online()]);
  const texts = Array.from({ length: 200 }, (_, n) => `number ${n} ${"x".repeat(n * 20)}`);
  texts.forEach((what) => cid.host.send(directConversation(cid.uin, dan.uin), bytes(what)));
  await dan.hears(...texts);
  await Promise.all([cid.close(), dan.close()]);
});

test("a stranger's request is answered with its code", PATIENCE, async () => {
  const eve = await new Person("eve").online();
  const request = eve.host.request(0x8fff, new Uint8Array(0));
  const [refused] = await once(eve.host, "refused");
  assert.equal(refused.request, request);
  assert.notEqual(refused.code, null);
  await eve.close();
});

test("a client may let the server speak first", PATIENCE, async () => {
  const [fay, gus] = await Promise.all([
    new Person("fay", { serverSpeaksFirst: true }).online(),
    new Person("gus").online(),
  ]);
  await fay.say(gus.uin, "after you");
  await gus.hears("after you");
  await Promise.all([fay.close(), gus.close()]);
});
