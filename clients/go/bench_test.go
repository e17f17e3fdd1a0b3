package auditctl

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"testing"
	"time"
)

// Events a second, beside a raw socket in the same run, for a collector whose rate limit is off:
//
//	AUDIT_SOCKET=… [AUDIT_URL=… AUDIT_TOKEN_FILE=…] go test -run '^$' -bench . -benchtime 5x
const benchEvents = 10_000

func benchEvent(at int) Event {
	return Event{Type: "bench", Actor: "alice", Target: fmt.Sprintf("acct-%d", at), Details: map[string]int{"at": at}}
}

func benchSocket(b *testing.B) string {
	socket := os.Getenv("AUDIT_SOCKET")
	if socket == "" {
		b.Skip("AUDIT_SOCKET names no socket")
	}
	return socket
}

func report(b *testing.B, begun time.Time, events int) {
	b.ReportMetric(float64(events)*float64(b.N)/time.Since(begun).Seconds(), "events/s")
}

// BenchmarkRawSocket is no client at all: the lines are ready, and only the ends of the answers are
// looked for.
func BenchmarkRawSocket(b *testing.B) {
	socket := benchSocket(b)
	client, err := New(Options{Socket: socket})
	if err != nil {
		b.Fatal(err)
	}
	var text []byte
	for at := 0; at < benchEvents; at++ {
		event := benchEvent(at)
		encoded, err := encode(&event, client.redact, "", event.Timestamp)
		if err != nil {
			b.Fatal(err)
		}
		text = encoded.appendTo(text, false)
	}
	b.ResetTimer()
	begun := time.Now()
	for round := 0; round < b.N; round++ {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			b.Fatal(err)
		}
		go func() { _, _ = conn.Write(text) }()
		reader := bufio.NewReaderSize(conn, 64<<10)
		for at := 0; at < benchEvents; at++ {
			if _, err := reader.ReadSlice('\n'); err != nil {
				b.Fatal(err)
			}
		}
		conn.Close()
	}
	report(b, begun, benchEvents)
}

func benchAll(b *testing.B, options Options) {
	client, err := New(options)
	if err != nil {
		b.Fatal(err)
	}
	events := make([]Event, benchEvents)
	for at := range events {
		events[at] = benchEvent(at)
	}
	b.ResetTimer()
	begun := time.Now()
	for round := 0; round < b.N; round++ {
		for _, result := range client.RecordAll(context.Background(), events) {
			if result.Err != nil {
				b.Fatal(result.Err)
			}
		}
	}
	report(b, begun, benchEvents)
	_ = client.Close(context.Background())
}

func BenchmarkPipelined(b *testing.B) { benchAll(b, Options{Socket: benchSocket(b)}) }

func BenchmarkHTTP(b *testing.B) {
	url := os.Getenv("AUDIT_URL")
	if url == "" {
		b.Skip("AUDIT_URL names no collector")
	}
	benchAll(b, Options{URL: url, TokenFile: os.Getenv("AUDIT_TOKEN_FILE")})
}

func BenchmarkOneByOne(b *testing.B) {
	client, err := New(Options{Socket: benchSocket(b)})
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	begun := time.Now()
	for round := 0; round < b.N; round++ {
		if _, err := client.Record(context.Background(), benchEvent(round)); err != nil {
			b.Fatal(err)
		}
	}
	report(b, begun, 1)
	_ = client.Close(context.Background())
}
