// The reader's choices, with and without a place to keep them.

import { describe, expect, test } from 'vitest';

import { Preferences } from './preferences.svelte';

describe('preferences', () => {
  function storageOf(values: Record<string, string>) {
    return {
      values,
      getItem: (key: string) => values[key] ?? null,
      setItem: (key: string, value: string) => void (values[key] = value),
    };
  }

  test('are remembered', () => {
    const storage = storageOf({});
    const preferences = new Preferences(storage);
    expect(preferences.theme).toBe('auto');
    preferences.cycleTheme();
    preferences.pace = 'every';
    preferences.hasShortcuts = false;
    const again = new Preferences(storage);
    expect([again.theme, again.pace, again.hasShortcuts]).toEqual(['light', 'every', false]);
  });

  test('do without storage, with broken storage, and with nonsense in it', () => {
    const broken = {
      getItem: () => {
        throw new Error('forbidden');
      },
      setItem: () => {
        throw new Error('full');
      },
    };
    for (const storage of [null, broken, storageOf({ 'wingbeat.theme': 'pink' })]) {
      const preferences = new Preferences(storage);
      expect(preferences.theme).toBe('auto');
      preferences.theme = 'dark';
      expect(preferences.theme).toBe('dark');
    }
  });
});
