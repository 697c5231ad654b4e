// Posts come from strangers: every field may be missing, wrong, huge or hostile.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { postPage, readPost, TEXT_CHARS_MAX } from './post';

const FULL = {
  uri: 'at://did:plc:abcdefghijklmnopqrstuvwx/app.bsky.feed.post/3kabc',
  cid: 'bafy',
  author: 'did:plc:abcdefghijklmnopqrstuvwx',
  handle: 'ada.example.com',
  text: 'hello',
  created_at: '2026-07-04T14:38:08Z',
  language: 'en',
  sentiment: {
    sentiment: 'positive',
    confidence: 0.94,
    probabilities: { negative: 0.02, neutral: 0.04, positive: 0.94 },
    label: 'POSITIVE',
    score: 0.94,
  },
  topics: { topics: ['sports', 'gaming'], top_topic: 'gaming', top_confidence: 0.71 },
  processed_at: 1783175888.5,
  processed_at_iso: '2026-07-04T14:38:08.5Z',
  processor: 'wingbeat',
};

describe('readPost', () => {
  test('reads the post of the contract, the strongest topic first', () => {
    expect(readPost(FULL)).toEqual({
      uri: FULL.uri,
      author: FULL.author,
      handle: 'ada.example.com',
      text: 'hello',
      createdAtMs: Date.UTC(2026, 6, 4, 14, 38, 8),
      processedAtMs: 1783175888500,
      language: 'en',
      verdict: {
        sentiment: 'positive',
        confidence: 0.94,
        probabilities: { negative: 0.02, neutral: 0.04, positive: 0.94 },
      },
      topics: ['gaming', 'sports'],
    });
  });

  test('a post that the model could not read has no verdict, no topics, no language', () => {
    const post = readPost({ ...FULL, language: null, sentiment: null, topics: null });
    expect(post).toMatchObject({ language: null, verdict: null, topics: [], text: 'hello' });
  });

  test('fields of the wrong type are null, and the rest stays', () => {
    const post = readPost({
      ...FULL,
      author: 42,
      handle: '<b>x</b>',
      created_at: 'yesterday',
      language: ['en'],
      sentiment: 'happy',
      topics: ['music'],
      processed_at: 'now',
    });
    expect(post).toEqual({
      uri: FULL.uri,
      text: 'hello',
      author: null,
      handle: null,
      createdAtMs: null,
      processedAtMs: null,
      language: null,
      verdict: null,
      topics: [],
    });
  });

  test('probabilities that are not all shares are left out', () => {
    const sentiment = { ...FULL.sentiment, probabilities: { positive: 2, neutral: 0, negative: 0 } };
    expect(readPost({ ...FULL, sentiment })?.verdict).toMatchObject({ probabilities: null });
  });

  test('w8: an error in the place of a post is no post', () => {
    expect(readPost({ error: 'Failed to connect' })).toBeNull();
    expect(readPost('text')).toBeNull();
    expect(readPost([FULL])).toBeNull();
    expect(readPost(null)).toBeNull();
  });

  test('a text is cut at its bound, never inside a character', () => {
    const text = readPost({ text: '\u{1F426}'.repeat(TEXT_CHARS_MAX) })?.text ?? '';
    expect(text.length).toBeLessThanOrEqual(TEXT_CHARS_MAX);
    expect(text).toMatch(/^\u{1F426}+…$/u);
  });

  test('topics are bounded and unique', () => {
    const many = Array.from({ length: 500 }, (_, index) => `t${index % 30}`);
    const topics = readPost({ ...FULL, topics: { topics: many } })?.topics ?? [];
    expect(topics.length).toBeLessThanOrEqual(20);
    expect(new Set(topics).size).toBe(topics.length);
  });

  test('never throws, whatever comes', () => {
    fc.assert(fc.property(fc.anything(), (value) => void readPost(value)));
    const anyFields = fc.record({
      uri: fc.anything(),
      text: fc.anything(),
      author: fc.anything(),
      sentiment: fc.anything(),
      topics: fc.anything(),
      created_at: fc.anything(),
    });
    fc.assert(fc.property(anyFields, (value) => void readPost(value)));
  });
});

describe('postPage', () => {
  test('links a post that exists on Bluesky', () => {
    expect(postPage(FULL.uri)).toBe('https://bsky.app/profile/did:plc:abcdefghijklmnopqrstuvwx/post/3kabc');
    expect(postPage('at://did:web:example.com/app.bsky.feed.post/3k')).toBe(
      'https://bsky.app/profile/did:web:example.com/post/3k',
    );
  });

  test.each([
    null,
    '',
    'javascript:alert(1)',
    'https://example.com/',
    'at://did:plc:abc/app.bsky.feed.like/3k',
    'at://did:plc:abc/app.bsky.feed.post/../../evil',
    'at://did:plc:abc/app.bsky.feed.post/..',
    'at://did:plc:a"b/app.bsky.feed.post/3k',
    'at://did:plc:abc/app.bsky.feed.post/3k?x',
    'at://did:plc:abc/app.bsky.feed.post/3k\n',
    'at://ada.example.com/app.bsky.feed.post/3k',
  ])('links nothing else: %s', (uri) => {
    expect(postPage(uri)).toBeNull();
  });
});
