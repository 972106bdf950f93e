/** `codeforge-storage migrate <from-url> <to-url>` */
import type { Command } from 'commander';
import { readArchive } from '../files/archive.ts';
import { withTemporaryFile } from '../files/files.ts';
import { exportTo } from '../server/export.ts';
import { importInto, type Mode } from '../server/import.ts';
import { openServer } from '../server/server.ts';
import { CommandError, EXIT } from '../ui/errors.ts';
import { counted } from '../ui/terminal.ts';
import { winnerOf } from './import.ts';
import {
  type CommonOptions,
  connectionOf,
  createCommand,
  type Life,
  leaveOutOption,
  leftOutCode,
  modeOption,
  reportLeftOut,
  serverUrl,
  terminalOf,
  timeoutOption,
  tokenOption,
} from './options.ts';

interface MigrateOptions extends CommonOptions {
  readonly timeout: number;
  readonly fromToken?: string;
  readonly toToken?: string;
  readonly mode: Mode;
  readonly dryRun?: boolean;
  readonly leaveOut: boolean;
}

/** Copies everything from one server to another. */
export const migrateCommand = (life: Life): Command =>
  createCommand('migrate', 'copy everything from one server to another, and verify every key')
    .description(
      `Copy everything from one server to another. Both may be old servers (level 0).

The export of the source goes into a temporary file (in TMPDIR) and is checked there before anything is sent. The source
is only read. Values keep all their digits. After the copy, the target's export is read and every key is compared:
"verified" counts the keys that are equal. Keys that are written to the source during the copy may be missing.`,
    )
    .argument('<from-url>', 'the server to read from', serverUrl)
    .argument('<to-url>', 'the server to write to', serverUrl)
    .addOption(
      tokenOption('--from-token <token>', 'CODEFORGE_STORAGE_FROM_TOKEN', 'bearer token for the source'),
    )
    .addOption(tokenOption('--to-token <token>', 'CODEFORGE_STORAGE_TO_TOKEN', 'bearer token for the target'))
    .addOption(timeoutOption())
    .addOption(modeOption())
    .addOption(leaveOutOption())
    .option('--dry-run', 'only say what would be stored')
    .action(async (from: string, to: string, options: MigrateOptions) => {
      const { mode, dryRun = false, leaveOut, timeout, fromToken, toToken } = options;
      if (from === to && fromToken === toToken)
        throw new CommandError(EXIT.usage, `Source and target are both ${from}. Give two different servers.`);
      const terminal = terminalOf(options);
      const source = await openServer(connectionOf(from, { timeout, token: fromToken }, life));
      const target = await openServer(connectionOf(to, { timeout, token: toToken }, life));
      const { result, leftOut } = await withTemporaryFile(async (path, fill) => {
        let leftOut: readonly string[] = [];
        await fill(async (sink) => {
          ({ leftOut } = await exportTo(source, { form: 'ndjson', leaveOut }, sink, terminal));
        });
        const reading = { name: `the export of ${from}`, signal: life.signal };
        const archive = await readArchive(path, reading, winnerOf(mode));
        return { leftOut, result: await importInto(target, archive, { mode, dryRun }, terminal) };
      });
      const left = reportLeftOut(leftOut, from, terminal);
      process.exitCode = leftOutCode(leftOut);
      const { keys, imported, skipped, verified } = result;
      const kept =
        skipped > 0
          ? ` ${counted(skipped, 'existing key')} ${dryRun ? 'would stay' : 'stayed'} at the target.`
          : '';
      terminal.result(
        dryRun
          ? `${from} has ${counted(keys, 'key')}: ${imported} would be stored at ${to}.${kept} Nothing was stored.`
          : `Copied ${counted(imported, 'key')} from ${from} to ${to} and verified ${verified}.${kept}`,
        { ok: true, from, to, mode, ...result, ...left },
      );
    });
