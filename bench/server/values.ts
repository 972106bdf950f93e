/** The values: about 1,000 characters that name their key and the run that wrote them, so that a mix-up shows. */

const REST = 'x'.repeat(980);

export function valueFor(key: string, run: string): string {
  return `${key} ${run} ${REST}`;
}
