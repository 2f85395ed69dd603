// Where the generator's libraries are: beside the tests, which install them.
import { createRequire } from 'node:module';

const require = createRequire(new URL('../../tests/package.json', import.meta.url));

export const sdk = (module) => require(`@grafana/grafana-foundation-sdk/${module}`);
export const YAML = require('yaml');
