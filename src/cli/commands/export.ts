/** `codeforge-storage export <url> [file]` */
import { type Command, Option } from 'commander';
import { type BackupForm, backupFileName } from '../../backup-format/format.ts';
import { isStdout, type Sink, stdoutSink, writeFile } from '../files/files.ts';
import { type Exported, exportTo } from '../server/export.ts';
import { openServer } from '../server/server.ts';
import { counted, reserveStdout } from '../ui/terminal.ts';
import {
  connectionOf,
  createServerCommand,
  type Life,
  leaveOutOption,
  leftOutCode,
  reportLeftOut,
  type ServerOptions,
  serverUrl,
  terminalOf,
} from './options.ts';

interface ExportOptions extends ServerOptions {
  readonly format: BackupForm;
  readonly leaveOut: boolean;
  readonly force?: boolean;
}

/** Writes everything on a server into a file or to stdout. */
export const exportCommand = (life: Life): Command =>
  createServerCommand('export', 'write everything on a server into a file')
    .description(
      `Write everything on a server into a backup file.

The file is written under a temporary name. It gets its own name when it is complete and on the disk. If the export
fails, no part of it stays. An existing file is replaced only with --force. A pipe gets the bytes directly: its last line
comes after everything before it was checked, and without that line "verify" and "import" refuse the backup. Values keep
all their digits.

An old server may have keys that are invalid today, for example because they are too long. No backup can contain them:
--leave-out exports everything else.`,
    )
    .argument('<url>', 'the address of the server', serverUrl)
    .argument(
      '[file]',
      'the file, or "-" for stdout; by default stdout if it is piped, otherwise codeforge-backup-YYYY-MM-DD.ndjson in the current folder',
    )
    .addOption(
      new Option('--format <format>', 'ndjson, with count and checksum, or one JSON object for old programs')
        .choices(['ndjson', 'json'])
        .default('ndjson'),
    )
    .option('-f, --force', 'replace the file if it exists')
    .addOption(leaveOutOption())
    .action(async (url: string, file: string | undefined, options: ExportOptions) => {
      const { format, leaveOut, force = false } = options;
      const terminal = terminalOf(options);
      const path = file ?? (process.stdout.isTTY ? backupFileName(new Date(), format) : '-');
      const toStdout = await isStdout(path);
      // From the beginning: the reader of a pipe must not take an error message for a backup.
      if (toStdout) reserveStdout();
      const write = async (sink: Sink): Promise<Exported> => {
        const server = await openServer(connectionOf(url, options, life));
        return exportTo(server, { form: format, leaveOut }, sink, terminal);
      };
      const { leftOut, ...result } = toStdout
        ? await write(stdoutSink())
        : await writeFile(path, write, { replace: force });
      const left = reportLeftOut(leftOut, url, terminal);
      process.exitCode = leftOutCode(leftOut);
      terminal.result(
        `Exported ${counted(result.keys, 'key')} from ${url}${toStdout ? '' : ` to ${path}`} (${counted(result.bytes, 'byte')}).`,
        { ok: true, url, ...(!toStdout && { file: path }), format, ...result, ...left },
      );
    });
