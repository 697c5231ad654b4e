// What is said about posts that are missing.

import { describe, expect, test } from 'vitest';

import { noticeText, withNotice, withoutNotice } from './notices';
import type { Notice } from './notices';

describe('notices', () => {
  test('of one kind are one line that adds up', () => {
    let notices: readonly Notice[] = [];
    notices = withNotice(notices, { kind: 'dropped', posts: 12 });
    notices = withNotice(notices, { kind: 'gap', posts: 81, reason: 'expired' });
    notices = withNotice(notices, { kind: 'dropped', posts: 3 });
    notices = withNotice(notices, { kind: 'unreadable', events: 1 });
    expect(notices.map(noticeText)).toEqual([
      '15 posts were skipped because this browser was too slow.',
      '81 sequence numbers of the stream can\u2019t be sent any more (expired).',
      '1 event was ignored because this page could not read it.',
    ]);
    expect(withoutNotice(notices, 'dropped')).toHaveLength(2);
  });

  test('say how long the page was away', () => {
    expect(noticeText({ kind: 'skipped', awayMs: 38 * 60_000 })).toContain('away for 38 minutes');
  });
});
