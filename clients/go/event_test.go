package auditctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func encodedBody(t *testing.T, event Event, redact ...string) string {
	t.Helper()
	patterns, err := newRedactor(redact)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := newIDMaker()
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := encode(&event, patterns, ids, "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded.body)
}

func TestNamesHideKeysAtAnyDepthAndPathsOnePlace(t *testing.T) {
	event := Event{Type: "x", Actor: "alice", Target: "kept", Details: json.RawMessage(
		`{"Password":"1","deep":[{"api_TOKEN":2,"n":null}],"card":{"no":"3","of":{"pin":4}},"users":[{"pin":5},{"pin":6}],"a.b":7,"token":1.10}`)}
	got := encodedBody(t, event, "password", "*_token", "details.card.*", "actor", "details.users.1.pin", `a\.b`)
	want := `{"event_type":"x","actor":"[redacted]","target":"kept","details":{"Password":"[redacted]","deep":[{"api_TOKEN":"[redacted]","n":null}],` +
		`"card":{"no":"[redacted]","of":{"pin":"[redacted]"}},"users":[{"pin":5},{"pin":"[redacted]"}],"a.b":"[redacted]","token":1.10}}`
	if got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	for _, bad := range []string{"", "a..b", "event_type", "card.no"} {
		if _, err := newRedactor([]string{bad}); !errors.Is(err, ErrUsage) {
			t.Fatalf("%q: %v", bad, err)
		}
	}
}

func TestWhatTheCollectorWouldRefuseForItsBytesIsMadeGood(t *testing.T) {
	body := encodedBody(t, Event{Type: "x", Actor: "a\xff", Details: json.RawMessage(`{"half":"\ud800x","n":18446744073709551617}`)})
	if body != `{"event_type":"x","actor":"a\ufffd","details":{"half":"�x","n":18446744073709551617}}` {
		t.Fatal(body)
	}
	patterns, _ := newRedactor(nil)
	ids, _ := newIDMaker()
	for kind, event := range map[string]Event{
		"usage":     {Type: "x", Details: []int{1}},
		"invalid":   {Type: "x", ID: "a\n"},
		"too_large": {Type: "x", Details: map[string]string{"text": strings.Repeat("x", 1<<20)}},
	} {
		event := event
		_, err := encode(&event, patterns, ids, "", time.Time{})
		if !errors.Is(err, &Error{Kind: kind}) {
			t.Fatalf("%s: %v", kind, err)
		}
	}
}

func TestACallIsRecordedWithHowItEnded(t *testing.T) {
	fake := newFake(t, "")
	client := newClient(t, Options{Socket: fake.path})
	ctx := context.Background()
	sum, err := Audited(ctx, client, Event{Type: "sum", Details: map[string]int{"a": 1}}, func(context.Context) (int, error) { return 3, nil })
	if sum != 3 || err != nil {
		t.Fatal(sum, err)
	}
	broken := errors.New("broken")
	if _, err = Audited(ctx, client, Event{Type: "sum"}, func(context.Context) (int, error) { return 0, broken }); err != broken {
		t.Fatal(err)
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = Audited(ctx, client, Event{Type: "sum"}, func(context.Context) (int, error) { panic("no") })
	}()
	log := strings.Join(fake.log, "\n")
	for _, wanted := range []string{`"outcome":"success","details":{"a":1}`, `"outcome":"failure","details":{"error":"broken"}`, `"error":"the call panicked"`} {
		if !strings.Contains(log, wanted) {
			t.Fatalf("no %s in %s", wanted, log)
		}
	}
	fake.script = func(string, int, int) string { return `{"error":{"kind":"invalid","message":"no"}}` + "\n" }
	_, err = Audited(ctx, client, Event{Type: "sum"}, func(context.Context) (int, error) { return 0, broken })
	var failed *AuditFailed
	if !errors.As(err, &failed) || !errors.Is(err, broken) || !errors.Is(err, ErrInvalid) {
		t.Fatal(err)
	}
}

func TestALoggersLinesAreEventsAndFailuresAreReported(t *testing.T) {
	fake := newFake(t, "")
	client := newClient(t, Options{Socket: fake.path})
	var reported []string
	writer := client.Writer(Event{Type: "log"}, func(line string, err error) { reported = append(reported, fmt.Sprint(line, err)) })
	if wrote, err := writer.Write([]byte("one\ntwo\n")); wrote != 8 || err != nil || len(fake.log) != 2 {
		t.Fatal(wrote, err, fake.log)
	}
	fake.script = func(string, int, int) string { return `{"error":{"kind":"invalid","message":"no"}}` + "\n" }
	if _, err := writer.Write([]byte("three\n")); !errors.Is(err, ErrInvalid) || len(reported) != 1 {
		t.Fatal(err, reported)
	}
}
