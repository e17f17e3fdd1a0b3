package auditctl

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
	"unicode/utf8"
)

// maxAnswerBytes: an answer about an event is far shorter.
const maxAnswerBytes = 64 << 10

// hello is who listens, as far as it says.
type hello struct {
	protocol int
	features map[string]bool
}

type wireError struct {
	Kind       string   `json:"kind"`
	Message    string   `json:"message"`
	RetryAfter *float64 `json:"retry_after_ms"`
}

type wireAnswer struct {
	OK *struct {
		Seq       *uint64 `json:"seq"`
		Duplicate bool    `json:"duplicate"`
		Hello     *struct {
			Protocol int      `json:"protocol"`
			Features []string `json:"features"`
		} `json:"hello"`
		Query json.RawMessage `json:"query"`
	} `json:"ok"`
	Error *wireError `json:"error"`
}

// parseAnswer reads a line; ok is false when it is not an answer.
func parseAnswer(line []byte) (wire wireAnswer, ok bool) {
	if !utf8.Valid(line) || json.Unmarshal(line, &wire) != nil {
		return wire, false
	}
	if wire.Error != nil && wire.Error.Kind == "" {
		return wire, false
	}
	return wire, (wire.OK == nil) != (wire.Error == nil)
}

// asAnswer takes what an error says; what is not what it should be is made good.
func (w *wireError) asAnswer() answer {
	result := answer{kind: cut(printable(w.Kind), 64), message: printable(cut(w.Message, 2000))}
	if w.RetryAfter != nil && *w.RetryAfter >= 0 && *w.RetryAfter < 1e12 {
		result.hasRetry = true
		result.retryAfter = time.Duration(*w.RetryAfter * float64(time.Millisecond))
	}
	return result
}

func (a *answer) asError() *Error {
	return &Error{Kind: a.kind, Message: a.message, RetryAfter: a.retryAfter}
}

// socketOptions say where the collector listens, and who it may be.
type socketOptions struct {
	path           string
	trusted        []int
	connectTimeout time.Duration
	answerTimeout  time.Duration
	window         int
	windowBytes    int
}

// open connects and says hello; whatever comes afterwards is the caller's.
func (s *socketOptions) open(ctx context.Context) (net.Conn, *bufio.Reader, hello, *Error) {
	unreachable := func(err error) *Error {
		var known *Error
		if errors.As(err, &known) {
			return known
		}
		return &Error{Kind: "unreachable", Message: fmt.Sprintf("no collector answers at %s: %v", s.path, err), Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, s.connectTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", s.path)
	if err != nil {
		return nil, nil, hello{}, unreachable(err)
	}
	if err := judge(conn.(*net.UnixConn), s.path, s.trusted); err != nil {
		conn.Close()
		return nil, nil, hello{}, unreachable(err)
	}
	reader := bufio.NewReaderSize(conn, maxAnswerBytes)
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	// A deadline that passes at once ends what waits.
	watched := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
			_ = conn.SetDeadline(time.Unix(1, 0))
		case <-watched:
		}
	}()
	greeted, err := greet(conn, reader)
	close(watched)
	if err != nil {
		conn.Close()
		return nil, nil, hello{}, unreachable(err)
	}
	_ = conn.SetDeadline(time.Time{})
	return conn, reader, greeted, nil
}

func greet(conn net.Conn, reader *bufio.Reader) (hello, error) {
	if _, err := conn.Write([]byte(`{"hello":{"client":"` + agent + "\"}}\n")); err != nil {
		return hello{}, err
	}
	line, err := reader.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		return hello{}, failure("protocol", "what listens does not speak the protocol: an answer without end")
	}
	if err != nil {
		return hello{}, err
	}
	wire, ok := parseAnswer(line)
	// Nothing else was asked.
	if !ok || (wire.OK != nil && wire.OK.Hello == nil) || reader.Buffered() > 0 {
		return hello{}, failure("protocol", "what listens does not speak the protocol: %s", printable(cut(string(line), 80)))
	}
	if wire.Error != nil {
		switch wire.Error.Kind {
		case "forbidden", "too_many_connections", "busy", "timeout", "closed", "failed":
			// It lets nobody in, or not now.
			said := wire.Error.asAnswer()
			return hello{}, said.asError()
		}
		// A collector from before there was a hello takes it for an event.
		return hello{}, nil
	}
	greeted := hello{protocol: wire.OK.Hello.Protocol, features: map[string]bool{}}
	for _, feature := range wire.OK.Hello.Features {
		greeted.features[feature] = true
	}
	return greeted, nil
}

