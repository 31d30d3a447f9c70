// What every JavaScript client here shares: see interop.py.

export const HOST = 'localhost';
export const PORT = Number(process.env.NTP_PORT);
export const URL_ = `https://${HOST}:${PORT}`;
export const CA = process.env.NTP_CA;
export const TOKEN = process.env.NTP_TOKEN;
export const CONVERSATION = process.env.NTP_CONVERSATION;
export const SCRATCH = process.env.NTP_SCRATCH;
export const ORIGIN = process.env.NTP_ORIGIN;
export const HANDSHAKE = '/v2/handshake?app_id=10001&version=2.4.1';
export const FILES = '/v2/files';

let failed = 0;

/** One thing that is tried: what it throws is its failure. */
export async function testCase(what, run) {
  try {
    await run();
    console.log(`ok ${what}`);
  } catch (why) {
    failed += 1;
    console.error(why);
    console.log(`FAIL ${what}: ${String(why?.message ?? why).replaceAll(/\s+/g, ' ').slice(0, 300)}`);
  }
}

/** Ends the program: with 1 if a case failed. */
export function done() {
  process.exit(failed === 0 ? 0 : 1);
}

export function equal(found, wanted, what = 'value') {
  if (found !== wanted) throw new Error(`${what} is ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`);
}

/** Bytes that nothing compresses much, the same every time. */
export function content(size, seed = 1) {
  const bytes = Buffer.alloc(size);
  let state = seed >>> 0 || 1;
  for (let at = 0; at + 4 <= size; at += 4) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes.writeUInt32LE(state >>> 0, at);
  }
  return bytes;
}
