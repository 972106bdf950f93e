/** Batches for tests of properties: few keys, few clients, conditions that often fail. */
import fc from 'fast-check';
import type { TenantBatch } from '../../examples/server/src/store/batch.ts';
import type { Batch, Operation } from '../../examples/server/src/store/store.ts';

const CLIENTS = ['client-a', 'client-b'];

const key = fc.constantFrom('a', 'b', 'c');
// Some values are larger than those that are read together with their revisions.
const value = fc.constantFrom('1', '"two"', `"${'x'.repeat(4100)}"`);
/** Conditions on revisions that exist in most runs. */
const condition = fc.option(
  fc.oneof(
    fc.constant((rev: number | undefined) => rev === undefined),
    fc.nat({ max: 12 }).map((wanted) => (rev: number | undefined) => rev === wanted),
    fc.constant((rev: number | undefined) => rev !== undefined),
  ),
  { nil: undefined },
);
const operation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ type: fc.constant('get' as const), key }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('head' as const), key }) },
  { weight: 4, arbitrary: fc.record({ type: fc.constant('put' as const), key, value, condition }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('delete' as const), key, condition }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('clear' as const), condition }) },
  {
    weight: 1,
    arbitrary: fc.record({ type: fc.constant('check' as const), key, condition: condition.filter(Boolean) }),
  },
) as fc.Arbitrary<Operation>;
/** Mutations, some of them with the number of another one, and some that are given up. */
const mutationOf = (tenants: readonly string[]): fc.Arbitrary<TenantBatch> =>
  fc
    .record({
      tenant: fc.constantFrom(...tenants),
      operations: fc.array(operation, { maxLength: 3 }),
      atomic: fc.boolean(),
      client: fc.constantFrom(...CLIENTS),
      number: fc.integer({ min: 1, max: 4 }),
      settled: fc.option(fc.nat({ max: 3 }), { nil: undefined }),
      isVoid: fc.boolean(),
    })
    .map(({ tenant, operations, atomic, client, number, settled, isVoid }) => {
      const sent: Batch = isVoid ? { operations: [], voided: number } : { operations, atomic, m: number };
      return { tenant, batch: { ...sent, client, settled: settled && settled % number } };
    });
/** Batches without a number, some with the `client` whose `top` they ask for. */
const plainOf = (tenants: readonly string[]): fc.Arbitrary<TenantBatch> =>
  fc
    .record({
      tenant: fc.constantFrom(...tenants),
      operations: fc.array(operation, { maxLength: 6 }),
      atomic: fc.boolean(),
      client: fc.option(fc.constantFrom(...CLIENTS), { nil: undefined }),
    })
    .map(({ tenant, ...batch }) => ({ tenant, batch }));
/** Up to 8 batches of these tenants. */
export function batchesOf(...tenants: string[]): fc.Arbitrary<TenantBatch[]> {
  return fc.array(fc.oneof(plainOf(tenants), mutationOf(tenants)), { minLength: 1, maxLength: 8 });
}
