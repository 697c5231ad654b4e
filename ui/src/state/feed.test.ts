// The live list: bounds, order, pause, pace, doubles and deletions; by example, and as a state
// machine under any sequence of operations.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import type { Post } from '../contract/post';
import { readPost } from '../contract/post';
import { uriOf } from '../testing/fake-server';
import { CALM_BURST, CALM_POSTS_PER_S, Feed, SHOWN_MAX, WAITING_MAX } from './feed';

function postOf(sequence: number): Post {
  const post = readPost({ uri: uriOf(sequence), text: `post ${sequence}` });
  if (post === null) {
    throw new Error('the test\u2019s post is unreadable');
  }
  return post;
}

function receive(feed: Feed, from: number, to: number): void {
  for (let sequence = from; sequence <= to; sequence += 1) {
    feed.receive(String(sequence), postOf(sequence));
  }
}

function shown(feed: Feed): number[] {
  return feed.shown.map(({ id }) => Number(id));
}

function everyPost(): Feed {
  const feed = new Feed();
  feed.pace = 'every';
  return feed;
}

describe('the list', () => {
  test('is newest first and bounded', () => {
    const feed = everyPost();
    receive(feed, 1, 60);
    feed.flush(0);
    receive(feed, 61, 130);
    feed.flush(250);
    expect(feed.shown).toHaveLength(SHOWN_MAX);
    expect(shown(feed).slice(0, 2)).toEqual([130, 129]);
    expect(shown(feed).at(-1)).toBe(31);
    expect(feed.passedBy).toBe(0);
  });

  test('shows a post once, however often it comes', () => {
    const feed = everyPost();
    receive(feed, 1, 5);
    feed.flush(0);
    expect(feed.receive('5', postOf(5))).toBe(false);
    expect(feed.receive('99', postOf(5))).toBe(false);
    receive(feed, 4, 6);
    feed.flush(250);
    expect(shown(feed)).toEqual([6, 5, 4, 3, 2, 1]);
  });

  test('tells posts without an address apart by their sequence', () => {
    const feed = everyPost();
    const nameless = { ...postOf(1), uri: null };
    expect(feed.receive('1', nameless)).toBe(true);
    expect(feed.receive('1', nameless)).toBe(false);
    expect(feed.receive('2', nameless)).toBe(true);
    expect(feed.receive(null, nameless)).toBe(true);
  });

  test('i8: a deleted post leaves the list and the queue, and does not come back', () => {
    const feed = everyPost();
    receive(feed, 1, 3);
    feed.flush(0);
    feed.isPaused = true;
    receive(feed, 4, 6);
    feed.remove(uriOf(2));
    feed.remove(uriOf(5));
    feed.remove(uriOf(7));
    receive(feed, 7, 7);
    receive(feed, 2, 2);
    feed.resume();
    expect(shown(feed)).toEqual([6, 4, 3, 1]);
  });
});

describe('a pause', () => {
  test('w1: holds the list still and loses nothing', () => {
    const feed = everyPost();
    receive(feed, 1, 10);
    feed.flush(0);
    feed.isPaused = true;
    receive(feed, 11, 40);
    expect(feed.flush(250)).toBe(false);
    expect(shown(feed)[0]).toBe(10);
    expect(feed.waitingCount).toBe(30);
    feed.resume();
    expect(shown(feed)).toEqual(Array.from({ length: 40 }, (_, index) => 40 - index));
    expect(feed.waitingCount).toBe(0);
  });

  test('w13: keeps a bounded queue, counts the rest, and says so afterwards', () => {
    const feed = everyPost();
    feed.isPaused = true;
    receive(feed, 1, WAITING_MAX + 250);
    expect(feed.waitingCount).toBe(WAITING_MAX + 250);
    expect(feed.waitingKept).toBe(WAITING_MAX);
    feed.resume();
    expect(feed.passedBy).toBe(250);
    expect(shown(feed)[0]).toBe(WAITING_MAX + 250);
  });

  test('ends with everything shown, at calm pace too', () => {
    const feed = new Feed();
    feed.isPaused = true;
    receive(feed, 1, 80);
    feed.resume();
    expect(feed.shown).toHaveLength(80);
    expect(feed.passedBy).toBe(0);
  });
});

