// Waits between tries: growing, bounded, spread, and never shorter than the server asks.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import {
  BACKOFF_FIRST_MS,
  BACKOFF_LONGEST_MS,
  backoffMs,
  RETRY_AFTER_LONGEST_MS,
  retryAfterMs,
} from './backoff';

describe('backoffMs', () => {
  test('doubles up to the longest', () => {
    const waits = [1, 2, 3, 4, 5, 6, 7, 50].map((failures) => backoffMs(failures, 1, 0));
    expect(waits).toEqual([1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
  });

  test('is spread over the upper half', () => {
    const any = fc.record({ failures: fc.nat(10_000), random: fc.double({ min: 0, max: 1, noNaN: true }) });
    fc.assert(
      fc.property(any, ({ failures, random }) => {
        const wait = backoffMs(failures, random, 0);
        expect(wait).toBeGreaterThanOrEqual(BACKOFF_FIRST_MS / 2);
        expect(wait).toBeLessThanOrEqual(BACKOFF_LONGEST_MS);
      }),
    );
  });

  test('is at least what the server asks for, within reason', () => {
    expect(backoffMs(1, 0, 2000)).toBe(2000);
    expect(backoffMs(1, 1, 2000)).toBe(2500);
    expect(backoffMs(1, 0, 1e12)).toBe(RETRY_AFTER_LONGEST_MS);
    expect(backoffMs(6, 0, 2000)).toBe(15_000);
  });
});

test('retryAfterMs reads seconds and nothing else', () => {
  expect(retryAfterMs('7')).toBe(7000);
  expect(retryAfterMs(null)).toBe(0);
  expect(retryAfterMs('Wed, 21 Oct 2026 07:28:00 GMT')).toBe(0);
  expect(retryAfterMs('-5')).toBe(0);
});
