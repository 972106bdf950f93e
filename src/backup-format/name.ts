/** What a backup's file is called. By itself, because apps import it without the rest of backups. */
import type { BackupForm } from './format.ts';

/**
 * The name of a backup's file, with the local date: `codeforge-backup-2026-11-25.ndjson`.
 *
 * @param at When the backup was made.
 * @param form Names the extension.
 */
export function backupFileName(at: Date, form: BackupForm = 'ndjson'): string {
  const [year, month, day] = [at.getFullYear(), at.getMonth() + 1, at.getDate()].map(String);
  return `codeforge-backup-${year?.padStart(4, '0')}-${month?.padStart(2, '0')}-${day?.padStart(2, '0')}.${form}`;
}
