/** `codeforge-storage verify <file…>` */
import type { Command } from 'commander';
import { checkFile } from '../files/archive.ts';
import { EXIT, type ExitCode, exitCodeOf } from '../ui/errors.ts';
import { counted } from '../ui/terminal.ts';
import { type CommonOptions, createCommand, type Life, terminalOf } from './options.ts';

/** Checks that backups are complete. */
export const verifyCommand = (life: Life): Command =>
  createCommand('verify', 'check that backups are complete and undamaged')
    .description(
      `Read backups from beginning to end, and check every line and key, the count, and the checksum. A JSON object has no count
and no checksum: only its syntax can be checked.`,
    )
    .argument('<files...>', 'the backups')
    .action(async (files: readonly string[], options: CommonOptions) => {
      const terminal = terminalOf(options);
      let worst: ExitCode = EXIT.done;
      for (const file of files) {
        try {
          const progress = terminal.progress(`verify ${file}`, undefined);
          const { summary, bytes } = await checkFile(file, { signal: life.signal, progress });
          const { form, count, checksum, header } = summary;
          terminal.result(
            `${file} is complete: ${form === 'json' ? 'a JSON object' : 'NDJSON'}, ${counted(count, 'key')}, ${counted(bytes, 'byte')}, ${checksum === 'verified' ? 'checksum verified' : 'no checksum'}.`,
            { ok: true, file, form, keys: count, bytes, checksum, ...(header && { header }) },
          );
        } catch (error) {
          life.signal.throwIfAborted();
          worst = Math.max(worst, exitCodeOf(error)) as ExitCode;
          const { message } = error as Error;
          terminal.complain(message);
          terminal.failure({ ok: false, file, error: message, exitCode: exitCodeOf(error) });
        }
      }
      process.exitCode = worst;
    });
