/** Rules with one of them broken: what the simulation has to notice. */
import { ALL, isSame, type Row } from '../../src/sync/rules/state.ts';
import { type Rules, rules } from './tried-rules.ts';

const unmarked = (row: Row): Row => ({ ...row, mark: undefined });
const alone = (row: Row): Row => ({ ...row, unit: undefined });
const unchecked = (row: Row): Row => ({ ...row, unit: row.unit && { ...row.unit, checks: [] } });

export const MUTANTS: Readonly<Record<string, Partial<Rules>>> = {
  'the mirror takes what is older': {
    isNews: (_, seen, { era }) => seen.era === era,
  },
  'the mirror takes what an earlier era has shown': {
    isNews: (known, seen, { clearedAt }) => seen.seq >= clearedAt && (!known || seen.seq >= known.seq),
  },
  'the mirror takes what was there before a clear': {
    isNews: (known, seen, meta) => rules.isNews(known, seen, { ...meta, clearedAt: 0 }),
  },
  'a write leaves the outbox when it is sent': {
    taken: (rows, { n }) => rows.filter((row) => row.n !== n),
  },
  'what may have been sent is sent again without asking': {
    plan: (rows, client, most) => rules.plan(rows.map(unmarked), client, most),
  },
  'a write that knew nothing overwrites': {
    op: (row, meta) => (row.base || row.key === ALL ? rules.op(row, meta) : {}),
  },
  'a write on another era overwrites by revision': {
    op: (row, meta) => rules.op(row, { ...meta, era: row.base?.era ?? meta.era }),
  },
  'what a restored server has lost is not parked': {
    parkedBy: () => undefined,
  },
  'a restore is not noticed': {
    isRewound: () => false,
  },
  'only another epoch is a restore': {
    isRewound: ({ epoch: known }, epoch) => known !== '' && epoch !== known,
  },
  'what was made on something else is taken to follow what waits': {
    enqueue: (place, clears, meta, write) =>
      rules.enqueue(place, clears, meta, { ...write, base: undefined }),
  },
  'a successor keeps the base of what it follows': {
    afterDecision(rows, row, decision, clears) {
      const after = rules.afterDecision(rows, row, decision, clears);
      const bases = new Map(rows.map(({ n, base }) => [n, base]));
      const kept = after.rows.map((other) =>
        other.n === row.n ? other : { ...other, base: bases.get(other.n) },
      );
      return { ...after, rows: kept };
    },
  },
  'a clear takes the base of the one before it': {
    afterDecision(rows, row, decision, clears) {
      const after = rules.afterDecision(rows, row, decision, clears);
      if (row.key !== ALL || decision.type !== 'done') return after;
      const base = decision.seen ?? row.base;
      return { ...after, rows: after.rows.map((other, i) => (i === 0 ? { ...other, base } : other)) };
    },
  },
  'an answer counts in every era': {
    counts: () => true,
  },
  'whoever has an answer decides, marked or not': {
    afterDecision(rows, row, decision, clears) {
      const current = rows.find(({ n }) => n === row.n);
      return rules.afterDecision(rows, { ...row, mark: current?.mark }, decision, clears);
    },
  },
  'a write replaces one that was sent': {
    enqueue: (place, clears, meta, write) =>
      rules.enqueue({ ...place, rows: place.rows.map(unmarked) }, clears, meta, write),
  },
  'a clear drops writes that were sent': {
    enqueueClear: (pending, meta, write) =>
      rules.enqueueClear(
        new Map([...pending].map(([key, place]) => [key, { ...place, rows: place.rows.map(unmarked) }])),
        meta,
        write,
      ),
  },
  'a mutation that was given up is taken for applied': {
    decideSettled: (_, result) => ({ type: 'done', seen: result?.seen }),
  },
  'a stored refusal is taken for applied': {
    decideSettled: (row, result, refused) =>
      result ? { type: 'done', seen: result.seen } : rules.decideSettled(row, result, refused),
  },
  'a conflict is overwritten': {
    decide: (row, { status, seen }) =>
      status === 412 && seen && !isSame(row.held, seen.held)
        ? { type: 'again', base: seen }
        : rules.decide(row, { status, seen }),
  },
  'a conflict is dropped': {
    afterDecision: (rows, row, decision, clears) => ({
      ...rules.afterDecision(rows, row, decision, clears),
      parked: false,
    }),
  },
  'two mutations have one name': {
    plan: (rows, _, most) => rules.plan(rows, 'always the same', most),
  },
  'a new era keeps the cursor': {
    inNewEra: (meta, epoch) => ({ ...rules.inNewEra(meta, epoch), cursor: meta.cursor }),
  },
  'a result that was stored is taken for fresh': {
    newsOf: (ops, answer, era) => rules.newsOf(ops, answer, era, answer.seq),
  },
  'an update in doubt is taken for one on what is known by then': {
    enqueue: (place, clears, meta, { base: _, ...write }) => rules.enqueue(place, clears, meta, write),
  },
  'a unit is cut where a request is full': {
    plan(rows, client, most) {
      const planned = rules.plan(rows.map(alone), client, most);
      if (!planned || 'settle' in planned) return planned;
      const units = new Map(rows.map(({ n, unit }) => [n, unit]));
      return { send: planned.send.map((row) => ({ ...row, unit: units.get(row.n) })) };
    },
  },
  'a later write replaces a part of a unit': {
    enqueue(place, clears, meta, write) {
      const at = place.rows.length - 1;
      const rows = write.unit ? place.rows : place.rows.map((row, i) => (i === at ? alone(row) : row));
      return rules.enqueue({ ...place, rows }, clears, meta, write);
    },
  },
  'a unit replaces a write before it': {
    enqueue: (place, clears, meta, write) =>
      write.unit && place.rows.length > 0
        ? rules.enqueue({ ...place, rows: place.rows.slice(0, -1) }, clears, meta, write)
        : rules.enqueue(place, clears, meta, write),
  },
  'a write in doubt becomes part of the unit after it': {
    afterDecision(rows, row, decision, clears) {
      const after = rules.afterDecision(rows, row, decision, clears);
      const at = after.rows.findIndex(({ n }) => n === row.n);
      const isUnited = decision.type === 'again' && !row.unit && after.rows[at + 1]?.unit;
      return isUnited ? { ...after, rows: after.rows.filter((_, i) => i !== at) } : after;
    },
  },
  'a unit that failed is in conflict write by write': {
    decideUnit: (rows, decisions) => rows.map((row, i) => decisions[i] ?? { type: 'again', base: row.base }),
  },
  'a unit is done where one of its writes is': {
    decideUnit: (rows, decisions, isChecked) =>
      decisions.some((decision) => decision?.type === 'done')
        ? rows.map((_, i) => decisions[i] ?? { type: 'done' })
        : rules.decideUnit(rows, decisions, isChecked),
  },
  'what a unit checks is not sent': {
    stepsOf: (rows) => rules.stepsOf(rows.map(unchecked)),
    unitResults: (rows, results) => rules.unitResults(rows.map(unchecked), results),
  },
  'a check that failed is not looked at': {
    decideUnit: (rows, decisions) => rules.decideUnit(rows, decisions, true),
  },
  'a condition of a unit does not wait with it': {
    enqueue: (place, clears, meta, write) =>
      rules.enqueue(place, clears, meta, write.unit ? { ...write, updates: undefined } : write),
  },
  'a stored 424 is taken for a refusal': {
    decideSettled: (row, result, refused) =>
      result?.status === 424 ? { type: 'rejected' } : rules.decideSettled(row, result, refused),
  },
  'what is for a state that never came to be applies': {
    op: (row, meta) => rules.op({ ...row, stale: undefined }, meta),
    decide: (row, result) => rules.decide({ ...row, stale: undefined }, result),
  },
  'a write overtakes a unit that checks its key': {
    checkedBy: () => new Set(),
  },
};
