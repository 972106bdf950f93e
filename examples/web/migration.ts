/**
 * Migration: from IndexedDB to a server, or from the server in use to IndexedDB, planned first or at once.
 */
import type { MigrationError, MigrationPlan, OnConflict, StorageStatus } from '@codeforge/storage';
import { entriesOf } from './amounts.ts';
import { askPlan, copy } from './copying.ts';
import { consequence, planFacts } from './outcome.ts';
import { type App, element, field, say } from './page.ts';
import type { Job } from './progress.ts';

const form = element<HTMLFormElement>('migration');
const outcome = element('migration-outcome');

/** What is known of a migration that is not begun. */
let planned: MigrationPlan | undefined;

/** Forget a plan: what it was about may have changed. */
export function forgetMigration(): void {
  planned = undefined;
  outcome.replaceChildren();
}

/** Show the direction that makes sense now. */
export function showDirection({ state }: StorageStatus, server: string): void {
  const isLocal = state === 'local';
  element('address').hidden = !isLocal;
  element('migrate').textContent = buttonText(isLocal);
  element('direction').textContent = isLocal
    ? 'Copies every entry of IndexedDB to a server and reads each back. Nothing is deleted here.'
    : `Copies every entry of ${server} to IndexedDB and reads each back. Nothing is deleted there.`;
}

/** Have the form's buttons do what they say. */
export function startMigration(app: App): void {
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const known = planned;
    const to = targetOf(app);
    void app.act(`Migrating to ${to.short}`, () => migrate(app, to, known));
  });
  element('plan').addEventListener('click', () => {
    const to = targetOf(app);
    void app.act(`Planning the migration to ${to.short}`, () => plan(app, to));
  });
  form.addEventListener('input', (event) => {
    if (event.target === field(form, 'url')) forgetMigration();
    else if (planned) showPlan(planned);
  });
}

interface Target {
  /** The server's address; nothing for IndexedDB. */
  readonly url: string | undefined;
  readonly short: string;
  readonly long: string;
}

function targetOf({ storage }: App): Target {
  const isLocal = storage.status().state === 'local';
  const url = isLocal ? field(form, 'url').value : undefined;
  return { url, short: isLocal ? 'the server' : 'IndexedDB', long: url ?? 'IndexedDB' };
}

const buttonText = (isLocal: boolean): string => `Migrate to ${isLocal ? 'the server' : 'IndexedDB'}`;
const modeOf = (): OnConflict => field(form, 'onConflict').value as OnConflict;

async function plan({ storage }: App, { url, long }: Target): Promise<string> {
  const found = await askPlan((options) =>
    url === undefined ? storage.migrateToIndexedDB(options) : storage.migrateToFlask(url, options),
  );
  showPlan(found);
  return `Compared ${entriesOf(found.entries)} with ${long}: nothing was written`;
}

function showPlan(plan: MigrationPlan): void {
  planned = plan;
  const text = document.createElement('p');
  text.textContent = consequence(plan, modeOf());
  outcome.replaceChildren(...planFacts(plan), text);
}

async function migrate(app: App, to: Target, known: MigrationPlan | undefined): Promise<string> {
  const onConflict = modeOf();
  if (onConflict === 'overwrite' && !mayOverwrite(to, known)) return 'Cancelled: nothing was migrated';
  const activate = field(form, 'activate').checked;
  let hasGoneOn = false;
  const goesOn = (after: number): void => {
    hasGoneOn = true;
    say('message', `Migrating to ${to.short}: going on after ${entriesOf(after)} of an earlier run …`);
  };
  const count = await copy(
    outcome,
    (job) => {
      const options = { ...job, onConflict, activate, onProgress: telling(job.onProgress, goesOn) };
      return to.url === undefined
        ? app.storage.migrateToIndexedDB(options)
        : app.storage.migrateToFlask(to.url, options);
    },
    (error) => hintOf(error, to.url),
  );
  if (activate) app.switched(to.url);
  const gone = hasGoneOn ? '. It went on where an earlier run had ended' : '';
  const kept = onConflict === 'skip' ? '. What differs there stayed as it is' : '';
  const inUse = activate ? `. ${to.long} is in use now` : '';
  return `Migrated ${entriesOf(count)} to ${to.short}, each verified${gone}${kept}${inUse}`;
}

/** Ask before anything may be overwritten. */
function mayOverwrite({ long }: Target, known: MigrationPlan | undefined): boolean {
  if (known?.conflicts.length === 0) return true;
  return confirm(
    known
      ? `${entriesOf(known.conflicts.length)} in ${long} will be overwritten. Migrate?`
      : `What ${long} holds under the same keys will be overwritten, if it differs. "Plan" tells beforehand what that is. Migrate?`,
  );
}

/** Tell `goesOn` as well, where a run begins with what an earlier one has done. */
function telling(show: Job['onProgress'], goesOn: (after: number) => void): Job['onProgress'] {
  let hasBegun = false;
  return (progress) => {
    show(progress);
    if (hasBegun || !('phase' in progress) || progress.phase !== 'copy') return;
    hasBegun = true;
    if (progress.done > 0) goesOn(progress.done);
  };
}

function hintOf({ cause, failed, migrated }: MigrationError, url: string | undefined): string {
  const press = `press “${buttonText(url !== undefined)}” again`;
  const intact = 'The source is as it was, and still in use.';
  if (cause !== undefined) return `${intact} To go on from there, ${press} with the same choices.`;
  const nothing = migrated === 0 && failed.length > 0 ? ', and nothing was written' : '';
  const other = modeOf() === 'fail' ? ', choose another way with entries that differ,' : '';
  return `Each is listed under Migration with its reason${nothing}. ${intact} Mend or delete them${other} and ${press}.`;
}
