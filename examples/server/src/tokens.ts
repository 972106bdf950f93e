/** What the `token` command needs of the server. */
export { type AuditDetails, type AuditEvent, appendAudit, checkAuditLog } from './audit.ts';
export { isTenant, SCOPES, type Scope } from './http/access/tokens.ts';
export { createToken, formatTokenFile, parseTokenFile, type StoredToken } from './token-file.ts';
