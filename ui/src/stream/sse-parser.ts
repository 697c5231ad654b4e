// Takes apart a stream of server-sent events, as the HTML standard defines it
// (https://html.spec.whatwg.org/multipage/server-sent-events.html).
//
// The browser's own EventSource would hide what the page must tell its reader: the status and the
// message of a refused connection, the moment of the next try, a connection that has gone silent.
// It also forgets the last id when the page has to open a new one. So the stream is read with
// `fetch`, and this is its parser.

/** One event. */
export interface SseEvent {
  /** The event's name; `message` where it has none. */
  readonly name: string;
  /** The id that this very event carried; null where it had none. */
  readonly id: string | null;
  readonly data: string;
}

/** What came out of one piece of the stream. */
export interface SseBatch {
  readonly events: readonly SseEvent[];
  /** Events that were longer than `EVENT_CHARS_MAX` and were passed over. */
  readonly oversized: number;
}

/** A post is a few kilobytes, the stats are a few more. A longer event is broken or an attack. */
export const EVENT_CHARS_MAX = 1 << 20;

/** A parser for one connection. Pieces may be cut anywhere. */
export class SseParser {
  /** The last id seen, to resume from; null before the first. */
  lastEventId: string | null = null;
  /** The delay before a new connection that the server asked for, in ms; null where it did not. */
  retryMs: number | null = null;

  #rest = '';
  #endedWithCarriageReturn = false;
  #isFirstPiece = true;

  #name = '';
  #id: string | null = null;
  #data: string[] = [];
  #eventChars = 0;
  #isOversized = false;

  /** Takes the next piece of text and gives the events that it completes. */
  push(piece: string): SseBatch {
    const events: SseEvent[] = [];
    let oversized = 0;
    for (const line of this.#lines(piece)) {
      if (line !== '') {
        this.#takeLine(line);
        continue;
      }
      if (this.#isOversized) {
        oversized += 1;
      } else if (this.#data.length > 0) {
        const name = this.#name === '' ? 'message' : this.#name;
        events.push({ name, id: this.#id, data: this.#data.join('\n') });
      }
      this.#startEvent();
    }
    return { events, oversized };
  }

  #startEvent(): void {
    this.#name = '';
    this.#id = null;
    this.#data = [];
    this.#eventChars = 0;
    this.#isOversized = false;
  }

  /** Cuts complete lines off; they may end with LF, CR or CR LF, even across pieces. */
  #lines(piece: string): string[] {
    let text = piece;
    if (this.#isFirstPiece && text !== '') {
      this.#isFirstPiece = false;
      text = text.replace(/^\uFEFF/, '');
    }
    if (this.#endedWithCarriageReturn && text !== '') {
      this.#endedWithCarriageReturn = false;
      text = text.replace(/^\n/, '');
    }
    this.#endedWithCarriageReturn ||= text.endsWith('\r');
    const lines = (this.#rest + text).split(/\r\n|\r|\n/);
    this.#rest = lines.pop() ?? '';
    if (this.#rest.length > EVENT_CHARS_MAX) {
      // Let go of what will never be used; the event stays marked until its end comes.
      this.#isOversized = true;
      this.#rest = ':';
    }
    return lines;
  }

  #takeLine(line: string): void {
    this.#eventChars += line.length;
    if (this.#eventChars > EVENT_CHARS_MAX) {
      this.#isOversized = true;
      this.#data = [];
    }
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'data' && !this.#isOversized) {
      this.#data.push(value);
    } else if (field === 'event') {
      this.#name = value;
    } else if (field === 'id' && !value.includes('\0')) {
      this.#id = value;
      this.lastEventId = value;
    } else if (field === 'retry' && /^\d{1,9}$/.test(value)) {
      this.retryMs = Number(value);
    }
  }
}
