/**
 * A program as data: what apps call and what breaks, step by step. Generated programs have this form, so that a program that finds a
 * fault can be printed and kept. A program survives a change of the generator; a seed does not.
 */
import type { DiskState } from './disk.ts';
import type { Fate } from './network.ts';
import { type Operation, textOf } from './operations.ts';
import type { Script } from './run.ts';
import type { Backup } from './server.ts';
import type { Client } from './world.ts';

/** One step. Tabs are named as in `World.open`. Steps for tabs that are not open do nothing. */
export type Step =
  /** Opens a tab, and waits until it has reached the server, or only until it exists. */
  | { readonly type: 'open'; readonly tab: string; readonly isOnline?: boolean }
  /** Calls in one turn of the event loop. */
  | { readonly type: 'call'; readonly tab: string; readonly calls: readonly Operation[] }
  /** Listens to a key, or to all keys, until the tab ends. */
  | { readonly type: 'watch'; readonly tab: string; readonly key?: string }
  | { readonly type: 'settle' }
  | { readonly type: 'wait'; readonly ms: number }
  | { readonly type: 'crash' | 'close' | 'freeze' | 'thaw' | 'disconnect'; readonly tab: string }
  /** Freezes a tab as soon as it holds the lock, or has a transaction under way that writes; not at all if that takes over 5 s. */
  | { readonly type: 'freeze-when'; readonly tab: string; readonly when: 'locked' | 'writing' }
  /** What becomes of a device's requests from now on. */
  | { readonly type: 'network'; readonly device: string; readonly fate: Fate }
  /** The fates of the next requests, whoever sends them, and of all after them. */
  | { readonly type: 'next'; readonly fates: readonly Fate[]; readonly rest?: Fate }
  /** Every request whose body contains a text. */
  | { readonly type: 'refuse'; readonly text: string; readonly fate: Fate }
  | { readonly type: 'disk'; readonly device: string; readonly change: Partial<DiskState> }
  | { readonly type: 'power-cut' | 'delete-sync-data'; readonly device: string }
  | { readonly type: 'set-clock'; readonly device: string; readonly offsetMs: number }
  | { readonly type: 'restart' | 'back-up' | 'restore' | 'empty' }
  /** A client that is not simulated writes. */
  | { readonly type: 'put'; readonly key: string; readonly value: unknown };

/** Milliseconds. */
const FREEZE_PATIENCE = 5000;

/** A script that carries out a program. */
export const scriptOf =
  (program: readonly Step[]): Script =>
  async (world) => {
    let backup: Backup | undefined;
    const clientOf = (name: string): Client | undefined =>
      world.living().find(({ tab }) => tab.name === name);

    for (const step of program) {
      const client = 'tab' in step ? clientOf(step.tab) : undefined;
      const device = 'device' in step ? world.device(step.device) : undefined;
      switch (step.type) {
        case 'open':
          if (client) break;
          if (step.isOnline) await world.openOnline(step.tab);
          else await world.open(step.tab);
          break;
        case 'call':
          if (client && !client.tab.isFrozen) client.turn(...step.calls);
          // The turn ends; no time passes.
          await world.wait(0);
          break;
        case 'watch':
          if (client && !client.tab.isFrozen) client.watch(step.key);
          break;
        case 'settle':
          await world.settle();
          break;
        case 'wait':
          await world.wait(step.ms);
          break;
        case 'crash':
        case 'freeze':
        case 'thaw':
          client?.tab[step.type]();
          break;
        case 'close':
          if (client) client.close();
          break;
        case 'disconnect':
          if (client) world.disks.disconnect(client.tab);
          break;
        case 'freeze-when': {
          if (!client) break;
          const { tab } = client;
          const isNow = (): boolean =>
            step.when === 'writing' ? world.disks.isWriting(tab) : (tab.device.locks?.isHeldBy(tab) ?? false);
          if (await world.clock.run(world.clock.nowMs + FREEZE_PATIENCE, isNow)) tab.freeze();
          break;
        }
        case 'network':
          if (device) device.network = step.fate;
          break;
        case 'next':
          world.network.next(step.fates, step.rest);
          break;
        case 'refuse':
          world.network.whenBodyHas(step.text, step.fate);
          break;
        case 'disk':
          if (device) Object.assign(device.disk, step.change);
          break;
        case 'power-cut':
          if (device) world.cutPower(device);
          break;
        case 'delete-sync-data':
          if (device) world.deleteSyncData(device);
          break;
        case 'set-clock':
          if (device) device.clockOffsetMs = step.offsetMs;
          break;
        case 'restart':
          world.reference.restart();
          break;
        case 'back-up':
          backup = world.reference.backUp();
          break;
        case 'restore':
          if (backup) world.reference.restore(backup);
          break;
        case 'empty':
          world.reference.empty();
          break;
        case 'put':
          await world.server.put(step.key, step.value);
          break;
      }
    }
  };

/** A program for people, a line for each step. */
export const programText = (program: readonly Step[]): string =>
  program
    .map((step) => {
      if (step.type === 'call') return `${step.tab}: ${step.calls.map(textOf).join('; ')}`;
      const { type, ...rest } = step;
      return `${type} ${Object.values(rest)
        .map((value) => (typeof value === 'string' ? value : JSON.stringify(value)))
        .join(' ')}`.trim();
    })
    .join('\n');
