// Command query prints the newest failures, and how many events of each kind there are.
//
//	AUDIT_SOCKET=/var/lib/auditctl/logs/audit.sock go run ./examples/query
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	auditctl "auditctl.example/go"
)

func main() {
	ctx := context.Background()
	client, err := auditctl.New(auditctl.Options{Socket: os.Getenv("AUDIT_SOCKET")})
	if err != nil {
		log.Fatal(err)
	}
	records := client.Query(ctx, auditctl.Filter{Outcome: []string{"failure"}, Since: "24h", Limit: 20})
	for records.Next() {
		record := records.Record()
		fmt.Println(record.Seq, record.Timestamp, record.Type, record.Actor, string(record.Details))
	}
	if err := records.Err(); err != nil {
		log.Fatal(err)
	}
	records.Close()
	answer, err := client.Ask(ctx, auditctl.Filter{GroupBy: "type", Top: 10})
	if err != nil {
		log.Fatal(err)
	}
	for _, group := range answer.Groups {
		fmt.Println(string(group))
	}
	_ = client.Close(ctx)
}
