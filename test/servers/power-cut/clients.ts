/**
 * Clients of a server, each with a tenant of its own, whose writes follow one another: the states that a tenant may be in are
 * the states after each of its writes.
 *
 * Each write is an atomic batch that also stores its number, and reads it back. So the number stands in the bytes that the
 * server writes to the disk, in its answer, and in every state that contains the write.
 */
import { createHash } from 'node:crypto';
import { expect } from 'vitest';
import type { Random } from '../../faults/random.ts';

/** The key of the number of a tenant's last write. */
export const NUMBER_KEY = 'number';

/** Keys of one client. */
const KEYS = 12;

/** The state of a tenant: the JSON text of each key's value. */
export type State = ReadonlyMap<string, string>;

type WriteOperation =
  | { readonly op: 'put'; readonly key: string; readonly value: string }
  | { readonly op: 'delete'; readonly key: string }
  | { readonly op: 'clear' };

/** The number of a tenant's write, as it is stored and answered. */
export const markerOf = (tenant: string, number: number): string => `<${tenant}:${number}>`;

/** The tenant and the number of a marker. */
export function partsOf(marker: string): [string, number] {
  const [, tenant = '', number] = /<(\w+):(\d+)>/.exec(marker) ?? [];
  return [tenant, Number(number)];
}

/** The writes whose numbers are in these bytes. */
export const markersIn = (bytes: Buffer): string[] => bytes.toString('latin1').match(/<\w+:\d+>/g) ?? [];

export class Client {
  readonly tenant: string;
  /** For the server's `TOKENS`. */
  readonly setting: string;
  /** The tenant's state after each of its writes. All were acknowledged, unless one was refused. */
  readonly states: State[] = [new Map()];
  readonly #token: string;
  readonly #random: Random;

  constructor(tenant: string, random: Random) {
    this.tenant = tenant;
    this.#token = `token of ${tenant}`.replaceAll(' ', '-');
    this.setting = `${tenant}:admin:${createHash('sha256').update(this.#token).digest('hex')}`;
    this.#random = random;
  }

  /** The name by which its mutations are numbered. */
  get client(): string {
    return `client-of-tenant-${this.tenant}`;
  }

  /** Sends one write after the other. Resolves when all are acknowledged. */
  async write(url: string, writes: number): Promise<void> {
    for (let i = 0; i < writes; i += 1) {
      const m = this.states.length;
      const marker = markerOf(this.tenant, m);
      const operations: WriteOperation[] = [...this.#change(), { op: 'put', key: NUMBER_KEY, value: marker }];
      this.states.push(stateAfter(this.states.at(-1) as State, operations));
      const response = await fetch(`${url}/api/v1/batch`, {
        method: 'POST',
        headers: { authorization: `Bearer ${this.#token}`, 'content-type': 'application/json' },
        body: JSON.stringify({
          client: this.client,
          m,
          settled: Math.max(0, m - 3),
          atomic: true,
          ops: [...operations, { op: 'get', key: NUMBER_KEY }],
        }),
      });
      const text = await response.text();
      expect(response.status, text).toBe(200);
      expect(JSON.parse(text).results.at(-1)).toMatchObject({ value: marker });
    }
  }

  #change(): WriteOperation[] {
    const random = this.#random;
    const key = (): string => `key-${random.below(KEYS)}`;
    if (random.chance(0.05)) return [{ op: 'clear' }];
    if (random.chance(0.2)) return [{ op: 'delete', key: key() }];
    return Array.from({ length: 1 + random.below(3) }, () => {
      // Some fill several pages of the database.
      const length = random.chance(0.1) ? random.below(12_000) : random.below(1000);
      return {
        op: 'put',
        key: key(),
        value: random
          .below(2 ** 32)
          .toString(36)
          .padEnd(length, '-'),
      };
    });
  }
}

function stateAfter(state: State, operations: readonly WriteOperation[]): State {
  const after = new Map(state);
  for (const operation of operations)
    if (operation.op === 'clear') after.clear();
    else if (operation.op === 'delete') after.delete(operation.key);
    else after.set(operation.key, JSON.stringify(operation.value));
  return after;
}
