/**
 * The handshake, and the mirror filled from it, as src/sync/online/handshake.ts and src/sync/mirror/pull.ts do it.
 */
import type { Meta } from '../../src/sync/rules/state.ts';
import { type Origin, updateMirror } from './origin.ts';
import { replayOutbox } from './replay.ts';
import type { Answer, Op } from './server.ts';
import { isResults, observeAnswer, type Process, type Tab, withLock } from './tab.ts';
import type { Observation } from './tried-rules.ts';

const ROUNDS = 3;
const COMPARED = 2;

/** The handshake, and then the replay of the outbox. */
export function* establish(tab: Tab, incarnations: ReadonlyMap<string, number>): Process {
  const { origin } = tab;
  for (let round = 1; round <= ROUNDS; round++) {
    const before = origin.meta;
    const hello: Answer | undefined = yield { type: 'batch', ops: [] };
    if (!isResults(hello)) return;
    yield undefined;
    handshake(tab, before, hello, incarnations);
    const forgotten = yield* withLock(origin, () => forgets(tab));
    if (forgotten === 'unreachable') return;
    if (origin.meta.needsComparison) yield* withLock(origin, () => compareAll(tab));
    const stop = yield* withLock(origin, () => replayOutbox(tab));
    if (stop === 'unreachable') return;
    if (stop === 'restored') {
      begin(tab, origin.meta);
      continue;
    }
    tab.online = true;
    return;
  }
}

/** The transaction in which a server that has answered is compared with what was seen of it. */
export function handshake(
  tab: Tab,
  before: Meta,
  { epoch, seq }: { epoch: string; seq: number },
  incarnations: ReadonlyMap<string, number>,
): void {
  const { origin } = tab;
  const { rules, meta } = origin;
  const isRestored = before.generation === meta.generation && rules.isRestored(before, epoch, seq);
  // Another tab has found another server meanwhile: this answer may be of before.
  const stale = before.generation !== meta.generation;
  const known = isRestored ? rules.inNextGeneration(meta, epoch) : meta;
  if (!stale) {
    origin.meta = { ...known, epoch, seq: Math.max(known.seq, seq), level: 1 };
    origin.incarnation = incarnations.get(epoch) ?? 0;
  }
  tab.session = { generation: origin.meta.generation, epoch: origin.meta.epoch };
  tab.acknowledged = 0;
}

/** A new generation of the same server: it has turned out not to be the one whose answers were seen. */
function begin(tab: Tab, { generation, epoch }: Meta): void {
  const { origin } = tab;
  const { meta, rules } = origin;
  if (meta.generation === generation && meta.epoch === epoch)
    origin.meta = rules.inNextGeneration(meta, epoch);
  tab.session = { generation: origin.meta.generation, epoch: origin.meta.epoch };
  tab.acknowledged = 0;
}

/** Whether the server has forgotten a mutation that it has answered. */
function* forgets(tab: Tab): Process<'unreachable' | boolean> {
  const { meta } = tab.origin;
  if (meta.client === undefined && !tab.hasLostMutations) return false;
  const answer: Answer | undefined = yield { type: 'batch', client: meta.client, ops: [] };
  if (!isResults(answer)) return 'unreachable';
  if (!tab.hasLostMutations && answer.top > 0) return false;
  tab.hasLostMutations = false;
  begin(tab, meta);
  return true;
}

/** Read again what was seen in an earlier generation: what the server no longer has becomes a conflict when the mirror is updated. */
function* compareAll(tab: Tab): Process {
  const { origin, session } = tab;
  const { generation } = origin.meta;
  const old = [...origin.mirror]
    .filter(([, serverState]) => serverState.value && serverState.generation !== generation)
    .map(([key]) => key);
  for (let from = 0; from < old.length; from += COMPARED) {
    const gets = old.slice(from, from + COMPARED).map((key): Op => ({ op: 'get', key }));
    const answer: Answer | undefined = yield { type: 'batch', ops: gets };
    if (!isResults(answer)) return;
    yield* observeAnswer(tab, gets, answer, 0);
    // What was answered by another server did not reach the mirror.
    if (answer.epoch !== session?.epoch) return;
  }
  yield undefined;
  // What a clear has overtaken did not reach the mirror: it is read again at the next handshake.
  if (old.some((key) => origin.mirror.get(key)?.value && origin.mirror.get(key)?.generation !== generation))
    return;
  if (origin.meta.generation === generation && session?.generation === generation)
    origin.meta = { ...origin.meta, needsComparison: false };
}

/** Go on where the mirror is complete. */
export function* pull(tab: Tab, limit: number): Process {
  const { origin } = tab;
  const { meta } = origin;
  const { generation, epoch } = meta;
  const listed = meta.cursor === undefined ? new Set<string>() : undefined;
  for (let cursor = meta.cursor; ; ) {
    const since = cursor === undefined ? undefined : { epoch, seq: cursor };
    const page: Answer | undefined = yield { type: 'changes', since, limit };
    if (!page) return;
    yield undefined;
    if ('error' in page) return remember(origin, generation, undefined);
    if (!('changes' in page) || page.epoch !== epoch) return;
    const observations = page.changes.map(
      ({ type, key, rev, value }): Observation =>
        type === 'clear'
          ? { generation, clearedAt: rev }
          : { key, serverState: { generation, epoch, seq: rev, value } },
    );
    for (const { key } of page.changes) listed?.add(key);
    updateMirror(origin, observations, generation, page.seq);
    cursor = page.seq;
    yield undefined;
    if (page.more && listed) continue;
    remember(origin, generation, cursor, listed);
    if (!page.more) return;
  }
}

/** Up to where the mirror is complete. Of one that was filled from the start, keys that were not listed are gone. */
function remember(
  origin: Origin,
  generation: number,
  cursor: number | undefined,
  listed?: ReadonlySet<string>,
): void {
  const { meta, mirror } = origin;
  if (meta.generation !== generation) return;
  origin.meta = { ...meta, cursor };
  if (!listed || cursor === undefined) return;
  for (const [key, serverState] of mirror)
    if (
      !listed.has(key) &&
      serverState.value &&
      serverState.generation === generation &&
      serverState.seq <= cursor
    )
      mirror.set(key, { ...serverState, seq: cursor, value: undefined });
}
