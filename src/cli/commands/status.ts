/** `codeforge-storage status <url>` */
import type { Command } from 'commander';
import { getJson } from '../server/http.ts';
import { openServer } from '../server/server.ts';
import { counted } from '../ui/terminal.ts';
import {
  connectionOf,
  createServerCommand,
  type Life,
  type ServerOptions,
  serverUrl,
  terminalOf,
} from './options.ts';

/** Shows what a server is and how much it stores. */
export const statusCommand = (life: Life): Command =>
  createServerCommand('status', 'show what a server is and how much it stores')
    .description(
      `Show which level of the contract a server speaks and how that was detected, the number of its keys and of the bytes of
its values, and what it announces: capabilities, limits, epoch.`,
    )
    .argument('<url>', 'the address of the server', serverUrl)
    .action(async (url: string, options: ServerOptions) => {
      const connection = connectionOf(url, options, life);
      const server = await openServer(connection);
      const { level, reason, isHealthRead: read } = server.detected;
      const { keys, sizeBytes } = await server.stats();
      const health = level === 1 ? await getJson(connection, 'health') : {};
      const announced = Object.fromEntries(
        ['contract', 'epoch', 'seq', 'capabilities', 'limits']
          .filter((name) => health[name] !== undefined)
          .map((name) => [name, health[name]]),
      );
      terminalOf(options).result(
        [
          `${url} speaks level ${level}: ${reason}`,
          !read && 'Its health endpoint gave no complete answer, so the level may be higher.',
          `${counted(keys, 'key')}, ${counted(sizeBytes, 'byte')} of values`,
          ...Object.entries(announced).map(([name, value]) => `${name}: ${format(value)}`),
        ]
          .filter(Boolean)
          .join('\n'),
        { ok: true, url, level, reason, read, keys, sizeBytes, ...announced },
      );
    });

function format(value: unknown): string {
  if (Array.isArray(value)) return value.join(', ');
  if (typeof value !== 'object' || value === null) return String(value);
  return Object.entries(value)
    .map(([name, member]) => `${name} ${member}`)
    .join(', ');
}
