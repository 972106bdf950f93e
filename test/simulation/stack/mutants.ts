/**
 * Broken forms of the SDK and the server, one edit each. The oracle has to notice each of them: else it proves little.
 *
 * Each one names a schedule that shows it: a known case, a small world or a random program. `npm run simulate -- --mutants` tries them, and
 * searches for another schedule where one shows nothing any more. An edit that no longer fits its file is an error: write it anew.
 */
import type { Edit } from './bundle.ts';
import { generate } from './generator.ts';
import { KNOWN_CASES } from './known-cases.ts';
import type { Violation } from './oracle.ts';
import { scriptOf } from './program.ts';
import { run } from './run.ts';
import { smallWorlds } from './small-worlds.ts';
import { NeverError } from './world.ts';

/** A broken form. */
export interface Mutant extends Edit {
  /** `case <name>`, `world <name>` or `seed <number>`. */
  readonly shownBy: string;
}

const worlds = new Map(smallWorlds().map(({ name, program }) => [name, program]));

/** What a schedule breaks with an edit of the SDK or the server, or without one. */
export const violationsOf = (schedule: string, edit?: Edit): Promise<readonly Violation[]> =>
  play(schedule, edit).catch((error) => {
    // The script of a case waits for something that never happens with the edit.
    if (edit && error instanceof NeverError) return [{ kind: 'hang', text: error.message }];
    throw error;
  });

async function play(schedule: string, edit: Edit | undefined): Promise<readonly Violation[]> {
  const [, kind, name = ''] = /^(\w+) (.*)$/.exec(schedule) ?? [];
  if (kind === 'seed') {
    const { program, options } = generate(Number(name));
    return (await run(scriptOf(program), { ...options, edit })).violations;
  }
  const known = KNOWN_CASES.find((one) => one.name === name);
  if (kind === 'case' && known) return (await run(known.play, { ...known.options, edit })).violations;
  const program = worlds.get(name);
  if (kind === 'world' && program) return (await run(scriptOf(program), { edit })).violations;
  throw new Error(`There is no ${schedule}.`);
}

/** A part of the small worlds that is spread over all of them. */
const SPREAD = 149;

/** Searches a schedule that shows a mutant: among the known cases, some small worlds, and so many random programs. */
export async function search(edit: Edit, seeds: number): Promise<string | undefined> {
  const names = [...worlds.keys()];
  const schedules = [
    ...KNOWN_CASES.map(({ name }) => `case ${name}`),
    ...names.filter((_, i) => i % SPREAD === 0).map((name) => `world ${name}`),
    ...Array.from({ length: seeds }, (_, i) => `seed ${i + 1}`),
  ];
  for (const schedule of schedules)
    if ((await violationsOf(schedule, edit)).length > 0 && (await violationsOf(schedule)).length === 0)
      return schedule;
  return undefined;
}

