// Keeps one connection to the server's event stream alive: opens it, notices when it is lost,
// waits, opens it again where it left off, and tells at each step how things stand.

import { asObject, asText, parseJson } from '../contract/read';
import { backoffMs, retryAfterMs } from './backoff';
import { SseParser } from './sse-parser';
import type { SseEvent } from './sse-parser';

/** The server sends something every second and a heartbeat every 15; silence means a dead line. */
export const SILENCE_MS_MAX = 20_000;
/** How often the line is checked for silence. */
const SILENCE_CHECK_MS = 5_000;
/**
 * After a longer absence the stream is not resumed but opened anew: a page that wakes after a
 * night would otherwise have to work through every post of the night before it is live again.
 */
export const RESUME_WITHIN_MS = 60_000;
/** Only the start of an error's message is shown. */
const ERROR_CHARS_MAX = 300;
/** An id that may stand in a header. The server's are numbers. */
const SENDABLE_ID = /^[\x21-\x7e]{1,256}$/;

/** Why there is no connection. */
export type Loss =
  /** No answer at all: the server is down or the network is. */
  | { readonly kind: 'unreachable' }
  /** The server (or a proxy) ended the stream. */
  | { readonly kind: 'closed' }
  /** The line was open, but nothing came any more. */
  | { readonly kind: 'silent' }
  /** The server answered with an error; 503 means that it has too many viewers. */
  | { readonly kind: 'refused'; readonly status: number; readonly message: string | null };

/** How the connection stands. `loss` is null before the first one was lost. */
export type ConnectionState =
  | { readonly kind: 'connecting'; readonly loss: Loss | null }
  | { readonly kind: 'live' }
  | {
      readonly kind: 'waiting';
      readonly loss: Loss;
      /** By this browser's clock. */
      readonly retryAtMs: number;
      /** How many tries in a row have failed. */
      readonly failures: number;
    }
  | { readonly kind: 'closed' };

/** What the connection needs from its surroundings; a test brings its own. */
export interface ConnectionWorld {
  fetch(url: string, init: RequestInit): Promise<Response>;
  now(): number;
  random(): number;
}

/** Who wants to know. */
export interface ConnectionListener {
  onState(state: ConnectionState): void;
  onEvent(event: SseEvent): void;
  /** Events that were too long to be taken in. */
  onOversized(count: number): void;
  /** The absence was too long to resume; what was posted meanwhile will not come. */
  onSkipped(awayMs: number): void;
}

/** The event stream. One at a time: `open` ends what was open before. */
export class Connection {
  readonly #world: ConnectionWorld;
  readonly #listener: ConnectionListener;

  #url = '';
  #abort: AbortController | null = null;
  #retryTimer: ReturnType<typeof setTimeout> | null = null;
  #silenceTimer: ReturnType<typeof setInterval> | null = null;
  #failures = 0;
  #lastLoss: Loss | null = null;
  #lastEventId: string | null = null;
  #lastEventAtMs = 0;
  #lastByteAtMs = 0;
  #serverRetryMs = 0;

  constructor(world: ConnectionWorld, listener: ConnectionListener) {
    this.#world = world;
    this.#listener = listener;
  }

  /** Opens the stream at this address. It does not resume: another address has other posts. */
  open(url: string): void {
    this.#stop();
    this.#url = url;
    this.#failures = 0;
    this.#lastLoss = null;
    this.#lastEventId = null;
    void this.#connect();
  }

  /** Tries again at once, where a wait is under way. */
  retryNow(): void {
    if (this.#retryTimer !== null) {
      this.#stop();
      void this.#connect();
    }
  }

  /** Ends the stream and every timer. */
  close(): void {
    this.#stop();
    this.#listener.onState({ kind: 'closed' });
  }

