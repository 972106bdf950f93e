/**
 * The load: 64 connections that are kept alive, each with one request at a time, from `wrk` where it is installed and
 * from autocannon otherwise. Both send the same bytes, made from the same template.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import autocannon from 'autocannon';
import { isInstalled, outputOf, versionOf } from './command.ts';

/** Connections at once. */
export const CONNECTIONS = 64;

/**
 * A request as it is sent again and again, each time with the next key: in `path` and `body`, `@NEXT@` goes on to the
 * next key and stands for it, and `@KEY@` stands for the same key again. Keys are as long as `keyOf` makes them.
 */
export interface Template {
  readonly method: string;
  readonly path: string;
  readonly body?: string;
}

/** Which keys are sent: `prefix` and a number below `count`, from 0 on; after the last the first comes again. */
export interface Keys {
  readonly prefix: string;
  readonly count: number;
}

export const keyOf = ({ prefix }: Keys, i: number): string => prefix + String(i).padStart(8, '0');

/** What came of it. */
export interface Loaded {
  readonly requests: number;
  readonly seconds: number;
  /** Of the answers, with their heads. */
  readonly bytes: number;
  /** Answers that were no 2xx or 3xx. */
  readonly refused: number;
  /** Connections that failed. */
  readonly broken: number;
  /** Latencies in microseconds. */
  readonly p50: number;
  readonly p99: number;
}

/** Something that makes load. */
export interface Generator {
  /** Name and version. */
  readonly version: string;
  /** @param time Milliseconds. */
  run(url: string, template: Template, keys: Keys, time: number): Promise<Loaded>;
}

/** The best one that there is here. */
export async function findGenerator(): Promise<Generator> {
  // It prints its version together with its usage.
  if (await isInstalled('wrk')) return { version: `wrk ${await versionOf('wrk', ['-v'])}`, run: wrk };
  return { version: 'autocannon', run: cannon };
}

const HEADERS = { Host: '127.0.0.1', 'Content-Type': 'application/json' };

async function wrk(url: string, template: Template, keys: Keys, time: number): Promise<Loaded> {
  const folder = await mkdtemp(join(tmpdir(), 'codeforge-load-'));
  try {
    const path = join(folder, 'template');
    await writeFile(path, rawRequest(template, keys));
    const script = join(import.meta.dirname, 'load.lua');
    const args = ['-t1', `-c${CONNECTIONS}`, '-d60s', '--timeout', '60s', '-s', script, url, '--'];
    // Told to end from outside: it counts whole seconds itself.
    const output = await outputOf('wrk', [...args, path, keys.prefix, String(keys.count)], time);
    const line = output.trimEnd().split('\n').at(-1) ?? '';
    if (!line.startsWith('{')) throw new Error(`wrk did not report: ${output}`);
    return JSON.parse(line);
  } finally {
    await rm(folder, { recursive: true });
  }
}

function rawRequest({ method, path, body = '' }: Template, keys: Keys): string {
  const sent = body.replace(/@(?:NEXT|KEY)@/g, keyOf(keys, 0));
  const length = body === '' ? [] : [`Content-Length: ${Buffer.byteLength(sent)}`];
  const headers = Object.entries(HEADERS).map(([name, value]) => `${name}: ${value}`);
  return `${[`${method} ${path} HTTP/1.1`, ...headers, ...length].join('\r\n')}\r\n\r\n${body}`;
}

function filled(text: string, next: () => string): string {
  let key = '';
  return text.replace(/@(NEXT|KEY)@/g, (_, mark) => {
    if (mark === 'NEXT') key = next();
    return key;
  });
}

async function cannon(url: string, template: Template, keys: Keys, time: number): Promise<Loaded> {
  let at = -1;
  const next = (): string => {
    at = (at + 1) % keys.count;
    return keyOf(keys, at);
  };
  const separator = '\n';
  const load = autocannon({
    url,
    connections: CONNECTIONS,
    duration: 60,
    timeout: 60,
    headers: HEADERS,
    requests: [
      {
        method: template.method,
        setupRequest: (request) => {
          // Both parts at once: the body may name the path's key.
          const text = filled(template.path + separator + (template.body ?? ''), next);
          const end = text.indexOf(separator);
          const body = text.slice(end + 1);
          return { ...request, path: text.slice(0, end), ...(body !== '' && { body }) };
        },
      },
    ],
  });
  const begun = performance.now();
  await delay(time);
  load.stop();
  const { requests, throughput, non2xx, errors, latency } = await load;
  return {
    requests: requests.total,
    seconds: (performance.now() - begun) / 1000,
    bytes: throughput.total,
    refused: non2xx,
    broken: errors,
    p50: latency.p50 * 1000,
    p99: latency.p99 * 1000,
  };
}
