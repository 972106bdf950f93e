/** `codeforge-storage import <url> <file>` */
import { createReadStream } from 'node:fs';
import { addAbortSignal, type Readable } from 'node:stream';
import type { Command } from 'commander';
import { type Archive, readArchive } from '../files/archive.ts';
import { isPipe, ofPath, withSpool } from '../files/files.ts';
import { codeWithout, leaveOutOption, tellLeftOut } from '../files/left-out.ts';
import { type Imported, importInto, type Mode } from '../server/importing.ts';
import { openServer } from '../server/server.ts';
import {
  connectionOf,
  counted,
  createServerCommand,
  type Life,
  modeOption,
  type ServerOptions,
  serverUrl,
  terminalOf,
} from '../ui/options.ts';

interface ImportOptions extends ServerOptions {
  readonly mode: Mode;
  readonly dryRun?: boolean;
  readonly leaveOut: boolean;
}

/** A backup into a server. */
export const importCommand = (life: Life): Command =>
  createServerCommand('import', 'bring a backup into a server, and verify it there')
    .description(
      `Bring a backup into a server: a file of "export" or "backup", one that the app wrote, or a bare JSON object.

The whole file is read first: of one that is cut or damaged nothing is sent. Afterwards the server's export is read, and
every key that should have arrived is compared: "verified" counts what is equal. Keys that only the server has stay.

At an old server (level 0) skip and fail look first and write then: a key that somebody else stores in between is replaced.`,
    )
    .argument('<url>', "the server's address", serverUrl)
    .argument('<file>', 'the backup; "-" for stdin')
    .addOption(modeOption())
    .addOption(leaveOutOption())
    .option('--dry-run', 'say what would be stored, and store nothing')
    .action(async (url: string, file: string, options: ImportOptions) => {
      const terminal = terminalOf(options);
      const { mode, dryRun = false, leaveOut } = options;
      await withFile(file, life, async (path, name) => {
        const progress = terminal.progress(`check ${name}`, undefined);
        const reading = { name, signal: life.signal, progress, leaveOut };
        const archive = await readArchive(path, reading, countsOf(mode));
        const server = await openServer(connectionOf(url, options, life));
        const done = await importInto(server, archive, { mode, dryRun }, terminal);
        const left = tellLeftOut(archive.leftOut, name, terminal);
        process.exitCode = codeWithout(archive.leftOut);
        terminal.result(inWords(done, archive, url), { ok: true, url, file, mode, ...done, ...left });
      });
    });

/** Which value of a key counts that is named twice, so that the outcome is the server's. */
export const countsOf = (mode: Mode): 'first' | 'last' => (mode === 'overwrite' ? 'last' : 'first');

/** What came of an import. */
function inWords(
  { keys, imported, skipped, verified, dryRun }: Imported,
  { name, summary }: Archive,
  url: string,
): string {
  const stay =
    skipped > 0 ? `, ${counted(skipped, 'key')} that ${dryRun ? 'would stay' : 'stayed'} as they were` : '';
  if (dryRun)
    return `${name} holds ${counted(keys, 'key')}: ${imported} would be stored at ${url}${stay}. Nothing was.`;
  const bare = summary.checksum === 'absent' ? ' The file has no checksum.' : '';
  return `Imported ${counted(imported, 'key')} of ${name} into ${url}${stay}; ${counted(verified, 'key')} verified there.${bare}`;
}

/** A file, or stdin as one, or a pipe: it is read twice. */
async function withFile<T>(
  file: string,
  { signal }: Life,
  work: (path: string, name: string) => Promise<T>,
): Promise<T> {
  const isStdin = file === '-';
  if (!isStdin && !(await isPipe(file))) return work(file, file);
  const source = isStdin ? process.stdin : createReadStream(file);
  const name = isStdin ? 'stdin' : file;
  return withSpool(async (path, fill) => {
    await fill(async (sink) => {
      for await (const chunk of chunksOf(source, name, signal)) await sink(chunk);
    });
    return work(path, name);
  });
}

async function* chunksOf(source: Readable, name: string, signal: AbortSignal): AsyncGenerator<Buffer> {
  try {
    yield* addAbortSignal(signal, source) as AsyncIterable<Buffer>;
  } catch (error) {
    signal.throwIfAborted();
    throw ofPath(error, name);
  }
}
