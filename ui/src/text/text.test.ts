// Words and numbers as they stand on the page.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { TOPICS } from '../contract/labels';
import type { Source } from '../contract/stats';
import { connectionAnnouncement, connectionText, lossText } from './connection-text';
import {
  authorName,
  capitalised,
  formatAge,
  formatCount,
  formatDrift,
  formatPlural,
  formatRate,
  formatShare,
  formatSpan,
  languageName,
  topicName,
  wholePercents,
} from './format';
import { sourceLine } from './source-text';

describe('numbers', () => {
  test('are grouped, rounded and signed', () => {
    expect(formatCount(1234567)).toBe('1,234,567');
    expect([formatRate(0), formatRate(9.96), formatRate(51.3)]).toEqual(['0.0', '10.0', '51']);
    expect([formatShare(0.944), formatShare(0), formatShare(1)]).toEqual(['94%', '0%', '100%']);
    expect([formatDrift(3), formatDrift(-2), formatDrift(0)]).toEqual(['+3', '\u22122', '\u00B10']);
    expect([formatPlural(1, 'post'), formatPlural(1200, 'post')]).toEqual(['1 post', '1,200 posts']);
  });

  test('whole percentages add up to 100', () => {
    expect(wholePercents([1, 1, 1])).toEqual([34, 33, 33]);
    expect(wholePercents([0, 0, 0])).toEqual([0, 0, 0]);
    expect(wholePercents([120, 300, 90])).toEqual([23, 59, 18]);
    fc.assert(
      fc.property(fc.array(fc.nat(100_000), { minLength: 1, maxLength: 5 }), (counts) => {
        const percents = wholePercents(counts);
        const total = counts.reduce((sum, count) => sum + count, 0);
        expect(percents.reduce((sum, percent) => sum + percent, 0)).toBe(total === 0 ? 0 : 100);
        percents.forEach((percent, index) => {
          expect(Math.abs(percent - ((counts[index] ?? 0) / (total || 1)) * 100)).toBeLessThan(1);
        });
      }),
    );
  });
});

describe('times', () => {
  test('w16: an age names its unit', () => {
    const ages = [-5_000, 0, 4_999, 5_000, 59_999, 60_000, 7_200_000, 3 * 86_400_000, 800 * 86_400_000];
    expect(ages.map(formatAge)).toEqual(['now', 'now', 'now', '5s', '59s', '1m', '2h', '3d', '2y']);
  });

  test('a span is in words', () => {
    expect([45_000, 38 * 60_000, 9 * 3_600_000].map(formatSpan)).toEqual([
      '45 seconds',
      '38 minutes',
      '9 hours',
    ]);
  });
});

describe('names', () => {
  test('a topic label is readable', () => {
    expect(topicName('arts_&_culture')).toBe('Arts and culture');
    expect(topicName('film_tv_&_video')).toBe('Film tv and video');
    expect(TOPICS.map(topicName).every((name) => /^[A-Z][a-z ]+$/.test(name))).toBe(true);
    expect(capitalised('')).toBe('');
  });

  test('w16: an author is a handle, else a DID that shows its method and both ends', () => {
    const did = 'did:plc:abcdefghijklmnopqrstuvwx';
    expect(authorName(did, 'ada.example.com')).toBe('@ada.example.com');
    expect(authorName(did, null)).toBe('did:plc:abcde\u2026uvwx');
    expect(authorName('did:web:example.com', null)).toBe('did:web:example.com');
    expect(authorName(null, null)).toBe('Unknown author');
    expect(authorName('x'.repeat(500), null)).toHaveLength(33);
  });

  test('a language has a name, or stays what it is', () => {
    expect([languageName('en'), languageName('xx-broken-')]).toEqual(['English', 'xx-broken-']);
  });
});

describe('the connection', () => {
  const loss = { kind: 'unreachable' } as const;

  test('is told in words, with a countdown', () => {
    expect(connectionText({ kind: 'live' }, 0)).toBe('Live');
    expect(connectionText({ kind: 'waiting', loss, retryAtMs: 2_500, failures: 1 }, 0)).toBe(
      'Reconnecting in 3 s',
    );
    expect(connectionText({ kind: 'waiting', loss, retryAtMs: 9_000, failures: 3 }, 0)).toBe(
      'Disconnected, next try in 9 s',
    );
    expect(connectionText({ kind: 'closed' }, 0)).toBe('Disconnected');
  });

  test('is announced once per change, not once per second or try', () => {
    const waiting = connectionAnnouncement({ kind: 'waiting', loss, retryAtMs: 9_000, failures: 5 });
    expect(connectionAnnouncement({ kind: 'connecting', loss })).toBe(waiting);
  });

  test('every loss says what is wrong', () => {
    expect(lossText({ kind: 'refused', status: 503, message: null })).toContain('as many viewers');
    expect(lossText({ kind: 'refused', status: 503, message: 'too many browsers watch' })).toContain(
      'as many viewers',
    );
    expect(lossText({ kind: 'refused', status: 503, message: 'waiting for the log x' })).toBe(
      'The server is not ready: waiting for the log x.',
    );
    expect(lossText({ kind: 'refused', status: 400, message: 'unknown topic x' })).toBe(
      'The server refuses this filter: unknown topic x.',
    );
    expect(lossText({ kind: 'refused', status: 502, message: null })).toBe(
      'The server answers with error 502.',
    );
    expect(lossText({ kind: 'refused', status: 200, message: null })).toContain('Something else');
  });
});

describe('the source', () => {
  const running: Source = {
    kind: 'jetstream',
    spec: 'wss://example.com',
    simulated: false,
    state: 'running',
    message: null,
    host: null,
    gaps: 0,
  };

  test('says its host, what it lost, and how much may be missing', () => {
    const live = { ...running, spec: 'jetstream', host: 'a.example', gaps: 2 };
    expect(sourceLine(live).rest).toBe('a.example \u00b7 2 gaps reported');
    const lost = sourceLine({ ...live, state: 'broken', message: 'connection refused', gaps: 1 });
    expect(lost).toEqual({
      tone: 'trouble',
      lead: 'Lost a.example, trying again.',
      rest: 'connection refused. 1 gap reported',
    });
    expect(sourceLine({ ...live, state: 'connecting' }).lead).toBe('Connecting to a.example');
  });

  test('is named', () => {
    expect(sourceLine(running)).toEqual({
      tone: 'plain',
      lead: 'Watching Bluesky\u2019s Jetstream',
      rest: 'wss://example.com',
    });
    expect(sourceLine({ ...running, kind: 'carrier_pigeon' }).lead).toBe('Watching carrier_pigeon');
    expect(sourceLine(null).tone).toBe('plain');
  });

  test('says so when its posts are made up', () => {
    const line = sourceLine({ ...running, kind: 'simulator', simulated: true });
    expect(`${line.lead} ${line.rest}`).toBe(
      'Simulated posts. These are made up by the built-in generator, not from Bluesky.',
    );
    expect(line.tone).toBe('simulated');
  });

  test('says why it no longer runs, and still that its posts were made up', () => {
    const failed = sourceLine({ ...running, state: 'failed', message: 'connection refused.' });
    expect(failed).toEqual({ tone: 'trouble', lead: 'The source has failed.', rest: 'connection refused.' });
    const ended = sourceLine({ ...running, simulated: true, state: 'ended' });
    expect(ended.rest).toContain('No new posts will come. Its posts were simulated.');
  });
});
