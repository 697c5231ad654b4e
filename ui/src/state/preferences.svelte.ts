// What this reader has chosen, remembered in the browser: theme, pace, keyboard shortcuts.

import type { Pace } from './feed';

/** `auto` follows the operating system. */
export type Theme = 'auto' | 'light' | 'dark';

const THEMES: readonly Theme[] = ['auto', 'light', 'dark'];
const PACES: readonly Pace[] = ['calm', 'every'];
const SWITCHES = ['on', 'off'] as const;

/** The part of `localStorage` that is needed. Any of it may throw: storage can be forbidden. */
export type PreferenceStorage = Pick<Storage, 'getItem' | 'setItem'>;

/** The reader's choices. Each change is kept at once. */
export class Preferences {
  readonly #storage: PreferenceStorage | null;
  #theme = $state<Theme>('auto');
  #pace = $state<Pace>('calm');
  #hasShortcuts = $state(true);

  constructor(storage: PreferenceStorage | null) {
    this.#storage = storage;
    this.#theme = this.#load('theme', THEMES) ?? 'auto';
    this.#pace = this.#load('pace', PACES) ?? 'calm';
    this.#hasShortcuts = this.#load('shortcuts', SWITCHES) !== 'off';
  }

  get theme(): Theme {
    return this.#theme;
  }

  set theme(theme: Theme) {
    this.#theme = theme;
    this.#keep('theme', theme);
  }

  /** How fast posts come onto the screen. */
  get pace(): Pace {
    return this.#pace;
  }

  set pace(pace: Pace) {
    this.#pace = pace;
    this.#keep('pace', pace);
  }

  /** Whether single keys act. They can be switched off for speech input and slips of the hand. */
  get hasShortcuts(): boolean {
    return this.#hasShortcuts;
  }

  set hasShortcuts(hasShortcuts: boolean) {
    this.#hasShortcuts = hasShortcuts;
    this.#keep('shortcuts', hasShortcuts ? 'on' : 'off');
  }

  /** The next theme in turn. */
  cycleTheme(): void {
    const next = (THEMES.indexOf(this.#theme) + 1) % THEMES.length;
    this.theme = THEMES[next] ?? 'auto';
  }

  #load<T extends string>(name: string, allowed: readonly T[]): T | null {
    try {
      const value = this.#storage?.getItem(`wingbeat.${name}`);
      return allowed.find((choice) => choice === value) ?? null;
    } catch {
      return null;
    }
  }

  #keep(name: string, value: string): void {
    try {
      this.#storage?.setItem(`wingbeat.${name}`, value);
    } catch {
      // Not remembered, then. The choice holds until the page is closed.
    }
  }
}

/** This browser's storage; null where even asking for it is forbidden. */
export function browserStorage(): PreferenceStorage | null {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}
