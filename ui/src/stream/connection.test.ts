// The connection through everything that can happen to it, with a fake server and fake time.

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import { FakeServer, statsOf } from '../testing/fake-server';
import { Connection, RESUME_WITHIN_MS, SILENCE_MS_MAX } from './connection';
import type { ConnectionState } from './connection';
import type { SseEvent } from './sse-parser';

let server: FakeServer;
let connection: Connection;
let states: ConnectionState[];
let events: SseEvent[];
let skipped: number[];

beforeEach(() => {
  vi.useFakeTimers();
  server = new FakeServer();
  states = [];
  events = [];
  skipped = [];
  connection = new Connection(server, {
    onState: (state) => states.push(state),
    onEvent: (event) => events.push(event),
    onOversized: () => {},
    onSkipped: (awayMs) => skipped.push(awayMs),
  });
});

afterEach(() => {
  connection.close();
  expect(vi.getTimerCount(), 'w12: no timer outlives the connection').toBe(0);
  vi.useRealTimers();
});

async function settle(ms = 0): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
}

function last(): ConnectionState | undefined {
  return states.at(-1);
}

describe('a connection', () => {
  test('goes live and passes events on', async () => {
    connection.open('api/stream');
    expect(last()).toEqual({ kind: 'connecting', loss: null });
    await settle();
    expect(last()).toEqual({ kind: 'live' });
    server.stream.post(1);
    await settle();
    expect(events).toMatchObject([{ name: 'message', id: '1' }]);
  });

  test('w2: resumes after the last id when the line breaks', async () => {
    connection.open('api/stream');
    await settle();
    server.stream.post(41);
    await settle();
    server.stream.fail();
    await settle();
    expect(last()).toMatchObject({ kind: 'waiting', loss: { kind: 'unreachable' }, failures: 1 });
    await settle(1000);
    expect(server.streams).toHaveLength(2);
    expect(server.stream.headers.get('Last-Event-ID')).toBe('41');
    expect(last()).toEqual({ kind: 'live' });
  });

  test('tells when the next try is, and waits longer each time', async () => {
    server.answer = 'unreachable';
    connection.open('api/stream');
    const waits: number[] = [];
    for (let round = 0; round < 8; round += 1) {
      await settle();
      const state = last();
      if (state?.kind !== 'waiting') {
        throw new Error(`not waiting but ${state?.kind}`);
      }
      waits.push(state.retryAtMs - Date.now());
      await settle(state.retryAtMs - Date.now());
    }
    expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]);
  });

  test('waits as long as the server asks', async () => {
    connection.open('api/stream');
    await settle();
    server.stream.send('retry: 4000\n\n');
    await settle();
    server.stream.end();
    await settle();
    expect(last()).toMatchObject({ kind: 'waiting', loss: { kind: 'closed' }, retryAtMs: Date.now() + 4000 });
  });

  test('tells of a full server, its message and its patience', async () => {
    server.answer = { status: 503, body: '{"error":"too many viewers"}', headers: { 'Retry-After': '9' } };
    connection.open('api/stream');
    await settle();
    expect(last()).toMatchObject({
      kind: 'waiting',
      loss: { kind: 'refused', status: 503, message: 'too many viewers' },
      retryAtMs: Date.now() + 9000,
    });
  });

  test('does not take a page of a proxy for a stream', async () => {
    server.answer = { status: 200, body: '<html>log in</html>', headers: { 'Content-Type': 'text/html' } };
    connection.open('api/stream');
    await settle();
    expect(last()).toMatchObject({ loss: { kind: 'refused', status: 200, message: null } });
  });

  test('w3: a line that has gone silent is given up; a heartbeat keeps it', async () => {
    connection.open('api/stream');
    await settle();
    for (let beat = 0; beat < 4; beat += 1) {
      server.stream.send(': heartbeat\n\n');
      await settle(15_000);
    }
    expect(last()).toEqual({ kind: 'live' });
    await settle(SILENCE_MS_MAX);
    expect(server.streams[0]?.isAborted).toBe(true);
    expect(states).toContainEqual(expect.objectContaining({ kind: 'waiting', loss: { kind: 'silent' } }));
  });

  test('a server that accepts and hangs up is not hammered', async () => {
    connection.open('api/stream');
    for (let round = 0; round < 4; round += 1) {
      await settle();
      server.stream.end();
      await settle();
      const state = last();
      expect(state).toMatchObject({ kind: 'waiting', failures: round + 1 });
      await settle(state?.kind === 'waiting' ? state.retryAtMs - Date.now() : 0);
    }
  });

  test('an event proves that it works: the next wait is short again', async () => {
    server.answer = 'unreachable';
    connection.open('api/stream');
    await settle(5_000);
    server.answer = 'stream';
    await settle(10_000);
    server.stream.event('stats', statsOf(Date.now()));
    await settle();
    server.stream.fail();
    await settle();
    expect(last()).toMatchObject({ kind: 'waiting', failures: 1 });
  });

  test('after a long absence it opens anew and says how long it was away', async () => {
    connection.open('api/stream');
    await settle();
    server.stream.post(41);
    await settle();
    server.answer = 'unreachable';
    server.stream.fail();
    await settle(RESUME_WITHIN_MS + 30_000);
    server.answer = 'stream';
    await settle(16_000);
    expect(last()).toEqual({ kind: 'live' });
    expect(server.stream.headers.has('Last-Event-ID')).toBe(false);
    expect(skipped).toHaveLength(1);
    expect(skipped[0]).toBeGreaterThan(RESUME_WITHIN_MS);
  });

  test('an id that can not stand in a header is not sent', async () => {
    connection.open('api/stream');
    await settle();
    server.stream.event('message', { text: 'x' }, '\u5341');
    await settle();
    server.stream.fail();
    await settle(1000);
    expect(server.streams).toHaveLength(2);
    expect(server.stream.headers.has('Last-Event-ID')).toBe(false);
  });

  test('another address ends the first stream, whose late events are not passed on', async () => {
    connection.open('api/stream?sentiment=positive');
    await settle();
    const first = server.stream;
    first.post(1);
    await settle();
    // This one is on its way to the page when the page turns away.
    first.post(2);
    connection.open('api/stream?sentiment=negative');
    await settle();
    expect(first.isAborted).toBe(true);
    expect(server.stream.headers.has('Last-Event-ID')).toBe(false);
    expect(events.map(({ id }) => id)).toEqual(['1']);
    server.stream.fail();
    await settle(1000);
    expect(server.streams).toHaveLength(3);
    expect(server.stream.headers.has('Last-Event-ID'), 'the id of another stream').toBe(false);
  });

  test('of several events in one piece, none is passed on once the stream is not wanted', async () => {
    const seen: string[] = [];
    const other: Connection = new Connection(server, {
      onState: () => {},
      onEvent: (event) => {
        seen.push(event.data);
        other.close();
      },
      onOversized: () => {},
      onSkipped: () => {},
    });
    other.open('api/stream');
    await settle();
    server.stream.send('data: a\n\ndata: b\n\n');
    await settle();
    expect(seen).toEqual(['a']);
  });

  test('w12: a wait that is under way ends with the stream it was for', async () => {
    server.answer = 'unreachable';
    connection.open('api/stream?sentiment=positive');
    await settle();
    server.answer = 'stream';
    connection.open('api/stream');
    await settle(60_000 - 1);
    expect(server.streams.filter(({ url }) => url.includes('positive'))).toHaveLength(1);
  });

  test('tries at once when asked to, and only while it waits', async () => {
    connection.open('api/stream');
    await settle();
    connection.retryNow();
    await settle();
    expect(server.streams).toHaveLength(1);
    server.stream.fail();
    await settle();
    connection.retryNow();
    await settle();
    expect(server.streams).toHaveLength(2);
    expect(last()).toEqual({ kind: 'live' });
  });
});
