// The connection's state and the reasons for its loss, in words.

import type { ConnectionState, Loss } from '../stream/connection';

/** After so many failures in a row "reconnecting" would be a promise too much. */
const FAILURES_UNTIL_DISCONNECTED = 3;

/** The state in a word or two, with the seconds until the next try. */
export function connectionText(connection: ConnectionState, nowMs: number): string {
  switch (connection.kind) {
    case 'connecting':
      return connection.loss === null ? 'Connecting' : 'Reconnecting';
    case 'live':
      return 'Live';
    case 'waiting': {
      const seconds = secondsUntil(connection.retryAtMs, nowMs);
      return connection.failures < FAILURES_UNTIL_DISCONNECTED
        ? `Reconnecting in ${seconds} s`
        : `Disconnected, next try in ${seconds} s`;
    }
    case 'closed':
      return 'Disconnected';
  }
}

/** The state without its countdown, for the live region: it speaks once per change. */
export function connectionAnnouncement(connection: ConnectionState): string {
  switch (connection.kind) {
    case 'connecting':
      // Between two tries nothing has changed for the listener.
      return connection.loss === null ? 'Connecting' : 'Connection lost, reconnecting';
    case 'live':
      return 'Live';
    case 'waiting':
      return 'Connection lost, reconnecting';
    case 'closed':
      return 'Disconnected';
  }
}

/** What the state means for colour and shape. */
export function connectionTone(connection: ConnectionState): 'live' | 'lost' | 'pending' {
  switch (connection.kind) {
    case 'live':
      return 'live';
    case 'connecting':
      return connection.loss === null ? 'pending' : 'lost';
    case 'waiting':
    case 'closed':
      return 'lost';
  }
}

/** Whole seconds until a time, at least 0. */
export function secondsUntil(atMs: number, nowMs: number): number {
  return Math.max(0, Math.ceil((atMs - nowMs) / 1000));
}

/** Why the connection was lost, in a sentence. */
export function lossText(loss: Loss): string {
  switch (loss.kind) {
    case 'unreachable':
      return 'The server can\u2019t be reached.';
    case 'closed':
      return 'The server ended the connection.';
    case 'silent':
      return 'The server has gone silent.';
    case 'refused':
      return refusalText(loss.status, loss.message);
  }
}

/** What the server says where it has as many viewers as it allows. */
const TOO_MANY = 'too many browsers watch';

function refusalText(status: number, message: string | null): string {
  if (status === 503 && (message === null || message === TOO_MANY)) {
    return 'The server has as many viewers as it allows.';
  }
  if (status === 503) {
    return `The server is not ready: ${message}.`;
  }
  if (status === 400) {
    return `The server refuses this filter${message === null ? '.' : `: ${message}.`}`;
  }
  if (status >= 200 && status < 300) {
    return 'Something else answers in the server\u2019s place.';
  }
  return `The server answers with error ${status}${message === null ? '.' : `: ${message}.`}`;
}
