/**
 * The server met, and the mirror filled from it, as src/sync/online/server-side.ts and src/sync/mirror/pull.ts do it.
 */
import type { Meta } from '../../src/sync/rules/state.ts';
import { learn, type Origin } from './origin.ts';
import { drain } from './sending.ts';
import type { Answer, Op } from './server.ts';
import { inTurn, isResults, learned, type Process, type Tab } from './tab.ts';
import type { News } from './tried-rules.ts';

const ROUNDS = 3;
const COMPARED = 2;

/** Meet the server, and send it what waits. */
export function* establish(tab: Tab, incarnations: ReadonlyMap<string, number>): Process {
  const { origin } = tab;
  for (let round = 1; round <= ROUNDS; round++) {
    const before = origin.meta;
    const hello: Answer | undefined = yield { type: 'batch', ops: [] };
    if (!isResults(hello)) return;
    yield undefined;
    meet(tab, before, hello, incarnations);
    const forgotten = yield* inTurn(origin, () => forgets(tab));
    if (forgotten === 'away') return;
    if (origin.meta.rewound) yield* inTurn(origin, () => compareAll(tab));
    const stop = yield* inTurn(origin, () => drain(tab));
    if (stop === 'away') return;
    if (stop === 'rewound') {
      begin(tab, origin.meta);
      continue;
    }
    tab.online = true;
    return;
  }
}

/** The transaction in which a server that has answered is compared with what was seen of it. */
export function meet(
  tab: Tab,
  before: Meta,
  { epoch, seq }: { epoch: string; seq: number },
  incarnations: ReadonlyMap<string, number>,
): void {
  const { origin } = tab;
  const { rules, meta } = origin;
  const rewound = before.era === meta.era && rules.isRewound(before, epoch, seq);
  // Another tab has met another server meanwhile: this answer may be of before.
  const stale = before.era !== meta.era;
  const known = rewound ? rules.inNewEra(meta, epoch) : meta;
  if (!stale) {
    origin.meta = { ...known, epoch, seq: Math.max(known.seq, seq), level: 1 };
    origin.incarnation = incarnations.get(epoch) ?? 0;
  }
  tab.session = { era: origin.meta.era, epoch: origin.meta.epoch };
  tab.acknowledged = 0;
}

/** A new era of the same server: it has turned out not to be the one whose answers were seen. */
function begin(tab: Tab, { era, epoch }: Meta): void {
  const { origin } = tab;
  const { meta, rules } = origin;
  if (meta.era === era && meta.epoch === epoch) origin.meta = rules.inNewEra(meta, epoch);
  tab.session = { era: origin.meta.era, epoch: origin.meta.epoch };
  tab.acknowledged = 0;
}

/** Whether the server has forgotten a mutation that it has answered. */
function* forgets(tab: Tab): Process<'away' | boolean> {
  const { meta } = tab.origin;
  if (meta.client === undefined && !tab.sawForgotten) return false;
  const answer: Answer | undefined = yield { type: 'batch', client: meta.client, ops: [] };
  if (!isResults(answer)) return 'away';
  if (!tab.sawForgotten && answer.top > 0) return false;
  tab.sawForgotten = false;
  begin(tab, meta);
  return true;
}

/** Read again what was seen in an earlier era: what the server no longer has is parked when that is learned. */
function* compareAll(tab: Tab): Process {
  const { origin, session } = tab;
  const { era } = origin.meta;
  const old = [...origin.mirror].filter(([, seen]) => seen.held && seen.era !== era).map(([key]) => key);
  for (let from = 0; from < old.length; from += COMPARED) {
    const gets = old.slice(from, from + COMPARED).map((key): Op => ({ op: 'get', key }));
    const answer: Answer | undefined = yield { type: 'batch', ops: gets };
    if (!isResults(answer)) return;
    yield* learned(tab, gets, answer, 0);
    // What was answered by another server was not learned.
    if (answer.epoch !== session?.epoch) return;
  }
  yield undefined;
  // What a clear has overtaken was not learned: it is read again when the server is met next.
  if (old.some((key) => origin.mirror.get(key)?.held && origin.mirror.get(key)?.era !== era)) return;
  if (origin.meta.era === era && session?.era === era) origin.meta = { ...origin.meta, rewound: false };
}

/** Go on where the mirror is complete. */
export function* pull(tab: Tab, limit: number): Process {
  const { origin } = tab;
  const { meta } = origin;
  const { era, epoch } = meta;
  const met = meta.cursor === undefined ? new Set<string>() : undefined;
  for (let cursor = meta.cursor; ; ) {
    const since = cursor === undefined ? undefined : { epoch, seq: cursor };
    const page: Answer | undefined = yield { type: 'changes', since, limit };
    if (!page) return;
    yield undefined;
    if ('error' in page) return remember(origin, era, undefined);
    if (!('changes' in page) || page.epoch !== epoch) return;
    const news = page.changes.map(
      ({ type, key, rev, held }): News =>
        type === 'clear' ? { era, clearedAt: rev } : { key, seen: { era, epoch, seq: rev, held } },
    );
    for (const { key } of page.changes) met?.add(key);
    learn(origin, news, era, page.seq);
    cursor = page.seq;
    yield undefined;
    if (page.more && met) continue;
    remember(origin, era, cursor, met);
    if (!page.more) return;
  }
}

/** Up to where the mirror is complete. Of one that was filled from the start, what was not met is gone. */
function remember(origin: Origin, era: number, cursor: number | undefined, met?: ReadonlySet<string>): void {
  const { meta, mirror } = origin;
  if (meta.era !== era) return;
  origin.meta = { ...meta, cursor };
  if (!met || cursor === undefined) return;
  for (const [key, seen] of mirror)
    if (!met.has(key) && seen.held && seen.era === era && seen.seq <= cursor)
      mirror.set(key, { ...seen, seq: cursor, held: undefined });
}
