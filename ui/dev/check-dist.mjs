// Checks what the build has made: small enough, and nothing in it that the server's content
// security policy forbids. Runs after each build.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

/** The whole page, every file compressed by itself. */
const GZIP_BYTES_MAX = 60_000;

const dist = fileURLToPath(new URL('../dist', import.meta.url));
const files = readdirSync(dist, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath, entry.name));

/** @type {string[]} */
const faults = [];

const gzipBytes = files.reduce((sum, file) => sum + gzipSync(readFileSync(file)).length, 0);
if (gzipBytes > GZIP_BYTES_MAX) {
  faults.push(`${gzipBytes} bytes compressed, more than ${GZIP_BYTES_MAX}`);
}

const page = readFileSync(join(dist, 'index.html'), 'utf8');
if (/<script(?![^>]*\ssrc=)/i.test(page)) {
  faults.push('index.html has an inline script');
}
if (/<style|\sstyle=|\son\w+=/i.test(page)) {
  faults.push('index.html has an inline style or event handler');
}
if (/(src|href)="(https?:)?\/\//i.test(page)) {
  faults.push('index.html loads something from another server');
}

if (faults.length > 0) {
  process.stderr.write(faults.map((fault) => `dist: ${fault}\n`).join(''));
  process.exitCode = 1;
} else {
  process.stderr.write(`dist: ${files.length} files, ${gzipBytes} bytes compressed\n`);
}
