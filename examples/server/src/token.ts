/** `npm run token -- <tenant> <scope>`: prints a new token, and its entry for TOKENS. */
import { randomBytes } from 'node:crypto';
import { hashOf, parseTokenEntry } from './http/access/tokens.ts';

const [tenant = '', scope = ''] = process.argv.slice(2);
// The prefix lets secret scanners find a token, and a token never starts with a hyphen.
const token = `cf_${randomBytes(32).toString('base64url')}`;
const entry = `${tenant}:${scope}:${hashOf(token).toString('hex')}`;
if (parseTokenEntry(entry)) {
  process.stdout.write(`token   ${token}\nTOKENS  ${entry}\n`);
  process.stdout.write(
    'Give the token to the client. Add the entry to TOKENS of the server: it does not reveal the token.\n',
  );
} else {
  process.stderr.write(
    'Usage: npm run token -- <tenant> <scope>, with a tenant of A-Z a-z 0-9 _ - and read, write or admin.\n',
  );
  process.exitCode = 2;
}
