/** Two texts are the same value exactly where no digit and no character is lost. */
import { expect, it } from 'vitest';
import { fingerprint } from '../../src/cli/files/fingerprint.ts';

it.each([
  ['1.10', '1.1'],
  ['1e2', '100.0'],
  ['-0.050E+1', '-0.5'],
  ['0', '0.000e9'],
  ['{"b":1, "a":[ ]}', '{"a":[],"b":1}'],
  ['"\\u00e9\\/"', '"é/"'],
  ['{"a":1,"a":2}', '{"a":2}'],
  ['{"\\u0061":1}', '{"a":1}'],
  ['"\\\\"', '"\\u005c"'],
  [' [1 ,{"x" : "},:\\""}] ', '[1,{"x":"},:\\""}]'],
])('%s is %s', (a, b) => expect(fingerprint(a)).toBe(fingerprint(b)));

it.each([
  ['12345678901234567890', '12345678901234567000'],
  ['1', '"1"'],
  ['1', '-1'],
  ['0.1', '0.01'],
  ['[1,2]', '[2,1]'],
  ['[[1],2]', '[[1,2]]'],
  ['{}', '[]'],
  ['null', '"null"'],
  ['"a b"', '"ab"'],
  ['{"a":{"b":1}}', '{"a":{},"b":1}'],
  ['true', 'false'],
])('%s is not %s', (a, b) => expect(fingerprint(a)).not.toBe(fingerprint(b)));

it('a number is read in a time that grows with its length, whatever its zeros', () => {
  const zeros = '0'.repeat(2_000_000);
  expect(fingerprint(`1${zeros}1`)).not.toBe(fingerprint(`1${zeros}10`));
  expect(fingerprint(`1${zeros}`)).toBe(fingerprint('1e2000000'));
});

it('long strings and deep nests are read', () => {
  const text = JSON.stringify({ long: '\\"é'.repeat(2_000_000) });
  expect(fingerprint(text)).toBe(fingerprint(text.replace('{', '{ ')));
  const deep = '['.repeat(200) + ']'.repeat(200);
  expect(fingerprint(deep)).not.toBe(fingerprint(deep.slice(1, -1)));
});
