/** `codeforge-storage restore <file>`: a backup that a server has made by itself, into a new database. */
import type { RestoreErrorCode } from '@codeforge/storage-server/restore';
import type { Command } from 'commander';
import { checkAudit, writeAudit } from '../files/audit-log.ts';
import { CommandError, EXIT, type ExitCode } from '../ui/errors.ts';
import { counted } from '../ui/terminal.ts';
import { type CommonOptions, createCommand, type Life, terminalOf } from './options.ts';
import { checkNode, databaseSettings } from './serve.ts';

interface RestoreOptions extends CommonOptions {
  readonly database?: string;
  readonly dryRun?: boolean;
}

const EXIT_CODES: Record<RestoreErrorCode, ExitCode> = {
  settings: EXIT.usage,
  damaged: EXIT.damaged,
  'not-empty': EXIT.failed,
  failed: EXIT.failed,
};

/** Restores all tenants of a server. */
export const restoreCommand = ({ signal }: Life): Command =>
  createCommand('restore', 'restore a backup of BACKUP_DIR into a new database')
    .description(
      `Restore a backup that a server has made (BACKUP_EVERY) into an empty database: all tenants, with their keys and values.

The whole file is checked first; a damaged one changes nothing. The restored data has a new epoch, so clients notice the
restore, and keep what it has lost as conflicts. Stop the server before, and start it over the new database.`,
    )
    .argument('<file>', 'the backup')
    .option(
      '--database <file or URL>',
      'an empty database: SQLite file, postgres://… or mysql://… (DATABASE_URL or DATABASE_PATH)',
    )
    .option('--dry-run', 'only check the file, and say what it contains')
    .action(async (file: string, { database, dryRun = false, ...common }: RestoreOptions) => {
      checkNode('restore', process.versions.node);
      const { restoreBackup } = await import('@codeforge/storage-server/restore');
      const { DATABASE_URL, DATABASE_PATH } = process.env;
      if (!dryRun && database === undefined && !DATABASE_URL && !DATABASE_PATH)
        throw new CommandError(EXIT.usage, 'Name the empty database with --database. Nothing was restored.');
      if (!dryRun) checkAudit();
      const env = { ...process.env, ...(database !== undefined && databaseSettings(database)) };
      const restored = await restoreBackup(file, env, { dryRun, signal }).catch((error) => {
        signal.throwIfAborted();
        const code = EXIT_CODES[error.code as RestoreErrorCode] ?? EXIT.failed;
        throw new CommandError(code, error.message, { file });
      });
      const { tenants, keys, leftOut } = restored;
      if (!dryRun)
        writeAudit('restore', { database: restored.database, tenants, keys, epoch: restored.epoch });
      const what = `${counted(keys, 'key')} of ${counted(tenants, 'tenant')}`;
      const terminal = terminalOf(common);
      if (leftOut > 0)
        terminal.complain(
          `${counted(leftOut, 'key')} longer than 1,024 bytes cannot be restored: see the file.`,
        );
      terminal.result(
        dryRun
          ? `${file} is complete: ${what}. Nothing was restored.`
          : `Restored ${what} into ${restored.database}, as epoch ${restored.epoch}.`,
        { ok: true, file, dryRun, ...restored },
      );
      process.exitCode = leftOut > 0 ? EXIT.leftOut : EXIT.done;
    });
