/**
 * The audit log (AUDIT_LOG): one line of JSON for each clear, import and restore, each change of tokens, and each token that was refused. It
 * has no keys, values or tokens. Several processes may append to one file.
 */
import { appendFileSync } from 'node:fs';
import type { Logger } from './log.ts';

/** What is written down. */
export type AuditEvent =
  | 'clear'
  | 'import'
  | 'restore'
  | 'token-refused'
  | 'token-added'
  | 'token-rotated'
  | 'token-revoked';

/** What is known about it, such as the tenant and the status of the answer. */
export type AuditDetails = Readonly<Record<string, string | number | undefined>>;

/** Appends a line to the file at `path`. @throws {Error} If that fails. */
export function appendAudit(path: string, event: AuditEvent, details: AuditDetails): void {
  const line = JSON.stringify({ time: new Date().toISOString(), event, ...details });
  appendFileSync(path, `${line}\n`, { mode: 0o600 });
}

/** @throws {Error} If the file at `path` cannot be written. It is created if necessary. */
export function checkAuditLog(path: string): void {
  appendFileSync(path, '', { mode: 0o600 });
}

/** Writes to the audit log of a server. Never throws. */
export type Audit = (event: AuditEvent, details: AuditDetails) => void;

/** Refused tokens of one second that are written down: a flood of them must not fill the disk. */
const REFUSED_PER_SECOND = 10;

/** @param path `undefined`: nothing is written. */
export function createAudit(path: string | undefined, log: Pick<Logger, 'error'>): Audit {
  let second = 0;
  let refused = 0;
  return (event, details) => {
    if (path === undefined) return;
    if (event === 'token-refused') {
      const now = Math.floor(Date.now() / 1000);
      refused = now === second ? refused + 1 : 1;
      second = now;
      if (refused > REFUSED_PER_SECOND) return;
    }
    try {
      appendAudit(path, event, details);
    } catch (error) {
      log.error({ err: error, event, ...details }, 'AUDIT_LOG cannot be written');
    }
  };
}
