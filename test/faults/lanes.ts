/** Storages side by side, each behind a proxy of its own, whose faults a test changes from call to call. */
import { vi } from 'vitest';
import { createStorage, type KeyValueStorage } from '../../src/index.ts';
import type { Fault, Faults, ProxiedRequest } from '../support/faults.ts';
import { startProxy, type TcpProxy } from '../support/proxy.ts';

/** A storage and the network in front of it. */
export interface Lane {
  readonly storage: KeyValueStorage;
  readonly proxy: TcpProxy;
  /** None unless set. */
  faults: Faults | undefined;
}

/** Open one to the server at `url`, which has answered by then: on a busy machine not to the first that asks. */
export async function openLane(url: string, timeout: number): Promise<Lane> {
  const lane: { faults: Faults | undefined } = { faults: undefined };
  const proxy = await startProxy(url, { faults: (request) => lane.faults?.(request) });
  const storage = await vi.waitFor(() => openReached(proxy.url, timeout), { timeout: 60_000, interval: 50 });
  return Object.assign(lane, { storage, proxy });
}

/** @throws {StorageError} `unavailable` or `timeout` when the server has not answered in time. */
async function openReached(flaskUrl: string, timeout: number): Promise<KeyValueStorage> {
  const storage = createStorage({ useFlask: true, flaskUrl, logger: false, timeout });
  try {
    await storage.ready();
    if (storage.getBackendType() !== 'flask') throw new Error(storage.status().reason);
    return storage;
  } catch (error) {
    await storage.close();
    throw error;
  }
}

/** Open so many, one after the other: together they would not all be answered in a short time. */
export async function openLanes(count: number, url: string, timeout: number): Promise<Lane[]> {
  const lanes: Lane[] = [];
  while (lanes.length < count) lanes.push(await openLane(url, timeout));
  return lanes;
}

/** Close them, with all connections. */
export async function closeLanes(lanes: readonly Lane[]): Promise<void> {
  await Promise.all(lanes.map(({ storage }) => storage.close()));
  await Promise.all(lanes.map(({ proxy }) => proxy.close()));
}

/** Do `work` for 0 up to `count`, one after the other in each lane. */
export async function inLanes(
  lanes: readonly Lane[],
  count: number,
  work: (lane: Lane, i: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  await Promise.all(
    lanes.map(async (lane) => {
      while (next < count) {
        const i = next;
        next += 1;
        await work(lane, i);
      }
    }),
  );
}

/** A fault that hits the first so many requests that match, and no others. */
export function first(times: number, matches: (request: ProxiedRequest) => boolean, fault: Fault): Faults {
  let left = times;
  return (request) => {
    if (left === 0 || !matches(request)) return undefined;
    left -= 1;
    return fault;
  };
}
