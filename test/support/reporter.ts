import { writeFileSync } from 'node:fs';
import type { Reporter, TestCase, TestModule } from 'vitest/node';

/**
 * Prints what tests annotate (figures, seeds), and ends the run with one plain line, `N passed, N failed, N skipped`, left in
 * `$TEST_COUNTS` as JSON too.
 */
export default class SummaryReporter implements Reporter {
  #passed = 0;
  #failed = 0;
  #skipped = 0;

  onInit(): void {
    process.once('exit', (code) => {
      const failed = code !== 0 && this.#failed === 0 ? 1 : this.#failed;
      const counts = { passed: this.#passed, failed, skipped: this.#skipped };
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
    for (const module of modules) {
      const states = [...module.children.allTests()].map((test) => test.result().state);
      this.#passed += states.filter((state) => state === 'passed').length;
      this.#skipped += states.filter((state) => state === 'skipped').length;
      this.#failed += states.filter((state) => state === 'failed' || state === 'pending').length;
      // A file that could not be read, or a failing `beforeAll`.
      if (module.state() === 'failed' && !states.includes('failed')) this.#failed += 1;
    }
  }
}
