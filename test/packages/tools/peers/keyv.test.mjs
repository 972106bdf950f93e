/**
 * keyv's published suite for storage adapters, over an adapter of some lines. https://www.npmjs.com/package/@keyv/test-suite
 */
import 'fake-indexeddb/auto';
import { EventEmitter } from 'node:events';
import { createStorage } from '@codeforge/storage';
import suite, { keyvIteratorTests } from '@keyv/test-suite';
import Keyv from 'keyv';
import * as test from 'vitest';

const storage = createStorage({ database: 'keyv', logger: false });

/** Keyv adds the namespace and a colon to each key itself, and keeps the time of expiry within the value. */
class Adapter extends EventEmitter {
  /** keyv calls `iterator` of the stores whose URL it knows. */
  opts = { url: 'redis://' };
  namespace;

  get(key) {
    return storage.get(key);
  }
  getMany(keys) {
    return storage.getMany(keys);
  }
  set(key, value) {
    return storage.set(key, value);
  }
  setMany(entries) {
    return storage.setMany(entries.map(({ key, value }) => [key, value]));
  }
  has(key) {
    return storage.has(key);
  }
  async delete(key) {
    const [isThere] = await Promise.all([storage.has(key), storage.delete(key)]);
    return isThere;
  }
  async deleteMany(keys) {
    const deleted = await Promise.all(keys.map((key) => this.delete(key)));
    return deleted.every(Boolean);
  }
  async clear() {
    await storage.deleteMany(await storage.keys({ prefix: prefixOf(this.namespace) }));
  }
  async *iterator(namespace) {
    yield* storage.entries({ prefix: prefixOf(namespace) });
  }
}

const prefixOf = (namespace) => (namespace ? `${namespace}:` : '');

suite(test, Keyv, () => new Adapter());
keyvIteratorTests(test, Keyv, () => new Adapter());
