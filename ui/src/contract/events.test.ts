// Events by name, and the history. What can't be read is counted, never thrown.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { readStreamEvent } from './events';
import { readHistory } from './history';
import { topicHue, TOPICS } from './labels';

describe('readStreamEvent', () => {
  test('reads each event of the contract', () => {
    expect(readStreamEvent('message', '7', '{"uri":"at://x","text":"hi"}')).toMatchObject({
      kind: 'post',
      id: '7',
      post: { text: 'hi' },
    });
    expect(readStreamEvent('deleted', null, '{"uri":"at://x"}')).toEqual({ kind: 'deleted', uri: 'at://x' });
    expect(readStreamEvent('dropped', null, '{"count":12,"total":40}')).toEqual({
      kind: 'dropped',
      count: 12,
    });
    expect(readStreamEvent('gap', null, '{"from":10,"to":90,"reason":"expired"}')).toEqual({
      kind: 'gap',
      from: 10,
      to: 90,
      reason: 'expired',
    });
  });

  test.each([
    ['message', 'not json'],
    ['message', '{"error":"no stream"}'],
    ['stats', '{}'],
    ['deleted', '{"uri":5}'],
    ['dropped', '{"count":-1}'],
    ['gap', '{"from":9,"to":1,"reason":"?"}'],
  ])('an unreadable %s is unreadable: %s', (name, data) => {
    expect(readStreamEvent(name, null, data)).toEqual({ kind: 'unreadable' });
  });

  test('an event of a newer server is no error', () => {
    expect(readStreamEvent('weather', null, 'sunny')).toEqual({ kind: 'unknown' });
  });

  test('never throws, whatever comes', () => {
    const name = fc.constantFrom('message', 'stats', 'deleted', 'dropped', 'gap', 'other');
    const data = fc.oneof(fc.string(), fc.json());
    fc.assert(fc.property(name, data, (event, text) => void readStreamEvent(event, null, text)));
  });
});

describe('readHistory', () => {
  test('keeps the readable buckets', () => {
    const good = { t: 100, positive: 1, neutral: 2, negative: 3, unscored: 4 };
    const history = readHistory({ bucket_s: 5, buckets: [good, null, { t: 'x' }, { t: 105, positive: -1 }] });
    expect(history).toEqual({ bucketS: 5, buckets: [good] });
  });

  test.each([null, 'x', {}, { bucket_s: 0, buckets: [] }, { bucket_s: 5, buckets: 'none' }])(
    'is unreadable: %j',
    (value) => {
      expect(readHistory(value)).toBeNull();
    },
  );

  test('is bounded', () => {
    const buckets = Array.from({ length: 100_000 }, (_, index) => ({ t: index * 5 }));
    expect(readHistory({ bucket_s: 5, buckets })?.buckets.length).toBeLessThanOrEqual(4000);
  });
});

describe('topicHue', () => {
  test('w15: every known topic has its own colour, whatever else was seen', () => {
    const hues = TOPICS.map(topicHue);
    expect(new Set(hues).size).toBe(TOPICS.length);
    expect(topicHue('sports')).toBe(topicHue('sports'));
  });

  test('a topic of another model has a colour too', () => {
    expect(topicHue('gardening')).toBeGreaterThanOrEqual(0);
    expect(topicHue('gardening')).toBeLessThan(360);
  });
});
