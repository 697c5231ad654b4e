// What the live list is narrowed to, and how that stands in the page's address, so that a view can
// be shared and the back button works.

import { isMood, TOPIC_CHARS_MAX } from '../contract/labels';
import type { Mood } from '../contract/labels';

/** Both are applied by the server. Null means all. */
export interface Filters {
  readonly mood: Mood | null;
  readonly topic: string | null;
}

export const NO_FILTERS: Filters = { mood: null, topic: null };

/** How many recent posts a newly opened stream starts with. */
const BACKFILL = 25;

/** Reads the filters from an address's query; what is not a filter is passed over. */
export function filtersFromQuery(query: string): Filters {
  const parameters = new URLSearchParams(query);
  const mood = parameters.get('sentiment');
  const topic = parameters.get('topic');
  const isTopic = topic !== null && topic !== '' && topic.length <= TOPIC_CHARS_MAX;
  return { mood: isMood(mood) ? mood : null, topic: isTopic ? topic : null };
}

/** The query of the page's own address, with its question mark; empty for no filters. */
export function queryOfFilters(filters: Filters): string {
  const query = parametersOf(filters).toString();
  return query === '' ? '' : `?${query}`;
}

/** The address of the event stream with these filters, relative to the page. */
export function streamUrl(filters: Filters): string {
  const parameters = parametersOf(filters);
  parameters.set('backfill', String(BACKFILL));
  return `api/stream?${parameters.toString()}`;
}

function parametersOf(filters: Filters): URLSearchParams {
  const parameters = new URLSearchParams();
  if (filters.mood !== null) {
    parameters.set('sentiment', filters.mood);
  }
  if (filters.topic !== null) {
    parameters.set('topic', filters.topic);
  }
  return parameters;
}

/** Whether two filters narrow to the same. */
export function sameFilters(a: Filters, b: Filters): boolean {
  return a.mood === b.mood && a.topic === b.topic;
}

/** Whether anything is narrowed at all. */
export function hasFilters(filters: Filters): boolean {
  return filters.mood !== null || filters.topic !== null;
}
