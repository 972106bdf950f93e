import { watchContract } from '../contract/watch.ts';

watchContract();
