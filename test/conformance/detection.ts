/** Section 4: what a server of level 1 announces. */
import { carriedOut, ensure, isObject, json, same, status } from './expectations.ts';
import { checksThatNeed } from './runner.ts';
import { type Health, pathOf, type Subject } from './subject.ts';

const { check, checks } = checksThatNeed('contract');

export { checks as detectionChecks };

const CAPABILITIES = ['batch', 'etag', 'keys', 'changes', 'sse', 'ndjson', 'checksum', 'auth'];
const LIMITS = ['keyBytes', 'valueBytes', 'batchOps', 'bodyBytes', 'answerBytes'];

/** What every server accepts: see 4.6. */
const LEAST_OPERATIONS = 500;
const LEAST_BODY_BYTES = 4 * 1024 * 1024;

const health = async (server: Subject, token?: string | null): Promise<Health> =>
  json(await server.send('GET', '/health', token === undefined ? {} : { token }), 200);

check('4.1', '/health announces contract, epoch, seq, capabilities and limits', async (server) => {
  const announced = await health(server);
  ensure(
    Number.isSafeInteger(announced.contract) && Number(announced.contract) >= 1,
    `\`contract\` must be a number from 1, not ${announced.contract}`,
  );
  ensure(
    typeof announced.epoch === 'string' && /^[\w-]{1,64}$/.test(announced.epoch),
    `\`epoch\` must be 1 to 64 of A-Z a-z 0-9 _ -, not ${announced.epoch}`,
  );
  ensure(Number.isSafeInteger(announced.seq), `\`seq\` must be a whole number, not ${announced.seq}`);
  ensure(isObject(announced.limits), '`limits` must be an object');
  for (const name of LIMITS)
    ensure(
      Number.isSafeInteger(announced.limits[name]) && Number(announced.limits[name]) > 0,
      `\`limits.${name}\` must be a number, not ${announced.limits[name]}`,
    );
});

check('4.2', 'seq counts changes and only grows; epoch stays', async (server) => {
  const steps: ReadonlyArray<readonly [what: string, counts: number, change: () => Promise<unknown>]> = [
    ['PUT', 1, () => server.put('a', '1')],
    ['PUT of the same value', 1, () => server.put('a', '1')],
    ['a refused PUT', 0, () => server.put('a', '{')],
    ['GET', 0, () => server.get('a')],
    ['an import of three keys', 3, () => server.importObject('{"a":1,"b":2,"c":3}')],
    ['DELETE', 1, () => server.delete('a')],
    ['DELETE of a missing key', 0, () => server.delete('a')],
    ['clear', 1, () => server.wipe()],
  ];
  let before = await server.position();
  for (const [what, counts, change] of steps) {
    await change();
    const after = await server.position();
    same(after.epoch, before.epoch, `\`epoch\` after ${what}`);
    same(after.seq - before.seq, counts, `what ${what} adds to \`seq\``);
    before = after;
  }
});

check('4.3', 'capabilities are names, and what they name is there', async (server) => {
  const { capabilities } = await health(server);
  ensure(
    Array.isArray(capabilities) && capabilities.every((name) => typeof name === 'string'),
    `\`capabilities\` must be a list of names, not ${JSON.stringify(capabilities)}`,
  );
  const known = capabilities.filter((name) => CAPABILITIES.includes(name));
  same(new Set(known).size, known.length, 'capabilities named once');
  const routes = { keys: '/api/v1/keys', changes: '/api/v1/changes', ndjson: '/api/v1/export' };
  for (const [name, path] of Object.entries(routes))
    if (known.includes(name)) status(await server.send('GET', path), 200);
  if (known.includes('batch')) await server.batch([{ op: 'get', key: 'a' }]);
  ensure(!known.includes('sse') || known.includes('changes'), '`sse` needs `changes`');
  ensure(!known.includes('checksum') || known.includes('ndjson'), '`checksum` needs `ndjson`');
});

check('4.3', 'auth is announced where callers need a token, and only there', async (server) => {
  const answer = await server.send('GET', pathOf('a'), { token: null });
  status(answer, server.capabilities.includes('auth') ? 401 : 404);
});

check(
  '4.4',
  'epoch and seq go only to a caller with a valid token; the rest goes to everybody',
  async (server) => {
    const whole = await health(server);
    const { epoch, seq, timestamp: _, ...rest } = whole;
    ensure(epoch !== undefined && seq !== undefined, 'a caller with a token must see `epoch` and `seq`');
    for (const token of [null, 'unknown-token']) {
      const { timestamp: __, ...seen } = await health(server, token);
      same(seen, rest, `/health to a caller with ${token === null ? 'no token' : 'an unknown one'}`);
    }
  },
  { needs: ['auth'] },
);

check('4.5', '/health needs no token and no header', async (server) => {
  const answer = await server.send('GET', '/health', { token: null });
  same(json<Health>(answer, 200).status, 'ok', '`status`');
});

check(
  '4.6',
  'a batch of 500 operations and of 4 MiB is accepted, and the limits say so',
  async (server) => {
    const { batchOps, bodyBytes } = server.limits;
    ensure(
      batchOps >= LEAST_OPERATIONS,
      `limits.batchOps must be at least ${LEAST_OPERATIONS}, not ${batchOps}`,
    );
    ensure(
      bodyBytes >= LEAST_BODY_BYTES,
      `limits.bodyBytes must be at least ${LEAST_BODY_BYTES}, not ${bodyBytes}`,
    );
    const ops = Array.from(
      { length: LEAST_OPERATIONS },
      (_, i) => `{"op":"put","key":"key-${i}","value":""}`,
    );
    const body = `{"ops":[${ops.join()}]}`;
    const room = LEAST_BODY_BYTES - Buffer.byteLength(body);
    const value = (i: number) =>
      'x'.repeat(Math.floor(room / LEAST_OPERATIONS) + (i < room % LEAST_OPERATIONS ? 1 : 0));
    const full = ops.map((op, i) => op.replace('""', `"${value(i)}"`));
    const sent = `{"ops":[${full.join()}]}`;
    same(Buffer.byteLength(sent), LEAST_BODY_BYTES, 'the bytes of the batch');
    const { results } = carriedOut(await server.postBatch(sent));
    same(results.filter(({ status }) => status === 200).length, LEAST_OPERATIONS, 'the puts that applied');
  },
  { needs: ['batch'] },
);
