// The events of `/api/stream`, told apart by name and read from their JSON.

import { readPost, readUri } from './post';
import type { Post } from './post';
import { asCount, asObject, asText, parseJson } from './read';
import { readStats } from './stats';
import type { Stats } from './stats';

/** What the server said in one event. */
export type StreamEvent =
  | { readonly kind: 'post'; readonly id: string | null; readonly post: Post }
  | { readonly kind: 'stats'; readonly stats: Stats }
  /** Remove this post from the screen. */
  | { readonly kind: 'deleted'; readonly uri: string }
  /** This browser was too slow: so many posts were left out now. */
  | { readonly kind: 'dropped'; readonly count: number }
  /** These sequences can't be sent any more. */
  | { readonly kind: 'gap'; readonly from: number; readonly to: number; readonly reason: string }
  /** An event of a newer server; ignored without complaint. */
  | { readonly kind: 'unknown' }
  /** An event that should have been readable and was not. */
  | { readonly kind: 'unreadable' };

const REASON_CHARS_MAX = 100;
const UNREADABLE: StreamEvent = { kind: 'unreadable' };

/** Reads one event. Never throws: what can't be read is `unreadable`. */
export function readStreamEvent(name: string, id: string | null, data: string): StreamEvent {
  switch (name) {
    case 'message': {
      const post = readPost(parseJson(data));
      return post === null ? UNREADABLE : { kind: 'post', id, post };
    }
    case 'stats': {
      const stats = readStats(parseJson(data));
      return stats === null ? UNREADABLE : { kind: 'stats', stats };
    }
    case 'deleted': {
      const uri = readUri(asObject(parseJson(data))?.['uri']);
      return uri === null ? UNREADABLE : { kind: 'deleted', uri };
    }
    case 'dropped': {
      const count = asCount(asObject(parseJson(data))?.['count']);
      return count === null ? UNREADABLE : { kind: 'dropped', count };
    }
    case 'gap':
      return readGap(data);
    default:
      return { kind: 'unknown' };
  }
}

function readGap(data: string): StreamEvent {
  const object = asObject(parseJson(data));
  const from = asCount(object?.['from']);
  const to = asCount(object?.['to']);
  if (from === null || to === null || to < from) {
    return UNREADABLE;
  }
  const reason = asText(object?.['reason'], REASON_CHARS_MAX) ?? 'unknown';
  return { kind: 'gap', from, to, reason };
}
