import fc from 'fast-check';
import { expect, it } from 'vitest';
import { checkKey, checkReadKey, utf8Length } from '../../src/core/keys.ts';
import { compareKeys } from '../../src/core/order.ts';

const text = fc
  .string({ unit: 'binary' })
  .filter((key) => key !== '' && key.isWellFormed() && !key.includes('\0'));

it('orders keys as their UTF-8 bytes', () => {
  fc.assert(
    fc.property(text, text, (a, b) => {
      expect(Math.sign(compareKeys(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
    }),
  );
  expect(Math.sign(compareKeys('\uffff', '🗝'))).toBe(-1);
});

it('accepts a key for writing exactly when it has at most 1,024 bytes', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', minLength: 200, maxLength: 1100 }), (drawn) => {
      const key = drawn.replaceAll('\0', 'x');
      if (Buffer.byteLength(key) <= 1024) expect(checkKey(key)).toBe(key);
      else expect(() => checkKey(key)).toThrow(/1,024 UTF-8 bytes/);
      expect(checkReadKey(key)).toBe(key);
    }),
  );
});

it('counts the bytes of any text as TextEncoder encodes it, halves of surrogate pairs too', () => {
  const unit = fc
    .oneof(fc.nat(0xffff), fc.integer({ min: 0xd700, max: 0xe0ff }))
    .map((code) => String.fromCharCode(code));
  fc.assert(
    fc.property(fc.array(unit), (units) => {
      const drawn = units.join('');
      expect(utf8Length(drawn)).toBe(new TextEncoder().encode(drawn).length);
    }),
  );
});
