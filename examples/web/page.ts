/**
 * The parts of the page, and what is done to them in more than one place.
 */

import type { KeyValueStorage } from '@codeforge/storage';

/** What the parts of the page work with. */
export interface App {
  /** The storage in use: another one after each connection. */
  readonly storage: KeyValueStorage;
  /** Run what a button does, one at a time; the message tells how it ended. Never rejects. */
  act(name: string, action: () => Promise<string>): Promise<void>;
  /** The storage itself works with the server at `url` now, or with IndexedDB. */
  switched(url: string | undefined): void;
}

/** The element with this id, which the page has. */
export const element = <E extends HTMLElement>(id: string): E => {
  const found = document.getElementById(id);
  if (!found) throw new Error(`The page has no element #${id}.`);
  return found as E;
};

/** The field of a form with this name. */
export const field = (form: HTMLFormElement, name: string): HTMLInputElement =>
  form.elements.namedItem(name) as HTMLInputElement;

/** A button. `name` is what it is called where `label` alone could be any row's. */
export function button(label: string, name: string, action: () => unknown): HTMLButtonElement {
  const made = document.createElement('button');
  made.type = 'button';
  made.textContent = label;
  made.setAttribute('aria-label', name);
  made.addEventListener('click', action);
  return made;
}

/** Show a text that others wrote: as text, never as markup, and a long one by its beginning. */
export function fill<E extends HTMLElement>(place: E, text: string): E {
  place.textContent = text.length > 300 ? `${text.slice(0, 300)}…` : text;
  place.title = text.slice(0, 2000);
  return place;
}

/** Set the text of a live region, which is read out again each time that it is set. */
export function say(id: string, text: string): void {
  const region = element(id);
  if (region.textContent !== text) region.textContent = text;
}

/** The message of an error. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/**
 * Give the focus back to what `had` it before parts of the page were disabled or replaced: to the same element, to the one that
 * has its name now, or else to the message. A keyboard must not start over at the top of the page.
 */
export function giveBackFocus(had: Element | null): void {
  const now = document.activeElement;
  const lost = !now || now === document.body || now.matches(':disabled');
  if (!lost || !had || had === document.body) return;
  const name = CSS.escape(had.getAttribute('aria-label') ?? '');
  const same = had.isConnected ? had : document.querySelector(`[aria-label="${name}"]`);
  const target = same && !same.matches(':disabled') ? same : element('message');
  // Not to where the message is: whoever works at the end of a long list stays there.
  (target as HTMLElement).focus({ preventScroll: true });
}
