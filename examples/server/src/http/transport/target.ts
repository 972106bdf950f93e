/** The parameters of a request target. Spec: WHATWG URL §5, but what is malformed is refused and not repaired. */
import { Refusal } from '../answers.ts';

/** The parameters of a request target; of equal names the last one counts. */
export type Query = ReadonlyMap<string, string>;

/** @throws {Refusal} 400 for escapes that are malformed or no UTF-8. */
export function queryOf(target: string): Query {
  const at = target.indexOf('?');
  const pairs = at === -1 ? [] : target.slice(at + 1).split('&');
  return new Map(
    pairs
      .filter((pair) => pair !== '')
      .map((pair) => {
        const [, name = '', value = ''] = /^([^=]*)=?(.*)$/s.exec(pair) ?? [];
        return [unescaped(name), unescaped(value)];
      }),
  );
}

/** @throws {Refusal} 400 unless it is a whole number from `least` to `most`. */
export function integerOf(query: Query, name: string, usual: number, least: number, most: number): number {
  const text = query.get(name);
  if (text === undefined) return usual;
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw new Refusal(400, `${name} must be a whole number from ${least} to ${most}`);
}

/** @throws {Refusal} 400 unless it is one of `choices`. */
export function choiceOf<T extends string>(query: Query, name: string, choices: readonly [T, ...T[]]): T {
  const text = query.get(name) ?? choices[0];
  const choice = choices.find((choice) => choice === text);
  if (choice === undefined) throw new Refusal(400, `${name} must be one of ${choices.join(', ')}`);
  return choice;
}

function unescaped(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    throw new Refusal(400, 'Malformed percent-escape in the query');
  }
}
