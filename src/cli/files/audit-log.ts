/** The audit log that AUDIT_LOG names: what the command changes for servers is written there, too. */
import {
  type AuditDetails,
  type AuditEvent,
  appendAudit,
  checkAuditLog,
} from '@codeforge/storage-server/tokens';
import { CommandError, EXIT } from '../ui/errors.ts';

/** Is called before anything is changed. @throws {CommandError} If the file cannot be written. */
export function checkAudit(): void {
  const path = process.env.AUDIT_LOG;
  if (!path) return;
  try {
    checkAuditLog(path);
  } catch (error) {
    throw new CommandError(
      EXIT.failed,
      `AUDIT_LOG ${path} cannot be written: ${(error as Error).message}. Nothing was changed.`,
    );
  }
}

/** @throws {CommandError} If the file cannot be written. */
export function writeAudit(event: AuditEvent, details: AuditDetails): void {
  const path = process.env.AUDIT_LOG;
  if (!path) return;
  try {
    appendAudit(path, event, details);
  } catch (error) {
    throw new CommandError(
      EXIT.failed,
      `It was done (${event}), but AUDIT_LOG ${path} cannot be written: ${(error as Error).message}.`,
    );
  }
}
