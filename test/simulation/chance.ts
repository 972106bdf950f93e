/** What one schedule is like, drawn from its seed: each is about something else. */
import { ALL_KEYS, type StoredJson } from '../../src/sync/rules/state.ts';
import type { Random } from '../faults/random.ts';
import { SHARED } from './accounts.ts';
import type { Policy } from './origin.ts';
import { atomic, type Process, read, type Tab, update, type Wish, write } from './tab.ts';

const KEYS = ['a', 'b', 'c', 'd'];
const POLICIES: readonly Policy[] = ['keep-server', 'keep-server', 'keep-local', 'merge'];

/** How likely what is. */
export interface Odds {
  readonly keys: readonly string[];
  readonly policies: readonly Policy[];
  readonly steps: number;
  /** Of the steps: something fails; up to this, an app does something; up to this, a tab does something by itself. */
  readonly fault: number;
  readonly app: number;
  readonly own: number;
  /** Of what fails: a restore, or the backup for one. */
  readonly restores: number;
  readonly resent: number;
  readonly refused: number;
  readonly clear: number;
  /** Of what an app does: an atomic unit. */
  readonly unit: number;
  /** Writes that are sent in one request. */
  readonly most: number;
  /** Changes a page. */
  readonly page: number;
}

export function oddsOf(random: Random): Odds {
  const fault = random.pick([0.02, 0.06, 0.12]);
  const app = fault + random.pick([0.08, 0.15, 0.25]);
  return {
    keys: KEYS.slice(0, 1 + random.below(4)),
    policies: Array.from({ length: 2 + random.below(2) }, () => random.pick(POLICIES)),
    steps: 30 + random.below(120),
    fault,
    app,
    own: app + random.pick([0.08, 0.15]),
    restores: random.pick([0, 0, 0.1, 0.3]),
    resent: random.pick([0, 0.5]),
    refused: random.pick([0, 0, 0.2]),
    clear: random.pick([0, 0.05, 0.15]),
    unit: random.pick([0, 0.2, 0.4]),
    most: 1 + random.below(4),
    page: 1 + random.below(2),
  };
}

/** An app: what it does next in a tab. Nearly every value is unlike all others. */
export function createApp(random: Random, { keys, clear, unit }: Odds): (tab: Tab) => Process {
  let values = 0;
  const value = (): StoredJson | undefined =>
    random.chance(0.25) ? undefined : { json: random.chance(0.05) ? SHARED : `v${++values}` };
  const wish = (): Extract<Wish, { type: 'write' }> => {
    if (random.chance(clear)) return { type: 'write', key: ALL_KEYS, value: undefined };
    return { type: 'write', value: value(), key: random.pick(keys) };
  };
  /** Writes of 1 to 3 keys; of one where another key is checked. */
  const whole = (): Extract<Wish, { type: 'atomic' }> => {
    const left = [...keys];
    const taken = (): string => left.splice(random.below(left.length), 1)[0] as string;
    const checks = left.length > 1 && random.chance(0.5) ? [taken()] : [];
    const most = Math.min(3, left.length);
    const size = checks.length > 0 ? 1 + random.below(most) : Math.max(1, most - random.below(2));
    const parts = Array.from({ length: size }, () => {
      return { key: taken(), value: value(), isConditional: random.chance(0.25) };
    });
    return { type: 'atomic', parts, checks };
  };
  const change = (value: StoredJson | undefined): StoredJson => ({
    json: `${value?.json ?? ''}u${++values}`.slice(-30),
  });
  return (tab) => {
    if (keys.length > 1 && random.chance(unit)) return atomic(tab, whole());
    const kind = random.next();
    if (kind < 0.15) return read(tab, random.pick(keys));
    if (kind < 0.35) return update(tab, { type: 'update', key: random.pick(keys), change });
    return write(tab, Array.from({ length: 1 + random.below(3) }, wish));
  };
}