// socketTransport is one connection; events are pipelined, and answered in the order in which they
// were sent.
type socketTransport struct {
	options socketOptions
	outbox  *outbox

	mu    sync.Mutex
	conn  net.Conn
	hello hello
	// broken: a write failed, perhaps in the middle of a line. What is sent behind that half would be
	// answered out of turn, so that nothing more is.
	broken bool
	// inFlight was sent and not answered, oldest first.
	inFlight []*pending
	bytes    int
	// window: few after a connection was lost, so that some are answered before the next loss.
	window  int
	answers int
	// settled is closed once everything that the last connection lost is back in the outbox.
	settled chan struct{}
}

func newSocketTransport(options socketOptions, outbox *outbox) *socketTransport {
	return &socketTransport{options: options, outbox: outbox, window: options.window}
}

func (t *socketTransport) where() string { return t.options.path }

func (t *socketTransport) up() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.conn != nil && !t.broken
}

func (t *socketTransport) knowsIDs() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.hello.features["ids"]
}

func (t *socketTransport) room() (events, bytes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.window - len(t.inFlight), t.options.windowBytes - t.bytes
}

func (t *socketTransport) connect(ctx context.Context) *Error {
	if t.settled != nil {
		// What was lost goes before anything newer.
		select {
		case <-t.settled:
		case <-ctx.Done():
			return &Error{Kind: "closed", Message: "the client was closed", Err: ctx.Err()}
		}
	}
	conn, reader, greeted, err := t.options.open(ctx)
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.conn, t.hello, t.answers, t.broken = conn, greeted, 0, false
	t.mu.Unlock()
	t.settled = make(chan struct{})
	go t.read(conn, reader, t.settled)
	return nil
}

func (t *socketTransport) send(batch []*pending) {
	t.mu.Lock()
	conn := t.conn
	if conn == nil || t.broken {
		t.mu.Unlock()
		// The connection ended meanwhile, and nothing was sent.
		t.outbox.answered(batch, repeat(answer{kind: "unreachable", message: "the connection ended"}, len(batch)))
		return
	}
	ids := t.hello.features["ids"]
	if len(t.inFlight) == 0 {
		_ = conn.SetReadDeadline(time.Now().Add(t.options.answerTimeout))
	}
	size := 0
	for _, p := range batch {
		t.inFlight = append(t.inFlight, p)
		t.bytes += p.size
		size += p.size
	}
	t.mu.Unlock()
	out := make([]byte, 0, size+16*len(batch))
	for _, p := range batch {
		out = p.event.appendTo(out, ids)
	}
	_ = conn.SetWriteDeadline(time.Now().Add(t.options.answerTimeout))
	wrote, err := conn.Write(out)
	if err == nil {
		return
	}
	unsent := t.tear(conn, len(batch)-bytes.Count(out[:wrote], []byte{'\n'}))
	answers := repeat(answer{kind: "unreachable", message: "the connection ended: " + err.Error()}, len(unsent))
	if len(answers) > 0 {
		// All of it but its end may have gone.
		answers[0].unsure = true
	}
	t.outbox.answered(unsent, answers)
}

// tear ends what can be sent. What was sent whole is answered, perhaps with why the collector hung up:
// the reader hears that for a moment, and the end. It gives the last ones, which were not: no answer is
// theirs.
func (t *socketTransport) tear(conn net.Conn, last int) []*pending {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn != conn {
		return nil
	}
	t.broken = true
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	if last > len(t.inFlight) {
		last = len(t.inFlight)
	}
	whole := len(t.inFlight) - last
	unsent := append([]*pending(nil), t.inFlight[whole:]...)
	t.inFlight = t.inFlight[:whole]
	for _, p := range unsent {
		t.bytes -= p.size
	}
	return unsent
}

