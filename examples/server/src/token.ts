/** `npm run token -- <tenant> <scope>`: a new token, and the entry of TOKENS by which a server knows it. */
import { randomBytes } from 'node:crypto';
import { hashOf, parseTokenEntry } from './http/access/tokens.ts';

const [tenant = '', scope = ''] = process.argv.slice(2);
// The beginning keeps it from looking like an option of a command, and lets scanners for secrets find it.
const token = `cf_${randomBytes(32).toString('base64url')}`;
const entry = `${tenant}:${scope}:${hashOf(token).toString('hex')}`;
if (parseTokenEntry(entry)) {
  process.stdout.write(`token   ${token}\nTOKENS  ${entry}\n`);
  process.stdout.write(
    'Give the token to the caller; the server gets the entry, which does not tell the token.\n',
  );
} else {
  process.stderr.write(
    'Usage: npm run token -- <tenant> <scope>, with a tenant of A-Z a-z 0-9 _ - and read, write or admin.\n',
  );
  process.exitCode = 2;
}
