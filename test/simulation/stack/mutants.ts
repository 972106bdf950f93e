/**
 * Broken forms of the SDK and the server, one edit each. The oracle has to notice each of them: else it proves little.
 *
 * `npm run simulate -- --mutants` tries them against small worlds and random programs. An edit that no longer fits its file is an error:
 * write it anew.
 */
import type { Edit } from './bundle.ts';

export const MUTANTS: Readonly<Record<string, Edit>> = {
  'a queued write is sent without its condition': {
    file: 'src/sync/outbox/outgoing.ts',
    find: "? { op: 'put', key, text: JSON.stringify(value.json), ifRevision }",
    replace: "? { op: 'put', key, text: JSON.stringify(value.json) }",
  },
  'a queued delete is sent without its condition': {
    file: 'src/sync/outbox/outgoing.ts',
    find: "{ op: 'delete', key, ifRevision };",
    replace: "{ op: 'delete', key };",
  },
  'a queued clear is sent without its condition': {
    file: 'src/sync/outbox/outgoing.ts',
    find: "return { op: 'clear', ifSeq: base?.generation === meta.generation ? base.seq : 0 };",
    replace: "return { op: 'clear' };",
  },
  'a write resolves before it is on the disk': {
    file: 'src/sync/outbox/append.ts',
    find: 'const stored = await database.write(',
    replace:
      'const stored = true; const later: typeof database.write = (...args) => database.write(...args).catch(() => undefined as never); void later(',
  },
  'the server does not keep the results of mutations': {
    file: 'examples/server/src/store/batch.ts',
    find: 'client.save(batch.m, written.map(withoutValue));',
    replace: '',
  },
  'the server does not keep that a mutation was given up': {
    file: 'examples/server/src/store/batch.ts',
    find: "client.save(m, 'void');",
    replace: '',
  },
  'a number of a mutation is used again': {
    file: 'src/remote/level1/mutations.ts',
    find: 'const m = next++;',
    replace: 'const m = next;',
  },
  'a mutation in doubt is not given up before the next write': {
    file: 'src/remote/level1/mutations.ts',
    find: 'const given = await level1.voidMutation(inDoubt, until(deadline));',
    replace: 'const given = { answer: {} } as Awaited<ReturnType<typeof level1.voidMutation>>;',
  },
  'calls do not look at the outbox': {
    file: 'src/sync/online/calls.ts',
    find: 'if (!queued && !isLocalFirst) return chosen;',
    replace: 'if (!isLocalFirst) return chosen;',
  },
  'answers do not reach the mirror': {
    file: 'src/sync/mirror/observer.ts',
    find: 'if (unknown.length > 0)',
    replace: 'if (unknown.length > 1e9)',
  },
  'what was sent is taken for done': {
    file: 'src/sync/outbox/replay.ts',
    find: '} else decisions.push(decide(write, { status, serverState: serverState.get(write.key) }));',
    replace: "} else decisions.push({ type: 'done' });",
  },
  'a mutation that was refused after a lost answer counts as refused': {
    file: 'src/remote/level1/mutations.ts',
    find: '} else if (mutation && isInDoubt && sent.isHeard) {',
    replace: '} else if (mutation && isInDoubt && sent.isHeard && (false as boolean)) {',
  },
  'a tab that sends the outbox does not wait for the lock': {
    file: 'src/sync/tabs/lock.ts',
    find: 'if (isOver && !working) void request({ steal: true });',
    replace: 'void request({ steal: true });',
  },
  'a write whose call has rejected is stored all the same': {
    file: 'src/sync/outbox/append.ts',
    find: "if (isOver()) throw new StorageError('unavailable', 'The time limit of the call was over.');",
    replace: '',
  },
};
