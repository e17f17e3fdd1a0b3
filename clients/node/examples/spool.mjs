// Keeps events on disk while the collector is away.
//
//   AUDIT_SOCKET=/var/lib/auditctl/logs/audit.sock node examples/spool.mjs
import { AuditClient } from "auditctl";

const audit = new AuditClient({
  socket: process.env.AUDIT_SOCKET ?? "logs/audit.sock",
  source: "example-spool",
  timeout: 2_000,
  // A service has it drained all the while: drainEvery: 10_000.
  spool: { dir: process.env.SPOOL ?? "audit-spool", maxBytes: 16 << 20 },
});

const kept = await audit.recordOrSpool({ event_type: "door.opened", actor: "badge-1138", target: "north" });
console.log("spooled" in kept ? `on disk, as ${kept.id}` : `recorded, as seq ${kept.seq}`);

// What was left by this process or an earlier one.
await audit.drain().catch((error) => console.error(error.message));
console.log(await audit.spoolStatus());
await audit.close();
