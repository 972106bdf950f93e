/**
 * A batch that breaks the engine, as a value over its limit of some 100 MB does: it is cut until only that value fails.
 */
import { type Operation, type Outcome, rejected } from '../core/backend.ts';
import type { StorageError } from '../core/errors.ts';
import { asStorageError, subjectOf } from './errors.ts';

/** Where so many fail alone, it is not the values, and no more is tried. */
const MAX_FAILED = 3;

/** Run a batch in parts, in their order. */
export async function runApart(
  operations: readonly Operation[],
  run: (operations: readonly Operation[]) => Promise<Outcome[]>,
): Promise<Outcome[]> {
  let failed = 0;
  async function runPart(part: readonly Operation[]): Promise<Outcome[]> {
    try {
      return await run(part);
    } catch (error) {
      if (part.length === 1) failed += 1;
      const [operation] = part;
      if (part.length === 1 && operation)
        throw asStorageError((error as StorageError).cause ?? error, subjectOf(operation));
      if (failed >= MAX_FAILED) throw error;
      return halves(part);
    }
  }
  async function halves(part: readonly Operation[]): Promise<Outcome[]> {
    const middle = part.length >> 1;
    const outcomes: Outcome[] = [];
    for (const half of [part.slice(0, middle), part.slice(middle)])
      outcomes.push(...(await runPart(half).catch((reason) => half.map(() => rejected(reason)))));
    return outcomes;
  }
  return halves(operations);
}
