/** `codeforge-storage migrate <from-url> <to-url>` */
import type { Command } from 'commander';
import { readArchive } from '../files/archive.ts';
import { withSpool } from '../files/files.ts';
import { codeWithout, leaveOutOption, tellLeftOut } from '../files/left-out.ts';
import { exportTo } from '../server/exporting.ts';
import { importInto, type Mode } from '../server/importing.ts';
import { openServer } from '../server/server.ts';
import { CommandError, EXIT } from '../ui/exit-codes.ts';
import {
  type CommonOptions,
  connectionOf,
  counted,
  createCommand,
  type Life,
  modeOption,
  serverUrl,
  terminalOf,
  timeoutOption,
  tokenOption,
} from '../ui/options.ts';
import { countsOf } from './import.ts';

interface MigrateOptions extends CommonOptions {
  readonly timeout: number;
  readonly fromToken?: string;
  readonly toToken?: string;
  readonly mode: Mode;
  readonly dryRun?: boolean;
  readonly leaveOut: boolean;
}

/** Everything that one server holds into another. */
export const migrateCommand = (life: Life): Command =>
  createCommand('migrate', 'copy everything from one server to another, and verify it there')
    .description(
      `Copy everything that one server holds to another, of either level.

The source's export goes into a temporary file (in TMPDIR) and is checked there before anything is sent; the source is
only read. Values are passed on digit by digit. Afterwards the target's export is read and every key compared: "verified"
counts what is equal. What is written to the source meanwhile is not copied.`,
    )
    .argument('<from-url>', 'the server that is read', serverUrl)
    .argument('<to-url>', 'the server that is written', serverUrl)
    .addOption(
      tokenOption('--from-token <token>', 'CODEFORGE_STORAGE_FROM_TOKEN', 'bearer token for the source'),
    )
    .addOption(tokenOption('--to-token <token>', 'CODEFORGE_STORAGE_TO_TOKEN', 'bearer token for the target'))
    .addOption(timeoutOption())
    .addOption(modeOption())
    .addOption(leaveOutOption())
    .option('--dry-run', 'say what would be stored, and store nothing')
    .action(async (from: string, to: string, options: MigrateOptions) => {
      const { mode, dryRun = false, leaveOut, timeout, fromToken, toToken } = options;
      if (from === to && fromToken === toToken)
        throw new CommandError(EXIT.usage, `${from} is both source and target: name two servers.`);
      const terminal = terminalOf(options);
      const source = await openServer(connectionOf(from, { timeout, token: fromToken }, life));
      const target = await openServer(connectionOf(to, { timeout, token: toToken }, life));
      const { done, leftOut } = await withSpool(async (path, fill) => {
        let leftOut: readonly string[] = [];
        await fill(async (sink) => {
          ({ leftOut } = await exportTo(source, { form: 'ndjson', leaveOut }, sink, terminal));
        });
        const name = `the export of ${from}`;
        const archive = await readArchive(path, { name, signal: life.signal }, countsOf(mode));
        return { leftOut, done: await importInto(target, archive, { mode, dryRun }, terminal) };
      });
      const left = tellLeftOut(leftOut, from, terminal);
      process.exitCode = codeWithout(leftOut);
      const stay =
        done.skipped > 0
          ? `, ${counted(done.skipped, 'key')} at the target ${dryRun ? 'would stay' : 'stayed'}`
          : '';
      terminal.result(
        dryRun
          ? `${from} holds ${counted(done.keys, 'key')}: ${done.imported} would be stored at ${to}${stay}. Nothing was.`
          : `Migrated ${counted(done.imported, 'key')} from ${from} to ${to}${stay}; ${counted(done.verified, 'key')} verified there.`,
        { ok: true, from, to, mode, ...done, ...left },
      );
    });
