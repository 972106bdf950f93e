/**
 * The outbox sent from a device whose disk is full: nothing can be noted down, but what has arrived can be deleted.
 *
 * Nothing is marked, so a tab that ends in the middle leaves writes that are sent again. They hold only for what their writer had
 * seen: where they had applied, the server has their very value by then, and they are done. What cannot be settled by deleting it
 * stays where it is, until there is room.
 */

import type { StorageError } from '../../core/errors.ts';
import { isSettled, type Level1, newClient } from '../../remote/level1/protocol.ts';
import { checkAccount } from '../mirror/account.ts';
import { observationsOf } from '../mirror/update.ts';
import { decide, decideVoided, planRequest, unitResults } from '../rules/outbox.ts';
import type { Meta, QueuedWrite } from '../rules/state.ts';
import { fitting, opsOf } from './outgoing.ts';
import type { Replay } from './replay.ts';
import { type Stop, stopOf } from './stop.ts';

const MOST = 100;
/** A unit, which is sent as a whole, has fewer writes. */
const READ = 500;

/**
 * Send what waits, up to the row with the number `last`.
 *
 * @param met The server as it was met: there may have been no room to note that down.
 * @param full Why nothing can be noted down.
 */
export async function replayFull(
  { database, level1, progress, signal }: Replay,
  { generation, epoch, seq, level }: Meta,
  last: number,
  full: StorageError,
): Promise<Stop | undefined> {
  while (!signal.aborted) {
    checkAccount(await database.read((transaction) => transaction.meta()), { account: level1.account() });
    const { meta, queued } = await database.read(async (transaction) => ({
      meta: { ...((await transaction.meta()) as Meta), generation, epoch, seq, level },
      queued: await transaction.firstWrites(READ),
    }));
    const withoutSentAs = fitting(queued, level1.limits.bodyBytes).map((write) => ({
      ...write,
      sentAs: undefined,
    }));
    const planned = planRequest(withoutSentAs, newClient(), MOST);
    if (!planned || !('send' in planned) || (planned.send[0] as QueuedWrite).order > last) return undefined;
    const writes = planned.send.map(
      (write) => queued.find(({ order }) => order === write.order) as QueuedWrite,
    );
    const applied = await appliedOf(level1, writes);
    if ('why' in applied) return applied;
    const rest = writes.filter((write) => !applied.has(write));
    const ops = opsOf(rest, meta);
    const sent = await level1.batch(
      { epoch, mutation: { client: newClient(), m: 1 }, atomic: rest[0]?.unit && true },
      ops,
    );
    if (!sent.answer) return stopOf(sent);
    const { results } = sent.answer;
    const unit = rest[0]?.unit;
    const own = unit ? unitResults(rest, results).own : results;
    const serverState = new Map(
      observationsOf(ops, sent.answer, generation, seq).flatMap((one) =>
        'key' in one ? [[one.key, one.serverState]] : [],
      ),
    );
    const done = rest.filter(
      (write, i) =>
        decide(write, { status: own[i]?.status ?? 0, serverState: serverState.get(write.key) }).type ===
        'done',
    );
    // A unit with a part that did not apply is not there as a whole.
    if (!unit || results.every(({ status }) => status === 200 || status === 404))
      for (const write of done) applied.add(write);
    const dropped = await database.write(async (writing) => {
      const keyStates = await writing.keyStates([...applied].map(({ key }) => key));
      // Where another write of the key waits it would have to be written anew, on what is there now.
      const only = [...applied].filter(({ key, order, version }) => {
        const now = keyStates.get(key)?.writes ?? [];
        return now.length === 1 && now[0]?.order === order && now[0].version === version;
      });
      // Of a unit all writes go, or none.
      if (writes[0]?.unit && only.length < writes.length) return 0;
      for (const { key, order } of only) writing.drop(key, order);
      return only.length;
    });
    progress();
    if (dropped === 0) return { why: 'refused', error: full };
  }
  return undefined;
}

/** Which of rows that may have been sent before have arrived. */
async function appliedOf(level1: Level1, writes: readonly QueuedWrite[]): Promise<Set<QueuedWrite> | Stop> {
  const applied = new Set<QueuedWrite>();
  const mutations = new Map(writes.flatMap(({ sentAs }) => (sentAs ? [[sentAs.client, sentAs]] : [])));
  for (const mutation of mutations.values()) {
    const given = await level1.voidMutation(mutation);
    if (!given.answer && !isSettled(given)) return stopOf(given);
    for (const write of writes) {
      const result = write.sentAs?.client === mutation.client && given.answer?.results?.[write.sentAs.index];
      if (result && decideVoided(write, result, undefined).type === 'done') applied.add(write);
    }
  }
  return applied;
}
