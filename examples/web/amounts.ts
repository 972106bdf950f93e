/**
 * Numbers as people read them.
 */

/** So many entries. */
export const entriesOf = (count: number): string =>
  `${count.toLocaleString('en')} ${count === 1 ? 'entry' : 'entries'}`;

/** So many bytes, in decimal units. */
export function sizeOf(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  const [unit, size] = bytes < 1e6 ? ['kB', 1e3] : bytes < 1e9 ? ['MB', 1e6] : ['GB', 1e9];
  return `${(bytes / (size as number)).toLocaleString('en', { maximumFractionDigits: 1 })} ${unit}`;
}
