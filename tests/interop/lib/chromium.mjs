// Debian's Chromium, headless, and pages for it.
import { execFileSync } from 'node:child_process';
import { createReadStream } from 'node:fs';
import http from 'node:http';
import { extname, join, normalize } from 'node:path';

import { chromium as browsers } from 'playwright-core';

import { HOST, SCRATCH } from './interop.mjs';

const KINDS = { '.mjs': 'text/javascript', '.js': 'text/javascript', '.wasm': 'application/wasm' };

/** What an empty page answers. */
export const EMPTY = (_, answer) => {
  answer.setHeader('content-type', 'text/html');
  answer.end('<!doctype html><title>page</title>');
};

/** The same, and the files of a folder. */
export const folder = (root) => (request, answer) => {
  const path = normalize(new URL(request.url, 'http://page').pathname);
  if (path === '/') return EMPTY(request, answer);
  answer.setHeader('content-type', KINDS[extname(path)] ?? 'application/octet-stream');
  const file = createReadStream(join(root, path));
  file.on('error', () => answer.writeHead(404).end());
  file.pipe(answer);
};

/** Serves a page on this machine; its origin, which browsers take for a safe one. */
export async function page(answer, port = 0) {
  const server = http.createServer(answer);
  await new Promise((listening) => server.listen(port, '127.0.0.1', listening));
  return `http://127.0.0.1:${server.address().port}`;
}

/** A browser with a profile of its own. */
export function chromium(more = []) {
  const executablePath = execFileSync('which', ['chromium'], { encoding: 'utf8' }).trim();
  return browsers.launchPersistentContext(`${SCRATCH}/profile`, {
    executablePath,
    headless: true,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      `--host-resolver-rules=MAP ${HOST} 127.0.0.1`,
      ...more,
    ],
  });
}