describe('w13: clearing', () => {
  test('empties the list, the queue and the counts', () => {
    const feed = everyPost();
    receive(feed, 1, 10);
    feed.flush(0);
    feed.isPaused = true;
    receive(feed, 11, 20);
    feed.clear();
    feed.isPaused = false;
    feed.flush(250);
    expect(feed.shown).toEqual([]);
    expect(feed.waitingCount).toBe(0);
    // The same posts may come again under other filters.
    expect(feed.receive('10', postOf(10))).toBe(true);
  });
});

describe('the calm pace', () => {
  test('shows a first burst whole', () => {
    const feed = new Feed();
    receive(feed, 1, 25);
    feed.flush(0);
    expect(feed.shown).toHaveLength(25);
  });

  test('shows the newest of a flood, at a pace that can be read, and counts the others', () => {
    const feed = new Feed();
    feed.flush(0);
    let sent = 0;
    const seconds = 60;
    for (let step = 1; step <= seconds * 4; step += 1) {
      receive(feed, sent + 1, sent + 12);
      sent += 12;
      if (feed.flush(step * 250)) {
        expect(shown(feed)[0]).toBe(sent);
      }
    }
    const shownInAll = sent - feed.passedBy - feed.waitingCount;
    expect(shownInAll).toBeLessThanOrEqual(CALM_BURST + seconds * CALM_POSTS_PER_S);
    expect(shownInAll).toBeGreaterThan((seconds * CALM_POSTS_PER_S) / 2);
  });

  test('holds nothing back from a slow stream', () => {
    const feed = new Feed();
    feed.flush(0);
    for (let second = 1; second <= 90; second += 1) {
      receive(feed, second, second);
      feed.flush(second * 1000);
    }
    expect(feed.passedBy).toBe(0);
    expect(feed.shown).toHaveLength(90);
  });

  test('survives a clock that is set back', () => {
    const feed = new Feed();
    receive(feed, 1, 200);
    feed.flush(1e12);
    feed.flush(0);
    receive(feed, 201, 202);
    feed.flush(2000);
    expect(shown(feed)[0]).toBe(202);
  });
});

test('whatever happens: bounded, unique, newest first, and every post accounted for', () => {
  const operation = fc.oneof(
    fc.record({ kind: fc.constant('receive' as const), count: fc.nat(150) }),
    fc.record({ kind: fc.constant('again' as const), back: fc.nat(300) }),
    fc.record({ kind: fc.constant('flush' as const), ms: fc.nat(2000) }),
    fc.record({ kind: fc.constantFrom('pause' as const, 'resume' as const) }),
    fc.record({
      kind: fc.constant('pace' as const),
      pace: fc.constantFrom('calm' as const, 'every' as const),
    }),
  );
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
      const feed = new Feed();
      let nowMs = 0;
      let sent = 0;
      const everShown = new Set<number>();
      for (const step of operations) {
        if (step.kind === 'receive') {
          receive(feed, sent + 1, sent + step.count);
          sent += step.count;
        } else if (step.kind === 'again') {
          const sequence = Math.max(1, sent - step.back);
          if (sequence <= sent) {
            feed.receive(String(sequence), postOf(sequence));
          }
        } else if (step.kind === 'flush') {
          nowMs += step.ms;
          feed.flush(nowMs);
        } else if (step.kind === 'pace') {
          feed.pace = step.pace;
        } else if (step.kind === 'pause') {
          feed.isPaused = true;
        } else {
          feed.resume();
        }
        shown(feed).forEach((sequence) => everShown.add(sequence));
        const ids = shown(feed);
        expect(ids.length).toBeLessThanOrEqual(SHOWN_MAX);
        expect(feed.waitingKept).toBeLessThanOrEqual(WAITING_MAX);
        expect(ids).toEqual([...new Set(ids)].sort((a, b) => b - a));
        expect(everShown.size + feed.passedBy + feed.waitingCount).toBe(sent);
      }
    }),
  );
});
