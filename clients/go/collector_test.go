package auditctl

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const helloLine = `{"ok":{"hello":{"protocol":1,"version":"0.0.0","features":["ids","query"]}}}` + "\n"

// fakeCollector does to clients what a real one does on its bad days. That a client works with the real
// one is what the contract's suite shows.
type fakeCollector struct {
	t    *testing.T
	path string
	// script answers a line; hang ends the connection, "" says nothing, and usual does as a collector does.
	script func(line string, nth, connection int) string
	hello  string
	// cutIn and cutOut say after how many bytes of a connection it is cut; negative: never.
	cutIn, cutOut func(connection int) int

	mu          sync.Mutex
	listener    net.Listener
	log         []string
	ids         map[string]int
	connections int
	lines       int
	conns       map[net.Conn]bool
}

const (
	usual = "usual"
	hang  = "hang"
)

func newFake(t *testing.T, path string) *fakeCollector {
	t.Helper()
	if path == "" {
		path = filepath.Join(t.TempDir(), "audit.sock")
	}
	fake := &fakeCollector{t: t, path: path, hello: helloLine, ids: map[string]int{}, conns: map[net.Conn]bool{}}
	var err error
	if fake.listener, err = net.Listen("unix", path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.close)
	go fake.accept()
	return fake
}

func (f *fakeCollector) close() {
	f.listener.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	for conn := range f.conns {
		conn.Close()
	}
}

func (f *fakeCollector) accept() {
	for {
		conn, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		f.connections++
		nth := f.connections
		f.conns[conn] = true
		f.mu.Unlock()
		go f.serve(conn, nth)
	}
}

// limited cuts a connection after some bytes.
type limited struct {
	net.Conn
	in, out int
}

func (l *limited) Read(into []byte) (int, error) {
	if l.in == 0 {
		return 0, net.ErrClosed
	}
	if l.in > 0 && len(into) > l.in {
		into = into[:l.in]
	}
	read, err := l.Conn.Read(into)
	if l.in > 0 {
		l.in -= read
	}
	return read, err
}

func (l *limited) Write(text []byte) (int, error) {
	if l.out >= 0 && len(text) > l.out {
		_, _ = l.Conn.Write(text[:l.out])
		l.Conn.Close()
		return 0, net.ErrClosed
	}
	if l.out >= 0 {
		l.out -= len(text)
	}
	return l.Conn.Write(text)
}

func (f *fakeCollector) serve(conn net.Conn, nth int) {
	defer conn.Close()
	stream := &limited{Conn: conn, in: -1, out: -1}
	if f.cutIn != nil {
		stream.in = f.cutIn(nth)
	}
	if f.cutOut != nil {
		stream.out = f.cutOut(nth)
	}
	reader := bufio.NewReader(stream)
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return
		}
		answer := f.answer(strings.TrimSuffix(line, "\n"), nth)
		if answer == hang {
			return
		}
		if _, err := stream.Write([]byte(answer)); err != nil {
			return
		}
	}
}

func (f *fakeCollector) answer(line string, connection int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if strings.HasPrefix(line, `{"hello"`) {
		return f.hello
	}
	f.lines++
	if f.script != nil {
		if answer := f.script(line, f.lines, connection); answer != usual {
			return answer
		}
	}
	return f.record(line)
}

func (f *fakeCollector) record(line string) string {
	var event struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal([]byte(line), &event); err != nil {
		return `{"error":{"kind":"malformed","message":"no JSON"}}` + "\n"
	}
	seq, ok := f.ids[event.ID]
	switch {
	case !ok:
		seq = len(f.log)
		f.log, f.ids[event.ID] = append(f.log, line), seq
		return fmt.Sprintf(`{"ok":{"seq":%d}}`+"\n", seq)
	case f.log[seq] == line:
		return fmt.Sprintf(`{"ok":{"seq":%d,"duplicate":true}}`+"\n", seq)
	default:
		return `{"error":{"kind":"conflict","message":"other content"}}` + "\n"
	}
}

// targets are those of the log's events, in its order.
func (f *fakeCollector) targets() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	targets := []string{}
	for _, line := range f.log {
		var event struct {
			Target string `json:"target"`
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			f.t.Error(err)
		}
		targets = append(targets, event.Target)
	}
	return targets
}

func newClient(t *testing.T, options Options) *Client {
	t.Helper()
	if options.Timeout == 0 {
		options.Timeout = 20 * time.Second
	}
	if options.MaxBackoff == 0 {
		options.MaxBackoff = 5 * time.Millisecond
	}
	client, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = client.Close(ctx)
	})
	return client
}

func events(count int) []Event {
	made := make([]Event, count)
	for at := range made {
		made[at] = Event{Type: "test", Target: strconv.Itoa(at)}
	}
	return made
}

func targetsOf(events []Event) []string {
	targets := []string{}
	for _, event := range events {
		targets = append(targets, event.Target)
	}
	return targets
}

// allRecorded checks that each is recorded, under these seqs.
func allRecorded(t *testing.T, results []Result, what string) {
	t.Helper()
	for at, result := range results {
		if result.Err != nil || result.Receipt.Seq != uint64(at) {
			t.Fatalf("%s: event %d: %+v", what, at, result)
		}
	}
}

func sameStrings(t *testing.T, got, want []string, what string) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s: got %d %.300q, want %d %.300q", what, len(got), got, len(want), want)
	}
}
