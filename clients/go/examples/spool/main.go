// Command spool keeps events on disk while the collector is away.
//
//	AUDIT_SOCKET=/var/lib/auditctl/logs/audit.sock go run ./examples/spool
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	auditctl "auditctl.example/go"
)

func main() {
	ctx := context.Background()
	client, err := auditctl.New(auditctl.Options{
		Socket: os.Getenv("AUDIT_SOCKET"), Source: "example-spool", Timeout: 2 * time.Second,
		// A service has it drained all the while: DrainEvery: 10 * time.Second.
		Spool: "audit-spool", SpoolMaxBytes: 16 << 20,
	})
	if err != nil {
		log.Fatal(err)
	}
	receipt, spooled, err := client.RecordOrSpool(ctx, auditctl.Event{Type: "door.opened", Actor: "badge-1138", Target: "north"})
	switch {
	case err != nil:
		log.Fatal(err)
	case spooled:
		fmt.Println("on disk, as", receipt.ID)
	default:
		fmt.Println("recorded, as seq", receipt.Seq)
	}
	// What was left by this process or an earlier one.
	if err := client.Drain(ctx); err != nil {
		log.Print(err)
	}
	status, err := client.SpoolStatus()
	fmt.Printf("%+v %v\n", status, err)
	if err := client.Close(ctx); err != nil {
		log.Fatal(err)
	}
}
