import { lstat, readlink, realpath, stat } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";
import { AuditError } from "./errors.js";

const OTHERS_WRITE = 0o022;
const MOST_LINKS = 40;

/**
 * Makes sure whose the socket is before anything is sent: root's, this user's, a user's who was
 * named, or that of the owner of its directory, if nobody else can put another in its place.
 */
export async function judge(path: string, trusted: readonly number[]): Promise<void> {
  const { uid } = await stat(path);
  const known = [0, process.geteuid?.() ?? 0, ...trusted];
  const way = await directoriesOf(path);
  // Whoever owns the file decides here, so that nobody else may say which file it is.
  for (const directory of way.withLinks) {
    const owner = await fixed(directory);
    if (owner === undefined || !(known.includes(owner) || owner === uid)) {
      throw foreign(`others can turn a link in ${directory}, on the way to the socket ${path}`);
    }
  }
  if (known.includes(uid)) return;
  if ((await safeOwner(way.passed)) === uid) return;
  throw foreign(
    `the socket ${path} belongs to user ${uid}, who is neither root nor this user nor the only owner of its directory; name the collector's user in trustedUids`,
  );
}

function foreign(why: string): AuditError {
  return new AuditError("foreign_collector", `${why}. Nothing was sent`);
}

/** Who owns a directory that nobody else can write. */
async function fixed(path: string): Promise<number | undefined> {
  const entry = await lstat(path);
  return entry.isDirectory() && (entry.mode & OTHERS_WRITE) === 0 ? entry.uid : undefined;
}

/** The owner of the last one, if only that user and root can change what is on the way. */
export async function safeOwner(passed: readonly string[]): Promise<number | undefined> {
  const owners = await Promise.all(passed.map(fixed));
  const owner = owners.at(-1);
  return owners.every((above) => above !== undefined && (above === 0 || above === owner)) ? owner : undefined;
}

/**
 * The directories in which something is looked up on the way to `path`, as the kernel does it; last, where it is. `withLinks`
 * are those in which that was a link.
 */
export async function directoriesOf(path: string): Promise<{ passed: string[]; withLinks: string[] }> {
  let at = "/";
  // From where a relative way begins, however that was reached.
  const rest = [...(isAbsolute(path) ? [] : (await realpath(".")).split("/")), ...path.split("/")].reverse();
  const passed: string[] = [];
  const withLinks: string[] = [];
  for (let step = rest.pop(); step !== undefined; step = rest.pop()) {
    if (step === "" || step === ".") continue;
    if (step === "..") {
      at = dirname(at);
      continue;
    }
    passed.push(at);
    const next = join(at, step);
    if (!(await lstat(next)).isSymbolicLink()) {
      at = next;
      continue;
    }
    if (withLinks.push(at) > MOST_LINKS) throw new Error(`too many links on the way to ${path}`);
    const target = await readlink(next);
    if (isAbsolute(target)) at = "/";
    rest.push(...target.split("/").reverse());
  }
  return { passed, withLinks };
}