// read takes answers until the connection ends.
func (t *socketTransport) read(conn net.Conn, reader *bufio.Reader, settled chan struct{}) {
	defer close(settled)
	var done []*pending
	var answers []answer
	kind, why := "lost", ""
	for {
		line, err := reader.ReadSlice('\n')
		if err != nil {
			kind, why = ending(err)
			break
		}
		said, ok := readAnswer(line)
		if !ok {
			kind, why = "protocol", "an answer that cannot be read: "+printable(cut(string(line), 80))
			break
		}
		p := t.next()
		if p == nil {
			// It says why it is about to hang up, or it is no collector.
			why = said.kind + ": " + said.message
			if said.kind == "" {
				kind, why = "protocol", "an answer to nothing"
			}
			break
		}
		done, answers = append(done, p), append(answers, said)
		if reader.Buffered() == 0 || len(done) >= 1024 {
			t.heard(conn, len(done))
			t.outbox.answered(done, answers)
			done, answers = done[:0], answers[:0]
		}
	}
	t.down(conn, kind, why, done, answers)
}

func ending(err error) (kind, why string) {
	switch {
	case err == bufio.ErrBufferFull:
		return "protocol", "an answer without end"
	case errors.Is(err, io.EOF):
		return "lost", "it closed the connection"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "lost", "no answer in time"
	default:
		return "lost", err.Error()
	}
}

// readAnswer reads an answer about an event.
func readAnswer(line []byte) (answer, bool) {
	if seq, ok := plainSeq(line); ok {
		return answer{seq: seq}, true
	}
	wire, ok := parseAnswer(line)
	switch {
	case !ok:
		return answer{}, false
	case wire.Error != nil:
		return wire.Error.asAnswer(), true
	case wire.OK.Seq == nil:
		return answer{}, false
	}
	return answer{seq: *wire.OK.Seq, duplicate: wire.OK.Duplicate}, true
}

// plainSeq reads what nearly every answer is: {"ok":{"seq":42}}.
func plainSeq(line []byte) (seq uint64, ok bool) {
	digits := bytes.TrimPrefix(line, []byte(`{"ok":{"seq":`))
	if len(digits) == len(line) || !bytes.HasSuffix(digits, []byte("}}\n")) {
		return 0, false
	}
	digits = digits[:len(digits)-3]
	if len(digits) == 0 || len(digits) > 18 || (digits[0] == '0' && len(digits) > 1) {
		return 0, false
	}
	for _, digit := range digits {
		if digit < '0' || digit > '9' {
			return 0, false
		}
		seq = seq*10 + uint64(digit-'0')
	}
	return seq, true
}

func (t *socketTransport) next() *pending {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.inFlight) == 0 {
		return nil
	}
	p := t.inFlight[0]
	t.inFlight[0] = nil
	t.inFlight = t.inFlight[1:]
	t.bytes -= p.size
	t.answers++
	if t.window += 1 + t.window>>3; t.window > t.options.window {
		t.window = t.options.window
	}
	return p
}

func (t *socketTransport) heard(conn net.Conn, answers int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken {
		return
	}
	if len(t.inFlight) > 0 {
		_ = conn.SetReadDeadline(time.Now().Add(t.options.answerTimeout))
	} else {
		_ = conn.SetReadDeadline(time.Time{})
	}
}

// down ends the connection. What was answered is told only once nothing more can be sent on it: what
// its callers send next must not be lost with it.
func (t *socketTransport) down(conn net.Conn, kind, why string, done []*pending, answers []answer) {
	conn.Close()
	t.mu.Lock()
	lost := t.inFlight
	t.conn, t.inFlight, t.bytes, t.broken = nil, nil, 0, false
	if len(lost) > 0 {
		if t.answers == 0 {
			t.window = 1
		} else if t.window > 8 {
			t.window = 8
		}
	}
	t.mu.Unlock()
	t.outbox.answered(done, answers)
	message := "the collector at " + t.where() + " went away before it answered: " + why
	t.outbox.answered(lost, repeat(answer{kind: kind, message: message, unsure: true}, len(lost)))
}

func (t *socketTransport) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn != nil {
		t.conn.Close()
	}
}

func repeat(a answer, times int) []answer {
	answers := make([]answer, times)
	for at := range answers {
		answers[at] = a
	}
	return answers
}
