import { lstat, realpath, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { AuditError } from "./errors.js";

const OTHERS_WRITE = 0o022;

/**
 * Makes sure whose the socket is before anything is sent: root's, this user's, a user's who was
 * named, or that of the owner of its directory, if nobody else can put another in its place.
 */
export async function judge(path: string, trusted: readonly number[]): Promise<void> {
  const { uid } = await stat(path);
  if (uid === 0 || uid === process.geteuid?.() || trusted.includes(uid)) return;
  const directory = await realpath(dirname(path));
  if ((await safeOwner(directory)) === uid) return;
  throw new AuditError(
    "foreign_collector",
    `the socket ${path} belongs to user ${uid}, who is neither root nor this user nor the only owner of its directory; name the collector's user in trustedUids. Nothing was sent`,
  );
}

/** A directory's owner, if only that user and root can change what is in it, and where it is. */
async function safeOwner(directory: string): Promise<number | undefined> {
  const fixed = async (path: string): Promise<number | undefined> => {
    const entry = await lstat(path);
    return entry.isDirectory() && (entry.mode & OTHERS_WRITE) === 0 ? entry.uid : undefined;
  };
  const owner = await fixed(directory);
  for (let path = directory; path !== dirname(path); ) {
    path = dirname(path);
    const above = await fixed(path);
    if (above === undefined || (above !== 0 && above !== owner)) return undefined;
  }
  return owner;
}
