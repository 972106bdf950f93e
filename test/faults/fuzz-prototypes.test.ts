/** Whatever is sent to the reference server, nothing is added to or taken from what all objects of its process inherit. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { readConfig } from '../../examples/server/src/config.ts';
import { createCallers } from '../../examples/server/src/http/access/callers.ts';
import { createAccessCheck } from '../../examples/server/src/http/access/checks.ts';
import { createApp } from '../../examples/server/src/http/routes.ts';
import { limitsOf } from '../../examples/server/src/http/transport/limits.ts';
import { createLoadLimits } from '../../examples/server/src/http/transport/load.ts';
import { createHttpServer } from '../../examples/server/src/http/transport/server.ts';
import { createLog } from '../../examples/server/src/log.ts';
import { openDatabase } from '../../examples/server/src/store/sqlite/database.ts';
import { createSqliteStore } from '../../examples/server/src/store/sqlite/store.ts';
import { figures, fuzz } from './fuzzing.ts';
import { seedFrom } from './random.ts';

const BUILTINS = [
  ...[Object, Function, Array, String, Number, Boolean, Symbol, BigInt, Date, RegExp, Error, Promise],
  ...[Map, Set, WeakMap, ArrayBuffer, Uint8Array, Buffer, Headers, Request, Response, URL, URLSearchParams],
  ...[ReadableStream, AbortController, EventTarget],
];

/** The names of all that is inherited, and on the constructors themselves. */
const inherited = (): unknown[] =>
  BUILTINS.map((builtin) => [builtin.name, Reflect.ownKeys(builtin.prototype), Reflect.ownKeys(builtin)]);

it('leaves the prototypes of its process alone', async ({ annotate }) => {
  const folder = await mkdtemp(join(tmpdir(), 'codeforge-fuzz-'));
  const config = readConfig({ DATABASE_PATH: join(folder, 'fuzz.db'), PORT: '0', LOG_LEVEL: 'silent' });
  const log = createLog(config.logLevel);
  const store = createSqliteStore(
    openDatabase(join(folder, 'fuzz.db')),
    limitsOf(config.maxBodyBytes).answerBytes,
  );
  const stopping = new AbortController();
  const callers = createCallers(config, log);
  const server = createHttpServer(
    createApp({ store, config, callers, log, draining: stopping.signal, stopping: stopping.signal }),
    {
      checkAccess: createAccessCheck(config, callers),
      callers,
      limits: createLoadLimits(config.maxRequests, config.maxWaiting, config.maxBodyBytes),
      stallTime: config.stallTime,
      log,
    },
  );
  const url = await server.listen(config.port, config.host);
  const seed = seedFrom('FUZZ_SEED');
  const before = inherited();

  const campaign = await fuzz({ url, seed, executions: 2000, pipelining: true });

  await annotate(`seed ${seed}: ${figures(campaign)}`);
  expect(inherited()).toEqual(before);
  expect(Object.keys(Object.prototype)).toEqual([]);
  expect(campaign.findings).toEqual([]);
  stopping.abort();
  await server.drain();
  await store.close();
  await rm(folder, { recursive: true, force: true });
}, 90_000);
