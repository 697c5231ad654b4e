// A server for tests: answers `fetch`, and sends on the event stream what the test says, when it
// says so. Used with fake timers.

import type { DashboardWorld } from '../state/dashboard.svelte';

/** One request that the page made for the event stream, and the test's end of its answer. */
export class FakeStream {
  readonly #encoder = new TextEncoder();
  #controller: ReadableStreamDefaultController<Uint8Array> | null = null;
  isAborted = false;

  constructor(
    readonly url: string,
    readonly headers: Headers,
  ) {}

  /** The stream's body, for the page. */
  body(signal: AbortSignal | null): ReadableStream<Uint8Array> {
    return new ReadableStream({
      start: (controller) => {
        this.#controller = controller;
        signal?.addEventListener('abort', () => {
          this.isAborted = true;
          controller.error(signal.reason);
        });
      },
    });
  }

  /** Sends text as it is. */
  send(text: string): void {
    this.#controller?.enqueue(this.#encoder.encode(text));
  }

  /** Sends an event. */
  event(name: string, data: unknown, id?: string): void {
    const idLine = id === undefined ? '' : `id: ${id}\n`;
    this.send(`event: ${name}\n${idLine}data: ${JSON.stringify(data)}\n\n`);
  }

  /** Sends a post with this number as its sequence and in its address. */
  post(sequence: number, fields: Readonly<Record<string, unknown>> = {}): void {
    this.event('message', { uri: uriOf(sequence), text: `post ${sequence}`, ...fields }, String(sequence));
  }

  /** Ends the answer. */
  end(): void {
    this.#controller?.close();
  }

  /** Breaks the line. */
  fail(): void {
    this.#controller?.error(new TypeError('network error'));
  }
}

/** The address of a test's post. */
export function uriOf(sequence: number): string {
  return `at://did:plc:abcdefghijklmnopqrstuvwx/app.bsky.feed.post/3${sequence}`;
}

/** The smallest `stats` event. */
export function statsOf(
  nowMs: number,
  more: Readonly<Record<string, unknown>> = {},
): Record<string, unknown> {
  const moods = { positive: 1, neutral: 2, negative: 3, unscored: 4 };
  return { now_ms: nowMs, window_s: 60, moods, ...more };
}

/** A page's surroundings with a server in them. */
export class FakeServer implements DashboardWorld {
  /** All requests for the event stream, in order. */
  readonly streams: FakeStream[] = [];
  /** All requests for the history, in order. */
  readonly historyUrls: string[] = [];
  readonly pushedQueries: string[] = [];
  /** How the next request for the stream is answered. */
  answer: 'stream' | 'unreachable' | { status: number; body: string; headers?: Record<string, string> } =
    'stream';
  history: unknown = { bucket_s: 5, buckets: [] };

  async fetch(url: string, init: RequestInit): Promise<Response> {
    const signal = init.signal ?? null;
    if (signal?.aborted === true) {
      throw signal.reason;
    }
    if (url.startsWith('api/history')) {
      this.historyUrls.push(url);
      return this.history === null ? new Response('', { status: 500 }) : Response.json(this.history);
    }
    const stream = new FakeStream(url, new Headers(init.headers));
    this.streams.push(stream);
    if (this.answer === 'unreachable') {
      throw new TypeError('network error');
    }
    if (this.answer !== 'stream') {
      const { status, body, headers } = this.answer;
      return new Response(body, { status, headers: headers ?? {} });
    }
    return new Response(stream.body(signal), { headers: { 'Content-Type': 'text/event-stream' } });
  }

  /** The stream that was asked for last. */
  get stream(): FakeStream {
    const stream = this.streams.at(-1);
    if (stream === undefined) {
      throw new Error('the page has not asked for a stream');
    }
    return stream;
  }

  now(): number {
    return Date.now();
  }

  /** No spread: waits are their shortest. */
  random(): number {
    return 0;
  }

  requestFrame(callback: () => void): void {
    setTimeout(callback, 16);
  }

  pushQuery(query: string): void {
    this.pushedQueries.push(query);
  }
}
