/**
 * Backup: everything that the backend in use holds, as a file to keep.
 */
import { backupFileName, type ExportOptions, type MigrationFailure } from '@codeforge/storage';
import { entriesOf, sizeOf } from './amounts.ts';
import { listOf } from './outcome.ts';
import { type App, element, field } from './page.ts';
import { Cancelled, withProgress } from './progress.ts';

/** Have the form's button download a backup. */
export function startBackup(app: App): void {
  const form = element<HTMLFormElement>('download');
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const format = field(form, 'format').value as NonNullable<ExportOptions['format']>;
    void app.act('Backing up', () => backup(app, format));
  });
}

async function backup({ storage }: App, format: NonNullable<ExportOptions['format']>): Promise<string> {
  const refused: MigrationFailure[] = [];
  let count = 0;
  const blob = await withProgress(async ({ signal, onProgress }) => {
    try {
      return await storage.export({
        as: 'blob',
        format,
        signal,
        onProgress(progress) {
          count = progress.done;
          onProgress(progress);
        },
        onRefused: (failure) => refused.push(failure),
      });
    } catch (error) {
      throw signal.aborted ? new Cancelled('Cancelled: no backup was made.') : error;
    }
  });
  const name = backupFileName(new Date(), format);
  download(blob, name);
  const text = `Backed up ${entriesOf(count)} as ${name}, ${sizeOf(blob.size)}`;
  if (refused.length === 0) return text;
  element('restore-outcome').replaceChildren(...listOf('Not in the backup', refused, true));
  throw new Error(
    `${text}. ${entriesOf(refused.length)} cannot be backed up and are missing: see the list below.`,
  );
}

function download(blob: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // The download has its own hold on the bytes once it has begun.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
