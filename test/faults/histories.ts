/**
 * Histories of one key: clients that read, write, and compare and set it at once, and what each of them was told.
 */
import { ConflictError, type KeyValueStorage, StorageError, type StoredEntry } from '../../src/index.ts';
import type { Call, Held, Invocation } from './linearizability.ts';
import type { Random } from './random.ts';

/** A history, and how its calls ended. */
export interface History {
  readonly invocations: readonly Invocation[];
  readonly calls: Calls;
  /** Revisions that were shown with two values; there must be none. */
  readonly ambiguous: readonly string[];
}

/** Numbers of calls. */
export interface Calls {
  answered: number;
  conflicts: number;
  /** Writes of which it is not known whether they happened. */
  unknown: number;
  /** Reads without an answer, which say nothing. */
  lostReads: number;
}

/** What all clients of a history write down. */
class Recorder {
  readonly invocations: Invocation[] = [];
  readonly calls: Calls = { answered: 0, conflicts: 0, unknown: 0, lostReads: 0 };
  readonly ambiguous: string[] = [];
  readonly #values = new Map<string, Held>();
  #time = 0;

  tick(): number {
    this.#time += 1;
    return this.#time;
  }

  /** What an entry shows the key to hold. */
  heldBy(entry: StoredEntry | undefined): Held {
    if (entry === undefined) return undefined;
    const value = entry.value as Held;
    const known = this.#values.get(entry.revision) ?? value;
    if (known !== value) this.ambiguous.push(`${entry.revision}: ${known}, ${value}`);
    this.#values.set(entry.revision, known);
    return value;
  }
}

type WriteCall = Exclude<Call, { type: 'read' | 'refused' }>;

/** One client of a history. */
class Client {
  /** What it has seen last. */
  seen: StoredEntry | undefined;
  readonly storage: KeyValueStorage;
  readonly key: string;
  readonly #recorder: Recorder;
  readonly #name: number;

  constructor(recorder: Recorder, storage: KeyValueStorage, key: string, name: number) {
    this.#recorder = recorder;
    this.storage = storage;
    this.key = key;
    this.#name = name;
  }

  async read(): Promise<void> {
    const start = this.#recorder.tick();
    try {
      this.seen = await this.storage.getEntry(this.key);
      this.#note(start, this.#recorder.tick(), { type: 'read', found: this.#recorder.heldBy(this.seen) });
      this.#recorder.calls.answered += 1;
    } catch (error) {
      if (!leavesDoubt(error)) throw error;
      this.#recorder.calls.lostReads += 1;
    }
  }

  /** @param perform Tells what it is about to write, once or again, and writes it. */
  async write(perform: (tell: (call: WriteCall) => void) => Promise<unknown>): Promise<void> {
    const { calls } = this.#recorder;
    const start = this.#recorder.tick();
    let call: WriteCall | undefined;
    try {
      await perform((told) => {
        call = told;
      });
      this.#note(start, this.#recorder.tick(), call);
      calls.answered += 1;
    } catch (error) {
      if (error instanceof ConflictError) {
        this.#noteConflict(start, call, error);
        calls.conflicts += 1;
      } else if (leavesDoubt(error)) {
        this.#note(start, undefined, call);
        calls.unknown += 1;
      } else throw error;
    }
  }

  #noteConflict(start: number, call: WriteCall | undefined, { current }: ConflictError): void {
    const end = this.#recorder.tick();
    this.seen = current;
    if (call?.type === 'cas') this.#note(start, end, { type: 'refused', expected: call.expected });
    // Between two ticks, so that times stay unique.
    this.#note(start + 0.5, end + 0.5, { type: 'read', found: this.#recorder.heldBy(current) });
  }

  #note(start: number, end: number | undefined, call: Call | undefined): void {
    if (call) this.#recorder.invocations.push({ client: this.#name, start, end, call });
  }
}

/** What a client does, given a value that nobody else writes. */
type Step = (client: Client, value: string) => Promise<void>;

const read: Step = (client) => client.read();

const set: Step = (client, value) =>
  client.write((tell) => {
    tell({ type: 'write', value });
    return client.storage.set(client.key, value);
  });

const create: Step = (client, value) =>
  client.write((tell) => {
    tell({ type: 'cas', expected: undefined, value });
    return client.storage.set(client.key, value, { ifRevision: null });
  });

const remove: Step = (client) =>
  client.write((tell) => {
    tell({ type: 'write', value: undefined });
    return client.storage.delete(client.key);
  });

/** On the condition that nothing has changed since this client saw it last. */
const onCondition =
  (write: (client: Client, value: string, ifRevision: string) => Promise<void>, deletes: boolean): Step =>
  (client, value) => {
    const { seen } = client;
    if (!seen) return client.read();
    return client.write((tell) => {
      tell({ type: 'cas', expected: seen.value as Held, value: deletes ? undefined : value });
      return write(client, value, seen.revision);
    });
  };

const setIf = onCondition(
  ({ storage, key }, value, ifRevision) => storage.set(key, value, { ifRevision }),
  false,
);
const removeIf = onCondition(({ storage, key }, _, ifRevision) => storage.delete(key, { ifRevision }), true);

const update: Step = (client, value) => {
  let attempts = 0;
  return client.write((tell) =>
    client.storage.update(client.key, (current) => {
      attempts += 1;
      const next = `${value}.${attempts}`;
      tell({ type: 'cas', expected: current as Held, value: next });
      return next;
    }),
  );
};

const STEPS = [read, set, setIf, setIf, setIf, create, remove, removeIf, update];

interface Recording {
  readonly clients: readonly KeyValueStorage[];
  /** Reads the key when all clients are done. */
  readonly witness: KeyValueStorage;
  /** Does not exist yet. */
  readonly key: string;
  /** Of each client. */
  readonly steps: number;
  readonly random: Random;
}

/** Let the clients do what they do, and record what they were told. */
export async function record({ clients, witness, key, steps, random }: Recording): Promise<History> {
  const recorder = new Recorder();
  await Promise.all(
    clients.map(async (storage, name) => {
      const client = new Client(recorder, storage, key, name);
      for (const [i, step] of Array.from({ length: steps }, () => random.pick(STEPS)).entries())
        await step(client, `${name}.${i}`);
    }),
  );
  await new Client(recorder, witness, key, clients.length).read();
  const { calls, ambiguous } = recorder;
  return { invocations: recorder.invocations.sort((a, b) => a.start - b.start), calls, ambiguous };
}

/** Whether it is not known, after such a rejection, if a write has happened or will. */
const leavesDoubt = (error: unknown): boolean =>
  error instanceof StorageError && (error.code === 'timeout' || error.code === 'unavailable');
