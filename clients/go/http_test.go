package auditctl

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

type asked struct {
	header http.Header
	url    string
	lines  []string
}

type httpFake struct {
	mu    sync.Mutex
	asked []asked
	log   []string
	// handle answers; false: as a collector does.
	handle func(one asked, nth int, out http.ResponseWriter) bool
}

func (f *httpFake) ServeHTTP(out http.ResponseWriter, request *http.Request) {
	body, _ := io.ReadAll(request.Body)
	one := asked{header: request.Header, url: request.URL.String(), lines: strings.Split(strings.TrimSpace(string(body)), "\n")}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, one)
	if f.handle == nil || !f.handle(one, len(f.asked), out) {
		f.record(one, out)
	}
}

func (f *httpFake) record(one asked, out http.ResponseWriter) {
	var results []map[string]any
	for _, line := range one.lines {
		result := map[string]any{"seq": len(f.log)}
		for seq, known := range f.log {
			if known == line {
				result = map[string]any{"seq": seq, "duplicate": true}
			}
		}
		if result["duplicate"] == nil {
			f.log = append(f.log, line)
		}
		results = append(results, result)
	}
	if one.header.Get("Content-Type") == "application/json" {
		say(out, 201, results[0])
	} else {
		say(out, 200, map[string]any{"results": results})
	}
}

func say(out http.ResponseWriter, status int, value any) {
	out.Header().Set("Content-Type", "application/json")
	out.WriteHeader(status)
	_ = json.NewEncoder(out).Encode(value)
}

func refusalOf(kind, message string, millis int) map[string]any {
	return map[string]any{"error": map[string]any{"kind": kind, "message": message, "retry_after_ms": millis}}
}

func newHTTPFake(t *testing.T, handle func(asked, int, http.ResponseWriter) bool) (*httpFake, string) {
	fake := &httpFake{handle: handle}
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	return fake, server.URL
}

func TestOneEventGoesWithItsKeyAndSeveralAsLines(t *testing.T) {
	fake, url := newHTTPFake(t, nil)
	client := newClient(t, Options{URL: url})
	for at := 0; at < 2; at++ {
		receipt, err := client.Record(context.Background(), Event{Type: "x", ID: "mine"})
		if err != nil || receipt.Seq != 0 || receipt.Duplicate != (at == 1) {
			t.Fatal(receipt, err)
		}
	}
	if key := fake.asked[0].header.Get("Idempotency-Key"); key != "mine" {
		t.Fatal(key)
	}
	// Quotes mean something in a header: the collector would take them off.
	if _, err := client.Record(context.Background(), Event{Type: "x", ID: `"mine"`}); err != nil || fake.asked[2].header["Idempotency-Key"] != nil {
		t.Fatal(err, fake.asked[2].header)
	}
	for at, result := range client.RecordAll(context.Background(), events(1000)) {
		if result.Err != nil || result.Receipt.Seq != uint64(at+2) {
			t.Fatal(at, result)
		}
	}
}

func TestAPartOfTheLinesIsDealtWithByItself(t *testing.T) {
	fake, url := newHTTPFake(t, func(one asked, nth int, out http.ResponseWriter) bool {
		if nth > 1 || len(one.lines) < 5 {
			return false
		}
		results := []any{map[string]any{"seq": 100}, refusalOf("invalid", "no", 0), refusalOf("rate_limited", "slowly", 60)}
		say(out, 503, map[string]any{"results": results, "stopped": map[string]any{"line": 4, "error": refusalOf("busy", "full", 1)["error"]}})
		return true
	})
	client := newClient(t, Options{URL: url})
	// Handed over at once, so that they are one batch.
	client.outbox.mu.Lock()
	var waiting []*Waiting
	made := make(chan []*Waiting)
	go func() {
		var all []*Waiting
		for _, event := range events(5) {
			encoded, _ := client.encode(&event, time.Time{})
			p := &pending{event: encoded, size: encoded.size(), deadline: time.Now().Add(20 * time.Second), done: make(chan struct{})}
			client.outbox.slots <- struct{}{}
			p.order = client.outbox.nextOrder
			client.outbox.nextOrder++
			client.outbox.waiting[p] = struct{}{}
			client.outbox.fresh = append(client.outbox.fresh, p)
			all = append(all, &Waiting{client.outbox, p})
		}
		made <- all
	}()
	waiting = <-made
	client.outbox.mu.Unlock()
	client.outbox.signal()
	begun := time.Now()
	want := []string{"100", "invalid", "0", "1", "2"}
	for at, one := range waiting {
		receipt, err := one.Wait(context.Background())
		got := strconv.FormatUint(receipt.Seq, 10)
		var failed *Error
		if errors.As(err, &failed) {
			got = failed.Kind
		}
		if got != want[at] {
			t.Fatalf("event %d: %s, not %s", at, got, want[at])
		}
	}
	if time.Since(begun) < 60*time.Millisecond {
		t.Fatal("it did not wait")
	}
	var sent []string
	for _, one := range fake.asked[1:] {
		sent = append(sent, one.lines...)
	}
	sameStrings(t, sent, fake.asked[0].lines[2:], "sent again")
}

