/** `codeforge-storage token add|list|revoke|rotate`: the tokens that servers let in. */
import { existsSync } from 'node:fs';
import {
  createToken,
  isTenant,
  SCOPES,
  type Scope,
  type StoredToken,
} from '@codeforge/storage-server/tokens';
import { Argument, Command, InvalidArgumentError, Option } from 'commander';
import { checkAudit, writeAudit } from '../files/audit-log.ts';
import { changeTokens, readTokens } from '../files/token-file.ts';
import { CommandError, EXIT } from '../ui/errors.ts';
import { counted } from '../ui/terminal.ts';
import { type CommonOptions, createCommand, type Life, terminalOf } from './options.ts';

interface FileOptions extends CommonOptions {
  readonly file?: string;
}

interface AddOptions extends FileOptions {
  readonly expires?: Date;
  readonly note?: string;
}

interface RotateOptions extends FileOptions {
  readonly expires?: Date;
  readonly grace: Duration;
}

/** Milliseconds. */
type Duration = number;

const UNITS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Parses `30m`, `12h` or `90d`; `0` too. */
function duration(text: string): Duration {
  const [, count, unit = ''] = /^(\d{1,5})([mhd])$/.exec(text) ?? [];
  if (text === '0') return 0;
  if (count === undefined) throw new InvalidArgumentError('It must be a time such as 30m, 12h or 90d.');
  return Number(count) * (UNITS[unit] as number);
}

/** Parses a time from now, such as `90d`, or a time of ISO 8601 in the future. */
function expiry(text: string): Date {
  const time = /^\d+[mhd]$/.test(text) ? Date.now() + duration(text) : Date.parse(text);
  if (Number.isNaN(time)) throw new InvalidArgumentError('It must be a time such as 90d or 2027-01-31.');
  if (time <= Date.now()) throw new InvalidArgumentError('It is over already.');
  return new Date(time);
}

function tenant(text: string): string {
  if (isTenant(text)) return text;
  throw new InvalidArgumentError('It must have 1 to 64 of A-Z a-z 0-9 _ -.');
}

const fileOption = (): Option =>
  new Option('--file <file>', 'the file of tokens; the servers name the same file in TOKENS_FILE').env(
    'TOKENS_FILE',
  );

const expiresOption = (): Option =>
  new Option(
    '--expires <time>',
    'when the token stops being good: a time from now (12h, 90d) or a date; default: never',
  ).argParser(expiry);

const tokenCommandOf = (name: string, summary: string): Command =>
  createCommand(name, summary).addOption(fileOption());

/** The command and its commands. */
export const tokenCommand = (life: Life): Command => {
  const command = new Command('token').summary('manage the tokens that servers let in').description(
    `Manage the tokens that servers let in. A file has their SHA-256, and for each token its tenant, what it allows and when it
expires. Servers read the file that TOKENS_FILE names, and read it again within a second when it changes. A token itself is
shown once, and stored nowhere.`,
  );
  for (const create of [addCommand, listCommand, revokeCommand, rotateCommand])
    command.addCommand(create(life).copyInheritedSettings(command));
  return command;
};

const addCommand = ({ signal }: Life): Command =>
  tokenCommandOf('add', 'make a token')
    .description(
      `Make a token. With --file or TOKENS_FILE the servers that read the file let it in. Without, add the entry that is printed
to TOKENS of the server.`,
    )
    .argument('<tenant>', 'whose data: each tenant has its own keys', tenant)
    .addArgument(
      new Argument(
        '<scope>',
        'read; write: also put and delete; admin: also clear, import and export',
      ).choices(SCOPES),
    )
    .addOption(expiresOption())
    .option('--note <text>', 'what the list shows about it')
    .action(async (name: string, scope: Scope, { file, expires, note, ...common }: AddOptions) => {
      const grant = {
        tenant: name,
        scope,
        ...(expires && { expires: expires.toISOString() }),
        ...(note !== undefined && { note }),
      };
      if (file === undefined && expires !== undefined)
        throw new CommandError(
          EXIT.usage,
          'A token with --expires needs a file: name it with --file or TOKENS_FILE.',
        );
      const { token, stored } = createToken(grant, new Date());
      if (file !== undefined) {
        checkAudit();
        await changeTokens(file, signal, (tokens) => [...tokens, stored]);
      }
      terminalOf(common).result(made(token, stored, file), {
        ok: true,
        token,
        ...stored,
        entry: entryOf(stored),
      });
      if (file !== undefined) writeAudit('token-added', auditOf(stored));
    });

const listCommand = (_: Life): Command =>
  tokenCommandOf('list', 'show what the tokens of a file allow').action(
    async ({ file, ...common }: FileOptions) => {
      const path = required(file);
      const tokens = await readTokens(path);
      const list = existsSync(path) ? table(tokens) : `${path} does not exist: "token add" creates it.`;
      terminalOf(common).result(list, { ok: true, tokens });
    },
  );

