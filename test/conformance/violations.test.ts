/**
 * The suite can fail: in front of a server that keeps the contract, each violation makes exactly the clauses fail that it
 * breaks, and no other of those that were asked beside them.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OldServer, startOldServer } from '../support/old-server.ts';
import type { RunningServer } from '../support/running-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { exchange } from './http.ts';
import { clausesOf, newTokens } from './run.ts';
import { checksOf, runChecks } from './runner.ts';
import { authorization, type Health, Subject, type Tokens } from './subject.ts';
import { ALL_CHECKS } from './suite.ts';
import type { Violation } from './violate.ts';
import { startViolatingServer } from './violating-server.ts';
import { BATCH_VIOLATIONS } from './violations-batch.ts';
import { LEVEL_0_VIOLATIONS, MODERN_LEVEL_0_VIOLATIONS } from './violations-level0.ts';
import { LEVEL_1_VIOLATIONS, tokenViolations } from './violations-level1.ts';
import { ACCOUNT_VIOLATIONS, MUTATION_VIOLATIONS } from './violations-mutations.ts';
import { TRANSFER_VIOLATIONS } from './violations-transfer.ts';

describe('the suite names what a server of level 1 breaks:', () => {
  let server: RunningServer;
  beforeAll(async () => {
    server = await startTypescriptServer();
  });
  afterAll(() => server?.stop());
  for (const violation of [
    ...MODERN_LEVEL_0_VIOLATIONS,
    ...BATCH_VIOLATIONS,
    ...MUTATION_VIOLATIONS,
    ...LEVEL_1_VIOLATIONS,
    ...TRANSFER_VIOLATIONS,
  ])
    it(violation.what, () => expectNamed(server.url, violation));
});

describe('the suite names what a server with tokens breaks:', () => {
  const { env, tokens } = newTokens();
  let server: RunningServer;
  beforeAll(async () => {
    server = await startTypescriptServer({ env });
  });
  afterAll(() => server?.stop());
  for (const violation of [...tokenViolations(tokens), ...ACCOUNT_VIOLATIONS])
    it(violation.what, () => expectNamed(server.url, violation, tokens));
});

describe('the suite names what a server of level 0 breaks:', () => {
  let server: OldServer;
  beforeAll(async () => {
    server = await startOldServer();
  });
  afterAll(() => server?.close());
  for (const violation of LEVEL_0_VIOLATIONS) it(violation.what, () => expectNamed(server.url, violation));
});

async function expectNamed(
  url: string,
  { asked, fails, violate }: Violation,
  tokens: Tokens = {},
): Promise<void> {
  const violating = await startViolatingServer(url, violate);
  try {
    const base = new URL(violating.url);
    const headers = authorization(tokens.admin);
    const health = (await exchange(base, 'GET', '/health', { headers })).json as Health;
    const origin = 'http://localhost:4173';
    const subject = new Subject({ base, tokens, health, origin, anonymous: false });
    const results = await runChecks(subject, checksOf(ALL_CHECKS, asked));
    const reasons = results.map(({ clause, reason }) => `${clause} ${reason}`).join('\n');
    expect(clausesOf(results, 'failed'), reasons).toEqual(fails);
    expect(clausesOf(results, 'passed').length).toBeGreaterThan(0);
  } finally {
    await violating.close();
  }
}
