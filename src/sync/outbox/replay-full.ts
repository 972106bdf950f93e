/**
 * The replay on a full disk: nothing can be stored, but writes that have arrived can be deleted.
 *
 * No mutation is recorded, so a tab that ends in the middle leaves writes that are sent again. Their condition is their base: if they
 * were applied, the server holds the same value, and they are done. Any other write stays in the outbox until the disk has room.
 */

import type { StorageError } from '../../core/errors.ts';
import { isSettled, type Level1, newClient } from '../../remote/level1/protocol.ts';
import { checkAccount } from '../mirror/account.ts';
import { observationsOf } from '../mirror/update.ts';
import { type Decision, decide, decideVoided, planRequest, unitResults } from '../rules/outbox.ts';
import type { Meta, QueuedWrite } from '../rules/state.ts';
import { fitting, opsOf } from './outgoing.ts';
import { type Replay, recordDecisions, stateOfResult } from './replay.ts';
import { type Stop, stopOf } from './stop.ts';

const MOST = 100;
/** A unit, which is sent as a whole, has fewer writes than this. */
const READ = 500;

/**
 * Sends the queued writes up to the number `last`.
 *
 * @param meta What the last handshake has found: it may not be stored.
 * @param full Why nothing can be stored.
 */
export async function replayFull(
  work: Replay,
  { generation, epoch, seq, level }: Meta,
  last: number,
  full: StorageError,
): Promise<Stop | undefined> {
  const { database, level1, progress, signal } = work;
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
    const applied = await appliedOf(level1, writes, meta);
    if ('why' in applied) return applied;
    const rest = writes.filter((write) => !applied.has(write));
    const ops = opsOf(rest, meta);
    const sent = await level1.batch(
      { epoch, mutation: { client: newClient(), m: 1 }, atomic: rest[0]?.unit && true },
      ops,
    );
    if (!sent.answer) return stopOf(sent);
    database.saw(generation, sent.answer.seq);
    const { results } = sent.answer;
    const unit = rest[0]?.unit;
    const own = unit ? unitResults(rest, results).own : results;
    const observations = observationsOf(ops, sent.answer, generation, seq);
    const serverState = new Map(
      observations.flatMap((one) => ('key' in one ? [[one.key, one.serverState]] : [])),
    );
    // If one part of a unit did not apply, none did.
    if (!unit || results.every(({ status }) => status === 200 || status === 404))
      for (const [i, write] of rest.entries()) {
        const status = own[i]?.status ?? 0;
        const decision = decide(write, { status, serverState: serverState.get(write.key) });
        if (decision.type === 'done') applied.set(write, decision);
      }
    const dropped = await database.write(async (writing) => {
      const keyStates = await writing.keyStates([...applied.keys()].map(({ key }) => key));
      // If the key has another queued write, its base has to be stored anew.
      const only = [...applied.keys()].filter(({ key, order, version }) => {
        const now = keyStates.get(key)?.writes ?? [];
        return now.length === 1 && now[0]?.order === order && now[0].version === version;
      });
      // All writes of a unit are deleted, or none.
      if (writes[0]?.unit && only.length < writes.length) return [];
      for (const { key, order } of only) writing.drop(key, order);
      return only;
    });
    for (const write of dropped) applied.delete(write);
    progress();
    // There may be room by now.
    if (applied.size > 0)
      await recordDecisions(
        work,
        [...applied.keys()],
        [...applied.values()],
        observations,
        meta,
        sent.answer.seq,
      );
    if (dropped.length === 0) return { why: 'refused', error: full };
  }
  return undefined;
}

/** Which of the writes that may have been sent before were applied. */
async function appliedOf(
  level1: Level1,
  writes: readonly QueuedWrite[],
  meta: Meta,
): Promise<Map<QueuedWrite, Decision> | Stop> {
  const applied = new Map<QueuedWrite, Decision>();
  const mutations = new Map(writes.flatMap(({ sentAs }) => (sentAs ? [[sentAs.client, sentAs]] : [])));
  for (const mutation of mutations.values()) {
    const given = await level1.voidMutation(mutation);
    if (!given.answer && !isSettled(given)) return stopOf(given);
    for (const write of writes) {
      const result = write.sentAs?.client === mutation.client && given.answer?.results?.[write.sentAs.index];
      if (!result) continue;
      const serverState = stateOfResult(result, meta);
      const decision = decideVoided(write, { status: result.status, serverState }, undefined);
      if (decision.type === 'done') applied.set(write, decision);
    }
  }
  return applied;
}
