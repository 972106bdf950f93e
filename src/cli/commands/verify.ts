/** `codeforge-storage verify <file…>` */
import type { Command } from 'commander';
import { checkFile } from '../files/archive.ts';
import { EXIT, type ExitCode, exitCodeOf } from '../ui/exit-codes.ts';
import { type CommonOptions, counted, createCommand, type Life, terminalOf } from '../ui/options.ts';

/** Whether backups are whole. */
export const verifyCommand = (life: Life): Command =>
  createCommand('verify', 'say whether backups are whole')
    .description(
      'Read backups from end to end and say whether they are whole: every line and key, their count, the checksum. A bare JSON object has neither count nor checksum: that it ends is all that can be said.',
    )
    .argument('<files...>', 'the backups')
    .action(async (files: readonly string[], options: CommonOptions) => {
      const terminal = terminalOf(options);
      let worst: ExitCode = EXIT.done;
      for (const file of files) {
        try {
          const { summary, bytes } = await checkFile(file, {
            signal: life.signal,
            progress: terminal.progress(`verify ${file}`, undefined),
          });
          const { form, count, checksum, header } = summary;
          terminal.result(
            `${file} is whole: ${form === 'json' ? 'a bare JSON object' : 'NDJSON'}, ${counted(count, 'key')}, ${counted(bytes, 'byte')}, ${checksum === 'verified' ? 'checksum verified' : 'without a checksum'}.`,
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
