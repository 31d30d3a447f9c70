// tus-js-client: the tus dialect and two interop versions of the IETF's, with aborts and a line that is cut in the middle of a chunk.
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { join } from 'node:path';

import * as tus from 'tus-js-client';

import { cut } from '../lib/cut.mjs';
import { CA, CONVERSATION, FILES, SCRATCH, TOKEN, URL_, content, done, equal, testCase } from '../lib/interop.mjs';

const MIB = 1 << 20;
const SIZE = 12 * MIB;
const CHUNK = 4 * MIB;
const CUT = 2 * MIB;
const HEADERS = { Authorization: `Bearer ${TOKEN}` };
const DIALECTS = ['tus-v1', 'ietf-draft-03', 'ietf-draft-05'];
const data = content(SIZE);
const ca = readFileSync(CA);

function ask(method, url, headers = {}) {
  return new Promise((resolve, reject) => {
    const request = https.request(url, { method, ca, headers: { ...HEADERS, ...headers } }, async (answer) => {
      const parts = [];
      for await (const part of answer) parts.push(part);
      resolve({ status: answer.statusCode, headers: answer.headers, body: Buffer.concat(parts) });
    });
    request.on('error', reject);
    request.end();
  });
}

async function stored(url) {
  const { status, body } = await ask('GET', url);
  equal(status, 200, 'the status of the download');
  const hash = (bytes) => createHash('sha256').update(bytes).digest('hex');
  equal(hash(body), hash(data), 'what was stored');
}

/** Runs an upload; `watch` sees its progress. Resolves with it when it ends, or was aborted. */
function upload(base, protocol, options = {}, watch = () => {}) {
  return new Promise((resolve, reject) => {
    const made = new tus.Upload(data, {
      // The IETF's dialect has no metadata: the query says the same, in both.
      endpoint: `${base}${FILES}?conversation=${CONVERSATION}&upload_id=${randomBytes(12).toString('hex')}`,
      protocol,
      chunkSize: CHUNK,
      retryDelays: [0, 50, 200],
      headers: HEADERS,
      onError: reject,
      onSuccess: () => resolve(made),
      onProgress: (sent, total) => watch(made, sent, total, resolve),
      ...options,
    });
    made.start();
  });
}

for (const protocol of DIALECTS) {
  await testCase(`${protocol}: an upload in chunks`, async () => {
    await stored((await upload(URL_, protocol)).url);
  });

  await testCase(`${protocol}: a line that is cut in a chunk; it goes on from what was kept`, async () => {
    const line = await cut(CUT);
    const { url } = await upload(line.url, protocol);
    equal(line.cuts, 1, 'cuts');
    await stored(url);
    line.close();
    if (line.up > SIZE + CHUNK) throw new Error(`${line.up} bytes were sent`);
  });
}

await testCase('tus-v1: aborted in a chunk; another object finds it again and goes on', async () => {
  const urlStorage = new tus.FileUrlStorage(join(SCRATCH, 'uploads.json'));
  const options = { urlStorage, fingerprint: async () => 'content', chunkSize: Number.POSITIVE_INFINITY };
  const line = await cut();
  await upload(line.url, 'tus-v1', options, async (made, sent, total, resolve) => {
    if (sent < CUT || made.aborted) return;
    made.aborted = true;
    await made.abort();
    resolve(made);
  });
  const again = await new Promise((resolve, reject) => {
    const made = new tus.Upload(data, {
      endpoint: line.url + FILES,
      headers: HEADERS,
      ...options,
      onError: reject,
      onSuccess: () => resolve(made),
    });
    made.findPreviousUploads().then(([previous]) => {
      made.resumeFromPreviousUpload(previous);
      made.start();
    }, reject);
  });
  await stored(again.url);
  line.close();
});

await testCase('tus-v1: abort(true) terminates it', async () => {
  const made = await upload(URL_, 'tus-v1', {}, async (made, sent, total, resolve) => {
    if (sent < CHUNK || made.aborted) return;
    made.aborted = true;
    await made.abort(true);
    resolve(made);
  });
  const { status } = await ask('HEAD', made.url, { 'Tus-Resumable': '1.0.0' });
  if (status !== 404 && status !== 410) throw new Error(`HEAD is answered with ${status}`);
});

done();
