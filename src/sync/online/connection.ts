/**
 * The connection state, and when the SDK tries to connect again.
 *
 * `online → offline → reconnecting → online`, and `auth-required` if the server rejects every request of this caller. The back-off has
 * full jitter, from 0.5 s to 4 s in the first minute and to 30 s after that. `Retry-After` of the server has priority. After a call of
 * the app and after the browser's `online` event the SDK tries at once.
 */
import type { SyncState } from '../../core/backend.ts';
import type { StorageError } from '../../core/errors.ts';
import { unref } from '../../core/platform.ts';
import { backOffMs } from '../../core/time.ts';

/** Milliseconds. */
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 30_000;
/** While an outage is young, most of them end soon. */
const YOUNG = 60_000;
const LONGEST_YOUNG_PAUSE = 4000;
/** Between a try that failed and one that a call of the app asks for. */
const HINTED = 1000;

/** The reason of the state `reconnecting` after `online`. */
const CONNECTED = 'a new handshake is made';

/** The connection to a server. */
export interface ServerConnection {
  state(): SyncState;
  /** Why it is not `online`, in words for people. */
  reason(): string;
  /** Whether an attempt to connect is under way. */
  isConnecting(): boolean;
  /** Connects now, or waits for the attempt that is under way. Never rejects. */
  connect(): Promise<void>;
  /** Reports that the server cannot be reached, or rejects every request. */
  lost(error: StorageError): void;
  /** Connects, unless that was just tried. */
  hint(): void;
  /** Postpones work by one pause, if the server answers but cannot accept it. */
  later(work: () => void): void;
  /** Does work after a moment, if the state is `online` by then. */
  soon(work: () => void): void;
}

/** What a connection needs. */
export interface ConnectionParts {
  /** Makes the handshake. */
  establish(): Promise<void>;
  /** Milliseconds that the server has asked to wait. */
  askedToWaitMs(): number;
  changed(state: SyncState, reason: string): void;
  readonly signal: AbortSignal;
}

/** A connection that was never tried. */
export function createServerConnection(
  { establish, askedToWaitMs, changed, signal }: ConnectionParts,
  url: string,
): ServerConnection {
  let state: SyncState = 'offline';
  let reason = `${url} was not asked yet`;
  let connecting: Promise<void> | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let tries = 0;
  let awaySince: number | undefined;
  let triedAt = Number.NEGATIVE_INFINITY;

  const set = (next: SyncState, why: string): void => {
    if (next === state && why === reason) return;
    state = next;
    reason = why;
    changed(state, reason);
  };

  const pause = (): number => {
    const young = performance.now() - (awaySince ?? Number.POSITIVE_INFINITY) < YOUNG;
    tries += 1;
    const longestMs = young ? LONGEST_YOUNG_PAUSE : LONGEST_PAUSE;
    return Math.max(askedToWaitMs(), backOffMs(tries, { firstMs: FIRST_PAUSE, longestMs }));
  };
  const after = (ms: number, work: () => void): void => {
    clearTimeout(timer);
    if (signal.aborted) return;
    timer = unref(setTimeout(work, ms));
  };

  const failed = (error: unknown): void => {
    if (signal.aborted) return;
    const { code, message } = error as StorageError;
    set(code === 'forbidden' ? 'auth-required' : 'offline', `the server cannot be used: ${message}`);
    triedAt = performance.now();
    awaySince ??= triedAt;
    after(pause(), () => void serverConnection.connect());
  };

  async function attempt(): Promise<void> {
    clearTimeout(timer);
    if (state !== 'auth-required') set('reconnecting', reason);
    try {
      await establish();
      tries = 0;
      awaySince = undefined;
      set('online', CONNECTED);
    } catch (error) {
      failed(error);
    }
  }

  const serverConnection: ServerConnection = {
    state: () => state,
    reason: () => reason,
    isConnecting: () => connecting !== undefined,
    connect() {
      connecting ??= attempt().finally(() => {
        connecting = undefined;
      });
      return connecting;
    },
    lost(error) {
      if (!connecting) failed(error);
    },
    hint() {
      if (state === 'online' || connecting || askedToWaitMs() > 0) return;
      if (performance.now() - triedAt > HINTED) void serverConnection.connect();
    },
    later: (work) => after(pause(), work),
    soon(work) {
      // Otherwise the next attempt does it.
      if (state === 'online' || connecting !== undefined)
        after(Math.random() * HINTED, () => {
          if (state === 'online') work();
        });
    },
  };
  signal.addEventListener('abort', () => clearTimeout(timer));
  return serverConnection;
}
