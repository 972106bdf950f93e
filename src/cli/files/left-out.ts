/** Keys that no server takes, and that are left out of what is done where that is asked for. */
import { Option } from 'commander';
import { EXIT, type ExitCode } from '../ui/exit-codes.ts';
import { counted } from '../ui/options.ts';
import type { Terminal } from '../ui/terminal.ts';
import { SHOWN, someOf } from './verifying.ts';

/** The option for keys that no server takes. */
export const leaveOutOption = (): Option =>
  new Option(
    '--leave-out',
    'leave out keys that no server takes, such as one over 1,024 bytes, name them, and end with 6; otherwise one such key ends it',
  ).default(false);

/** Say which keys were left out. Returns what a line of JSON says of them. */
export function tellLeftOut(keys: readonly string[], what: string, terminal: Terminal): object {
  if (keys.length === 0) return { leftOut: 0 };
  terminal.complain(
    `${counted(keys.length, 'key')} of ${what} left out, which no server takes: ${someOf(keys)}.`,
  );
  return { leftOut: keys.length, leftOutKeys: keys.slice(0, SHOWN) };
}

/** The exit code of what is done but for some keys. */
export const codeWithout = (leftOut: readonly string[]): ExitCode =>
  leftOut.length === 0 ? EXIT.done : EXIT.leftOut;
