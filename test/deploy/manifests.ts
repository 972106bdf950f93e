/** Checks a Kubernetes manifest: against the types of its objects, and that what it refers to is there. */
import { resolve } from 'node:path';
import ts from 'typescript';
import { parseAllDocuments } from 'yaml';

const root = resolve(import.meta.dirname, '../..');

interface Container {
  readonly name: string;
  readonly env?: ReadonlyArray<{ readonly valueFrom?: { readonly configMapKeyRef?: ConfigMapKey } }>;
  readonly ports?: ReadonlyArray<{ readonly name: string }>;
  readonly volumeMounts?: ReadonlyArray<{ readonly name: string }>;
  readonly [probe: `${string}Probe`]: { readonly httpGet: { readonly port: string } } | undefined;
}

interface ConfigMapKey {
  readonly name: string;
  readonly key: string;
}

interface Volume {
  readonly name: string;
  readonly persistentVolumeClaim?: { readonly claimName: string };
}

interface PodSpec {
  readonly containers: readonly Container[];
  readonly volumes?: readonly Volume[];
}

/** What is read of an object, after its types were checked. */
interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: {
    readonly selector?: Readonly<Record<string, unknown>>;
    readonly ports?: ReadonlyArray<{ readonly targetPort: string }>;
    readonly template?: {
      readonly metadata: { readonly labels: Readonly<Record<string, string>> };
      readonly spec: PodSpec;
    };
  };
}

/** What is wrong with a manifest, a line each. */
export function manifestProblems(text: string): string[] {
  const documents = parseAllDocuments(text);
  const invalid = documents.flatMap(({ errors }) => errors.map(({ message }) => message));
  if (invalid.length > 0) return invalid;
  const objects = documents.map((document) => document.toJS() as KubernetesObject);
  const mistyped = typeProblems(objects);
  return mistyped.length > 0 ? mistyped : referenceProblems(objects);
}

/** Fields that are unknown, missing or of the wrong type, by the compiler. */
function typeProblems(objects: readonly KubernetesObject[]): string[] {
  const sources = new Map(
    objects.map((object, i) => {
      const { apiVersion, kind } = object;
      // apps/v1 and networking.k8s.io/v1 are in folders; v1 is in core/.
      const group = apiVersion.includes('/') ? apiVersion.replace(/\.[^/]*/, '') : `core/${apiVersion}`;
      const type = `${kind} & { apiVersion: '${apiVersion}'; kind: '${kind}' }`;
      const text = [
        `import type { ${kind} } from 'kubernetes-types/${group}';`,
        `export const object: ${type} = ${JSON.stringify(object, undefined, 1)};`,
      ];
      return [resolve(root, `object-${i}.ts`), text.join('\n')] as const;
    }),
  );
  const options: ts.CompilerOptions = {
    noEmit: true,
    strict: true,
    skipLibCheck: true,
    types: [],
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
  };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists, readFile } = host;
  host.fileExists = (name) => sources.has(name) || fileExists(name);
  host.readFile = (name) => sources.get(name) ?? readFile(name);
  host.getSourceFile = (name, version, ...rest) => {
    const text = sources.get(name);
    return text === undefined
      ? getSourceFile(name, version, ...rest)
      : ts.createSourceFile(name, text, version);
  };
  const program = ts.createProgram([...sources.keys()], options, host);
  return ts.getPreEmitDiagnostics(program).map(({ file, start, messageText }) => {
    const line = file?.text.slice(0, start).split('\n').length ?? 0;
    const where = file?.text.split('\n')[line - 1]?.trim();
    return `${where}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
  });
}

/** Names that nothing has: of labels, ports, volumes, claims and keys of a ConfigMap. Secrets are the operator's. */
function referenceProblems(objects: readonly KubernetesObject[]): string[] {
  const problems: string[] = [];
  const expectOne = (what: string, name: string, names: readonly string[]): void => {
    if (!names.includes(name)) problems.push(`${what} ${name} is none of: ${names.join(', ')}`);
  };
  const named = (kind: string): string[] =>
    objects.filter((object) => object.kind === kind).map(({ metadata }) => metadata.name);
  const keys = objects.flatMap(({ kind, metadata, data }) =>
    kind === 'ConfigMap' ? Object.keys(data ?? {}).map((key) => `${metadata.name}/${key}`) : [],
  );
  const pods = objects.flatMap(({ spec }) => (spec?.template ? [spec.template] : []));

  for (const { kind, metadata, spec } of objects) {
    if (spec?.selector !== undefined) {
      const labels = JSON.stringify(spec.selector.matchLabels ?? spec.selector);
      const selected = pods.filter((pod) => JSON.stringify(pod.metadata.labels) === labels);
      if (selected.length !== 1) problems.push(`${kind} ${metadata.name} selects ${selected.length} pods`);
      const ports = selected.flatMap((pod) => pod.spec.containers.flatMap(portsOf));
      for (const { targetPort } of spec.ports ?? [])
        expectOne(`targetPort of ${metadata.name}`, targetPort, ports);
    }
  }
  for (const { spec } of pods) {
    for (const { persistentVolumeClaim: claim } of spec.volumes ?? [])
      if (claim !== undefined) expectOne('claimName', claim.claimName, named('PersistentVolumeClaim'));
    for (const container of spec.containers) {
      const volumes = (spec.volumes ?? []).map(({ name }) => name);
      for (const { name } of container.volumeMounts ?? [])
        expectOne(`volumeMount of ${container.name}`, name, volumes);
      for (const { valueFrom } of container.env ?? []) {
        const key = valueFrom?.configMapKeyRef;
        if (key !== undefined)
          expectOne(`configMapKeyRef of ${container.name}`, `${key.name}/${key.key}`, keys);
      }
      for (const name of ['startupProbe', 'livenessProbe', 'readinessProbe'] as const) {
        const port = container[name]?.httpGet.port;
        if (port !== undefined) expectOne(`${name} of ${container.name}`, port, portsOf(container));
      }
    }
  }
  return problems;
}

const portsOf = ({ ports }: Container): string[] => (ports ?? []).map(({ name }) => name);
