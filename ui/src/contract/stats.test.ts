// The figures of the whole stream. A wrong figure must not be shown; a missing part must not break
// the rest.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { filteredTotal, imbalanceOf, readStats } from './stats';
import type { FlowBooks } from './stats';

const NOW = 1783175888500;
const FULL = {
  now_ms: NOW,
  window_s: 60,
  moods: { positive: 120, neutral: 300, negative: 90, unscored: 41 },
  topics: [
    { topic: 'gaming', count: 12 },
    { topic: 'sports', count: 44 },
  ],
  posts_with_topics: 480,
  posts_per_s: 51.3,
  bucket: { t: 1783175885, positive: 9, neutral: 20, negative: 5, unscored: 2 },
  source: { kind: 'simulator', spec: 'simulator', simulated: true, state: 'running', message: null },
  books: [
    {
      flow: 'ingest',
      received: 1000,
      emitted: 980,
      filtered: { duplicate: 4, no_text: 7 },
      dead: 4,
      in_flight: 5,
      imbalance: 0,
    },
  ],
};

describe('readStats', () => {
  test('reads the event of the contract, topics and reasons by count', () => {
    const stats = readStats(FULL);
    expect(stats).toMatchObject({
      nowMs: NOW,
      windowS: 60,
      moods: FULL.moods,
      postsPerS: 51.3,
      bucket: FULL.bucket,
      source: FULL.source,
    });
    expect(stats?.topics.map(({ topic }) => topic)).toEqual(['sports', 'gaming']);
    expect(stats?.books[0]?.filtered.map(({ reason }) => reason)).toEqual(['no_text', 'duplicate']);
  });

  test.each([
    ['no clock', { now_ms: undefined }],
    ['no window', { window_s: 0 }],
    ['no moods', { moods: null }],
    ['a negative count', { moods: { ...FULL.moods, positive: -1 } }],
    ['a fraction of a post', { moods: { ...FULL.moods, neutral: 1.5 } }],
    ['text for a count', { moods: { ...FULL.moods, negative: '90' } }],
  ])('is unreadable with %s', (_, change) => {
    expect(readStats({ ...FULL, ...change })).toBeNull();
  });

  test('does without what is missing or wrong', () => {
    const stats = readStats({ now_ms: NOW, window_s: 60, moods: {}, topics: 3, books: {}, source: 'x' });
    expect(stats).toMatchObject({ topics: [], books: [], source: null, bucket: null, postsPerS: 0 });
  });

  test('leaves a bucket out that lies in the future', () => {
    expect(readStats({ ...FULL, bucket: { ...FULL.bucket, t: 1e12 } })?.bucket).toBeNull();
  });

  test('equal counts keep one order, however they come', () => {
    const rows = [
      { topic: 'music', count: 5 },
      { topic: 'family', count: 5 },
    ];
    const order = (topics: unknown) => readStats({ ...FULL, topics })?.topics.map(({ topic }) => topic);
    expect(order(rows)).toEqual(order([...rows].reverse()));
  });

  test('leaves a flow out whose books are unreadable, and keeps the others', () => {
    const books = [{ flow: 'broken', received: 'many' }, ...FULL.books];
    expect(readStats({ ...FULL, books })?.books.map(({ flow }) => flow)).toEqual(['ingest']);
  });

  test('never throws, whatever comes', () => {
    fc.assert(fc.property(fc.anything(), (value) => void readStats(value)));
    const parts = fc.record({
      now_ms: fc.nat(),
      window_s: fc.constant(60),
      moods: fc.constant({}),
      topics: fc.anything(),
      books: fc.anything(),
      source: fc.anything(),
      bucket: fc.anything(),
    });
    fc.assert(fc.property(parts, (value) => void readStats(value)));
  });
});

describe('the books', () => {
  const balanced: FlowBooks = {
    flow: 'enrich',
    received: 980,
    emitted: 900,
    filtered: [{ reason: 'low_confidence', count: 60 }],
    dead: 8,
    inFlight: 12,
    imbalance: 0,
  };

  test('balance when every record has an end', () => {
    expect(filteredTotal(balanced)).toBe(60);
    expect(imbalanceOf(balanced)).toBe(0);
  });

  test('are off by what is missing, even where the server says that they balance', () => {
    expect(imbalanceOf({ ...balanced, received: 985 })).toBe(5);
    expect(imbalanceOf({ ...balanced, emitted: 903 })).toBe(-3);
  });

  test('are off where the server says so, even if the counts agree', () => {
    expect(imbalanceOf({ ...balanced, imbalance: 2 })).toBe(2);
  });
});