  #stop(): void {
    this.#abort?.abort();
    this.#abort = null;
    if (this.#retryTimer !== null) {
      clearTimeout(this.#retryTimer);
      this.#retryTimer = null;
    }
    if (this.#silenceTimer !== null) {
      clearInterval(this.#silenceTimer);
      this.#silenceTimer = null;
    }
  }

  async #connect(): Promise<void> {
    const abort = new AbortController();
    this.#abort = abort;
    this.#listener.onState({ kind: 'connecting', loss: this.#lastLoss });
    this.#watchForSilence(abort);
    let loss: Loss;
    let retryAfter: string | null = null;
    try {
      const response = await this.#world.fetch(this.#url, {
        headers: this.#headers(),
        signal: abort.signal,
        cache: 'no-store',
      });
      if (isEventStream(response)) {
        await this.#readEvents(response.body, abort.signal);
        loss = { kind: 'closed' };
      } else {
        loss = await readRefusal(response);
        retryAfter = response.headers.get('Retry-After');
      }
    } catch {
      loss = abort.signal.reason === SILENCE ? { kind: 'silent' } : { kind: 'unreachable' };
    }
    // Unless another connection has taken over, or none is wanted any more.
    if (this.#abort === abort) {
      this.#wait(loss, retryAfterMs(retryAfter));
    }
  }

  #headers(): Record<string, string> {
    const headers: Record<string, string> = { Accept: 'text/event-stream' };
    const awayMs = this.#world.now() - this.#lastEventAtMs;
    if (this.#lastEventId !== null && awayMs > RESUME_WITHIN_MS) {
      this.#lastEventId = null;
      this.#listener.onSkipped(awayMs);
    }
    if (this.#lastEventId !== null) {
      headers['Last-Event-ID'] = this.#lastEventId;
    }
    return headers;
  }

  async #readEvents(body: ReadableStream<Uint8Array>, signal: AbortSignal): Promise<void> {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    const parser = new SseParser();
    this.#listener.onState({ kind: 'live' });
    for (;;) {
      const { done, value } = await reader.read();
      // A piece that was read before the abort must not be delivered after it.
      if (done || signal.aborted) {
        return;
      }
      this.#lastByteAtMs = this.#world.now();
      const { events, oversized } = parser.push(decoder.decode(value, { stream: true }));
      if (parser.lastEventId !== null && SENDABLE_ID.test(parser.lastEventId)) {
        this.#lastEventId = parser.lastEventId;
      }
      this.#serverRetryMs = parser.retryMs ?? this.#serverRetryMs;
      if (events.length > 0) {
        this.#lastEventAtMs = this.#lastByteAtMs;
        // Only now is it known to work: a server that accepts and hangs up must not be hammered.
        this.#failures = 0;
      }
      if (oversized > 0) {
        this.#listener.onOversized(oversized);
      }
      for (const event of events) {
        if (signal.aborted) {
          return;
        }
        this.#listener.onEvent(event);
      }
    }
  }

  #watchForSilence(abort: AbortController): void {
    this.#lastByteAtMs = this.#world.now();
    this.#silenceTimer = setInterval(() => {
      if (this.#world.now() - this.#lastByteAtMs > SILENCE_MS_MAX) {
        abort.abort(SILENCE);
      }
    }, SILENCE_CHECK_MS);
  }

  #wait(loss: Loss, retryAfterHeaderMs: number): void {
    this.#stop();
    this.#failures += 1;
    this.#lastLoss = loss;
    const askedMs = Math.max(this.#serverRetryMs, retryAfterHeaderMs);
    const waitMs = backoffMs(this.#failures, this.#world.random(), askedMs);
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = null;
      void this.#connect();
    }, waitMs);
    const retryAtMs = this.#world.now() + waitMs;
    this.#listener.onState({ kind: 'waiting', loss, retryAtMs, failures: this.#failures });
  }
}

/** The abort reason that tells a silent line from a stream that is not wanted any more. */
const SILENCE = new Error('the server has been silent for too long');

function isEventStream(response: Response): response is Response & { body: ReadableStream<Uint8Array> } {
  const type = response.headers.get('Content-Type') ?? '';
  return response.ok && response.body !== null && type.startsWith('text/event-stream');
}

async function readRefusal(response: Response): Promise<Loss> {
  const object = asObject(parseJson(await response.text()));
  const message = asText(object?.['error'], ERROR_CHARS_MAX);
  return { kind: 'refused', status: response.status, message };
}
