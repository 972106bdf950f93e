/** `codeforge-storage import <url> <file>` */
import { createReadStream } from 'node:fs';
import { addAbortSignal, type Readable } from 'node:stream';
import type { Command } from 'commander';
import { type Archive, readArchive } from '../files/archive.ts';
import { fileError, isReadOnce, withTemporaryFile } from '../files/files.ts';
import { type Imported, importInto, type Mode } from '../server/import.ts';
import { openServer } from '../server/server.ts';
import { counted } from '../ui/terminal.ts';
import {
  connectionOf,
  createServerCommand,
  type Life,
  leaveOutOption,
  leftOutCode,
  modeOption,
  reportLeftOut,
  type ServerOptions,
  serverUrl,
  terminalOf,
} from './options.ts';

interface ImportOptions extends ServerOptions {
  readonly mode: Mode;
  readonly dryRun?: boolean;
  readonly leaveOut: boolean;
}

/** Imports a backup into a server. */
export const importCommand = (life: Life): Command =>
  createServerCommand('import', 'import a backup into a server, and verify every key')
    .description(
      `Import a backup into a server. The backup can be a file of "export" or "backup", a file that the app has exported, or
one JSON object.

The whole file is read first. If it is cut or damaged, nothing is sent. After the import, the server's export is read and
every imported key is compared: "verified" counts the keys that are equal. Other keys on the server stay.

On an old server (level 0), the modes "skip" and "fail" check first which keys exist, and write then. A key that another
client stores in between is replaced.`,
    )
    .argument('<url>', 'the address of the server', serverUrl)
    .argument('<file>', 'the backup, or "-" for stdin')
    .addOption(modeOption())
    .addOption(leaveOutOption())
    .option('--dry-run', 'only say what would be stored')
    .action(async (url: string, file: string, options: ImportOptions) => {
      const terminal = terminalOf(options);
      const { mode, dryRun = false, leaveOut } = options;
      await withFile(file, life, async (path, name) => {
        const progress = terminal.progress(`check ${name}`, undefined);
        const reading = { name, signal: life.signal, progress, leaveOut };
        const archive = await readArchive(path, reading, winnerOf(mode));
        const server = await openServer(connectionOf(url, options, life));
        const result = await importInto(server, archive, { mode, dryRun }, terminal);
        const left = reportLeftOut(archive.leftOut, name, terminal);
        process.exitCode = leftOutCode(archive.leftOut);
        terminal.result(describe(result, archive, url), { ok: true, url, file, mode, ...result, ...left });
      });
    });

/** Which value of a key that comes twice counts, so that the comparison agrees with the server. */
export const winnerOf = (mode: Mode): 'first' | 'last' => (mode === 'overwrite' ? 'last' : 'first');

function describe(
  { keys, imported, skipped, verified, dryRun }: Imported,
  { name, summary }: Archive,
  url: string,
): string {
  const kept = skipped > 0 ? ` ${counted(skipped, 'existing key')} ${dryRun ? 'would stay' : 'stayed'}.` : '';
  if (dryRun)
    return `${name} has ${counted(keys, 'key')}: ${imported} would be stored at ${url}.${kept} Nothing was stored.`;
  const unproven = summary.checksum === 'absent' ? ' The file has no checksum.' : '';
  return `Imported ${counted(imported, 'key')} from ${name} into ${url} and verified ${verified}.${kept}${unproven}`;
}

/** Calls `work` with a path that can be read twice: stdin and pipes are copied into a temporary file first. */
async function withFile<T>(
  file: string,
  { signal }: Life,
  work: (path: string, name: string) => Promise<T>,
): Promise<T> {
  const isStdin = file === '-';
  if (!isStdin && !(await isReadOnce(file))) return work(file, file);
  const source = isStdin ? process.stdin : createReadStream(file);
  const name = isStdin ? 'stdin' : file;
  return withTemporaryFile(async (path, fill) => {
    await fill(async (sink) => {
      for await (const chunk of readChunks(source, name, signal)) await sink(chunk);
    });
    return work(path, name);
  });
}

async function* readChunks(source: Readable, name: string, signal: AbortSignal): AsyncGenerator<Buffer> {
  try {
    yield* addAbortSignal(signal, source) as AsyncIterable<Buffer>;
  } catch (error) {
    signal.throwIfAborted();
    throw fileError(error, name);
  }
}
