/** `codeforge-storage export <url> [file]` */
import { existsSync } from 'node:fs';
import { type Command, Option } from 'commander';
import type { BackupForm } from '../../backup-format/format.ts';
import { backupFileName } from '../../backup-format/format.ts';
import { type Sink, stdout, writeWhole } from '../files/files.ts';
import { codeWithout, leaveOutOption, tellLeftOut } from '../files/left-out.ts';
import { type Exported, exportTo } from '../server/exporting.ts';
import { openServer } from '../server/server.ts';
import { CommandError, EXIT } from '../ui/exit-codes.ts';
import {
  connectionOf,
  counted,
  createServerCommand,
  type Life,
  type ServerOptions,
  serverUrl,
  terminalOf,
} from '../ui/options.ts';
import { takeStdout } from '../ui/terminal.ts';

interface ExportOptions extends ServerOptions {
  readonly format: BackupForm;
  readonly leaveOut: boolean;
}

/** Everything that a server holds, in a file or on stdout. */
export const exportCommand = (life: Life): Command =>
  createServerCommand('export', 'write everything that a server holds into a file')
    .description(
      `Write everything that a server holds into a file, as a backup.

The file is written under a temporary name and gets its own when it is whole and on the disk; whatever happens, no part
of it stays behind. On stdout the last line is written when everything before it has been checked: without it the data
is cut, and "verify" and "import" refuse it. Values are passed on digit by digit.

A server may hold keys from before there was a limit. They are in no backup: --leave-out writes everything else.`,
    )
    .argument('<url>', "the server's address", serverUrl)
    .argument(
      '[file]',
      'the file; "-" for stdout. Without it: stdout where that is piped, else codeforge-backup-YYYY-MM-DD.ndjson here, unless that exists',
    )
    .addOption(
      new Option(
        '--format <format>',
        'lines with count and checksum, or one bare JSON object for old programs',
      )
        .choices(['ndjson', 'json'])
        .default('ndjson'),
    )
    .addOption(leaveOutOption())
    .action(async (url: string, file: string | undefined, options: ExportOptions) => {
      const { format, leaveOut } = options;
      const terminal = terminalOf(options);
      const path = file ?? (process.stdout.isTTY ? freshName(format) : '-');
      const aside = path === '-';
      // From the beginning: a failure told there could be taken for a backup by whoever reads it.
      if (aside) takeStdout();
      const server = await openServer(connectionOf(url, options, life));
      const write = (sink: Sink): Promise<Exported> =>
        exportTo(server, { form: format, leaveOut }, sink, terminal);
      const { leftOut, ...done } = aside ? await write(stdout()) : await writeWhole(path, write);
      const left = tellLeftOut(leftOut, url, terminal);
      process.exitCode = codeWithout(leftOut);
      terminal.result(
        `Exported ${counted(done.keys, 'key')} of ${url}${aside ? '' : ` to ${path}`} (${counted(done.bytes, 'byte')}).`,
        { ok: true, url, ...(!aside && { file: path }), format, ...done, ...left },
      );
    });

function freshName(form: BackupForm): string {
  const name = backupFileName(new Date(), form);
  if (existsSync(name))
    throw new CommandError(
      EXIT.failed,
      `${name} exists: name the file to write, to replace it too. Nothing was written.`,
    );
  return name;
}
