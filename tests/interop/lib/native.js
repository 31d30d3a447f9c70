// The native protocol in a page, from its specification and with nothing but the browser's own cryptography: see native.py. It is given to the
// page as it stands, and leaves one function behind.

globalThis.signIn = async (url, hash, serverStatic) => {
  const subtle = crypto.subtle;
  const text = (s) => new TextEncoder().encode(s);
  const join = (...parts) => new Uint8Array(parts.flatMap((part) => [...part]));
  const u64 = (n) => new Uint8Array(new BigUint64Array([BigInt(n)]).buffer).reverse();
  const u32 = (n) => new Uint8Array([n >>> 24, n >>> 16, n >>> 8, n]);
  const sha256 = async (data) => new Uint8Array(await subtle.digest('SHA-256', data));

  const hmac = async (key, data) => {
    const imported = await subtle.importKey('raw', key, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
    return new Uint8Array(await subtle.sign('HMAC', imported, data));
  };
  const expand = async (key, info, length) => {
    let out = new Uint8Array();
    let block = new Uint8Array();
    for (let n = 1; out.length < length; n += 1) {
      block = await hmac(key, join(block, info, [n]));
      out = join(out, block);
    }
    return out.slice(0, length);
  };
  const gcm = async (way, key, iv, data, additionalData) => {
    const imported = await subtle.importKey('raw', key, 'AES-GCM', false, [way]);
    return new Uint8Array(await subtle[way]({ name: 'AES-GCM', iv, additionalData }, imported, data));
  };
  const raw = async (key) => new Uint8Array(await subtle.exportKey('raw', key));
  const exchange = async (pair, theirs) => {
    const key = await subtle.importKey('raw', theirs, 'X25519', false, []);
    return new Uint8Array(await subtle.deriveBits({ name: 'X25519', public: key }, pair.privateKey, 256));
  };

  const table = Array.from({ length: 256 }, (_, byte) => {
    let n = byte;
    for (let bit = 0; bit < 8; bit += 1) n = (n >>> 1) ^ (n & 1 ? 0x82f63b78 : 0);
    return n;
  });
  const crc32c = (data) => {
    let crc = 0xffffffff;
    for (const byte of data) crc = (crc >>> 8) ^ table[(crc ^ byte) & 0xff];
    return (crc ^ 0xffffffff) >>> 0;
  };
  const head = (kind, length, sequence) => join([2, kind, 0, 0], u32(length), u64(sequence));
  const frame = (kind, sequence, payload) => {
    const covered = join(head(kind, payload.length, sequence), payload);
    return join(covered, u32(crc32c(covered)));
  };
  const field = (number, value) => {
    const varint = (n) => {
      const out = [];
      for (let rest = BigInt(n); ; rest >>= 7n) {
        const last = rest <= 0x7fn;
        out.push(Number(rest & 0x7fn) | (last ? 0 : 0x80));
        if (last) return out;
      }
    };
    if (typeof value === 'number') return join(varint(number << 3), varint(value));
    const bytes = typeof value === 'string' ? text(value) : value;
    return join(varint((number << 3) | 2), varint(bytes.length), bytes);
  };

  const transport = new WebTransport(url, { serverCertificateHashes: [{ algorithm: 'sha-256', value: hash }] });
  await transport.ready;
  // CONTROL: a stream that begins with its number.
  const stream = await transport.createBidirectionalStream();
  const [writer, reader] = [stream.writable.getWriter(), stream.readable.getReader()];
  let held = new Uint8Array();
  const next = async () => {
    for (;;) {
      const length = held.length >= 8 ? new DataView(held.buffer, held.byteOffset).getUint32(4) : Number.POSITIVE_INFINITY;
      if (held.length >= 20 + length) {
        const one = { kind: held[1], head: held.slice(0, 16), payload: held.slice(16, 16 + length) };
        held = held.slice(20 + length);
        return one;
      }
      const { value, done } = await reader.read();
      if (done) throw new Error('the stream ended');
      held = join(held, value);
    }
  };

  // Noise_IK_25519_AESGCM_SHA256.
  let h = join(text('Noise_IK_25519_AESGCM_SHA256'), new Uint8Array(4));
  let ck = h;
  let [key, n] = [null, 0];
  const mix = async (data) => { h = await sha256(join(h, data)); };
  const mixKey = async (secret) => {
    const out = await expand(await hmac(ck, secret), new Uint8Array(), 64);
    [ck, key, n] = [out.slice(0, 32), out.slice(32), 0];
  };
  const seal = async (plain) => {
    const sealed = await gcm('encrypt', key, join(u32(0), u64(n++)), plain, h);
    await mix(sealed);
    return sealed;
  };
  const open = async (sealed) => {
    const plain = await gcm('decrypt', key, join(u32(0), u64(n++)), sealed, h);
    await mix(sealed);
    return plain;
  };
  const pair = (name, uses) => subtle.generateKey(name, false, uses);
  const [e, s] = [await pair('X25519', ['deriveBits']), await pair('X25519', ['deriveBits'])];
  const signing = await pair('Ed25519', ['sign', 'verify']);
  await mix(text('ntproto/2.4.1'));
  await mix(serverStatic);
  const ephemeral = await raw(e.publicKey);
  await mix(ephemeral);
  await mixKey(await exchange(e, serverStatic));
  const device = await seal(await raw(s.publicKey));
  await mixKey(await exchange(s, serverStatic));
  const said = join(text('ntproto ticket-pop v1'), await sha256(new Uint8Array()), h);
  const request = join(
    field(5, new Uint8Array()),
    field(6, await raw(signing.publicKey)),
    field(7, await sha256(text('interop'))),
    field(8, Date.now()),
    field(9, '2.4.1'),
    field(10, 'web'),
    field(11, new Uint8Array(await subtle.sign('Ed25519', signing.privateKey, said))),
    field(12, 10001),
    field(13, 'a page'),
  );
  await writer.write(join([0], frame(1, 1, join(ephemeral, device, await seal(request)))));
  const answer = await next();
  if (answer.kind !== 2) throw new Error(`a frame of type ${answer.kind} answers`);
  const theirs = answer.payload.slice(0, 32);
  await mix(theirs);
  await mixKey(await exchange(e, theirs));
  await mixKey(await exchange(s, theirs));
  const grant = await open(answer.payload.slice(32));
  if (grant[0] !== 0x0a) throw new Error('refused');

  // The session's keys, and one heartbeat there and back.
  const split = await expand(await hmac(ck, new Uint8Array()), new Uint8Array(), 64);
  const bound = await sha256(join(h, new Uint8Array(32), [3]));
  const ms = await hmac(text('QQNT-KEY-2024'), split);
  const kdf = (label, length) => expand(ms, join(text(`ntproto/2.4.1 ${label}`), [0, 0], bound), length);
  const nonce = (iv) => iv.map((byte, at) => byte ^ join(u32(0), u64(1))[at]);
  const beat = crypto.getRandomValues(new Uint8Array(8));
  const mine = nonce(await kdf('c2s iv', 12));
  const top = head(3, 44, 2);
  const sealed = await gcm('encrypt', await kdf('c2s key', 32), mine, beat, join(top, u64(1)));
  await writer.write(frame(3, 2, join(u64(1), mine, sealed)));
  const echo = await next();
  if (echo.kind !== 4) throw new Error(`a frame of type ${echo.kind} answers the heartbeat`);
  const back = nonce(await kdf('s2c iv', 12));
  const plain = await gcm('decrypt', await kdf('s2c key', 32), back, echo.payload.slice(20), join(echo.head, u64(1)));
  if (plain.join() !== beat.join()) throw new Error('the heartbeat came back as another');
  transport.close({ closeCode: 0, reason: '' });
  return true;
};
