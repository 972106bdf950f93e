/** Changes as JSON and as events. Spec: docs/contract.md, 7.1, 7.2 and 7.6; HTML, Server-sent events. */
import type { Change } from '../../store/store.ts';

export function changeText(change: Change): string {
  if (change.type === 'clear') return `{"type":"clear","rev":"${change.rev}"}`;
  const start = `{"type":"${change.type}","key":${JSON.stringify(change.key)},"rev":"${change.rev}"`;
  return change.type === 'put' ? `${start},"value":${change.value}}` : `${start}}`;
}

/** One event of an event stream. */
export function eventText(id: string, type: string, data: string): string {
  // JSON may contain line breaks between its tokens. Each line becomes its own field.
  const lines = data.split(/\r\n|\r|\n/).map((line) => `data: ${line}\n`);
  return `id: ${id}\nevent: ${type}\n${lines.join('')}\n`;
}
