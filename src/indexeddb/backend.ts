/**
 * IndexedDB backend: one database, one object store, string keys outside the values.
 *
 * A write resolves on its transaction's `complete`, never on a request's `success`: a request may succeed inside a
 * transaction that then aborts.
 *
 * What not every app needs is loaded when it is used: listing, operations that depend on what is there, and the rescue of a
 * batch that breaks the engine.
 *
 * Spec: W3C Indexed Database API 3.0.
 */
import type { Backend, Operation, Outcome } from '../core/backend.ts';
import { isDependent, isRead } from '../core/backend.ts';
import { load } from '../core/load.ts';
import { createConnection } from './connection.ts';
import { resultOf } from './errors.ts';
import { rangeOf } from './range.ts';
import { issue, outcomesOf } from './requests.ts';

/**
 * A backend over one database of this origin. Nothing is opened before the first call.
 *
 * @param database The database's name.
 * @param timeout Milliseconds that opening may take before it counts as blocked.
 */
export function createIndexedDbBackend(database: string, timeout: number): Backend {
  const connection = createConnection(database, timeout);
  let many: typeof import('./many.ts') | undefined;

  async function runTogether(operations: readonly Operation[]): Promise<Outcome[]> {
    if (operations.some(isDependent)) {
      const { runInOrder } = await load(import('./dependent.ts'));
      return runInOrder(connection, operations);
    }
    if (operations.length >= MANY && operations.filter(({ type }) => type === 'get').length >= MANY) {
      if (many) return many.runMany(connection, operations);
      // Nothing waits for it: what is slower until then must not hang when the network does.
      import('./many.ts').then((loaded) => {
        many = loaded;
      }, ignore);
    }
    const transact = operations.every(isRead) ? connection.read : connection.write;
    const requests = await transact((store) => issue(store, operations));
    return outcomesOf(operations, requests);
  }

  return {
    type: 'indexeddb',
    open: () => connection.open(),
    run: (operations) =>
      runTogether(operations).catch((error) => {
        if (operations.length === 1 || error.cause?.name !== 'UnknownError') throw error;
        return import('./rescue.ts').then(
          ({ runApart }) => runApart(operations, runTogether),
          () => {
            throw error;
          },
        );
      }),
    async keys(prefix) {
      const [request] = await connection.read((store) => [store.getAllKeys(rangeOf(prefix))] as const);
      const keys = resultOf(request, 'keys') as string[];
      // IndexedDB sorts by UTF-16 code units: another order only from U+D800 up.
      if (keys.some((key) => /[\ud800-\uffff]/.test(key)))
        keys.sort((await load(import('../core/order.ts'))).compareKeys);
      return keys;
    },
    async *entries(prefix, after) {
      yield* (await load(import('./scan.ts'))).scan(connection.read, prefix, after);
    },
    async stats() {
      return (await load(import('./stats.ts'))).statsOf(this.entries(''));
    },
    async count() {
      return (await load(import('./stats.ts'))).countOf(connection.read);
    },
    close: async () => connection.close(),
  };
}

/** From so many gets on a range pays. */
const MANY = 32;

const ignore = (): void => {};
