// Our page in Debian's Chromium: the client core over WebTransport talks with `ntp`, through a server that is killed meanwhile. What the page runs is
// the example of the documentation.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import https from 'node:https';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { chromium, folder, page } from '../lib/chromium.mjs';
import { HANDSHAKE, SCRATCH, done, equal, testCase } from '../lib/interop.mjs';

const NTP = process.env.NTP;
/** Without what tells clients of the other server: it would be settings of this one. */
const ENVIRONMENT = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('NTP')));
/** How long anything may take on a busy machine. */
const PATIENCE = 30_000;
/** What a program may say: all that is sent here and more. */
const MOST = 16 << 20;

const origin = await page(folder(fileURLToPath(new URL('../web', import.meta.url))));

/** A server that can be killed: it comes back on its port. */
class Server {
  #process;
  #listen = '127.0.0.1:0';

  async start() {
    const settings = ['--public-host', 'localhost', '--data-dir', `${SCRATCH}/server`, '--open-registration', 'true'];
    const pages = ['--web-origins', origin, '--log-level', 'error'];
    const begin = ['serve', '--json', '--end-with-stdin', '--listen', this.#listen];
    this.#process = spawn(NTP, [...begin, ...settings, ...pages], {
      env: ENVIRONMENT,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const [line] = await once(createInterface({ input: this.#process.stdout }), 'line');
    const told = JSON.parse(line);
    this.#listen = told.listening;
    this.connect = told.connect;
    this.https = told.https;
  }

  async kill() {
    this.#process.kill('SIGKILL');
    await once(this.#process, 'exit');
  }

  /** What it tells pages of its certificates; the operator's own page would have it from there. */
  async hashes() {
    const url = new URL(HANDSHAKE, this.https);
    const [answer] = await once(https.get(url, { rejectUnauthorized: false }), 'response');
    const parts = await answer.setEncoding('utf8').toArray();
    return JSON.parse(parts.join('')).web_certificate_hashes;
  }
}

/** `ntp`, as somebody. */
async function ntp(...arguments_) {
  const options = { env: { ...ENVIRONMENT, NTP_HOME: `${SCRATCH}/home` }, maxBuffer: MOST, timeout: PATIENCE };
  const { stdout } = await promisify(execFile)(NTP, arguments_, options);
  return stdout.trim().split('\n').filter(Boolean).map((line) => JSON.parse(line));
}

const receive = async (count) => (await ntp('recv', '--count', String(count))).map((one) => one.text);

const server = new Server();
await server.start();
const hashes = (await server.hashes()).map((hash) => [...Buffer.from(hash, 'base64')]);
const [{ uin: bob }] = await ntp('register', '--connect', server.connect, '--open', '--json');
const browser = await chromium();
const tab = await browser.newPage();
tab.on('console', (said) => console.error('page:', said.text()));
tab.on('pageerror', (error) => console.error('page:', error));

/** Opens the page, or loads it again: it shows lines. */
async function open() {
  await tab.goto(origin);
  await tab.evaluate(
    async ([connect, hashes]) => {
      const { chat } = await import('/example.mjs');
      globalThis.lines = [];
      const certificates = hashes.map((hash) => new Uint8Array(hash));
      globalThis.page = await chat(connect, certificates, (line) => globalThis.lines.push(line));
    },
    [server.connect, hashes],
  );
}

/** Waits until the page shows lines that begin so; what follows there. */
async function shows(beginning, count = 1) {
  const found = await tab.waitForFunction(
    ([beginning, count]) => {
      const found = globalThis.lines.filter((line) => line.startsWith(beginning));
      return found.length >= count && found;
    },
    [beginning, count],
    { timeout: PATIENCE },
  );
  const lines = await found.jsonValue();
  equal(lines.length, count, `lines that begin with ${beginning}`);
  return lines.map((line) => line.slice(beginning.length));
}

const say = (text) => tab.evaluate(([uin, text]) => void globalThis.page.say(BigInt(uin), text), [String(bob), text]);

let me;

await testCase('a page registers over WebTransport', async () => {
  await open();
  [me] = await shows('online as ');
});

await testCase('it writes to a native client, and hears the answer', async () => {
  await say('hello from a page');
  equal((await receive(1))[0], 'hello from a page', 'the message');
  equal((await shows('number '))[0], "1 is on the server's disk", 'what became of it');
  await ntp('send', '--json', me, 'hello yourself');
  equal((await shows(`${bob}: `))[0], 'hello yourself', 'the answer');
});

await testCase('many messages keep their order, however much waits to be taken', async () => {
  const texts = Array.from({ length: 40 }, (_, n) => `number ${n} ${'x'.repeat(n * 1_000)}`);
  for (const text of texts) await say(text);
  equal(JSON.stringify(await receive(texts.length)), JSON.stringify(texts), 'what came');
});

await testCase('the server is killed: the page comes back by itself, and nothing is lost or doubled', async () => {
  await server.kill();
  await say('are you there?');
  await shows('offline: ');
  await server.start();
  await shows('online as ', 2);
  equal((await receive(1))[0], 'are you there?', 'the message');
  await ntp('send', '--json', me, 'I am');
  equal(JSON.stringify(await shows(`${bob}: `, 2)), JSON.stringify(['hello yourself', 'I am']), 'what was heard');
});

await testCase('a second page of the same device is refused, as long as the first is there', async () => {
  const other = await browser.newPage();
  await other.goto(origin);
  const refused = await other.evaluate(async () => {
    const { DatabaseStore } = await import('/store.mjs');
    return DatabaseStore.open('chat').then(() => 'it was let in', (error) => error.message);
  });
  equal(refused, 'another page has chat: one at a time speaks for a device', 'the refusal');
  await other.close();
});

await testCase('a page that is loaded again is the same device, and hears what it missed', async () => {
  await tab.goto('about:blank');
  await ntp('send', '--json', me, 'while you were away');
  await open();
  equal((await shows('online as '))[0], me, 'the account');
  equal((await shows(`${bob}: `))[0], 'while you were away', 'what was heard');
});

await testCase('it closes, twice, and lets go of what it kept', async () => {
  const after = await tab.evaluate(async () => {
    const { DatabaseStore } = await import('/store.mjs');
    await Promise.all([globalThis.page.close(), globalThis.page.close()]);
    await globalThis.page.close();
    const store = await DatabaseStore.open('chat');
    const kept = await store.load();
    store.close();
    return kept.length > 0;
  });
  equal(after, true, 'whether another may have it');
  await open();
  equal((await shows('online as '))[0], me, 'the account');
});

await testCase('a server whose certificate is another one is not talked to', async () => {
  await tab.goto(origin);
  const heard = await tab.evaluate(async (connect) => {
    const { Host, load, newDevice, random } = await import('/host.mjs');
    await load();
    const nothing = async () => {};
    const store = { load: nothing, begin: nothing, append: nothing, isLarge: false, close() {} };
    const certificateHashes = async () => [new Uint8Array(32)];
    const host = await Host.open(connect, { device: newDevice(random()), open: true }, { store, certificateHashes });
    const first = new Promise((resolve) => {
      for (const type of ['online', 'offline']) host.addEventListener(type, () => resolve(type), { once: true });
    });
    host.start();
    const heard = await first;
    await host.close();
    return heard;
  }, server.connect);
  equal(heard, 'offline', 'what was heard first');
});

await testCase('a page hears why no session could be opened', async () => {
  const why = await tab.evaluate(async (connect) => {
    const { Host, newDevice, random } = await import('/host.mjs');
    const nothing = async () => {};
    const store = { load: nothing, begin: nothing, append: nothing, isLarge: false, close() {} };
    const certificateHashes = () => Promise.reject(new Error('nobody tells hashes'));
    const host = await Host.open(connect, { device: newDevice(random()), open: true }, { store, certificateHashes });
    const error = new Promise((resolve) => host.addEventListener('error', resolve, { once: true }));
    host.start();
    const { detail } = await error;
    await host.close();
    return detail.cause.message;
  }, server.connect);
  equal(why, 'nobody tells hashes', 'the cause');
});

await testCase('a store is closed when no client can begin', async () => {
  const heard = await tab.evaluate(async () => {
    const { Host, newDevice, random } = await import('/host.mjs');
    const { DatabaseStore } = await import('/store.mjs');
    const device = newDevice(random());
    const refused = await Host.open('nonsense', { device }, { store: await DatabaseStore.open('other') }).catch(() => 'refused');
    (await DatabaseStore.open('other')).close();
    return refused;
  });
  equal(heard, 'refused', 'a client without a server');
});

await testCase('a host and its client: addresses, confirmations', async () => {
  const [urls, confirmed] = await tab.evaluate(async () => {
    const { Host } = await import('/host.mjs');
    const outputs = [];
    const client = (host) => ({
      host,
      port: 7424,
      poll: () => outputs.shift() ?? { type: 'wait', at: null },
      start: () => outputs.push({ type: 'connect' }),
      confirm: (_mono, _unix, position) => outputs.push({ type: 'store', op: position, record: position }),
      stored() {},
      disconnected() {},
      close: () => outputs.push({ type: 'event', event: { type: 'stopped' } }),
    });
    const urls = [];
    const { WebTransport } = globalThis;
    globalThis.WebTransport = class {
      constructor(url) {
        urls.push(url);
        throw new Error('there is no network');
      }
    };
    for (const name of ['2001:db8::1', 'ntp.example']) {
      const host = new Host(client(name), { store: { close() {} } });
      const error = new Promise((resolve) => host.addEventListener('error', resolve, { once: true }));
      host.start();
      await error;
      await host.close();
    }
    globalThis.WebTransport = WebTransport;

    const [confirmed, durable] = [[], []];
    const append = (record) => {
      confirmed.push(Number(record));
      return new Promise((resolve) => durable.push(resolve));
    };
    const soon = () => new Promise((resolve) => setTimeout(resolve));
    const host = new Host(client('ntp.example'), { store: { append, close() {} } });
    host.confirm(1n);
    await soon();
    for (const position of [2n, 3n, 5n, 4n]) host.confirm(position);
    await soon();
    durable.shift()();
    await soon();
    host.confirm(6n);
    host.confirm(7n);
    const closed = host.close();
    while (confirmed.length < 3) {
      await soon();
      durable.shift()?.();
    }
    durable.forEach((resolve) => resolve());
    await closed;
    return [urls, confirmed];
  });
  const wanted = ['https://[2001:db8::1]:7424/v2/session', 'https://ntp.example:7424/v2/session'];
  equal(JSON.stringify(urls), JSON.stringify(wanted), 'where sessions are opened');
  equal(JSON.stringify(confirmed), '[1,5,7]', 'what was written down');
});

await testCase('a store that fails loses nothing that it has', async () => {
  const [heard, kept] = await tab.evaluate(async () => {
    const { DatabaseStore } = await import('/store.mjs');
    const store = await DatabaseStore.open('small');
    const { add } = IDBObjectStore.prototype;
    const heard = [];
    const attempt = async (broken, step) => {
      IDBObjectStore.prototype.add = broken ?? add;
      heard.push(await step().then(() => 'kept', (error) => error.name));
    };
    // A record that can't even be asked for, and one that the disk has no room for.
    const impossible = () => {
      throw new RangeError();
    };
    const full = function () {
      Object.defineProperty(this.transaction, 'error', { value: new DOMException('', 'QuotaExceededError') });
      this.transaction.abort();
    };
    await attempt(undefined, () => store.begin(Uint8Array.of(1)));
    await attempt(impossible, () => store.begin(Uint8Array.of(2)));
    await attempt(full, () => store.append(Uint8Array.of(3)));
    await attempt(undefined, () => store.append(Uint8Array.of(4)));
    await attempt(impossible, () => store.append(Uint8Array.of(5)));
    await attempt(undefined, () => store.append(Uint8Array.of(6)));
    const kept = [...(await store.load())];
    store.close();
    return [heard, kept];
  });
  const wanted = ['kept', 'RangeError', 'QuotaExceededError', 'kept', 'RangeError', 'RangeError'];
  equal(JSON.stringify(heard), JSON.stringify(wanted), 'what was heard');
  equal(JSON.stringify(kept), '[1,4]', 'what is kept');
});

await browser.close();
await server.kill();
done();