export const MUTANTS: Readonly<Record<string, Mutant>> = {
  'a queued write is sent without its condition': {
    file: 'src/sync/outbox/outgoing.ts',
    find: "? { op: 'put', key, text: JSON.stringify(value.json), ifRevision }",
    replace: "? { op: 'put', key, text: JSON.stringify(value.json) }",
    shownBy: 'case S5',
  },
  'a queued delete is sent without its condition': {
    file: 'src/sync/outbox/outgoing.ts',
    find: "{ op: 'delete', key, ifRevision };",
    replace: "{ op: 'delete', key };",
    shownBy: 'case S27',
  },
  'a queued clear is sent without its condition': {
    file: 'src/sync/outbox/outgoing.ts',
    find: "return { op: 'clear', ifSeq: base?.generation === meta.generation ? base.seq : 0 };",
    replace: "return { op: 'clear' };",
    shownBy: 'world two devices: absent; clear, set; lose-request after 1; nothing',
  },
  'a write resolves before it is on the disk': {
    file: 'src/sync/outbox/append.ts',
    find: 'const stored = await database.write(',
    replace:
      'const stored = true; const later: typeof database.write = (...args) => database.write(...args).catch(() => undefined as never); void later(',
    shownBy: 'case A1',
  },
  'the server does not keep the results of mutations': {
    file: 'examples/server/src/store/batch.ts',
    find: 'client.save(batch.m, written.map(withoutValue));',
    replace: '',
    shownBy: 'case A1',
  },
  'the server does not keep that a mutation was given up': {
    file: 'examples/server/src/store/batch.ts',
    find: "client.save(m, 'void');",
    replace: '',
    shownBy: 'case S1',
  },
  'a number of a mutation is used again': {
    file: 'src/remote/level1/mutations.ts',
    find: 'const m = next++;',
    replace: 'const m = next;',
    shownBy: 'case A2 reads',
  },
  'a mutation in doubt is not given up before the next write': {
    file: 'src/remote/level1/mutations.ts',
    find: 'const given = await level1.voidMutation(inDoubt, until(deadline));',
    replace: 'const given = { answer: {} } as Awaited<ReturnType<typeof level1.voidMutation>>;',
    shownBy: 'case S1',
  },
  'calls do not look at the outbox': {
    file: 'src/sync/online/calls.ts',
    find: 'if (!queued && !isLocalFirst) return chosen;',
    replace: 'if (!isLocalFirst) return chosen;',
    shownBy: 'case S16',
  },
  'answers do not reach the mirror': {
    file: 'src/sync/mirror/observer.ts',
    find: 'if (unknown.length > 0)',
    replace: 'if (unknown.length > 1e9)',
    shownBy: 'case A8 disk',
  },
  'what was sent is taken for done': {
    file: 'src/sync/outbox/replay.ts',
    find: '} else decisions.push(decide(write, { status, serverState: serverState.get(write.key) }));',
    replace: "} else decisions.push({ type: 'done' });",
    shownBy: 'case S5',
  },
  'a mutation that was refused after a lost answer counts as refused': {
    file: 'src/remote/level1/mutations.ts',
    find: '} else if (mutation && isInDoubt && sent.isHeard) {',
    replace: '} else if (mutation && isInDoubt && sent.isHeard && (false as boolean)) {',
    shownBy: 'case S17',
  },
  'a tab that sends the outbox does not wait for the lock': {
    file: 'src/sync/tabs/lock.ts',
    find: 'if (isOver && !working) void request({ steal: true });',
    replace: 'void request({ steal: true });',
    shownBy: 'case A11',
  },
  'requests of the outbox share one client name, so that the server takes them for one mutation': {
    file: 'src/sync/outbox/replay.ts',
    find: 'planRequest(first, newClient(), selection.most)',
    replace: "planRequest(first, 'f'.repeat(32), selection.most)",
    shownBy: 'case A10 500',
  },
  'the base of a queued write is taken when it is sent': {
    file: 'src/sync/outbox/replay.ts',
    find: 'const ops = opsOf(writes, meta);',
    replace:
      'const late = await work.database.read((t) => t.keyStates(writes.map(({ key }) => key))); const ops = opsOf(writes.map((one) => ({ ...one, base: late.get(one.key)?.serverState ?? one.base })), meta);',
    shownBy: 'case S26',
  },
  'a queued write is removed before its result is stored': {
    file: 'src/sync/outbox/replay.ts',
    find: 'other.order === write.order ? { ...other, sentAs: write.sentAs } : other,',
    replace: `({ ...other, sentAs: write.sentAs }),
        ).filter((other) => other.order !== write.order || write.unit,`,
    shownBy: 'case S5',
  },
  'what is sent is not marked before': {
    file: 'src/sync/outbox/replay.ts',
    find: 'other.order === write.order ? { ...other, sentAs: write.sentAs } : other,',
    replace: 'other,',
    shownBy: 'case S15',
  },
  'a mutation counts as settled when it is sent': {
    file: 'src/remote/level1/mutations.ts',
    find: 'settled: m - 1',
    replace: 'settled: m',
    shownBy: 'case A1',
  },
  'an update is written without its condition': {
    file: 'src/remote/level1/update.ts',
    find: "{ op: 'put', key, text, ifRevision: current?.revision ?? null }",
    replace: "{ op: 'put', key, text }",
    shownBy: 'case S19',
  },
  'a refused condition is forgotten if the current value cannot be read': {
    file: 'src/remote/level1/batches.ts',
    find: 'before.status === 412 ? { ...before, unread: error } : { error }',
    replace: '{ error }',
    shownBy: 'case S12',
  },
  'unreadable values of the mirror stay': {
    file: 'src/sync/database.ts',
    find: 'if (!(await removeUnreadable())) throw error;',
    replace: 'throw error;',
    shownBy: 'case S14',
  },
  'suspended time uses up the wait for the database': {
    file: 'src/sync/database.ts',
    find: 'const STEPS = 4;',
    replace: 'const STEPS = 1;',
    shownBy: 'case S13',
  },
  'a write of the outbox is not flushed to the disk': {
    file: 'src/sync/outbox/append.ts',
    find: `true,
        { own, inDoubt },`,
    replace: `false,
        { own, inDoubt },`,
    shownBy: 'case S25',
  },
  'what replaces a record of the outbox is not flushed to the disk': {
    file: 'src/sync/outbox/replay.ts',
    find: 'return await database.write(work, true);',
    replace: 'return await database.write(work);',
    shownBy: 'case S15',
  },
  'a mutation in doubt is queued without its number': {
    file: 'src/sync/online/calls.ts',
    find: `const sentAs = inDoubtOf(outcome);
  if (!sentAs)`,
    replace: 'const sentAs = undefined; if (!sentAs)',
    shownBy: 'case A1',
  },
  'an atomic unit that may have arrived is queued without its number': {
    file: 'src/sync/online/calls.ts',
    find: "{ type: 'atomic', parts, sentAs };",
    replace: "{ type: 'atomic', parts };",
    shownBy: 'world one tab: present; atomic, atomic; lose-answer after 0; nothing',
  },
  'a queued unit is sent as separate writes': {
    file: 'src/sync/outbox/replay.ts',
    find: 'atomic: unit && true',
    replace: 'atomic: undefined',
    shownBy: 'case S28',
  },
  'a unit is cut': {
    file: 'src/sync/outbox/outgoing.ts',
    find: 'if (unit) return writes.filter((write) => write.unit?.order === unit.order);',
    replace: 'if (unit) return writes.slice(0, 1);',
    shownBy: 'world one tab: present; atomic, set; lose-request after 0; nothing',
  },
  'conflicts are not kept': {
    file: 'src/sync/outbox/replay.ts',
    find: 'await writing.addConflicts(conflicts);',
    replace: '',
    shownBy: 'case S5',
  },
  'a restore is not noticed at the handshake': {
    file: 'src/sync/online/handshake.ts',
    find: 'const another = isRestored(before, epoch, seq) || meta.level === 0;',
    replace: 'const another = meta.level === 0;',
    shownBy: 'case S20',
  },
  'a write that the server never takes is tried for ever': {
    file: 'src/sync/outbox/replay.ts',
    find: 'attempts >= PASSES',
    replace: 'attempts >= 1e9',
    shownBy: 'case A10 lose-request',
  },
  'one bad write holds up the batch': {
    file: 'src/sync/outbox/replay.ts',
    find: '} else if (!isAlone) selection.most = Math.ceil(writes.length / 2);',
    replace: '} else if (!isAlone) return stopOf(sent);',
    shownBy: 'case A10 500',
  },
  'a write that was not accepted is sent again before the others': {
    file: 'src/sync/outbox/replay.ts',
    find: 'if (isFirstAttempt && write.order <= last) {',
    replace: 'if (isFirstAttempt && write.order <= last) continue; else if (false as boolean) {',
    shownBy: 'case A10 many 500',
  },
  'writes of another tab meanwhile are not noticed': {
    file: 'src/sync/outbox/append.ts',
    find: 'if (stampOf(now) !== stampOf(before)) return false;',
    replace: '',
    shownBy: 'case S23',
  },
  'a level-0 server is concluded from an error': {
    file: 'src/remote/detection.ts',
    find: 'const isForeign = (health: Failure): boolean => health.status === 404 || health.isForeign;',
    replace: 'const isForeign = (health: Failure): boolean => health.status !== undefined;',
    shownBy: 'case A7',
  },
  'the outbox of closed tabs is not sent': {
    file: 'src/sync/session.ts',
    find: 'void (counts.current.pending > 0 ? sending.start() : Promise.resolve()).then(pullSoon);',
    replace: 'pullSoon();',
    shownBy: 'case S22',
  },
  'a write that was rejected as settled is sent under the same name': {
    file: 'src/sync/outbox/replay.ts',
    find: 'const given = await level1.voidMutation(sentAs);',
    replace:
      'const given = { answer: { results: undefined, epoch: meta.epoch, seq: meta.seq } } as Awaited<ReturnType<typeof level1.voidMutation>>;',
    shownBy: 'case S15',
  },
  'a conditional write whose answer was lost is queued like others': {
    file: 'src/sync/online/calls.ts',
    find: "const isRejected = 'ifRevision' in operation && operation.ifRevision !== undefined;",
    replace: 'const isRejected = false;',
    shownBy: 'case S29',
  },
  'listeners of watch() do not look for commits that they have missed': {
    file: 'src/watch/watchers.ts',
    find: 'else if (commit === undefined) void catchUp(watcher, false);',
    replace: 'else if (commit === undefined) return;',
    shownBy: 'seed 20',
  },
  'a state that is shown again is told again': {
    file: 'src/sync/rules/views.ts',
    find: 'if (!isCleared && isSameState(before.get(key), keyState)) continue;',
    replace: '',
    shownBy: 'seed 31',
  },
  'changes of others are not told': {
    file: 'src/sync/rules/views.ts',
    find: 'const isKnown = old ? isSame(old.value, value) : !isOwn && !isFeed && !isGone;',
    replace: 'const isKnown = !isOwn;',
    shownBy: 'seed 21',
  },
  'a write that a queued one hides is told': {
    file: 'src/sync/rules/views.ts',
    find: ' || isHidden(before.get(key), keyState)',
    replace: '',
    shownBy: 'seed 112265',
  },
  'a rejected call is queued before a clear() that it follows': {
    file: 'src/sync/online/calls.ts',
    find: "if (call.operation.type === 'clear') clears += 1;",
    replace: '',
    shownBy: 'world one tab: absent; setMany, clear; lose-answer after 0; set-seen',
  },
  'a listener whose value could not be read is not told it later': {
    file: 'src/watch/watchers.ts',
    find: 'else unref(setTimeout(() => void readAgain(watcher, asked), AGAIN_MS));',
    replace: '',
    shownBy: 'seed 120746',
  },
  'a clear() that replaces a queued one is not told': {
    file: 'src/sync/rules/views.ts',
    find: 'lastOrder(clears.after) <= lastOrder(clears.before) &&',
    replace: 'clears.after.length <= clears.before.length &&',
    shownBy: 'seed 207399',
  },
  'what a device finds when it first reaches its server is not told': {
    file: 'src/sync/session.ts',
    find: 'isMirrorBehind ||= counts.current.level === undefined;',
    replace: '',
    shownBy: 'seed 261755',
  },
  'what has changed while the sync data was gone is not told': {
    file: 'src/sync/session.ts',
    find: 'deleted() {\n        isMirrorBehind = true;',
    replace: 'deleted() {',
    shownBy: 'seed 223725',
  },
  'a mirror that is first filled after a restore tells nothing': {
    file: 'src/sync/rules/state.ts',
    find: 'wasComplete: true,',
    replace: '',
    shownBy: 'seed 267673',
  },
  'a queued value that was not stored is never corrected where the mirror is not filled yet': {
    file: 'src/sync/rules/views.ts',
    find: ' || metaBefore.lastOrder > 0',
    replace: '',
    shownBy: 'seed 272175',
  },
  'a commit number that cannot be read is taken for 0': {
    file: 'src/indexeddb/commits.ts',
    find: 'if (error) throw error;',
    replace: '',
    shownBy: 'seed 212908',
  },
  'a value that was told while it was queued is told again under its revision of the server': {
    file: 'src/sync/mirror/snapshot.ts',
    find: 'arrivedAs(keyState, heard) ? heard : revisionOf(keyState)',
    replace: 'revisionOf(keyState)',
    shownBy: 'seed 202928',
  },
  'what was sent while the disk was full is not recorded when there is room': {
    file: 'src/sync/outbox/replay-full.ts',
    find: 'if (applied.size > 0)',
    replace: 'if (applied.size < 0)',
    shownBy: 'case S34',
  },
  'each call of a turn waits for a database that has not answered those before it': {
    file: 'src/sync/online/limits.ts',
    find: 'isSilent() ? 0 : LEAST_HERE_MS',
    replace: 'LEAST_HERE_MS',
    shownBy: 'seed 215715',
  },
};
