/**
 * The outbox sent, as src/sync/outbox/replay.ts and src/sync/outbox/sweep.ts do it: between the requests only transactions.
 */
import type { Decision } from '../../src/sync/rules/outbox.ts';
import { ALL, type Mark, type Meta, type Row, type Seen } from '../../src/sync/rules/state.ts';
import { type Decided, type Next, settle, take, writeOf } from './origin.ts';
import type { Answer, Op, Result } from './server.ts';
import { isResults, type Process, type Tab } from './tab.ts';
import type { News, Results } from './tried-rules.ts';

/** Why it ended before the outbox was empty. */
export type Stop = 'away' | 'rewound' | undefined;

/** Send everything that waits. */
export function* drain(tab: Tab): Process<Stop> {
  const { origin } = tab;
  /** Of the write that was refused alone last. */
  let refused: Mark | undefined;
  for (let most = tab.most; ; ) {
    const next = take(origin, tab.newClient(), most);
    if (!next) return undefined;
    yield undefined;
    const { rows, meta, mark, isNew } = next;
    if (!isNew) {
      const given: Answer | undefined = yield { type: 'give-up', client: mark.client, m: mark.m };
      if (!given) return 'away';
      const stop = yield* settleDoubt(tab, next, given, refused);
      if (stop) return stop;
      continue;
    }
    const ops = opsOf(tab, rows, meta);
    const atomic = rows[0]?.unit !== undefined;
    const { client, m } = mark;
    const answer: Answer | undefined = yield {
      type: 'batch',
      epoch: meta.epoch,
      mutation: { client, m },
      atomic,
      ops,
    };
    if (!answer) return 'away';
    if (isResults(answer)) {
      const stop = yield* record(tab, next, ops, answer);
      if (stop) return stop;
      continue;
    }
    if (!('error' in answer)) return 'away';
    if (answer.error === 'epoch-changed') return 'rewound';
    // Else somebody has given it up.
    if (answer.error !== 'too-large') continue;
    if (rows.length > 1 && !atomic) most = Math.ceil(rows.length / 2);
    else refused = mark;
  }
}

function opsOf({ origin }: Tab, rows: readonly Row[], meta: Meta): Op[] {
  const { rules } = origin;
  const [first] = rows as [Row];
  return rules.stepsOf(rows).map((step): Op => {
    if ('check' in step) {
      const { check: key, ...condition } = step;
      const { unit } = writeOf(origin, first);
      return { op: 'check', key, ...rules.op({ key, ...condition }, meta), queued: true, unit };
    }
    const { key, held } = step;
    const op = key === ALL ? 'clear' : held ? 'put' : 'delete';
    return { op, key, held, ...rules.op(step, meta), queued: true, write: writeOf(origin, step) };
  });
}

/** Record what came of a mutation that was given up. */
function* settleDoubt(
  { origin }: Tab,
  { rows, meta }: Next,
  answer: Answer,
  refused: Mark | undefined,
): Process<Stop> {
  yield undefined;
  const { era, epoch } = meta;
  if ('epoch' in answer && answer.epoch !== epoch) return 'rewound';
  const decided = rows.map((row): Decided => {
    const stored = isResults(answer) ? answer.results[row.mark?.at ?? 0] : undefined;
    const seen = stored?.rev === undefined ? undefined : { era, epoch, seq: stored.rev };
    const result = stored && { status: stored.status, seen };
    return { row, decision: origin.rules.decideSettled(row, result, refused) };
  });
  settle(origin, decided, [], era, 'seq' in answer ? answer.seq : 0);
  return undefined;
}

/** Record what came of a batch. */
function* record(tab: Tab, { rows, meta, mark }: Next, ops: readonly Op[], answer: Results): Process<Stop> {
  const { origin } = tab;
  const { rules } = origin;
  const { era, epoch } = meta;
  const news = rules.newsOf(ops, answer, era, meta.seq);
  const unit = rows[0]?.unit;
  const { own, failed } = unit
    ? rules.unitResults(rows, answer.results)
    : { own: answer.results, failed: undefined };
  const lacking = rows.filter(({ key }, i) => {
    const result = own[i];
    return key !== ALL && result?.status === 412 && result.held === undefined;
  });
  if (lacking.length > 0) {
    const gets = lacking.map(({ key }): Op => ({ op: 'get', key }));
    const found: Answer | undefined = yield { type: 'batch', epoch, ops: gets };
    if (!isResults(found)) return found && 'error' in found ? 'rewound' : 'away';
    news.push(...rules.newsOf(gets, found, era, meta.seq));
  }
  const seen = new Map<string, Seen>();
  for (const one of news) if ('key' in one) seen.set(one.key, one.seen);
  const decided: Decided[] = [];
  if (unit) {
    const alone = rows.map((row, i) => {
      const { status } = own[i] as Result;
      return status === 424 ? undefined : rules.decide(row, { status, seen: seen.get(row.key) });
    });
    for (const [i, decision] of rules.decideUnit(rows, alone, failed === undefined).entries())
      decided.push({ row: rows[i] as Row, decision });
  }
  for (const [i, row] of unit ? [] : rows.entries()) {
    const { status } = own[i] as Result;
    let decision: Decision;
    if (row.key !== ALL || status !== 412) decision = rules.decide(row, { status, seen: seen.get(row.key) });
    else if (row.base?.era !== era) decision = { type: 'rejected' };
    else {
      const stop = yield* sweep(tab, row, row.base.seq, meta, news);
      if (stop) return stop;
      decision = { type: 'done' };
    }
    decided.push({ row, decision });
  }
  yield undefined;
  settle(origin, decided, news, era, answer.seq, mark.client);
  return undefined;
}

/** Delete every key whose revision is at most `seq`. */
function* sweep({ origin }: Tab, row: Row, seq: number, meta: Meta, news: News[]): Process<Stop> {
  const { epoch, era } = meta;
  const list: Answer | undefined = yield { type: 'keys' };
  if (!list || !('keys' in list)) return 'away';
  const write = writeOf(origin, row);
  const ops = list.keys
    .filter(({ rev }) => rev <= seq)
    .map(({ key, rev }): Op => ({ op: 'delete', key, ifRev: rev, queued: true, write }));
  if (ops.length === 0) return undefined;
  const answer: Answer | undefined = yield { type: 'batch', epoch, ops };
  if (!isResults(answer)) return answer ? 'rewound' : 'away';
  news.push(...origin.rules.newsOf(ops, answer, era, meta.seq));
  return undefined;
}
