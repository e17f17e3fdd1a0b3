export { type Audited, type AuditedOptions, AuditFailed } from "./audited.js";
export { AuditClient, type ClientOptions, type ClientStatus, type RecordOptions } from "./client.js";
export { AuditError, type OwnKind } from "./errors.js";
export type { AuditEvent } from "./event.js";
export type { Receipt } from "./outbox.js";
export type { AuditRecord, Filter, QueryAnswer } from "./query.js";
export { REDACTED } from "./redact.js";
export type { SpoolOptions, SpoolStatus } from "./spool.js";
export { VERSION } from "./version.js";
