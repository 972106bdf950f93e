/** What happens in a schedule, in a line each. */
import type { QueuedWrite, ServerState, StoredJson } from '../../src/sync/rules/state.ts';
import { clearsOf, type Origin } from './origin.ts';
import type { Answer, Op, Request } from './server.ts';

const valueText = (value: StoredJson | undefined): string => (value ? String(value.json) : '∅');
const stateText = (value: ServerState | undefined): string =>
  value ? `${valueText(value.value)}@${value.generation}.${value.epoch}.${value.seq}` : '?';

const queuedText = ({ order, version, key, value: local, base, sentAs, unit }: QueuedWrite): string =>
  `${key || 'CLEAR'}=${valueText(local)} n${order} v${version} on ${stateText(base)}${unit ? ` unit ${unit.order}` : ''}${sentAs ? ` sent ${sentAs.client}.${sentAs.m}` : ''}`;

const op = ({ op: name, key, value, ifRev, ifSeq, write }: Op): string =>
  [
    name,
    name === 'put' ? `${key}=${valueText(value)}` : key,
    ...(ifRev === undefined ? [] : [`if ${ifRev}`]),
    ...(ifSeq === undefined ? [] : [`if seq ${ifSeq}`]),
    ...(write ? [`w${write.id}`] : []),
  ].join(' ');

/** A request. */
export function textOf(request: Request): string {
  if (request.type === 'keys') return 'keys';
  if (request.type === 'changes') return `changes since ${request.since?.epoch}.${request.since?.seq}`;
  if (request.type === 'void') return `void ${request.client}.${request.m}`;
  const { epoch, mutation, atomic, ops } = request;
  return `${atomic ? 'atomic ' : ''}[${ops.map(op).join(', ')}]${mutation ? ` as ${mutation.client}.${mutation.m}` : ''}${epoch ? ` to ${epoch}` : ''}`;
}

/** An answer. */
export function answerText(answer: Answer): string {
  if ('error' in answer) return answer.error;
  const at = `${answer.epoch}.${answer.seq}`;
  if ('isVoid' in answer) return `${at} void`;
  if ('results' in answer)
    return `${at} [${answer.results.map(({ status, rev, value }) => `${status} ${value ? valueText(value) : ''}@${rev}`).join(', ')}]`;
  if ('keys' in answer) return `${at} ${answer.keys.map(({ key, rev }) => `${key}@${rev}`).join(' ')}`;
  return `${at} ${answer.changes.map(({ type, key, rev, value }) => `${type} ${key}=${valueText(value)}@${rev}`).join(', ')}`;
}

/** What is on the disk of an origin. */
export function stateOf(origin: Origin): string {
  const { meta, mirror, pending, conflicts } = origin;
  const writes = [...pending.values()].flat();
  return [
    `generation ${meta.generation} ${meta.epoch}.${meta.seq} cursor ${meta.cursor} ${meta.client}`,
    `mirror ${[...mirror].map(([key, value]) => `${key}=${stateText(value)}`).join(' ')}`,
    ...(writes.length > 0 ? [`queued ${writes.map(queuedText).join('; ')}`] : []),
    ...(clearsOf(origin).length > 0 ? ['cleared'] : []),
    ...(conflicts.length > 0 ? [`${conflicts.length} conflicts`] : []),
  ].join(' | ');
}
