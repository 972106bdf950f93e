/**
 * A dry run: source and target are compared, and nothing is written.
 */
import type { MigrationFailure } from './errors.ts';
import type { MigrationPlan } from './options.ts';
import { inPages, isSendable, type Sendable, type Source, type SourceEntry } from './source.ts';
import { isEqual, reasonOf, type Target, valuesAt } from './target.ts';

/**
 * Returns what a copy of `source` to `target` would do.
 *
 * @param advance Is called with the number of entries that were compared. It may throw to end the dry run.
 */
export async function planOf(
  source: Source,
  target: Target,
  advance: (entries: number) => void,
): Promise<MigrationPlan> {
  let entries = 0;
  let bytes = 0;
  let equal = 0;
  const conflicts: string[] = [];
  const refused: MigrationFailure[] = [];
  const refuse = ({ key }: { readonly key: string }, error: unknown): void => {
    refused.push({ key, reason: reasonOf(error) });
  };

  async function sendable(page: readonly SourceEntry[]): Promise<Sendable[]> {
    const able: Sendable[] = [];
    for (const entry of page) {
      if (!isSendable(entry)) {
        refuse(entry, entry.refused);
        continue;
      }
      bytes += entry.bytes;
      try {
        await target.check?.(entry.key, entry);
        able.push(entry);
      } catch (error) {
        refuse(entry, error);
      }
    }
    return able;
  }

  for await (const page of inPages(source.entries())) {
    entries += page.length;
    const able = await sendable(page);
    const values = await valuesAt(target, able);
    for (const entry of able) {
      const found = values.get(entry.key);
      if (found === undefined) continue;
      if (!(found instanceof Error) && (await isEqual(entry, found.value))) equal += 1;
      else conflicts.push(entry.key);
    }
    advance(page.length);
  }
  return { entries, bytes, equal, conflicts, refused };
}
