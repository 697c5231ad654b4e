// The parser against the HTML standard, and against any way in which the network may cut a stream.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { EVENT_CHARS_MAX, SseParser } from './sse-parser';

function parse(...pieces: string[]) {
  const parser = new SseParser();
  return pieces.flatMap((piece) => [...parser.push(piece).events]);
}

describe('SseParser', () => {
  test('reads names, ids and data', () => {
    expect(parse('id: 7\nevent: stats\ndata: {}\n\ndata: hi\n\n')).toEqual([
      { name: 'stats', id: '7', data: '{}' },
      { name: 'message', id: null, data: 'hi' },
    ]);
  });

  test('joins data lines, takes one space off, and needs no colon', () => {
    expect(parse('data:  two\ndata:three\ndata\n\n')).toEqual([
      { name: 'message', id: null, data: ' two\nthree\n' },
    ]);
  });

  test('passes comments, unknown fields and events without data by', () => {
    expect(parse(': heartbeat\n\nfoo: bar\n\nevent: x\n\n')).toEqual([]);
  });

  test('remembers the last id, and the retry that the server asks for', () => {
    const parser = new SseParser();
    parser.push('retry: 2000\n\nid: 5\ndata: a\n\ndata: b\n\nretry: soon\n\n');
    expect(parser.lastEventId).toBe('5');
    expect(parser.retryMs).toBe(2000);
  });

  test('takes CR, LF and CR LF, and a byte order mark at the start', () => {
    expect(parse('\uFEFFdata: a\r\rdata: b\r\n\r\ndata: c\n\n').map(({ data }) => data)).toEqual([
      'a',
      'b',
      'c',
    ]);
    expect(parse('data: a\r', '\n\r', '\n', 'data: b\n\n').map(({ data }) => data)).toEqual(['a', 'b']);
  });

  test('an unfinished event at the end is not given', () => {
    expect(parse('data: whole\n\ndata: half\n')).toHaveLength(1);
  });

  test('an endless line is let go of, counted once, and the next event is read', () => {
    const parser = new SseParser();
    let oversized = parser.push('id: 1\ndata: ').oversized;
    for (let sent = 0; sent < 3 * EVENT_CHARS_MAX; sent += 1 << 16) {
      oversized += parser.push('x'.repeat(1 << 16)).oversized;
    }
    const end = parser.push('\n\ndata: next\n\n');
    expect(oversized + end.oversized).toBe(1);
    expect(end.events).toEqual([{ name: 'message', id: null, data: 'next' }]);
  });

  test('endless data lines are let go of too', () => {
    const parser = new SseParser();
    const line = `data: ${'x'.repeat(1000)}\n`;
    parser.push(line.repeat(EVENT_CHARS_MAX / 1000 + 10));
    expect(parser.push('\n')).toEqual({ events: [], oversized: 1 });
  });

  test('gives the same events however the stream is cut', () => {
    const line = fc.oneof(
      fc.constantFrom('', 'data: a', 'data:b', 'data', 'event: stats', 'id: 4', ': comment', 'retry: 10'),
      fc.string().map((text) => text.replaceAll(/[\r\n]/g, '')),
    );
    const ending = fc.constantFrom('\n', '\r', '\r\n');
    const stream = fc
      .array(fc.tuple(line, ending), { maxLength: 30 })
      .map((lines) => lines.map(([text, end]) => text + end).join(''));
    const cuts = fc.array(fc.nat({ max: 300 }), { maxLength: 10 });
    fc.assert(
      fc.property(stream, cuts, (text, places) => {
        const sorted = [...places].map((place) => Math.min(place, text.length)).sort((a, b) => a - b);
        const pieces = [...sorted, text.length].map((place, index) =>
          text.slice(sorted[index - 1] ?? 0, place),
        );
        expect(parse(...pieces)).toEqual(parse(text));
      }),
    );
  });
});
