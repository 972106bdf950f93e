/** Other libraries' suites for storage drivers, over the package and fake-indexeddb: the folder `tools/peers`. */
import { join } from 'node:path';
import { expect, inject, it } from 'vitest';
import { nodeVersions, run } from './nodes.ts';

const { tools } = inject('packages');

for (const { name, path } of nodeVersions()) {
  for (const peer of ['keyv', 'unstorage'])
    it(`${peer}'s suite passes on ${name}`, async ({ annotate }) => {
      const args = ['run', '--root', 'peers', '--reporter=json', `${peer}.test.mjs`];
      const { stdout, stderr } = await run(path, [join(tools, 'node_modules/vitest/vitest.mjs'), ...args], {
        cwd: tools,
      });
      const { numFailedTests, numPassedTests, success } = JSON.parse(stdout.slice(stdout.indexOf('{')));
      expect({ numFailedTests, success }, `${stdout}${stderr}`).toEqual({ numFailedTests: 0, success: true });
      expect(numPassedTests).toBeGreaterThan(10);
      await annotate(`${numPassedTests} tests passed`);
    });

  it(`abstract-level's suite passes on ${name}, its two tests of empty keys excepted`, async ({
    annotate,
  }) => {
    const { code, stdout, stderr } = await run(path, [join(tools, 'peers/abstract-level.mjs')], {
      cwd: tools,
    });
    const failures = [...stdout.matchAll(/^not ok .*$/gm)].map(([line]) => line);
    expect(failures, stderr).toEqual([]);
    expect(code, stderr).toBe(0);
    const passed = Number(/^# pass +(\d+)$/m.exec(stdout)?.[1]);
    expect(passed).toBeGreaterThan(3000);
    await annotate(`${passed} assertions passed`);
  });
}
