/** The process of the server: `node src/main.ts`, until SIGINT or SIGTERM. Further signals are ignored. */
import { settingsHelp } from './config.ts';
import { runServer } from './run.ts';

if (process.argv.length > 2) {
  const isHelp = ['--help', '-h'].includes(process.argv[2] as string);
  process.stdout.write(
    `${isHelp ? '' : 'The server takes no arguments. '}All settings are environment variables:\n\n${settingsHelp()}`,
  );
  process.exit(isHelp ? 0 : 2);
}

// Before the start, so that a signal meanwhile also ends the process in order.
const stopRequested = new Promise<void>((resolve) => {
  process.on('SIGTERM', () => resolve());
  process.on('SIGINT', () => resolve());
});
await runServer(process.env, stopRequested);