func TestWhatAProxySaysIsTriedAgainOrNotAndNoRedirectIsFollowed(t *testing.T) {
	statuses := []int{502, 503, 504, 408, 429}
	fake, url := newHTTPFake(t, func(_ asked, nth int, out http.ResponseWriter) bool {
		if nth > len(statuses) {
			return false
		}
		out.WriteHeader(statuses[nth-1])
		return true
	})
	_, err := newClient(t, Options{URL: url}).Record(context.Background(), Event{Type: "x"})
	if err != nil || len(fake.asked) != 6 {
		t.Fatal(err, len(fake.asked))
	}
	for _, status := range []int{307, 404, 200} {
		other, from := newHTTPFake(t, func(_ asked, _ int, out http.ResponseWriter) bool {
			out.Header().Set("Location", url)
			say(out, status, map[string]any{"fine": true})
			return true
		})
		_, err := newClient(t, Options{URL: from}).Record(context.Background(), Event{Type: "x"})
		if !errors.Is(err, ErrProtocol) || len(other.asked) != 1 {
			t.Fatal(status, err, len(other.asked))
		}
	}
}

func TestRetryAfterIsSecondsOrADateOfTheServersClock(t *testing.T) {
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, one := range []struct {
		after, date string
		want        time.Duration
	}{
		{"2", "", 2 * time.Second}, {"1.5", "", 1500 * time.Millisecond}, {"-1", "", 0}, {"soon", "", 0}, {"", "", 0},
		{"Tue, 01 Jan 2030 12:00:07 GMT", "", 7 * time.Second}, {"Tue, 01 Jan 2030 11:00:00 GMT", "", 0},
		// The clocks differ by an hour.
		{"Tue, 01 Jan 2030 13:00:07 GMT", "Tue, 01 Jan 2030 13:00:00 GMT", 7 * time.Second},
	} {
		got, ok := retryAfter(http.Header{"Retry-After": {one.after}, "Date": {one.date}}, now)
		if ok != (one.want > 0) || (ok && got != one.want) {
			t.Fatal(one, got, ok)
		}
	}
}

func TestABatchThatAProxyFindsTooLargeGoesInSmallerOnes(t *testing.T) {
	fake, url := newHTTPFake(t, func(one asked, _ int, out http.ResponseWriter) bool {
		if len(one.lines) < 3 {
			return false
		}
		out.WriteHeader(413)
		_, _ = io.WriteString(out, "<html>too large</html>")
		return true
	})
	for at, result := range newClient(t, Options{URL: url}).RecordAll(context.Background(), events(40)) {
		if result.Err != nil {
			t.Fatal(at, result)
		}
	}
	fake.handle = func(_ asked, _ int, out http.ResponseWriter) bool {
		out.WriteHeader(413)
		return true
	}
	if _, err := newClient(t, Options{URL: url}).Record(context.Background(), Event{Type: "x"}); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
}

func TestAHandshakeThatFailsForAnotherReasonThanTheCertificateIsTriedAgain(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	var connections atomic.Int32
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			_, _ = conn.Read(make([]byte, 4096))
			// An alert: internal_error, as of one that is about to end. Then one that speaks no TLS.
			text := []byte{21, 3, 3, 0, 2, 2, 80}
			if connections.Load() > 1 {
				text = []byte("HTTP/1.1 503 Not Now\r\n\r\n")
			}
			_, _ = conn.Write(text)
			conn.Close()
		}
	}()
	client := newClient(t, Options{URL: "https://" + listener.Addr().String(), Timeout: time.Second})
	// At its end one may be under way.
	_, err = client.Record(context.Background(), Event{Type: "x"})
	if !(errors.Is(err, ErrUnreachable) || errors.Is(err, ErrUnconfirmed)) || connections.Load() < 3 {
		t.Fatal(err, connections.Load())
	}
}

func TestAnAnswerThatIsCutOffIsNone(t *testing.T) {
	_, url := newHTTPFake(t, func(one asked, nth int, out http.ResponseWriter) bool {
		if nth > 2 {
			return false
		}
		out.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(out, `{"seq":0}`)
		return true
	})
	receipt, err := newClient(t, Options{URL: url}).Record(context.Background(), Event{Type: "x"})
	if err != nil || receipt.Seq != 0 {
		t.Fatal(receipt, err)
	}
}

func TestAnOlderCollectorThatRefusesTheIDGetsTheEventWithout(t *testing.T) {
	_, url := newHTTPFake(t, func(one asked, _ int, out http.ResponseWriter) bool {
		if strings.HasPrefix(one.lines[0], `{"id"`) {
			say(out, 422, refusalOf("invalid", "unknown key `id`; an event has event_type", 0))
		} else {
			say(out, 201, map[string]any{"seq": 7})
		}
		return true
	})
	receipt, err := newClient(t, Options{URL: url}).Record(context.Background(), Event{Type: "x"})
	if err != nil || receipt.Seq != 7 {
		t.Fatal(receipt, err)
	}
}

