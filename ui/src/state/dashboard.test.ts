// The page's state as a whole, against a fake server: what the predecessor's page got wrong.

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import { FakeServer, statsOf, uriOf } from '../testing/fake-server';
import { Dashboard, FLUSH_INTERVAL_MS } from './dashboard.svelte';
import { NO_FILTERS } from './filters';

let server: FakeServer;
let dashboard: Dashboard;

beforeEach(async () => {
  vi.useFakeTimers();
  vi.setSystemTime(1_783_175_888_500);
  server = new FakeServer();
  dashboard = new Dashboard(server, 'every');
  dashboard.start(NO_FILTERS);
  await settle();
});

afterEach(() => {
  dashboard.stop();
  vi.useRealTimers();
});

async function settle(ms = 0): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
}

/** Long enough for the list to be brought up to date. */
async function flush(): Promise<void> {
  await settle(FLUSH_INTERVAL_MS + 50);
}

async function post(from: number, to: number): Promise<void> {
  for (let sequence = from; sequence <= to; sequence += 1) {
    server.stream.post(sequence);
  }
  await flush();
}

function ids(): number[] {
  return dashboard.posts.map(({ id }) => Number(id));
}

describe('pausing', () => {
  test('w1: never closes the stream, and loses nothing', async () => {
    await post(1, 3);
    dashboard.pause('reader');
    await post(4, 9);
    expect(ids()).toEqual([3, 2, 1]);
    expect(dashboard.waitingCount).toBe(6);
    dashboard.resume();
    await post(10, 10);
    expect(ids()).toEqual([10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    expect(server.streams).toHaveLength(1);
    expect(server.stream.isAborted).toBe(false);
  });

  test('w19: scrolling away pauses, scrolling to the top resumes', async () => {
    await post(1, 3);
    dashboard.scrolled(200);
    expect(dashboard.pausedBy).toBe('scroll');
    await post(4, 5);
    dashboard.scrolled(90);
    expect(ids()).toEqual([3, 2, 1]);
    dashboard.scrolled(0);
    expect(dashboard.pausedBy).toBeNull();
    expect(ids()).toEqual([5, 4, 3, 2, 1]);
  });

  test('the reader\u2019s own pause outlasts scrolling', () => {
    dashboard.pause('reader');
    dashboard.scrolled(200);
    dashboard.scrolled(0);
    expect(dashboard.pausedBy).toBe('reader');
  });
});

describe('filters', () => {
  test('w10, w13: clear the list and the queue at once, and late posts of the old ones stay away', async () => {
    await post(1, 5);
    dashboard.pause('reader');
    await post(6, 9);
    server.stream.post(10);
    dashboard.toggleMood('negative');
    expect(dashboard.posts).toEqual([]);
    expect(dashboard.waitingCount).toBe(0);
    expect(dashboard.pausedBy).toBeNull();
    await flush();
    expect(dashboard.posts).toEqual([]);
    expect(server.streams).toHaveLength(2);
    expect(server.streams[0]?.isAborted).toBe(true);
    expect(server.stream.url).toBe('api/stream?sentiment=negative&backfill=25');
    await post(7, 7);
    expect(ids()).toEqual([7]);
  });

  test('stand in the address; the same ones change nothing; the back button brings no new entry', async () => {
    dashboard.toggleTopic('sports');
    dashboard.setFilters({ mood: null, topic: 'sports' });
    dashboard.toggleMood('positive');
    expect(server.pushedQueries).toEqual(['?topic=sports', '?sentiment=positive&topic=sports']);
    dashboard.showFilters({ mood: null, topic: 'sports' });
    await settle();
    expect(server.pushedQueries).toHaveLength(2);
    expect(server.stream.url).toBe('api/stream?topic=sports&backfill=25');
    dashboard.toggleTopic('sports');
    expect(dashboard.filters).toEqual(NO_FILTERS);
  });

  test('w11: leave the figures of the whole stream alone', async () => {
    server.stream.event('stats', statsOf(Date.now()));
    await settle();
    const stats = dashboard.stats;
    dashboard.toggleMood('negative');
    expect(dashboard.stats).toBe(stats);
    expect(dashboard.buckets).not.toBeNull();
  });
});

describe('what the server says', () => {
  test('is on the screen: skipped posts, gaps, unreadable events', async () => {
    server.stream.event('dropped', { count: 12, total: 40 });
    server.stream.event('gap', { from: 10, to: 90, reason: 'expired' });
    server.stream.send('data: {"error":"Failed to connect"}\n\n');
    server.stream.event('weather', 'sunny');
    await post(1, 1);
    expect(dashboard.notices).toEqual([
      { kind: 'dropped', posts: 12 },
      { kind: 'gap', posts: 81, reason: 'expired' },
      { kind: 'unreadable', events: 1 },
    ]);
    expect(ids()).toEqual([1]);
    dashboard.dismiss('gap');
    expect(dashboard.notices.map(({ kind }) => kind)).toEqual(['dropped', 'unreadable']);
  });

  test('i8: a deleted post goes at once, from the list and from the queue', async () => {
    await post(1, 3);
    server.stream.event('deleted', { uri: uriOf(2) });
    await settle();
    expect(ids()).toEqual([3, 1]);
    dashboard.pause('reader');
    await post(4, 5);
    server.stream.event('deleted', { uri: uriOf(4) });
    await settle();
    dashboard.resume();
    expect(ids()).toEqual([5, 3, 1]);
  });

  test('ages follow the server\u2019s clock, not a wrong one of this computer', async () => {
    server.stream.event('stats', statsOf(Date.now() + 3_600_000));
    await settle();
    expect(dashboard.serverNowMs).toBe(Date.now() + 3_600_000);
    await settle(5_000);
    expect(dashboard.serverNowMs).toBe(Date.now() + 3_600_000);
  });
});

describe('the history', () => {
  const bucket = (t: number, positive: number) => ({ t, positive, neutral: 0, negative: 0, unscored: 0 });
  const T = 1_783_175_885;

  test('fills the chart at the start, and the stats move it', async () => {
    server.history = { bucket_s: 5, buckets: [bucket(T - 5, 9)] };
    const other = new Dashboard(server, 'calm');
    other.start(NO_FILTERS);
    await settle();
    expect(other.history).toBe('ready');
    server.stream.event('stats', statsOf(Date.now(), { bucket: bucket(T, 4) }));
    await settle();
    expect(other.buckets.map(({ t, positive }) => [t, positive])).toEqual([
      [T - 5, 9],
      [T, 4],
    ]);
    other.stop();
  });

  test('is asked for the final counts of a bucket that has just ended', async () => {
    server.stream.event('stats', statsOf(Date.now(), { bucket: bucket(T, 4) }));
    await settle(2_000);
    server.history = { bucket_s: 5, buckets: [bucket(T, 6)] };
    server.stream.event('stats', statsOf(Date.now(), { bucket: bucket(T + 5, 1) }));
    await settle();
    expect(server.historyUrls).toEqual(['api/history?minutes=60', 'api/history?minutes=1']);
    expect(dashboard.buckets.map(({ positive }) => positive)).toEqual([6, 1]);
  });

  test('is loaded again after a failure, and after a lost connection', async () => {
    server.history = null;
    const other = new Dashboard(server, 'calm');
    other.start(NO_FILTERS);
    await settle();
    expect(other.history).toBe('failed');
    server.history = { bucket_s: 5, buckets: [bucket(T, 9)] };
    await settle(5_000);
    server.stream.event('stats', statsOf(Date.now()));
    await settle();
    expect(other.history).toBe('ready');
    const asked = server.historyUrls.length;
    server.stream.fail();
    await settle(1_000);
    expect(server.historyUrls.slice(asked)).toEqual(['api/history?minutes=60']);
    other.stop();
  });
});

describe('for days', () => {
  test('w12, w14: stopping leaves no timer and no open stream', async () => {
    await post(1, 5);
    server.stream.post(6);
    await settle();
    dashboard.stop();
    expect(vi.getTimerCount()).toBe(0);
    expect(server.stream.isAborted).toBe(true);
  });

  test('a hidden tab, which draws no frames, keeps a bounded queue', async () => {
    const frames: (() => void)[] = [];
    server.requestFrame = (callback) => void frames.push(callback);
    await post(1, 5_000);
    expect(frames).toHaveLength(1);
    expect(dashboard.posts).toEqual([]);
    frames.forEach((draw) => draw());
    expect(dashboard.posts).toHaveLength(100);
    expect(ids()[0]).toBe(5_000);
    expect(dashboard.passedBy).toBe(4_900);
  });

  test('the list is brought up to date a few times a second at any rate', async () => {
    let frames = 0;
    server.requestFrame = (callback) => {
      frames += 1;
      setTimeout(callback, 16);
    };
    for (let sequence = 1; sequence <= 200; sequence += 1) {
      server.stream.post(sequence);
      await settle(5);
    }
    expect(frames).toBeLessThanOrEqual(4);
    expect(frames).toBeGreaterThanOrEqual(3);
  });
});
