/** Options of a call are copied when they are checked, and whatever is wrong with them is an `invalid-option`. */
import { expect, it, onTestFinished, vi } from 'vitest';
import { createStorage } from '../../src/create-storage.ts';
import { buildStorage } from '../../src/storage.ts';
import { rejection } from '../support/rejection.ts';

const open = () => {
  const storage = createStorage({ logger: false, database: crypto.randomUUID() });
  onTestFinished(() => storage.close());
  return storage;
};

it('options that the caller changes after the call change nothing', async () => {
  const storage = open();
  await storage.setMany([
    ['a1', 1],
    ['b1', 1],
  ]);
  const options = { prefix: 'a', limit: 5 };
  const calls = [storage.keys(options), storage.count({ prefix: options.prefix })];
  Object.assign(options, { prefix: 'b', limit: -1 });
  expect(await Promise.all(calls)).toEqual([['a1'], 1]);
});

it('each option is read once, inherited ones too', async () => {
  const storage = open();
  await storage.set('a', 1);
  let reads = 0;
  const once = {
    get limit() {
      reads += 1;
      return reads === 1 ? 1 : -1;
    },
  };
  expect(await storage.keys(once)).toEqual(['a']);
  for (const wrong of [
    Object.create({ prefix: 7 }),
    Object.create({ limit: 'x' }),
    Object.create({ other: 1 }),
  ])
    expect(await rejection(storage.keys(wrong))).toMatchObject({ code: 'invalid-option' });
});

it('options that cannot be read are invalid', async () => {
  const storage = open();
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  const throwing = {
    get prefix(): string {
      throw new TypeError('boom');
    },
  };
  for (const wrong of [proxy, throwing])
    expect(await rejection(storage.keys(wrong))).toMatchObject({ code: 'invalid-option' });
});

it('clear() of a text says what was meant, and deletes nothing', async () => {
  const storage = open();
  await storage.set('log:1', 1);
  expect(await rejection(storage.clear('log:' as never))).toMatchObject({
    code: 'invalid-option',
    message: expect.stringContaining('Did you mean clear({ prefix: "log:" })?'),
  });
  expect(await storage.keys()).toEqual(['log:1']);
});

it('an async function given to update() is refused, and its rejection is not left unhandled', async () => {
  const storage = open();
  const unhandled = vi.fn();
  process.on('unhandledRejection', unhandled);
  onTestFinished(() => void process.off('unhandledRejection', unhandled));
  const failing = async () => {
    throw new Error('lost work');
  };
  expect(await rejection(storage.update('k', failing as never))).toMatchObject({ code: 'invalid-option' });
  expect(await rejection(storage.import('{"":1,"a":2}', { onRefused: failing as never }))).toMatchObject({
    message: expect.stringContaining('lost work'),
  });
  // Node.js reports unhandled rejections after the microtasks of the turn.
  await new Promise((resolve) => setImmediate(resolve));
  expect(unhandled).not.toHaveBeenCalled();
});

it('close() ends a call that waits for a part', async () => {
  const never = () => new Promise<never>(() => {});
  const storage = buildStorage<Record<string, unknown>>(
    { useFlask: true, flaskUrl: 'http://127.0.0.1:1', logger: false },
    { server: never, codec: never, transfer: never },
  );
  const calls = [storage.get('a'), storage.export(), storage.flush()].map((call) => rejection(call));
  await storage.close();
  for (const error of await Promise.all(calls)) expect(error).toMatchObject({ code: 'closed' });
});

it('says that flaskUrl alone does not use the server', () => {
  const storage = createStorage({ flaskUrl: 'http://localhost:5001', logger: false });
  expect(storage.status().reason).toContain('useFlask is not');
});
