/**
 * What a tab of the storm does: four lanes write side by side until they are told to stop, each its own kind of key and one
 * write after the other, and note when each write began, when it settled, and how.
 */

/** A write of a tab, as the tab saw it. */
export interface Write {
  readonly tab: number;
  readonly key: string;
  /** An `increment` adds one by `update()`; an `update` replaces the value by its own. */
  readonly type: 'set' | 'update' | 'delete' | 'increment';
  /** What the key holds afterwards; no other write has the same. Nothing where it is gone, or counted up. */
  readonly value: string | undefined;
  readonly startMs: number;
  readonly endMs: number;
  /** The code of its error; nothing where it was acknowledged. */
  readonly rejected: string | undefined;
  /** Who served operations when it had settled. */
  readonly backend: string;
}

/** A storm under way. */
export interface Storm {
  readonly writes: Write[];
  /** Reads of a key that only this tab writes which did not show its last acknowledged write. */
  readonly misread: string[];
  over: boolean;
  ended: Promise<unknown>;
}

declare global {
  var storm: Storm;
}

/** Keys that everybody writes. */
export const SHARED_KEYS = ['shared 1', 'shared 2', 'shared 3'];

/** Begin one, as `globalThis.storm`. It runs in a page, so it names nothing outside itself. */
export function beginStorm([tab, sharedKeys]: readonly [tab: number, sharedKeys: readonly string[]]): void {
  const { writes, misread } = Object.assign(globalThis, {
    storm: { writes: [], misread: [], over: false, ended: Promise.resolve() } as Storm,
  }).storm;
  let values = 0;
  const pick = <T>(items: readonly T[]): T => items[Math.floor(Math.random() * items.length)] as T;

  async function write(type: Write['type'], key: string): Promise<Write> {
    values += 1;
    const value = type === 'set' || type === 'update' ? `tab ${tab}, ${values}` : undefined;
    const startMs = Date.now();
    const call = {
      set: () => storage.set(key, value),
      update: () => storage.update(key, () => value),
      delete: () => storage.delete(key),
      increment: () => storage.update(key, (current) => ((current as number | undefined) ?? 0) + 1),
    }[type];
    const rejected = await call().then(
      () => undefined,
      (error: { code?: string }) => error.code ?? String(error),
    );
    const backend = storage.getBackendType();
    const settled = { tab, key, type, value, startMs, endMs: Date.now(), rejected, backend };
    writes.push(settled);
    return settled;
  }

  async function hot(): Promise<void> {
    const { key, value, rejected } = await write(
      pick(['set', 'set', 'update', 'delete']),
      `own ${tab} ${pick([1, 2, 3])}`,
    );
    if (rejected) return;
    const read = await storage.get(key).catch(({ code }: { code: string }) => ({ code }));
    if (read !== value) misread.push(`${key}: ${JSON.stringify(read)} where ${value} was acknowledged`);
  }

  const lanes = [
    hot,
    () => write('set', `once ${tab} ${values}`),
    () => write(pick(['set', 'update', 'delete']), pick(sharedKeys)),
    () => write('increment', pick([`count ${tab}`, 'count'])),
  ];
  storm.ended = Promise.all(
    lanes.map(async (lane) => {
      while (!storm.over) {
        await lane();
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 30));
      }
    }),
  );
}
