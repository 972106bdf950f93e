/** All checks of the contract. */
import { batchChecks } from './batch.ts';
import { batchLimitChecks } from './batch-limits.ts';
import { changesChecks } from './changes.ts';
import { checksumChecks } from './checksum.ts';
import { detectionChecks } from './detection.ts';
import { errorChecks } from './errors.ts';
import { eventChecks } from './events.ts';
import { keysChecks } from './keys.ts';
import { level0Checks } from './level0.ts';
import { modernLevel0Checks } from './modern-level0.ts';
import { mutationChecks } from './mutations.ts';
import { originChecks } from './origins.ts';
import { preconditionChecks } from './preconditions.ts';
import type { Check } from './runner.ts';
import { tokenChecks } from './tokens.ts';
import { transferChecks } from './transfer.ts';
import { valueChecks } from './values.ts';

export const ALL_CHECKS: readonly Check[] = [
  ...level0Checks,
  ...modernLevel0Checks,
  ...preconditionChecks,
  ...detectionChecks,
  ...batchChecks,
  ...batchLimitChecks,
  ...mutationChecks,
  ...keysChecks,
  ...changesChecks,
  ...eventChecks,
  ...transferChecks,
  ...checksumChecks,
  ...errorChecks,
  ...tokenChecks,
  ...originChecks,
  ...valueChecks,
];
