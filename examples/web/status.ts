/**
 * The status lines: the backend in use, the connection state, and the number of unsent changes.
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
  met.textContent = lastSyncAtMs === undefined ? 'Not synced yet' : `Last synced ${timeOf(lastSyncAtMs)}`;
  met.dateTime = lastSyncAtMs === undefined ? '' : new Date(lastSyncAtMs).toISOString();
  element('reason').textContent = reason;
}

/** The backend in use, in words. */
function inUse({ backend, state, level }: StorageStatus, server: string): string {
  if (state === 'local') return 'IndexedDB';
  const where = level === undefined ? server : `${server} (level ${level})`;
  if (backend === 'flask') return `Flask backend at ${where}`;
  return `IndexedDB, while ${where} ${state === 'auth-required' ? 'needs a sign-in' : 'is unreachable'}`;
}

/** How many writes are in the outbox, in words. */
export function waiting({ pending }: StorageStatus): string {
  if (pending === 0) return 'All changes saved';
  return pending === 1 ? '1 change waiting' : `${pending.toLocaleString('en')} changes waiting`;
}

/** A time for people. */
export const timeOf = (ms: number): string =>
  new Date(ms).toLocaleString('en', { dateStyle: 'medium', timeStyle: 'medium' });
