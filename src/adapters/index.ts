/**
 * A storage in the forms that other libraries take.
 *
 * @module
 */
export type { AnyStorage } from './arguments.ts';
export {
  asAsyncStorage,
  asStateStorage,
  type ItemOptions,
  type ItemStorage,
  type StoredState,
} from './items.ts';
export {
  asUnstorageDriver,
  type UnstorageDriver,
  type UnstorageItem,
  type UnstorageOptions,
  type UnstorageValue,
} from './unstorage-driver.ts';
