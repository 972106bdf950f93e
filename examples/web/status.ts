/**
 * The status lines: who serves now, how the server stands, and what waits for it.
 */
import type { StorageStatus } from '@codeforge/storage';
import { element, say } from './page.ts';

const STATES: Readonly<Record<StorageStatus['state'], string>> = {
  local: 'this browser only',
  online: 'online',
  offline: 'offline',
  reconnecting: 'reconnecting',
  'auth-required': 'sign-in needed',
};

/** Show the status of a storage over `server`. */
export function showStatus(status: StorageStatus, server: string): void {
  const { state, lastSyncAtMs, reason } = status;
  say('backend', inUse(status, server));
  element('backend').title = reason;
  element('server').hidden = state === 'local';
  // Not read out: while a server is away, its state changes with each try.
  element('state').textContent = STATES[state];
  element('state').dataset.state = state;
  say('waiting', waiting(status));
  const met = element<HTMLTimeElement>('met');
  met.textContent = lastSyncAtMs === undefined ? 'never met' : `last met ${timeOf(lastSyncAtMs)}`;
  met.dateTime = lastSyncAtMs === undefined ? '' : new Date(lastSyncAtMs).toISOString();
  element('reason').textContent = reason;
}

/** Who serves operations, in words. */
function inUse({ backend, state, level }: StorageStatus, server: string): string {
  if (state === 'local') return 'IndexedDB';
  const where = level === undefined ? server : `${server} (level ${level})`;
  if (backend === 'flask') return `Flask backend at ${where}`;
  return `IndexedDB, until ${where} ${state === 'auth-required' ? 'lets you in' : 'answers'}`;
}

/** How many writes wait, in words. */
export function waiting({ pending }: StorageStatus): string {
  if (pending === 0) return 'nothing waits';
  return pending === 1 ? '1 write waits' : `${pending.toLocaleString('en')} writes wait`;
}

/** A time for people. */
export const timeOf = (ms: number): string =>
  new Date(ms).toLocaleString('en', { dateStyle: 'medium', timeStyle: 'medium' });