func TestATokenIsReadAgainWhenItIsNotAcceptedAndIsInNoText(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(file, []byte("actl_old\nnot this\n"), 0o600))
	fake, url := newHTTPFake(t, func(one asked, _ int, out http.ResponseWriter) bool {
		if one.header.Get("Authorization") == "Bearer actl_new" {
			return false
		}
		say(out, 401, refusalOf("unauthorized", "the token is not valid", 0))
		return true
	})
	client := newClient(t, Options{URL: url, TokenFile: file})
	_, err := client.Record(context.Background(), Event{Type: "x"})
	if !errors.Is(err, ErrUnauthorized) || len(fake.asked) != 1 {
		t.Fatal(err, len(fake.asked))
	}
	must(t, os.WriteFile(file, []byte("actl_new\n"), 0o600))
	if _, err := client.Record(context.Background(), Event{Type: "x"}); err != nil || len(fake.asked) != 3 {
		t.Fatal(err, len(fake.asked))
	}
	if text := fmt.Sprintf("%v %+v %#v %+v %#v %+v", client, client, client, client.options, client.http, err); strings.Contains(text, "actl_") {
		t.Fatal(text)
	}
	if _, err := New(Options{URL: "http://127.0.0.2:9750", TokenFile: file}); err != nil {
		t.Fatal(err)
	}
	must(t, os.Chmod(file, 0o644))
	for name, options := range map[string]Options{
		"others can read": {URL: url, TokenFile: file}, "in the clear": {URL: "http://audit.example:9750", TokenFile: file},
		"almost loopback": {URL: "http://127.evil.example", TokenFile: file}, "also almost": {URL: "http://localhost.example", TokenFile: file},
		"in the URL": {URL: "http://actl_x@localhost"}, "neither": {}, "both": {URL: url, Socket: "x"}, "scheme": {URL: "ftp://x"},
	} {
		if _, err := New(options); !errors.Is(err, ErrUsage) {
			t.Fatal(name, err)
		}
	}
}

func TestACertificateOfNobodyThatIsTrustedIsNotSpokenTo(t *testing.T) {
	fake := &httpFake{}
	server := httptest.NewTLSServer(fake)
	defer server.Close()
	server.Config.ErrorLog = nil
	_, err := newClient(t, Options{URL: server.URL}).Record(context.Background(), Event{Type: "x"})
	if !errors.Is(err, ErrTLS) || len(fake.asked) != 0 {
		t.Fatal(err, fake.asked)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	if _, err := newClient(t, Options{URL: server.URL, CAFile: ca}).Record(context.Background(), Event{Type: "x"}); err != nil {
		t.Fatal(err)
	}
}

func TestAQueryTurnsPagesAndEndsWhereItShould(t *testing.T) {
	fake, url := newHTTPFake(t, nil)
	fake.handle = func(one asked, _ int, out http.ResponseWriter) bool {
		request, _ := http.NewRequest("GET", one.url, nil)
		wanted := request.URL.Query()
		from, _ := strconv.Atoi(strings.Split(wanted.Get("seq"), "..")[0])
		limit, _ := strconv.Atoi(wanted.Get("limit"))
		records := []any{}
		for ; len(records) < limit && len(records) < 3 && from < 10; from++ {
			records = append(records, map[string]any{"seq": from, "event_type": "x", "details": json.RawMessage(`{"n":18446744073709551617}`)})
		}
		answer := map[string]any{"records": records, "more": from < 10}
		if from < 10 {
			answer["next"] = map[string]any{"seq": fmt.Sprintf("%d..10", from)}
		}
		say(out, 200, answer)
		return true
	}
	client := newClient(t, Options{URL: url})
	for limit, wanted := range map[int]int{0: 10, 4: 4} {
		records := client.Query(context.Background(), Filter{Type: []string{"x", "y"}, Order: "oldest", Limit: limit})
		found := 0
		for records.Next() {
			if records.Record().Seq != uint64(found) || string(records.Record().Details) != `{"n":18446744073709551617}` {
				t.Fatal(records.Record())
			}
			found++
		}
		if records.Err() != nil || found != wanted {
			t.Fatal(found, records.Err())
		}
		records.Close()
	}
	fake.handle = func(_ asked, _ int, out http.ResponseWriter) bool {
		say(out, 200, map[string]any{"records": []any{}, "more": true, "next": map[string]any{"limit": 1000}})
		return true
	}
	records := client.Query(context.Background(), Filter{})
	if records.Next() || !errors.Is(records.Err(), ErrProtocol) {
		t.Fatal(records.Err())
	}
}
