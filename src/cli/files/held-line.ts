/**
 * Passes bytes on except for the last line, of which only the end of everything tells that it is the last.
 *
 * So what is passed on is recognisably incomplete until the last line is known to be right.
 */
const LINE_FEED = 0x0a;

/** Holds the last line back. */
export class HeldLine {
  #held: Uint8Array[] = [];

  /** What can be passed on now, with the line breaks. */
  push(chunk: Uint8Array): Uint8Array[] {
    if (chunk.length === 0) return [];
    const free: Uint8Array[] = [];
    if (this.#held.at(-1)?.at(-1) === LINE_FEED) free.push(...this.#held.splice(0));
    // A line break at the very end may be the last line's own.
    const end = chunk.subarray(0, -1).lastIndexOf(LINE_FEED) + 1;
    if (end > 0) free.push(...this.#held.splice(0), chunk.subarray(0, end));
    this.#held.push(chunk.subarray(end));
    return free;
  }

  /** The last line, with its line break where there is one. */
  last(): Uint8Array {
    return Buffer.concat(this.#held);
  }
}
