/**
 * The connection that was chosen on this page, kept across reloads. Without it the writes that wait for a server would be out of
 * sight after a reload. A token is never kept: it is a secret.
 */
import { readConfig, type StorageOptions } from '@codeforge/storage';

/** The name in `localStorage`. */
const NAME = 'codeforge-storage:connection';

/** The options of the last choice, or else those that the page is deployed with. */
export function rememberedConnection(): StorageOptions {
  try {
    const { useFlask, flaskUrl } = JSON.parse(localStorage.getItem(NAME) ?? 'null');
    if (useFlask !== true) return { useFlask: false };
    if (typeof flaskUrl === 'string') return { useFlask, flaskUrl };
  } catch {
    // Nothing was chosen, or cookies are blocked, so that nothing can be kept.
  }
  return readConfig(import.meta.env);
}

/** Keeps a choice: a server's URL, or `undefined` for IndexedDB. */
export function rememberConnection(flaskUrl: string | undefined): void {
  const chosen = flaskUrl === undefined ? { useFlask: false } : { useFlask: true, flaskUrl };
  try {
    localStorage.setItem(NAME, JSON.stringify(chosen));
  } catch {
    // Cookies are blocked: the choice holds until the page is left.
  }
}
