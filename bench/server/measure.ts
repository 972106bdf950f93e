/**
 * One run of load against one server, and the look at its data afterwards: every answer was a success, and a sample
 * of the keys holds what the run wrote.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { residentBytes } from '../harness/memory.ts';
import { CONNECTIONS, type Generator, type Keys, keyOf, type Loaded, type Template } from './load.ts';
import { BATCH, type Kind } from './servers.ts';
import { valueFor } from './values.ts';

/** A server that runs. */
export interface Peer {
  readonly kind: Kind;
  readonly url: string;
  readonly pids: readonly number[];
}

/** What is asked of every server. */
export type Workload = 'get' | 'put' | 'create' | 'batch';

/** A run's outcome. */
export interface Run extends Loaded {
  /** Bytes. */
  readonly memory: number;
}

/** Keys that are looked at after a run. */
const SAMPLE = 20;

/** Milliseconds in which requests that were under way at the end may still be carried out. */
const SETTLE_LIMIT = 5000;

/** The name that the first values bear. */
const SEED = 'seed';

const existing = ({ keys }: Kind): Keys => ({ prefix: 'key-', count: keys });

/** Write the keys that are read and overwritten later. */
export async function seed({ kind, url }: Peer): Promise<void> {
  if (kind.read === undefined) return;
  const keys = existing(kind);
  const template = kind.create?.(SEED) ?? kind.put(SEED);
  for (let from = 0; from < keys.count; from += CONNECTIONS) {
    const some = Array.from({ length: Math.min(CONNECTIONS, keys.count - from) }, (_, i) => from + i);
    await Promise.all(some.map((i) => send(url, template, keyOf(keys, i))));
  }
}

async function send(url: string, { method, path, body = '' }: Template, key: string): Promise<void> {
  const named = (text: string): string => text.replace(/@(?:NEXT|KEY)@/g, key);
  const response = await fetch(url + named(path), {
    method,
    headers: { 'Content-Type': 'application/json' },
    body: named(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path} answered ${response.status}: ${text.slice(0, 200)}`);
}

/**
 * Load one server for `time` milliseconds.
 *
 * @param name Of the run; values bear it.
 * @throws {Error} When an answer was no success, or a key holds something else than was written.
 */
export async function load(
  generator: Generator,
  peer: Peer,
  workload: Workload,
  name: string,
  time: number,
): Promise<Run> {
  const { kind, url, pids } = peer;
  if (workload === 'create') await kind.empty?.(url);
  const keys = workload === 'create' ? { prefix: `${name}-`, count: 1e8 } : existing(kind);
  const template = templateOf(kind, workload, name);
  let loaded = await generator.run(url, template, keys, time);
  // A slow server on a busy machine may answer nothing in a short time.
  for (let longer = 2 * time; loaded.requests === 0 && longer <= 32 * time; longer *= 2)
    loaded = await generator.run(url, template, keys, longer);
  const what = `${kind.name}, ${workload}`;
  if (loaded.refused > 0 || loaded.broken > 0 || loaded.requests === 0)
    throw new Error(
      `${what}: ${loaded.refused} of ${loaded.requests} answers were refusals, ${loaded.broken} connections broke`,
    );
  const memory = (await Promise.all(pids.map(residentBytes))).reduce((sum, bytes) => sum + bytes, 0);
  if (workload === 'get') checkBytes(what, loaded);
  else await checkSample(peer, keys, loaded.requests * (workload === 'batch' ? BATCH : 1), name, what);
  return { ...loaded, memory };
}

function templateOf(kind: Kind, workload: Workload, run: string): Template {
  switch (workload) {
    case 'get':
      return kind.get;
    case 'put':
      return kind.put(run);
    case 'create':
      return kind.create?.(run) ?? kind.put(run);
    case 'batch': {
      const template = kind.batch?.(run);
      if (template === undefined) throw new Error(`${kind.name} has no batches`);
      return template;
    }
  }
}

/** Every answer held a value. */
function checkBytes(what: string, { bytes, requests }: Loaded): void {
  const least = valueFor('', '').length;
  if (bytes / requests < least)
    throw new Error(`${what}: ${Math.round(bytes / requests)} bytes an answer hold no value of ${least}`);
}

/** @param answered How many keys were written and answered: the first ones, all but what was under way at the end. */
async function checkSample(
  { kind, url }: Peer,
  keys: Keys,
  answered: number,
  run: string,
  what: string,
): Promise<void> {
  const { read } = kind;
  if (read === undefined) return;
  const written = Math.min(keys.count, answered > 2 * CONNECTIONS ? answered - CONNECTIONS : answered / 2);
  const step = Math.max(1, Math.floor(written / SAMPLE));
  const deadline = performance.now() + SETTLE_LIMIT;
  for (let i = 0; i < written; i += step) {
    const key = keyOf(keys, i);
    for (;;) {
      const found = await read(url, key);
      if (found === valueFor(key, run)) break;
      if (performance.now() > deadline)
        throw new Error(
          `${what}: ${key} holds ${JSON.stringify(found)?.slice(0, 60)}, not what ${run} wrote`,
        );
      await delay(100);
    }
  }
}
