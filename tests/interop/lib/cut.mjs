// A line that breaks: see cut.py.
import net from 'node:net';

import { HOST, PORT } from './interop.mjs';

/** A proxy that cuts one connection after so many bytes to the server, and lets the next ones through. */
export async function cut(limit) {
  const line = { cuts: 0, up: 0, left: limit };
  const server = net.createServer((near) => {
    const far = net.connect(PORT, '127.0.0.1');
    let passed = 0;
    near.on('data', (data) => {
      passed += data.length;
      line.up += data.length;
      if (line.left !== undefined && passed > line.left) {
        line.left = undefined;
        line.cuts += 1;
        near.resetAndDestroy();
        far.resetAndDestroy();
        return;
      }
      if (!far.write(data)) near.pause();
    });
    far.on('drain', () => near.resume());
    far.pipe(near);
    near.on('end', () => far.end());
    for (const [one, other] of [[near, far], [far, near]]) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  line.url = `https://${HOST}:${server.address().port}`;
  line.close = () => server.close();
  return line;
}
