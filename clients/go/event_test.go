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
	encoded, err := encode(&event, patterns, "", time.Time{})
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
	// A name that fits details hides all that is in it.
	for _, name := range []string{"details", "Details", "det*", "DETAILS.*"} {
		got := encodedBody(t, Event{Type: "x", Actor: "kept", Details: json.RawMessage(`{"a":{"b":1}}`)}, name)
		if got != `{"event_type":"x","actor":"kept","details":{"a":{"b":"[redacted]"}}}` {
			t.Fatal(name, got)
		}
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
	for _, one := range []struct {
		kind  string
		event Event
	}{
		{"usage", Event{Type: "x", Details: []int{1}}},
		{"invalid", Event{Type: "x", ID: "a\n"}}, {"invalid", Event{Type: "x", ID: "a\u2028"}}, {"invalid", Event{Type: "x", ID: "a\u2029"}},
		{"too_large", Event{Type: "x", Details: map[string]string{"text": strings.Repeat("x", 1<<20)}}},
	} {
		event := one.event
		_, err := encode(&event, patterns, "", time.Time{})
		if !errors.Is(err, &Error{Kind: one.kind}) {
			t.Fatalf("%s: %v", one.kind, err)
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

func TestWhoeverEndsACallsContextDoesNotKeepItOutOfTheTrail(t *testing.T) {
	fake := newFake(t, "")
	fake.script = func(string, int, int) string {
		time.Sleep(50 * time.Millisecond)
		return usual
	}
	client := newClient(t, Options{Socket: fake.path})
	ctx, cancel := context.WithCancel(context.Background())
	sum, err := Audited(ctx, client, Event{Type: "sum"}, func(ctx context.Context) (int, error) {
		cancel()
		<-ctx.Done()
		return 3, nil
	})
	if sum != 3 || err != nil {
		t.Fatal(sum, err)
	}
	if len(fake.log) != 1 {
		t.Fatal(fake.log)
	}
}

func TestNoTwoIDsHaveAnythingInCommon(t *testing.T) {
	seen := map[string]bool{}
	for range make([]bool, 1000) {
		id, err := makeID()
		// 16 bytes, of which no part is counted: each ID begins in its own way, and ends so.
		if err != nil || len(id) != 22 || seen[id[:8]] || seen[id[14:]] {
			t.Fatal(id, err)
		}
		seen[id[:8]], seen[id[14:]] = true, true
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