const revokeCommand = ({ signal }: Life): Command =>
  tokenCommandOf('revoke', 'let a token in no more')
    .argument('<id>', 'the id of the token: see list')
    .action(async (id: string, { file, ...common }: FileOptions) => {
      const path = required(file);
      checkAudit();
      let revoked: StoredToken | undefined;
      await changeTokens(path, signal, (tokens) => {
        revoked = find(tokens, id, path);
        return tokens.filter((token) => token !== revoked);
      });
      writeAudit('token-revoked', auditOf(revoked as unknown as StoredToken));
      terminalOf(common).result(`Token ${id} is revoked. Servers that run refuse it within a second.`, {
        ok: true,
        revoked,
      });
    });

const rotateCommand = ({ signal }: Life): Command =>
  tokenCommandOf('rotate', 'replace a token by a new one')
    .description(
      'Make a token for the same tenant with the same scope. The old one stays good for the time of --grace, so that clients can change. Without --expires the new one never expires.',
    )
    .argument('<id>', 'the id of the token: see list')
    .addOption(
      new Option('--grace <time>', 'how long the old token stays good')
        .argParser(duration)
        .default(duration('24h'), '24h'),
    )
    .addOption(expiresOption())
    .action(async (id: string, { file, grace, expires, ...common }: RotateOptions) => {
      const path = required(file);
      checkAudit();
      const now = new Date();
      let result: ReturnType<typeof createToken> | undefined;
      await changeTokens(path, signal, (tokens) => {
        const old = find(tokens, id, path);
        const until = Math.min(
          now.getTime() + grace,
          old.expires === undefined ? Number.POSITIVE_INFINITY : Date.parse(old.expires),
        );
        const { tenant: name, scope, note } = old;
        result = createToken(
          {
            tenant: name,
            scope,
            ...(expires && { expires: expires.toISOString() }),
            ...(note !== undefined && { note }),
          },
          now,
        );
        const ending = { ...old, expires: new Date(until).toISOString() };
        return [...tokens.map((token) => (token === old ? ending : token)), result.stored];
      });
      const { token, stored } = result as ReturnType<typeof createToken>;
      terminalOf(common).result(`${made(token, stored, path)}\nToken ${id} stays good for ${text(grace)}.`, {
        ok: true,
        token,
        ...stored,
        replaces: id,
      });
      writeAudit('token-rotated', { ...auditOf(stored), replaces: id });
    });

/** @throws {CommandError} `usage`. */
function required(file: string | undefined): string {
  if (file !== undefined) return file;
  throw new CommandError(EXIT.usage, 'Name the file of tokens with --file or TOKENS_FILE.');
}

function find(tokens: readonly StoredToken[], id: string, path: string): StoredToken {
  const token = tokens.find((stored) => stored.id === id);
  if (token) return token;
  throw new CommandError(
    EXIT.failed,
    `${path} has no token ${id}: "token list" shows the ids. Nothing was changed.`,
  );
}

const auditOf = ({ id, tenant: name, scope, expires }: StoredToken) => ({ id, tenant: name, scope, expires });

const entryOf = ({ tenant: name, scope, sha256 }: StoredToken): string => `${name}:${scope}:${sha256}`;

function made(token: string, stored: StoredToken, file: string | undefined): string {
  const { id, tenant: name, scope, expires } = stored;
  const until = expires === undefined ? '. It never expires' : ` until ${expires}`;
  return file === undefined
    ? `token   ${token}\nTOKENS  ${entryOf(stored)}\nGive the token to the client. Add the entry to TOKENS of the server: it does not reveal the token.`
    : `token   ${token}\nid      ${id}\nGive the token to the client: it is not shown again. It allows ${scope} for ${name}${until}.`;
}

function table(tokens: readonly StoredToken[]): string {
  const now = Date.now();
  const rows = tokens.map(({ id, tenant: name, scope, created, expires, note }) => [
    id,
    name,
    scope,
    created.slice(0, 10),
    expires === undefined ? 'never' : Date.parse(expires) <= now ? 'expired' : expires.slice(0, 16),
    note ?? '',
  ]);
  const all = [['id', 'tenant', 'scope', 'created', 'expires', 'note'], ...rows];
  const widths = all[0]?.map((_, i) => Math.max(...all.map((row) => (row[i] as string).length))) ?? [];
  const lines = all.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] as number))
      .join('  ')
      .trimEnd(),
  );
  return tokens.length === 0
    ? 'The file has no tokens.'
    : `${lines.join('\n')}\n${counted(tokens.length, 'token')}`;
}

/** A duration as `duration` reads it. */
function text(ms: Duration): string {
  const unit = ['d', 'h', 'm'].find((name) => ms % (UNITS[name] as number) === 0) ?? 'm';
  return `${ms / (UNITS[unit] as number)}${unit}`;
}
