/** What happens in a schedule, in a line each. */
import type { Held, Row, Seen } from '../../src/sync/rules/state.ts';
import { clearsOf, type Origin } from './origin.ts';
import type { Answer, Op, Request } from './server.ts';

const held = (value: Held | undefined): string => (value ? String(value.json) : '∅');
const seen = (value: Seen | undefined): string =>
  value ? `${held(value.held)}@${value.era}.${value.epoch}.${value.seq}` : '?';

const row = ({ n, version, key, held: local, base, mark, unit }: Row): string =>
  `${key || 'CLEAR'}=${held(local)} n${n} v${version} on ${seen(base)}${unit ? ` unit ${unit.n}` : ''}${mark ? ` sent ${mark.client}.${mark.m}` : ''}`;

const op = ({ op: name, key, held: value, ifRev, ifSeq, write }: Op): string =>
  [
    name,
    name === 'put' ? `${key}=${held(value)}` : key,
    ...(ifRev === undefined ? [] : [`if ${ifRev}`]),
    ...(ifSeq === undefined ? [] : [`if seq ${ifSeq}`]),
    ...(write ? [`w${write.id}`] : []),
  ].join(' ');

/** A request. */
export function textOf(request: Request): string {
  if (request.type === 'keys') return 'keys';
  if (request.type === 'changes') return `changes since ${request.since?.epoch}.${request.since?.seq}`;
  if (request.type === 'give-up') return `give up ${request.client}.${request.m}`;
  const { epoch, mutation, atomic, ops } = request;
  return `${atomic ? 'atomic ' : ''}[${ops.map(op).join(', ')}]${mutation ? ` as ${mutation.client}.${mutation.m}` : ''}${epoch ? ` to ${epoch}` : ''}`;
}

/** An answer. */
export function answerText(answer: Answer): string {
  if ('error' in answer) return answer.error;
  const at = `${answer.epoch}.${answer.seq}`;
  if ('isVoid' in answer) return `${at} void`;
  if ('results' in answer)
    return `${at} [${answer.results.map(({ status, rev, held: value }) => `${status} ${value ? held(value) : ''}@${rev}`).join(', ')}]`;
  if ('keys' in answer) return `${at} ${answer.keys.map(({ key, rev }) => `${key}@${rev}`).join(' ')}`;
  return `${at} ${answer.changes.map(({ type, key, rev, held: value }) => `${type} ${key}=${held(value)}@${rev}`).join(', ')}`;
}

/** What is on the disk of an origin. */
export function stateOf(origin: Origin): string {
  const { meta, mirror, pending, conflicts } = origin;
  const rows = [...pending.values()].flat();
  return [
    `era ${meta.era} ${meta.epoch}.${meta.seq} cursor ${meta.cursor} ${meta.client}`,
    `mirror ${[...mirror].map(([key, value]) => `${key}=${seen(value)}`).join(' ')}`,
    ...(rows.length > 0 ? [`waiting ${rows.map(row).join('; ')}`] : []),
    ...(clearsOf(origin).length > 0 ? ['cleared'] : []),
    ...(conflicts.length > 0 ? [`${conflicts.length} conflicts`] : []),
  ].join(' | ');
}
