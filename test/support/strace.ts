/** The system calls of a process on files and sockets, as strace writes them down. Linux only. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Debian's package that brings it. */
export const STRACE_PACKAGE = 'strace';

/** Whether it is installed. */
export const hasStrace = (): boolean => spawnSync('strace', ['-V']).error === undefined;

/** Why it cannot be used here, for a skip that names its reason; `undefined` if it can. */
export function straceSkipReason(): string | undefined {
  if (!hasStrace()) return `strace was not found; the package ${STRACE_PACKAGE} brings it`;
  const [command, args] = traced('/dev/null', ['true']);
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  return status === 0 ? undefined : `strace may not trace here: ${stderr.trim()}`;
}

/** Everything that changes a file, makes changes durable, or sends bytes. */
const CALLS = [
  'open,openat,openat2,creat,unlink,unlinkat,rename,renameat,renameat2,link,linkat',
  'write,writev,pwrite64,pwritev,pwritev2,sendfile,splice,copy_file_range,truncate,ftruncate,fallocate',
  'fsync,fdatasync,sync_file_range,msync,sendto,sendmsg,sendmmsg',
].join();

/** Longer data is cut off. SQLite writes pages. */
const MAX_DATA = 64 * 1024;

/** The command that runs `command` and writes its system calls to the file `tracePath`. */
export function traced(tracePath: string, command: readonly string[]): [string, string[]] {
  // With -D the program is the child of the caller: signals reach it, and its end is seen.
  const options = [
    '-f',
    '-D',
    '-y',
    '-xx',
    '-s',
    String(MAX_DATA),
    '-e',
    `trace=${CALLS}`,
    '-e',
    'signal=none',
  ];
  return ['strace', [...options, '-o', tracePath, '--', ...command]];
}

/** A call that succeeded, on the file or folder at `path`, or on any socket. */
export type SystemCall =
  /** Creates the file if it does not exist. */
  | { readonly type: 'open'; readonly path: string; readonly truncates: boolean }
  | { readonly type: 'write'; readonly path: string; readonly offset: number; readonly data: Buffer }
  | { readonly type: 'truncate'; readonly path: string; readonly size: number }
  | { readonly type: 'sync' | 'unlink'; readonly path: string }
  | { readonly type: 'send'; readonly data: Buffer };

/**
 * Reads the calls on `paths` and on sockets, in the order in which they returned. Bytes count as sent when their call began.
 *
 * @throws {Error} For a call on one of `paths` that has no type here.
 */
export function readTrace(tracePath: string, paths: ReadonlySet<string>): SystemCall[] {
  const calls: SystemCall[] = [];
  const begun = new Map<string, string>();
  for (const line of readFileSync(tracePath, 'latin1').split('\n')) {
    const [, thread = '', rest = ''] = /^(\d+) +(.*)$/.exec(line) ?? [];
    const [, before, end] = /^(.*) <unfinished \.\.\.>$|^<\.\.\. \w+ resumed>(.*)$/.exec(rest) ?? [];
    if (before !== undefined) begun.set(thread, before);
    const text = before ?? (end === undefined ? rest : `${begun.get(thread)}${end}`);
    if (SEND.test(text)) {
      if (end === undefined) calls.push({ type: 'send', data: dataOf(text) });
    } else if (before === undefined) {
      const call = fileCall(text, paths);
      if (call !== undefined) calls.push(call);
    }
  }
  return calls;
}

const HEX = '(?:\\\\x[0-9a-f]{2})*';
/** A call that sends, with the beginning of `socket:` as the name of its file. */
const SEND = /^(?:write|writev|sendto|sendmsg|sendmmsg)\(\d+<\\x73\\x6f\\x63\\x6b\\x65\\x74\\x3a/;
const STRING = new RegExp(`"(${HEX})"`, 'g');
/** A file or folder that a call names: by its number, or by a path. */
const PATH = new RegExp(`(?:^\\d+<|")(${HEX})(?:>|")`, 'g');

const bytesOf = (hex: string): Buffer => Buffer.from(hex.replaceAll('\\x', ''), 'hex');

/** The strings of a call. */
const dataOf = (text: string): Buffer =>
  Buffer.concat([...text.matchAll(STRING)].map(([, hex = '']) => bytesOf(hex)));

function fileCall(text: string, paths: ReadonlySet<string>): SystemCall | undefined {
  const [, name = '', args = '', result = ''] = /^(\w+)\((.*)\) += (-?\d+)/.exec(text) ?? [];
  // Data may be long, and is never the first.
  const path = [...args.slice(0, 8192).matchAll(PATH)]
    .map(([, hex = '']) => bytesOf(hex).toString())
    .find((candidate) => paths.has(candidate));
  if (path === undefined || Number(result) < 0) return undefined;
  switch (name) {
    case 'open':
    case 'openat':
      return args.includes('O_CREAT')
        ? { type: 'open', path, truncates: args.includes('O_TRUNC') }
        : undefined;
    case 'pwrite64': {
      const data = dataOf(args).subarray(0, Number(result));
      if (data.length < Number(result)) break;
      return { type: 'write', path, data, offset: Number(/\d+$/.exec(args)?.[0]) };
    }
    case 'ftruncate':
      return { type: 'truncate', path, size: Number(/\d+$/.exec(args)?.[0]) };
    case 'fsync':
    case 'fdatasync':
      return { type: 'sync', path };
    case 'unlink':
      return { type: 'unlink', path };
  }
  throw new Error(`A system call that the reader of traces does not know: ${text.slice(0, 200)}`);
}
