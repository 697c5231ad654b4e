// A small server that speaks the contract of docs/reference/http-api.md with made-up posts, for
// development without a Wingbeat server and for tests that need faults on demand.
//
//   node dev/mock-server.mjs [--port 3000] [--rate 20] [--dist dist]

import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize, sep } from 'node:path';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';

import { MockStream } from './mock-stream.mjs';

const MOODS = ['positive', 'neutral', 'negative', 'unscored'];
const PARAMETERS = ['sentiment', 'topic', 'backfill'];

/** The server's policy: nothing inline, nothing from elsewhere. */
export const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
  "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** @type {Record<string, string>} */
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** Answers of one mock server. */
class MockAnswers {
  /** How many browsers are let in; the next one gets 503. */
  clientsMax = 100;

  /**
   * @param {MockStream} stream
   * @param {string | null} dist
   */
  constructor(stream, dist) {
    this.stream = stream;
    this.dist = dist;
  }

  /**
   * @param {import('node:http').IncomingMessage} request
   * @param {import('node:http').ServerResponse} response
   */
  async answer(request, response) {
    const url = new URL(request.url ?? '/', 'http://mock');
    switch (url.pathname) {
      case '/api/stream':
        return this.#openStream(url, request, response);
      case '/api/history': {
        const minutes = Number(url.searchParams.get('minutes') ?? 15);
        const isValid = Number.isInteger(minutes) && minutes >= 1 && minutes <= 60;
        return isValid
          ? sendJson(response, 200, this.stream.history(minutes))
          : sendJson(response, 400, { error: 'minutes must be 1 to 60' });
      }
      case '/api/status':
        return sendJson(response, 200, { version: 'mock', clients: this.stream.clientCount });
      default:
        return this.#sendFile(url.pathname, response);
    }
  }

  /**
   * @param {URL} url
   * @param {import('node:http').IncomingMessage} request
   * @param {import('node:http').ServerResponse} response
   */
  #openStream(url, request, response) {
    const unknown = [...url.searchParams.keys()].find((name) => !PARAMETERS.includes(name));
    const mood = url.searchParams.get('sentiment');
    const topic = url.searchParams.get('topic');
    if (unknown !== undefined) {
      return sendJson(response, 400, { error: `unknown parameter ${unknown}` });
    }
    if (mood !== null && !MOODS.includes(mood)) {
      return sendJson(response, 400, { error: `unknown sentiment ${mood}` });
    }
    if (topic === 'unheard_of') {
      return sendJson(response, 400, { error: `unknown topic ${topic}` });
    }
    if (this.stream.clientCount >= this.clientsMax) {
      response.setHeader('Retry-After', '3');
      return sendJson(response, 503, { error: 'too many viewers' });
    }
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
    const lastEventId = request.headers['last-event-id'];
    this.stream.listen(
      { response, mood, topic },
      {
        lastEventId: typeof lastEventId === 'string' ? Number(lastEventId) : null,
        backfill: Number(url.searchParams.get('backfill') ?? 25),
      },
    );
  }

  /**
   * @param {string} path
   * @param {import('node:http').ServerResponse} response
   */
  async #sendFile(path, response) {
    const name = normalize(path === '/' ? '/index.html' : path);
    if (this.dist === null || name.split(sep).includes('..')) {
      return sendJson(response, 404, { error: 'no such page' });
    }
    try {
      const body = await readFile(join(this.dist, name));
      response.writeHead(200, {
        'Content-Type': TYPES[extname(name)] ?? 'application/octet-stream',
        'Content-Security-Policy': CONTENT_SECURITY_POLICY,
        'X-Content-Type-Options': 'nosniff',
      });
      response.end(body);
    } catch {
      sendJson(response, 404, { error: 'no such page' });
    }
  }
}

/**
 * @param {import('node:http').ServerResponse} response
 * @param {number} status
 * @param {unknown} body
 */
function sendJson(response, status, body) {
  response.writeHead(status, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify(body));
}

/**
 * Starts a mock server on 127.0.0.1.
 * @param {{ port?: number, ratePerS?: number, historyRatePerS?: number, dist?: string | null }} options
 */
export async function startMockServer({ port = 0, ratePerS = 20, historyRatePerS = ratePerS, dist = null }) {
  const stream = new MockStream({ ratePerS, historyRatePerS });
  const answers = new MockAnswers(stream, dist);
  const server = createServer((request, response) => {
    answers.answer(request, response).catch((error) => response.destroy(error));
  });
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve(undefined));
  });
  stream.start();
  const address = server.address();
  const actualPort = typeof address === 'object' && address !== null ? address.port : port;
  return {
    url: `http://127.0.0.1:${actualPort}`,
    stream,
    answers,
    async stop() {
      stream.stop();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '3000' },
      rate: { type: 'string', default: '20' },
      dist: { type: 'string' },
    },
  });
  const mock = await startMockServer({
    port: Number(values.port),
    ratePerS: Number(values.rate),
    dist: values.dist ?? null,
  });
  process.stderr.write(`mock server with made-up posts: ${mock.url}\n`);
}
