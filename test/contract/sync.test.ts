/**
 * The contract with a copy of the server's data beside it: whether the server is there or was never reached, what an app sees is
 * the same. Only where both are gone do calls reject (docs/guarantees.md, 1.5, 3.1, 3.2, 7.2).
 */
import { afterAll, inject } from 'vitest';
import { createStorage, type KeyValueStorage, type StorageOptions } from '../../src/index.ts';
import { contract } from './contract.ts';
import { deleteCopies, openWithNothing } from './without-anything.ts';

const server = inject('syncedServer');
/** Nothing listens there: the port is reserved, and browsers do not even ask. */
const NOWHERE = 'http://127.0.0.1:1';

let databases = 0;
function open(flaskUrl: string, options: StorageOptions = {}): KeyValueStorage {
  databases += 1;
  const database = `contract-sync-${Date.now()}-${databases}`;
  return createStorage({ useFlask: true, flaskUrl, logger: false, timeout: 30_000, database, ...options });
}

afterAll(deleteCopies);

/** The last storage of the server. */
let last: KeyValueStorage | undefined;

for (const [name, options, gaps] of [
  ['The Flask backend with a copy', {}, []],
  ['The Flask backend with a copy that acknowledges', { ack: 'local' }, ['one-name']],
] as const)
  contract({
    name,
    gaps,
    state: 'online',
    level: 1,
    synced: true,
    async open() {
      // With `ack: 'local'` its writes may still be on their way. A closed one keeps them.
      await last?.flush().catch(() => {});
      last = open(server.url, options);
      await last.clear();
      await last.flush();
      return last;
    },
    openBroken: () => openWithNothing(() => open(NOWHERE, options)),
  });

contract({
  name: 'The Flask backend whose server was never reached',
  gaps: [],
  state: 'offline',
  open: async () => open(NOWHERE),
  openBroken: () => openWithNothing(() => open(NOWHERE)),
});
