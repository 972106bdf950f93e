/**
 * Clients of a server, each behind a faulty proxy of its own that loses, cuts, delays and reorders.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { expect, vi } from 'vitest';
import { createStorage, type KeyValueStorage } from '../../src/index.ts';
import {
  answerCutAfter,
  answerLost,
  type Fault,
  htmlAnswer,
  requestHeld,
  requestLost,
} from '../support/faults.ts';
import { startProxy, type TcpProxy } from '../support/proxy.ts';
import type { Random } from './random.ts';

/** Milliseconds; short, so that there are writes in doubt. */
const TIMEOUT = 500;
const FAULTY = 0.25;

/** What may become of a request. */
function randomFault(random: Random): Fault | undefined {
  if (!random.chance(FAULTY)) return undefined;
  const ending = random.pick(['fin', 'rst'] as const);
  return random.pick<() => Fault>([
    () => answerLost(ending),
    () => answerLost(ending),
    () => answerCutAfter(random.below(400), ending),
    () => answerLost('silence'),
    () => requestLost(ending),
    () => requestLost(ending, random.below(300)),
    () => requestHeld(delay(random.below(2 * TIMEOUT)), random.pick(['fin', 'rst', 'rst', 'silence'])),
    () => htmlAnswer(random.pick([200, 404, 502]), random.chance(0.5)),
    () => ({ delayMs: random.below(40) }),
    () => ({ hold: delay(random.below(40)) }),
  ])();
}

/** A client and the network in front of it. */
export interface Station {
  readonly storage: KeyValueStorage;
  readonly proxy: TcpProxy;
}

/** @param chance Where its faults come from; none while it gives none. */
export async function openStation(url: string, chance: () => Random | undefined): Promise<Station> {
  const proxy = await startProxy(url, {
    faults: () => {
      const random = chance();
      return random && randomFault(random);
    },
  });
  const storage = createStorage({ useFlask: true, flaskUrl: proxy.url, logger: false, timeout: TIMEOUT });
  // Its time limit is short, and many open at once.
  await vi.waitFor(() => storage.ready(), { timeout: 30_000, interval: 100 });
  expect(storage.getBackendType()).toBe('flask');
  return { storage, proxy };
}
