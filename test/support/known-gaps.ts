/**
 * What an engine cannot keep, by the names of the tests that say so. Each of these tests must fail in that engine: one that
 * passes fails the run, and so does a name that no test has. So the list never says more than is true.
 */
import { beforeAll, type RunnerTestCase, type RunnerTestSuite } from 'vitest';
import { server } from 'vitest/browser';

interface Gap {
  /** The test's file, below `test`. */
  readonly file: string;
  /** The names of its blocks and its own, joined by ` > `. */
  readonly test: string;
  /** Why the engine cannot keep it. */
  readonly why: string;
}

const GAPS: Readonly<Record<string, readonly Gap[]>> = {
  firefox: [
    {
      file: 'browser/indexeddb.test.ts',
      test: 'a value over the engine’s limit > is rejected alone',
      why: 'Firefox has no limit at 140 MB: it stores the value.',
    },
  ],
  webkit: [
    {
      file: 'browser/indexeddb.test.ts',
      test: 'a value over the engine’s limit > is rejected alone',
      why: 'WebKit has no limit at 140 MB: it stores the value.',
    },
  ],
};

/** The tests of a file by their full names. */
function testsOf(
  suite: RunnerTestSuite,
  names: readonly string[] = [],
): Array<readonly [string, RunnerTestCase]> {
  return suite.tasks.flatMap((task) => {
    const path = [...names, task.name];
    return task.type === 'test' ? [[path.join(' > '), task] as const] : testsOf(task, path);
  });
}

// biome-ignore lint/correctness/noEmptyPattern: Vitest hands the suite over as the second argument, and wants a pattern as the first.
beforeAll(({}, suite) => {
  const tests = new Map(testsOf(suite));
  for (const { file, test } of GAPS[server.browser] ?? []) {
    if (!suite.file.filepath.endsWith(`/test/${file}`)) continue;
    const task = tests.get(test);
    if (task === undefined)
      throw new Error(`test/support/known-gaps.ts names a test that ${file} does not have: ${test}`);
    task.fails = true;
  }
});
