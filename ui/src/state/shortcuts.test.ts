// Single keys: which act, and when.

import { describe, expect, test } from 'vitest';

import { actionOf, SHORTCUTS } from './shortcuts';

describe('shortcuts', () => {
  const plain = { ctrlKey: false, metaKey: false, altKey: false, repeat: false, isTyping: false };

  test('every key of the help acts', () => {
    for (const { key } of SHORTCUTS) {
      expect(actionOf({ ...plain, key }), key).not.toBeNull();
    }
    expect(actionOf({ ...plain, key: '3' })).toEqual({ kind: 'mood', index: 2 });
  });

  test('no key acts while typing, held down, or with another key of the browser', () => {
    expect(actionOf({ ...plain, key: 'p', isTyping: true })).toBeNull();
    expect(actionOf({ ...plain, key: 'p', repeat: true })).toBeNull();
    expect(actionOf({ ...plain, key: 'p', ctrlKey: true })).toBeNull();
    expect(actionOf({ ...plain, key: 'x' })).toBeNull();
  });
});
