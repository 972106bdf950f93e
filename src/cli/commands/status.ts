/** `codeforge-storage status <url>` */
import type { Command } from 'commander';
import { getJson } from '../server/http.ts';
import { openServer } from '../server/server.ts';
import {
  connectionOf,
  counted,
  createServerCommand,
  type Life,
  type ServerOptions,
  serverUrl,
  terminalOf,
} from '../ui/options.ts';

/** What a server is, and how much it holds. */
export const statusCommand = (life: Life): Command =>
  createServerCommand('status', 'say what a server is and how much it holds')
    .description(
      'Say which level of the contract a server speaks and why that was found, how many keys and bytes of values it holds, and what it announces: capabilities, limits, epoch.',
    )
    .argument('<url>', "the server's address", serverUrl)
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
          !read && 'Its /health could not be read: the level may be a higher one.',
          `${counted(keys, 'key')}, ${counted(sizeBytes, 'byte')} of values`,
          ...Object.entries(announced).map(([name, value]) => `${name}: ${inWords(value)}`),
        ]
          .filter(Boolean)
          .join('\n'),
        { ok: true, url, level, reason, read, keys, sizeBytes, ...announced },
      );
    });

function inWords(value: unknown): string {
  if (Array.isArray(value)) return value.join(', ');
  if (typeof value !== 'object' || value === null) return String(value);
  return Object.entries(value)
    .map(([name, member]) => `${name} ${member}`)
    .join(', ');
}
