import { writeFileSync } from 'node:fs';
import type { Reporter, TestCase, TestModule } from 'vitest/node';

/**
 * Prints what tests annotate (figures, seeds), and ends the run with one plain line, `N passed, N failed, N skipped`, left in
 * `$TEST_COUNTS` as JSON too, with a line for each failure.
 */
export default class SummaryReporter implements Reporter {
  #passed = 0;
  #failed = 0;
  #skipped = 0;
  #failures: string[] = [];

  onInit(): void {
    process.once('exit', (code) => {
      const failed = code !== 0 && this.#failed === 0 ? 1 : this.#failed;
      const counts = { passed: this.#passed, failed, skipped: this.#skipped, failures: this.#failures };
      if (process.env.TEST_COUNTS) writeFileSync(process.env.TEST_COUNTS, JSON.stringify(counts));
      process.stdout.write(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
    });
  }

  onTestCaseAnnotate(test: TestCase, { message }: { message: string }): void {
    process.stdout.write(`note: ${test.fullName}: ${message}\n`);
  }

  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    this.#passed = 0;
    this.#skipped = 0;
    this.#failed = errors.length;
    this.#failures = errors.map((error) => `outside of a test: ${messageOf(error)}`);
    for (const module of modules) {
      const tests = [...module.children.allTests()];
      const states = tests.map((test) => test.result().state);
      this.#passed += states.filter((state) => state === 'passed').length;
      this.#skipped += states.filter((state) => state === 'skipped').length;
      this.#failed += states.filter((state) => state === 'failed' || state === 'pending').length;
      // A file that could not be read, or a failing `beforeAll`.
      if (module.state() === 'failed' && !states.includes('failed')) {
        this.#failed += 1;
        this.#failures.push(`${module.relativeModuleId}: ${module.errors().map(messageOf).join('; ')}`);
      }
      for (const test of tests) {
        const { state, errors } = test.result();
        if (state !== 'failed' && state !== 'pending') continue;
        const why = errors?.map(messageOf).join('; ') ?? 'has not ended';
        this.#failures.push(`${module.relativeModuleId} > ${test.fullName}: ${why}`);
      }
    }
  }
}

/** The first line of what was thrown. */
const messageOf = (error: unknown): string =>
  String((error as Error)?.message ?? error).split('\n', 1)[0] as string;
