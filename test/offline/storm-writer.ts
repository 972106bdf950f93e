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
  /** Called with each write when it has settled. */
  readonly watchers: Set<(settled: Write) => void>;
  over: boolean;
  ended: Promise<unknown>;
}

declare global {
  var storm: Storm;
}

/** Keys that everybody writes. */
export const SHARED_KEYS = ['shared 1', 'shared 2', 'shared 3'];

/** What writes side by side in a tab. */
export const LANES = ['own', 'once', 'shared', 'count'] as const;

/**
 * Begin one, as `globalThis.storm`. It runs in a page, so it names nothing outside itself.
 *
 * @param seeds The library's, which takes its chance from `Math.random`, and one of each lane.
 */
export function beginStorm([tab, sharedKeys, seeds]: readonly [
  tab: number,
  sharedKeys: readonly string[],
  seeds: readonly number[],
]): void {
  const { writes, misread, watchers } = Object.assign(globalThis, {
    storm: { writes: [], misread: [], watchers: new Set(), over: false, ended: Promise.resolve() } as Storm,
  }).storm;
  /** mulberry32, as in test/faults/random.ts. */
  const chanceOf = (seed = 0) => {
    let state = seed >>> 0;
    return (): number => {
      state = (state + 0x6d2b79f5) >>> 0;
      let bits = Math.imul(state ^ (state >>> 15), 1 | state);
      bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
      return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
    };
  };
  const [ofLibrary, ...ofLanes] = seeds;
  Math.random = chanceOf(ofLibrary);
  type Pick = <T>(items: readonly T[]) => T;

  async function write(lane: string, turn: number, type: Write['type'], key: string): Promise<Write> {
    const value = type === 'set' || type === 'update' ? `tab ${tab}, ${lane} ${turn}` : undefined;
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
    for (const watcher of watchers) watcher(settled);
    return settled;
  }

  async function own(pick: Pick, turn: number): Promise<void> {
    const type = pick(['set', 'set', 'update', 'delete'] as const);
    const { key, value, rejected } = await write('own', turn, type, `own ${tab} ${pick([1, 2, 3])}`);
    if (rejected) return;
    // On a busy machine a call may take longer than its limit: it is asked again.
    let read: unknown;
    do read = await storage.get(key).catch(({ code }: { code: string }) => ({ code }));
    while (JSON.stringify(read) === '{"code":"timeout"}');
    if (read !== value) misread.push(`${key}: ${JSON.stringify(read)} where ${value} was acknowledged`);
  }

  const lanes: ReadonlyArray<(pick: Pick, turn: number) => Promise<unknown>> = [
    own,
    (_, turn) => write('once', turn, 'set', `once ${tab} ${turn}`),
    (pick, turn) => write('shared', turn, pick(['set', 'update', 'delete'] as const), pick(sharedKeys)),
    (pick, turn) => write('count', turn, 'increment', pick([`count ${tab}`, 'count'])),
  ];
  storm.ended = Promise.all(
    lanes.map(async (lane, i) => {
      const chance = chanceOf(ofLanes[i]);
      const pick: Pick = (items) => items[Math.floor(chance() * items.length)] as (typeof items)[number];
      for (let turn = 0; !storm.over; turn += 1) {
        await lane(pick, turn);
        await new Promise((resolve) => setTimeout(resolve, chance() * 30));
      }
    }),
  );
}
