/**
 * A tab that the operating system suspends, at the worst moment: other tabs of the app go on (docs/guarantees.md, 5.1, 7.2, 11).
 */
import { expect, it, onTestFinished } from 'vitest';
import type { Fault } from '../support/faults.ts';
import { chromiumSkipReason } from '../support/library-page.ts';
import { offlineStage, online, openStorage, rendererPid } from '../support/offline-page.ts';

const stage = offlineStage();

/** Suspend the process of a tab. It goes on when the returned function is called, or the test ends. */
function suspend(pid: number): () => void {
  process.kill(pid, 'SIGSTOP');
  let goOn = (): void => {
    goOn = () => {};
    process.kill(pid, 'SIGCONT');
  };
  onTestFinished(() => goOn());
  return () => goOn();
}

it.skipIf(chromiumSkipReason)(
  'when the tab that sends the outbox is suspended, calls of another one settle, and what waits arrives once',
  async ({ annotate }) => {
    const server = await stage.server();
    let sends = (): void => {};
    let holds = false;
    const [isSending, isHeld] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const proxy = await stage.network(server, ({ target, body }): Fault | undefined => {
      if (!holds || !target.endsWith('/batch') || !body.includes('"waits"')) return undefined;
      holds = false;
      sends();
      return { hold: isHeld.promise };
    });
    sends = isSending.resolve;
    await server.start();
    const context = await stage.profile();
    const [suspended, other] = [await stage.tab(context), await stage.tab(context)];
    const pid = await rendererPid(suspended);
    expect(await rendererPid(other)).not.toBe(pid);
    for (const tab of [suspended, other]) await openStorage(tab, proxy.url);
    await suspended.evaluate(() => storage.set('before', 0));
    await online(suspended);
    proxy.cut();
    await suspended.evaluate(() => storage.set('waits', 1));
    holds = true;
    proxy.restore();
    await isSending.promise;
    const goOn = suspend(pid);
    isHeld.resolve();

    const [calls, flush] = await other.evaluate(async () => {
      const begin = performance.now();
      await storage.ready();
      await storage.set('direct', 2);
      await storage.getMany(['before', 'waits', 'direct']);
      const calls = performance.now() - begin;
      await storage.flush();
      return [calls, performance.now() - begin] as const;
    });
    await annotate(`ready, set and get: ${Math.round(calls)} ms; flush: ${Math.round(flush)} ms`);
    expect(calls).toBeLessThan(6000);
    expect(flush).toBeLessThan(20_000);
    expect(await server.entries()).toEqual({ before: 0, waits: 1, direct: 2 });

    goOn();
    await suspended.evaluate(() => storage.set('after', 3));
    await suspended.evaluate(() => storage.flush());
    expect(await server.entries()).toEqual({ before: 0, waits: 1, direct: 2, after: 3 });
    expect(await server.applied()).toBe(4);
    for (const tab of [suspended, other]) expect(await tab.evaluate(() => storage.conflicts())).toEqual([]);
  },
);

/** Writes of one call, so many that its transactions take long. */
const MANY = 20_000;

it.skipIf(chromiumSkipReason)(
  'when a tab is suspended in the middle of writing into the outbox, the server serves the calls of another one',
  async ({ annotate }) => {
    const server = await stage.server();
    const proxy = await stage.network(server, () => undefined);
    await server.start();
    const context = await stage.profile();
    const [suspended, other] = [await stage.tab(context), await stage.tab(context)];
    const pid = await rendererPid(suspended);
    expect(await rendererPid(other)).not.toBe(pid);
    for (const tab of [suspended, other]) {
      await openStorage(tab, proxy.url);
      await tab.evaluate(() => storage.set('before', 0));
      await online(tab);
    }
    proxy.cut();
    const writing = Promise.withResolvers<void>();
    await suspended.exposeFunction('isWriting', () => writing.resolve());
    await suspended.evaluate((count) => {
      const { put } = IDBObjectStore.prototype;
      let puts = 0;
      IDBObjectStore.prototype.put = function (...given) {
        puts += 1;
        // In the middle of a transaction, which this keeps open.
        if (puts === 150) {
          (globalThis as unknown as { isWriting(): void }).isWriting();
          const goOn = (): void => {
            this.count().onsuccess = goOn;
          };
          goOn();
        }
        return put.apply(this, given);
      };
      void storage
        .setMany(Array.from({ length: count }, (_, i) => [`n${i}`, i] as const))
        .catch(() => undefined);
    }, MANY);
    await writing.promise;
    suspend(pid);
    proxy.restore();

    const times = await other.evaluate(async () => {
      const took: number[] = [];
      for (const call of [
        () => storage.get('before'),
        () => storage.set('direct', 1),
        () => storage.ready(),
        () => storage.keys(),
        () => storage.update('direct', (n) => Number(n) + 1),
        () => storage.get('direct'),
      ]) {
        const begin = performance.now();
        await call();
        took.push(Math.round(performance.now() - begin));
      }
      return took;
    });
    await annotate(`get, set, ready, keys, update, get: ${times.join(', ')} ms`);
    // Less than a transaction may take without progress.
    expect(Math.max(...times)).toBeLessThan(8000);
    expect(await server.entries()).toMatchObject({ before: 0, direct: 2 });
  },
);
