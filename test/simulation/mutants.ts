/** Rules with one of them broken: what the simulation has to notice. */
import { ALL_KEYS, isSame, type QueuedWrite } from '../../src/sync/rules/state.ts';
import { type Rules, rules } from './tried-rules.ts';

const withoutSentAs = (queued: QueuedWrite): QueuedWrite => ({ ...queued, sentAs: undefined });
const alone = (queued: QueuedWrite): QueuedWrite => ({ ...queued, unit: undefined });
const unchecked = (queued: QueuedWrite): QueuedWrite => ({
  ...queued,
  unit: queued.unit && { ...queued.unit, checks: [] },
});

export const MUTANTS: Readonly<Record<string, Partial<Rules>>> = {
  'the mirror takes what is older': {
    isNewer: (_, serverState, { generation }) => serverState.generation === generation,
  },
  'the mirror takes what an earlier generation has shown': {
    isNewer: (known, serverState, { clearedAt }) =>
      serverState.seq >= clearedAt && (!known || serverState.seq >= known.seq),
  },
  'the mirror takes what was there before a clear': {
    isNewer: (known, serverState, meta) => rules.isNewer(known, serverState, { ...meta, clearedAt: 0 }),
  },
  'a write leaves the outbox when it is sent': {
    taken: (writes, { order }) => writes.filter((queued) => queued.order !== order),
  },
  'what may have been sent is sent again without asking': {
    planRequest: (writes, client, most) => rules.planRequest(writes.map(withoutSentAs), client, most),
  },
  'a write that knew nothing overwrites': {
    op: (queued, meta) => (queued.base || queued.key === ALL_KEYS ? rules.op(queued, meta) : {}),
  },
  'a write on another generation overwrites by revision': {
    op: (queued, meta) =>
      rules.op(queued, { ...meta, generation: queued.base?.generation ?? meta.generation }),
  },
  'a value that a restored server has lost does not become a conflict': {
    restoreConflict: () => undefined,
  },
  'a restore is not noticed': {
    isRestored: () => false,
  },
  'only another epoch is a restore': {
    isRestored: ({ epoch: known }, epoch) => known !== '' && epoch !== known,
  },
  'a write that was made on another base is taken to follow the queued ones': {
    enqueue: (keyState, clears, meta, write) =>
      rules.enqueue(keyState, clears, meta, { ...write, base: undefined }),
  },
  'a successor keeps the base of what it follows': {
    applyDecision(writes, queued, decision, clears) {
      const after = rules.applyDecision(writes, queued, decision, clears);
      const bases = new Map(writes.map(({ order, base }) => [order, base]));
      const kept = after.writes.map((other) =>
        other.order === queued.order ? other : { ...other, base: bases.get(other.order) },
      );
      return { ...after, writes: kept };
    },
  },
  'a clear takes the base of the one before it': {
    applyDecision(writes, queued, decision, clears) {
      const after = rules.applyDecision(writes, queued, decision, clears);
      if (queued.key !== ALL_KEYS || decision.type !== 'done') return after;
      const base = decision.serverState ?? queued.base;
      return { ...after, writes: after.writes.map((other, i) => (i === 0 ? { ...other, base } : other)) };
    },
  },
  'an answer counts in every generation': {
    counts: () => true,
  },
  'an answer decides, whatever the write was sent as': {
    applyDecision(writes, queued, decision, clears) {
      const current = writes.find(({ order }) => order === queued.order);
      return rules.applyDecision(writes, { ...queued, sentAs: current?.sentAs }, decision, clears);
    },
  },
  'a write replaces one that was sent': {
    enqueue: (keyState, clears, meta, write) =>
      rules.enqueue({ ...keyState, writes: keyState.writes.map(withoutSentAs) }, clears, meta, write),
  },
  'a clear drops writes that were sent': {
    enqueueClear: (pending, meta, write) =>
      rules.enqueueClear(
        new Map(
          [...pending].map(([key, keyState]) => [
            key,
            { ...keyState, writes: keyState.writes.map(withoutSentAs) },
          ]),
        ),
        meta,
        write,
      ),
  },
  'a mutation that was voided is taken for applied': {
    decideVoided: (_, result) => ({ type: 'done', serverState: result?.serverState }),
  },
  'a stored refusal is taken for applied': {
    decideVoided: (queued, result, refused) =>
      result
        ? { type: 'done', serverState: result.serverState }
        : rules.decideVoided(queued, result, refused),
  },
  'a conflict is overwritten': {
    decide: (queued, { status, serverState }) =>
      status === 412 && serverState && !isSame(queued.value, serverState.value)
        ? { type: 'again', base: serverState }
        : rules.decide(queued, { status, serverState }),
  },
  'a conflict is dropped': {
    applyDecision: (writes, queued, decision, clears) => ({
      ...rules.applyDecision(writes, queued, decision, clears),
      isConflict: false,
    }),
  },
  'two mutations have one name': {
    planRequest: (writes, _, most) => rules.planRequest(writes, 'always the same', most),
  },
  'a new generation keeps the cursor': {
    inNextGeneration: (meta, epoch) => ({ ...rules.inNextGeneration(meta, epoch), cursor: meta.cursor }),
  },
  'a result that was stored is taken for fresh': {
    observationsOf: (ops, answer, generation) => rules.observationsOf(ops, answer, generation, answer.seq),
  },
  'an update in doubt is taken for one on what is known by then': {
    enqueue: (keyState, clears, meta, { base: _, ...write }) => rules.enqueue(keyState, clears, meta, write),
  },
  'a unit is cut where a request is full': {
    planRequest(writes, client, most) {
      const planned = rules.planRequest(writes.map(alone), client, most);
      if (!planned || 'settle' in planned) return planned;
      const units = new Map(writes.map(({ order, unit }) => [order, unit]));
      return { send: planned.send.map((queued) => ({ ...queued, unit: units.get(queued.order) })) };
    },
  },
  'a later write replaces a part of a unit': {
    enqueue(keyState, clears, meta, write) {
      const at = keyState.writes.length - 1;
      const writes = write.unit
        ? keyState.writes
        : keyState.writes.map((queued, i) => (i === at ? alone(queued) : queued));
      return rules.enqueue({ ...keyState, writes }, clears, meta, write);
    },
  },
  'a unit replaces a write before it': {
    enqueue: (keyState, clears, meta, write) =>
      write.unit && keyState.writes.length > 0
        ? rules.enqueue({ ...keyState, writes: keyState.writes.slice(0, -1) }, clears, meta, write)
        : rules.enqueue(keyState, clears, meta, write),
  },
  'a write in doubt becomes part of the unit after it': {
    applyDecision(writes, queued, decision, clears) {
      const after = rules.applyDecision(writes, queued, decision, clears);
      const at = after.writes.findIndex(({ order }) => order === queued.order);
      const isUnited = decision.type === 'again' && !queued.unit && after.writes[at + 1]?.unit;
      return isUnited ? { ...after, writes: after.writes.filter((_, i) => i !== at) } : after;
    },
  },
  'a unit that failed is in conflict write by write': {
    decideUnit: (writes, decisions) =>
      writes.map((queued, i) => decisions[i] ?? { type: 'again', base: queued.base }),
  },
  'a unit is done where one of its writes is': {
    decideUnit: (writes, decisions, isChecked) =>
      decisions.some((decision) => decision?.type === 'done')
        ? writes.map((_, i) => decisions[i] ?? { type: 'done' })
        : rules.decideUnit(writes, decisions, isChecked),
  },
  'what a unit checks is not sent': {
    operationsOf: (writes) => rules.operationsOf(writes.map(unchecked)),
    unitResults: (writes, results) => rules.unitResults(writes.map(unchecked), results),
  },
  'a check that failed is not looked at': {
    decideUnit: (writes, decisions) => rules.decideUnit(writes, decisions, true),
  },
  'a condition of a unit does not wait with it': {
    enqueue: (keyState, clears, meta, write) =>
      rules.enqueue(keyState, clears, meta, write.unit ? { ...write, dependsOnBase: undefined } : write),
  },
  'a stored 424 is taken for a refusal': {
    decideVoided: (queued, result, refused) =>
      result?.status === 424 ? { type: 'rejected' } : rules.decideVoided(queued, result, refused),
  },
  'what is for a state that never came to be applies': {
    op: (queued, meta) => rules.op({ ...queued, stale: undefined }, meta),
    decide: (queued, result) => rules.decide({ ...queued, stale: undefined }, result),
  },
  'a write overtakes a unit that checks its key': {
    checkedBy: () => new Set(),
  },
};
