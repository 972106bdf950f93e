/**
 * Files in one folder as system calls leave them, and what a power cut may leave of them.
 *
 * Certain are only the bytes of a file that were there when it was last synced, and the names that were there when the folder
 * was last synced. Of what came later, any part may be missing: every write on its own, and every sector of it.
 */
import { dirname } from 'node:path';
import type { Random } from '../../faults/random.ts';
import type { SystemCall } from '../../support/strace.ts';

/** Bytes that a disk writes as a whole. */
const SECTOR = 512;

/** A change of a file that may be lost. */
type Change = Extract<SystemCall, { type: 'write' | 'truncate' }>;

interface DiskFile {
  synced: Buffer;
  pending: Change[];
}

type Files = ReadonlyMap<string, Buffer>;

export class Disk {
  /** For each path, the file that it certainly named, and those that it named since. */
  readonly #names = new Map<string, Array<DiskFile | undefined>>();

  /** Applies a call on a file or on the folder. */
  apply(call: Exclude<SystemCall, { type: 'send' }>): void {
    const { path } = call;
    const named = this.#names.get(path)?.at(-1);
    switch (call.type) {
      case 'open':
        if (named === undefined) this.#rename(path, { synced: Buffer.alloc(0), pending: [] });
        else if (call.truncates) named.pending.push({ type: 'truncate', path, size: 0 });
        return;
      case 'unlink':
        this.#rename(path, undefined);
        return;
      case 'write':
      case 'truncate':
        named?.pending.push(call);
        return;
      case 'sync':
        if (named !== undefined) Object.assign(named, { synced: current(named), pending: [] });
        for (const [name, files] of this.#names)
          if (dirname(name) === path) files.splice(0, files.length - 1);
    }
  }

  /** The files while the power is on. */
  files(): Files {
    const found = new Map<string, Buffer>();
    for (const [path, files] of this.#names) {
      const file = files.at(-1);
      if (file !== undefined) found.set(path, current(file));
    }
    return found;
  }

  /** The files that a power cut may leave now. */
  afterPowerCut(random: Random): Files {
    const found = new Map<string, Buffer>();
    // From a disk that has written nothing to one that has written nearly everything.
    const chance = random.pick([0, random.next(), 1]);
    for (const [path, files] of this.#names) {
      const file = random.chance(chance) ? files.at(-1) : random.pick(files);
      if (file !== undefined) found.set(path, remains(file, chance, random));
    }
    return found;
  }

  #rename(path: string, file: DiskFile | undefined): void {
    // A new path did not exist before.
    const files = this.#names.get(path) ?? [undefined];
    this.#names.set(path, [...files, file]);
  }
}

const current = ({ synced, pending }: DiskFile): Buffer => changed(synced, pending);

function remains({ synced, pending }: DiskFile, chance: number, random: Random): Buffer {
  const kept = pending.flatMap((change): Change[] => {
    if (random.chance(chance)) return [change];
    if (change.type === 'truncate' || !random.chance(chance)) return [];
    return sectorsOf(change).filter(() => random.chance(0.5));
  });
  return changed(synced, kept);
}

function sectorsOf({ data, offset, ...write }: Extract<Change, { type: 'write' }>): Change[] {
  const sectors: Change[] = [];
  for (let start = 0; start < data.length; ) {
    const end = start + SECTOR - ((offset + start) % SECTOR);
    sectors.push({ ...write, offset: offset + start, data: data.subarray(start, end) });
    start = end;
  }
  return sectors;
}

function changed(bytes: Buffer, changes: readonly Change[]): Buffer {
  const ends = changes.map((change) =>
    change.type === 'truncate' ? change.size : change.offset + change.data.length,
  );
  const result = Buffer.alloc(Math.max(bytes.length, ...ends));
  bytes.copy(result);
  let size = bytes.length;
  for (const change of changes) {
    if (change.type === 'truncate') {
      result.fill(0, change.size);
      size = change.size;
    } else {
      change.data.copy(result, change.offset);
      size = Math.max(size, change.offset + change.data.length);
    }
  }
  return result.subarray(0, size);
}
