// Compiles what the pages look like into app/web/assets: `npm run build`, after `npm ci`.
//
// Every file has a digest of its content in its name, so that browsers may keep it for good, and a
// compressed copy beside it. manifest.json says which name stands for which file.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { compile } from "sass";

const here = dirname(fileURLToPath(import.meta.url));
const packages = join(here, "..", "..", "node_modules");
const target = join(here, "assets");
const fresh = `${target}.new`;
const manifest = {};

function add(name, content) {
  const bytes = Buffer.from(content);
  const digest = createHash("sha256").update(bytes).digest("hex").slice(0, 16);
  const dot = name.lastIndexOf(".");
  const file = `${name.slice(0, dot)}-${digest}${name.slice(dot)}`;
  writeFileSync(join(fresh, file), bytes);
  writeFileSync(join(fresh, `${file}.gz`), gzipSync(bytes, { level: 9 }));
  manifest[name] = file;
  return file;
}

rmSync(fresh, { recursive: true, force: true });
mkdirSync(fresh, { recursive: true });

const styles = compile(join(here, "styles", "grounds.scss"), { loadPaths: [packages], style: "compressed" });
add("grounds.css", styles.css);

const govuk = join(packages, "govuk-frontend", "dist", "govuk");
const script = readFileSync(join(govuk, "govuk-frontend.min.js"), "utf8").replace(/\n?\/\/# sourceMappingURL=.*\s*$/, "\n");
const library = add("govuk-frontend.js", script);
for (const name of readdirSync(join(here, "scripts"))) {
  const own = readFileSync(join(here, "scripts", name), "utf8");
  add(name, own.replaceAll('"govuk-frontend"', `"./${library}"`));
}
for (const name of readdirSync(join(here, "static"))) {
  add(name, readFileSync(join(here, "static", name)));
}
writeFileSync(join(fresh, "manifest.json"), JSON.stringify(manifest, null, 2));

rmSync(target, { recursive: true, force: true });
renameSync(fresh, target);
