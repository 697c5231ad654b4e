// The single keys that act, and when they do not.

/** What a key does, for the help dialog. */
export interface Shortcut {
  readonly key: string;
  readonly does: string;
}

/** All keys, in the order of the help dialog. `actionOf` knows the same ones. */
export const SHORTCUTS: readonly Shortcut[] = [
  { key: 'P', does: 'Pause or resume the live posts' },
  { key: '1', does: 'Show only positive posts, or all again' },
  { key: '2', does: 'Show only neutral posts, or all again' },
  { key: '3', does: 'Show only negative posts, or all again' },
  { key: '4', does: 'Show only unscored posts, or all again' },
  { key: '0', does: 'Clear all filters' },
  { key: 'T', does: 'Change the theme' },
  { key: '?', does: 'Open or close this help' },
];

/** What is to be done. */
export type Action =
  | { readonly kind: 'pause' | 'clear' | 'theme' | 'help' }
  /** `index` counts the moods in their order. */
  | { readonly kind: 'mood'; readonly index: number };

/** The part of a keyboard event that matters. */
export interface Key {
  readonly key: string;
  readonly ctrlKey: boolean;
  readonly metaKey: boolean;
  readonly altKey: boolean;
  /** The key is held down. */
  readonly repeat: boolean;
  /** It goes into a text field, a menu or another control that takes letters. */
  readonly isTyping: boolean;
}

/** The action of a key; null where it has none or belongs to something else. */
export function actionOf(key: Key): Action | null {
  if (key.ctrlKey || key.metaKey || key.altKey || key.repeat || key.isTyping) {
    return null;
  }
  switch (key.key.toLowerCase()) {
    case 'p':
      return { kind: 'pause' };
    case 't':
      return { kind: 'theme' };
    case '?':
      return { kind: 'help' };
    case '0':
      return { kind: 'clear' };
    case '1':
    case '2':
    case '3':
    case '4':
      return { kind: 'mood', index: Number(key.key) - 1 };
    default:
      return null;
  }
}
