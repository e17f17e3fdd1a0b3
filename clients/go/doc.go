// Package auditctl leaves a service's audit trail with an auditctl collector.
//
//	client, err := auditctl.New(auditctl.Options{Socket: "/var/lib/auditctl/logs/audit.sock", Source: "billing"})
//	…
//	receipt, err := client.Record(ctx, auditctl.Event{Type: "login", Actor: "alice", Outcome: "success"})
//
// Record returns once the event is durable in the log. Each event has an ID, so that trying again, which
// the client does until its time is over, never records it twice. What every client of the collector must
// do is written down in CONTRACT.md, and a suite holds this one to it.
package auditctl
