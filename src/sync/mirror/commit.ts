/**
 * Changes as they are stored and sent between tabs → changes as a session tells them.
 */
import type { Heard } from '../../core/change-feed.ts';
import { type Commit, type SessionChange, type StoredChange, sourceOf } from '../../core/changes.ts';
import { decodeAt } from '../../core/json.ts';

/**
 * Decodes a commit. A value that cannot be decoded is left out.
 *
 * @param failed Is called with the error of such a value.
 */
export async function commitOf(
  { number, changes, isOwn }: NonNullable<Heard>,
  failed: (error: unknown) => void,
): Promise<Commit> {
  const decoded = await Promise.all(
    changes.map((change) =>
      changeOf(change, isOwn).catch((error) => {
        failed(error);
        return undefined;
      }),
    ),
  );
  return { number, changes: decoded.filter((change) => change !== undefined) };
}

async function changeOf(change: StoredChange, isOwn: boolean): Promise<SessionChange> {
  const source = sourceOf(change, isOwn);
  if (change.type === 'clear') return { type: 'clear', source };
  const { type, key } = change;
  if (type === 'delete') return { type, key, source };
  return { type, key, value: await decodeAt(key, change.stored), revision: change.revision, source };
}
