/** An entry of about 1 KB, the i-th of a sample. */
export const sample = (i: number): readonly [key: string, value: unknown] => [
  `sample:${String(i).padStart(5, '0')}`,
  {
    id: i,
    name: `Document ${i}`,
    createdAt: new Date(1.7e12 + i * 1000).toISOString(),
    tags: ['sample', i % 2 ? 'odd' : 'even'],
    author: { name: 'Ada Lovelace', email: `ada+${i}@example.test`, active: i % 3 === 0 },
    text: `Paragraph ${i}. `.repeat(50),
  },
];
