/**
 * The browsers that tests run in, and where each of them is: as Debian's packages install it, or where a variable of the
 * environment says.
 */
import { existsSync, globSync } from 'node:fs';

/** The engines, by the name of Playwright and Vitest for them. */
export type EngineName = 'chromium' | 'firefox' | 'webkit';

/** One engine. */
export interface Engine {
  /** For messages. */
  readonly title: string;
  /** The variable that names another executable. */
  readonly variable: string;
  /** Debian's packages that bring it. */
  readonly packages: readonly string[];
  /** The first of these that exists is used. Patterns of `glob`. */
  readonly paths: readonly string[];
  /** What its tests need besides it. */
  readonly needs?: string;
}

export const ENGINES: Readonly<Record<EngineName, Engine>> = {
  chromium: {
    title: 'Chromium',
    variable: 'CHROMIUM_PATH',
    packages: ['chromium'],
    paths: ['/usr/bin/chromium'],
  },
  firefox: {
    title: 'Firefox',
    variable: 'FIREFOX_PATH',
    packages: ['firefox-esr'],
    paths: ['/usr/bin/firefox-esr'],
  },
  webkit: {
    title: 'WebKitGTK',
    variable: 'MINIBROWSER_PATH',
    packages: ['webkit2gtk-driver', 'xvfb'],
    paths: ['/usr/lib/*/webkit2gtk-4.*/MiniBrowser', '/usr/libexec/webkit2gtk-4.*/MiniBrowser'],
    needs: '/usr/bin/Xvfb',
  },
};

/** The executable of an engine. `undefined` where there is none, or where something that its tests need is missing. */
export function browserPath(name: EngineName): string | undefined {
  const { variable, paths, needs } = ENGINES[name];
  if (needs !== undefined && !existsSync(needs)) return undefined;
  const named = process.env[variable];
  if (named !== undefined) return existsSync(named) ? named : undefined;
  return globSync([...paths])
    .toSorted()
    .at(-1);
}
