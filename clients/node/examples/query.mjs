// Prints the newest failures, and how many events of each kind there are.
//
//   AUDIT_SOCKET=/var/lib/auditctl/logs/audit.sock node examples/query.mjs
import { AuditClient } from "auditctl";

const audit = new AuditClient({ socket: process.env.AUDIT_SOCKET ?? "logs/audit.sock" });

for await (const record of audit.query({ outcome: "failure", since: "24h", limit: 20 })) {
  console.log(record.seq, record.timestamp, record.event_type, record.actor ?? "-", record.details ?? {});
}
const { groups } = await audit.ask({ group_by: "type", top: 10 });
console.table(groups);
await audit.close();
