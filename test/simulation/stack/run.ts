/** One run: a script in a world, its end, and the oracle's judgement. */
import { EndlessError } from './clock.ts';
import { end } from './ending.ts';
import { judge, type Violation } from './oracle.ts';
import { World, type WorldOptions } from './world.ts';

/** What happens in a world. */
export type Script = (world: World) => Promise<void>;

/** What came of a run. */
export interface Run {
  readonly violations: readonly Violation[];
  /** The hash of all that happened. */
  readonly digest: string;
  /** All that happened, a line each, if it was asked for. */
  readonly lines: readonly string[];
  readonly world: World;
}

/** Runs a script. Rejects where the script itself fails. */
export async function run(script: Script, options: WorldOptions = {}): Promise<Run> {
  const world = await World.create(options);
  const play = async (): Promise<Violation[]> => {
    await script(world);
    await world.settle();
    return judge(world, await end(world));
  };
  const violations = await play().catch((error): Violation[] => {
    if (error instanceof EndlessError) return [{ kind: 'hang', text: error.message }];
    throw error;
  });
  for (const { kind, text } of violations) world.clock.note(`VIOLATION ${kind}: ${text}`);
  return { violations, digest: world.clock.digest(), lines: world.clock.lines, world };
}
