/**
 * The options of a storage, checked and complete.
 */
import type { ConflictPolicy } from './conflict.ts';
import type { Token } from './token.ts';

/** Where log lines go. `console` fits. */
export interface Logger {
  /** One line for the backend that was selected, and for each time that the server is back. */
  info(message: string): void;
  /** One line for each time that a configured server is away, with the reason, and for values that it did not take. */
  warn(message: string): void;
}

/** Options, checked and complete. */
export interface ResolvedOptions {
  readonly serverUrl: string | undefined;
  readonly token: Token | undefined;
  readonly database: string;
  readonly timeout: number;
  readonly logger: Logger | undefined;
  readonly conflict: ConflictPolicy;
  readonly ack: 'server' | 'local';
}
