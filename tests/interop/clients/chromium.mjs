// Debian's Chromium, headless: navigation and fetch over HTTP/3, and WebTransport with the server's own certificate.
import { X509Certificate, createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { EMPTY, chromium, page } from '../lib/chromium.mjs';
import { CA, HANDSHAKE, HOST, ORIGIN, PORT, URL_, done, equal, testCase } from '../lib/interop.mjs';

const certificate = new X509Certificate(readFileSync(CA));
const sha256 = (bytes) => createHash('sha256').update(bytes).digest();
const spki = sha256(certificate.publicKey.export({ type: 'spki', format: 'der' })).toString('base64');
const hash = [...sha256(certificate.raw)];
const SESSION = `${URL_}/v2/session`;

const ours = await page(EMPTY, Number(new URL(ORIGIN).port));
const foreign = await page(EMPTY);
equal(ours, ORIGIN, 'the origin');

const browser = await chromium([
  '--enable-quic',
  `--origin-to-force-quic-on=${HOST}:${PORT}`,
  `--ignore-certificate-errors-spki-list=${spki}`,
]);
let told;

await testCase('navigation over HTTP/3', async () => {
  const tab = await browser.newPage();
  const answer = await tab.goto(URL_ + HANDSHAKE, { timeout: 15_000 });
  equal(answer.status(), 200, 'the status');
  const protocol = await tab.evaluate(() => performance.getEntriesByType('navigation')[0].nextHopProtocol);
  equal(protocol, 'h3', 'the protocol');
});

await testCase('fetch over HTTP/3: the bootstrap', async () => {
  const tab = browser.pages().at(-1);
  told = await tab.evaluate(async (path) => {
    const answer = await fetch(path, { cache: 'no-store' });
    const body = await answer.json();
    // The entry is written when the body is whole, and a moment later.
    for (let tries = 0; tries < 50; tries += 1) {
      const entry = performance.getEntriesByType('resource').find((one) => one.name.endsWith(path));
      if (entry) return { status: answer.status, body, protocol: entry.nextHopProtocol };
      await new Promise((later) => setTimeout(later, 20));
    }
    return { status: answer.status, body };
  }, HANDSHAKE);
  equal(told.status, 200, 'the status');
  equal(told.protocol, 'h3', 'the protocol');
});

await testCase('fetch over HTTP/3: a refusal is problem+json', async () => {
  const tab = browser.pages().at(-1);
  const [status, kind] = await tab.evaluate(async (path) => {
    const answer = await fetch(path, { cache: 'no-store' });
    return [answer.status, answer.headers.get('content-type')];
  }, HANDSHAKE.replace('10001', '99'));
  if (status < 400 || status > 499) throw new Error(`the status is ${status}`);
  equal(kind, 'application/problem+json', 'content-type');
});

await testCase('the bootstrap names the certificate that WebTransport will see', async () => {
  const hashes = told.body.web_certificate_hashes;
  if (!hashes.includes(Buffer.from(hash).toString('base64'))) throw new Error(`it names ${hashes}`);
});

await testCase('WebTransport with serverCertificateHashes: bytes that are no frame are answered with an end', async () => {
  const tab = await browser.newPage();
  await tab.goto(ours);
  const ended = await tab.evaluate(
    async ([url, hash]) => {
      const value = new Uint8Array(hash);
      const session = new WebTransport(url, { serverCertificateHashes: [{ algorithm: 'sha-256', value }] });
      await session.ready;
      const stream = await session.createBidirectionalStream();
      const writer = stream.writable.getWriter();
      await writer.write(new Uint8Array([0, ...new TextEncoder().encode('GET / HTTP/1.1\r\nhost: x\r\n\r\n')]));
      const late = new Promise((_, fail) => setTimeout(() => fail(new Error('the session goes on')), 8000));
      const { closeCode } = await Promise.race([session.closed, late]);
      return closeCode;
    },
    [SESSION, hash],
  );
  // VERSION: the first byte of a frame is its version.
  equal(ended, 3, 'the close code');
});

await testCase('WebTransport: a page signs in with its own cryptography, and its heartbeat comes back', async () => {
  const tab = await browser.newPage();
  await tab.goto(ours);
  await tab.addScriptTag({ path: fileURLToPath(new URL('../lib/native.js', import.meta.url)) });
  const serverStatic = [...serverKey(told.body.certificate)];
  const signed = await tab.evaluate(
    ([url, hash, key]) => globalThis.signIn(url, new Uint8Array(hash), new Uint8Array(key)),
    [SESSION, hash, serverStatic],
  );
  equal(signed, true, 'signing in');
});

/** Of a `ServerCertificate`: the static key, the first field of its body, which is its first field. */
function serverKey(base64) {
  const outer = Buffer.from(base64, 'base64');
  const body = outer.subarray(2, 2 + outer[1]);
  equal(`${outer[0]} ${body[0]} ${body[1]}`, '10 10 32', 'the certificate');
  return body.subarray(2, 34);
}

await testCase('WebTransport: a page of another origin is refused', async () => {
  const tab = await browser.newPage();
  await tab.goto(foreign);
  const up = await tab.evaluate(
    async ([url, hash]) => {
      const value = new Uint8Array(hash);
      const session = new WebTransport(url, { serverCertificateHashes: [{ algorithm: 'sha-256', value }] });
      session.closed.catch(() => {});
      return session.ready.then(() => true, () => false);
    },
    [SESSION, hash],
  );
  equal(up, false, 'whether it is up');
});

await browser.close();
done();
