// A process of its own that spools, or drains, until it is killed.
import { AuditClient } from "../../src/index.js";

const [, , what, socket, dir] = process.argv as [string, string, string, string, string];
const audit = new AuditClient({ socket, spool: { dir } });
for (;;) {
  if (what === "drain") {
    await audit.drain().catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 5));
  } else {
    const kept = await Promise.all([1, 2, 3].map(() => audit.spool({ event_type: "x" })));
    for (const { id } of kept) process.stdout.write(`${id}\n`);
  }
}
