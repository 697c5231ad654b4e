// Filters in the page's address and in the server's.

import { describe, expect, test } from 'vitest';

import { filtersFromQuery, hasFilters, NO_FILTERS, queryOfFilters, streamUrl } from './filters';

describe('filters', () => {
  test('stand in the address and are read back', () => {
    const filters = { mood: 'negative' as const, topic: 'arts_&_culture' };
    expect(queryOfFilters(filters)).toBe('?sentiment=negative&topic=arts_%26_culture');
    expect(filtersFromQuery(queryOfFilters(filters))).toEqual(filters);
    expect(filtersFromQuery(queryOfFilters(NO_FILTERS))).toEqual(NO_FILTERS);
    expect(queryOfFilters(NO_FILTERS)).toBe('');
  });

  test('what is no filter is passed over', () => {
    expect(filtersFromQuery('?sentiment=happy&topic=&utm_source=x')).toEqual(NO_FILTERS);
    expect(filtersFromQuery(`?topic=${'x'.repeat(1000)}`)).toEqual(NO_FILTERS);
  });

  test('go to the server, with some recent posts to start with', () => {
    expect(streamUrl({ mood: 'unscored', topic: null })).toBe('api/stream?sentiment=unscored&backfill=25');
    expect(hasFilters(NO_FILTERS)).toBe(false);
    expect(hasFilters({ mood: null, topic: 'music' })).toBe(true);
  });
});
