/**
 * Entries copied with the bar shown: what is common to a migration, a restore and an adoption.
 */
import { MigrationError, type MigrationPlan } from '@codeforge/storage';
import { entriesOf } from './amounts.ts';
import { listOf } from './outcome.ts';
import { messageOf } from './page.ts';
import { Cancelled, type Job, withProgress } from './progress.ts';

/** Have a plan made. */
export const askPlan = (
  ask: (options: Job & { readonly dryRun: true }) => Promise<MigrationPlan>,
): Promise<MigrationPlan> =>
  withProgress(async (job) => {
    try {
      return await ask({ ...job, dryRun: true });
    } catch (error) {
      throw job.signal.aborted ? new Cancelled('Cancelled: nothing was written.') : error;
    }
  });

/**
 * Have entries copied.
 *
 * @param place Gets the list of what did not arrive.
 * @param hint How to go on.
 */
export const copy = (
  place: HTMLElement,
  run: (job: Job) => Promise<number>,
  hint: (error: MigrationError) => string,
): Promise<number> =>
  withProgress(async (job) => {
    const isCancelled = (): boolean => job.signal.aborted;
    try {
      return await run(job);
    } catch (error) {
      if (!(error instanceof MigrationError))
        throw isCancelled() ? new Cancelled('Cancelled: nothing was written.') : error;
      place.replaceChildren(...listOf('Did not arrive', error.failed, true));
      const text = `${endOf(error, isCancelled())} ${hint(error)}`;
      throw isCancelled() ? new Cancelled(text) : new Error(text, { cause: error });
    }
  });

/** What was brought over by something that did not bring over everything, and why. */
function endOf(error: MigrationError, isCancelled: boolean): string {
  const { migrated, failed, skipped, cause } = error;
  const arrived = migrated > 0 ? `${entriesOf(migrated)} arrived and were verified` : 'nothing arrived';
  const kept = skipped > 0 ? `, ${entriesOf(skipped)} stayed as before` : '';
  const missing = failed.length > 0 ? `, ${entriesOf(failed.length)} did not arrive` : '';
  if (isCancelled) return `Cancelled: ${arrived}${kept}${missing}.`;
  const why = cause === undefined ? '' : `${messageOf(cause)} Until then `;
  return `${why}${arrived}${kept}${missing}.`;
}
