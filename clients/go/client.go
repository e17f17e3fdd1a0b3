package auditctl

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Version of this client, as it says hello.
const Version = "0.1.0"

const agent = "auditctl-go/" + Version

// Options say where the collector is, and how it is spoken to. Zero values stand for the defaults.
type Options struct {
	// Socket is the collector's Unix socket. Either this or URL.
	Socket string
	// URL is the collector's HTTP address, such as https://audit.example:9750.
	URL string
	// TokenFile holds the token for HTTP on its first line. It is read again when a token is not accepted.
	TokenFile string
	// TokenEnv names the environment variable that holds it.
	TokenEnv string
	// CAFile holds certificates of the authorities that may sign the collector's, in place of the system's.
	CAFile string
	// AllowPlainHTTP: a token may cross a network in the clear, because the way there is private.
	AllowPlainHTTP bool
	// TrustedUIDs are users whose socket is trusted, beside root, this user, and the owner of its directory.
	TrustedUIDs []int
	// Source is that of events that name none.
	Source string
	// Redact names values that never leave the process, as the collector's own setting redact does.
	Redact []string
	// Timeout is how long a call may take, over all tries, unless its context ends earlier. 30 s.
	Timeout time.Duration
	// ConnectTimeout is how long to wait for a connection. 5 s.
	ConnectTimeout time.Duration
	// AnswerTimeout is how long a connection may leave everything unanswered. 15 s.
	AnswerTimeout time.Duration
	// MaxBackoff is the longest pause between two tries. 5 s.
	MaxBackoff time.Duration
	// Window is how many events may be sent and not answered, over the socket. 1,024; at most 16,384.
	Window int
	// WindowBytes of them. 4 MiB.
	WindowBytes int
	// MaxPending is how many events may wait in all; more wait for their callers. 65,536.
	MaxPending int
	// MaxPendingBytes of them. 64 MiB.
	MaxPendingBytes int
	// Spool is the directory in which Client.Spool keeps events while the collector is away. It is
	// made with mode 0700 if it is not there; processes may share it.
	Spool string
	// SpoolMaxBytes is what it may hold. 64 MiB.
	SpoolMaxBytes int64
	// DrainEvery is how often the client drains it by itself. 0: not at all.
	DrainEvery time.Duration
}

// String names no more than where the collector is.
func (o Options) String() string {
	if o.URL != "" {
		return "auditctl.Options(" + o.URL + ")"
	}
	return "auditctl.Options(" + o.Socket + ")"
}

func (o *Options) complete() error {
	if (o.Socket == "") == (o.URL == "") {
		return failure("usage", "give either Socket or URL")
	}
	for _, one := range []struct {
		name  string
		value *time.Duration
		or    time.Duration
	}{
		{"Timeout", &o.Timeout, 30 * time.Second}, {"ConnectTimeout", &o.ConnectTimeout, 5 * time.Second},
		{"AnswerTimeout", &o.AnswerTimeout, 15 * time.Second}, {"MaxBackoff", &o.MaxBackoff, 5 * time.Second},
	} {
		if *one.value < 0 {
			return failure("usage", "%s must not be negative", one.name)
		}
		if *one.value == 0 {
			*one.value = one.or
		}
	}
	for _, one := range []struct {
		name     string
		value    *int
		or, most int
	}{
		{"Window", &o.Window, 1024, 16384}, {"WindowBytes", &o.WindowBytes, 4 << 20, 64 << 20},
		{"MaxPending", &o.MaxPending, 1 << 16, 1 << 24}, {"MaxPendingBytes", &o.MaxPendingBytes, 64 << 20, 1 << 30},
	} {
		if *one.value < 0 || *one.value > one.most {
			return failure("usage", "%s must be from 1 to %d", one.name, one.most)
		}
		if *one.value == 0 {
			*one.value = one.or
		}
	}
	return nil
}

// Client sends events to one collector. One for each process is enough; it may be used by any number
// of goroutines.
type Client struct {
	options Options
	redact  *redactor
	outbox  *outbox
	http    *httpCaller
	spool   *spool

	// Of DrainEvery.
	stopDraining context.CancelFunc
	draining     sync.WaitGroup
	lastDrain    atomic.Pointer[error]
}

// New makes a client. It does not need the collector yet.
func New(options Options) (*Client, error) {
	if err := options.complete(); err != nil {
		return nil, err
	}
	client := &Client{options: options, outbox: newOutbox(options.MaxPending, options.MaxPendingBytes, options.MaxBackoff)}
	var err error
	if client.redact, err = newRedactor(options.Redact); err != nil {
		return nil, err
	}
	if options.Spool != "" {
		if client.spool, err = openSpool(options.Spool, options.SpoolMaxBytes); err != nil {
			return nil, err
		}
	}
	if options.URL != "" {
		if client.http, err = newHTTPCaller(&options); err != nil {
			return nil, err
		}
		client.outbox.start(newHTTPTransport(client.http, client.outbox))
	} else {
		client.outbox.start(newSocketTransport(client.socket(), client.outbox))
	}
	if client.spool != nil && options.DrainEvery > 0 {
		ctx, stop := context.WithCancel(context.Background())
		client.stopDraining = stop
		client.draining.Add(1)
		go client.drainAlways(ctx)
	}
	return client, nil
}

// drainAlways drains the spool again and again; what fails is in the status.
func (c *Client) drainAlways(ctx context.Context) {
	defer c.draining.Done()
	ticker := time.NewTicker(c.options.DrainEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		status, err := c.spool.status()
		if err == nil && status.Events > 0 {
			within, cancel := context.WithTimeout(ctx, c.options.Timeout)
			err = c.Drain(within)
			cancel()
		}
		c.lastDrain.Store(&err)
	}
}

func (c *Client) socket() socketOptions {
	return socketOptions{
		path:           c.options.Socket,
		trusted:        c.options.TrustedUIDs,
		connectTimeout: c.options.ConnectTimeout,
		answerTimeout:  c.options.AnswerTimeout,
		window:         c.options.Window,
		windowBytes:    c.options.WindowBytes,
	}
}

// String names no more than where the collector is.
func (c *Client) String() string { return "auditctl.Client(" + c.outbox.transport.where() + ")" }

// GoString does as String.
func (c *Client) GoString() string { return c.String() }

func (c *Client) encode(event *Event, now time.Time) (*encoded, error) {
	return encode(event, c.redact, c.options.Source, now)
}

// deadline is when a call's time is over.
func (c *Client) deadline(ctx context.Context) time.Time {
	deadline := time.Now().Add(c.options.Timeout)
	if earlier, ok := ctx.Deadline(); ok && earlier.Before(deadline) {
		return earlier
	}
	return deadline
}

// Record records an event, and returns once it is durable in the log. The error is an *Error. If ctx
// ends, the event may be recorded all the same: the error says so, and has the ID.
func (c *Client) Record(ctx context.Context, event Event) (Receipt, error) {
	waiting, err := c.Submit(ctx, event)
	if err != nil {
		return Receipt{}, err
	}
	return waiting.Wait(ctx)
}

// Waiting is an event on its way.
type Waiting struct {
	outbox  *outbox
	pending *pending
}

// ID is the event's id.
func (w *Waiting) ID() string { return w.pending.event.id }

// Wait returns once the event is durable in the log, or it is known that it is not.
func (w *Waiting) Wait(ctx context.Context) (Receipt, error) {
	return w.outbox.await(ctx, w.pending)
}

// Submit hands an event over, and does not wait for the collector: so many can be under way at once.
// It waits only while more events wait than Options.MaxPending and MaxPendingBytes.
func (c *Client) Submit(ctx context.Context, event Event) (*Waiting, error) {
	encoded, err := c.encode(&event, time.Time{})
	if err != nil {
		return nil, err
	}
	return c.submit(ctx, encoded, c.deadline(ctx), false)
}

func (c *Client) submit(ctx context.Context, event *encoded, deadline time.Time, needsIDs bool) (*Waiting, error) {
	pending, err := c.outbox.push(ctx, event, deadline, needsIDs)
	if err != nil {
		return nil, err
	}
	return &Waiting{c.outbox, pending}, nil
}

// Result is what became of one of several events.
type Result struct {
	Receipt Receipt
	// Err is an *Error if the event is not recorded, or that is not known.
	Err error
}

// RecordAll records events, pipelined and in their order, and returns what became of each, in the same
// order. One that is refused does not stop the others.
func (c *Client) RecordAll(ctx context.Context, events []Event) []Result {
	results := make([]Result, len(events))
	waiting := make([]*Waiting, len(events))
	for at := range events {
		waiting[at], results[at].Err = c.Submit(ctx, events[at])
	}
	for at, one := range waiting {
		if one != nil {
			results[at].Receipt, results[at].Err = one.Wait(ctx)
		}
	}
	return results
}

// Spool writes an event into the spool, and returns its ID once it is on disk. It goes to the
// collector with the next Drain. Its Timestamp is now, unless it has one.
func (c *Client) Spool(event Event) (id string, err error) {
	if c.spool == nil {
		return "", failure("usage", "the client was made without a spool")
	}
	encoded, err := c.encode(&event, time.Now())
	if err != nil {
		return "", err
	}
	return encoded.id, c.spool.append(encoded)
}

// RecordOrSpool records an event, or spools it when that fails for a reason that passes. So when it
// returns without an error, the event is durable, here or there.
func (c *Client) RecordOrSpool(ctx context.Context, event Event) (receipt Receipt, spooled bool, err error) {
	if c.spool == nil {
		return Receipt{}, false, failure("usage", "the client was made without a spool")
	}
	// The same bytes go both ways, so that it is recorded once.
	encoded, err := c.encode(&event, time.Now())
	if err != nil {
		return Receipt{}, false, err
	}
	waiting, err := c.submit(ctx, encoded, c.deadline(ctx), false)
	if err == nil {
		if receipt, err = waiting.Wait(ctx); err == nil {
			return receipt, false, nil
		}
	}
	var failed *Error
	if errors.As(err, &failed) && (verdictOf(failed.Kind, false) == refused || failed.Kind == "cancelled") {
		return receipt, false, err
	}
	if err := c.spool.append(encoded); err != nil {
		return Receipt{}, false, err
	}
	return Receipt{ID: encoded.id}, true, nil
}

// Drain sends what is in the spool, in order, until it is empty or ctx ends. One at a time drains a
// spool, also of several processes. It returns an error when it ends before the spool is empty.
func (c *Client) Drain(ctx context.Context) error {
	if c.spool == nil {
		return failure("usage", "the client was made without a spool")
	}
	return c.spool.drain(ctx, func(lines []*encoded) []error {
		errs := make([]error, len(lines))
		waiting := make([]*Waiting, len(lines))
		deadline := c.deadline(ctx)
		for at, line := range lines {
			waiting[at], errs[at] = c.submit(ctx, line, deadline, true)
		}
		for at, one := range waiting {
			if one != nil {
				_, errs[at] = one.Wait(ctx)
			}
		}
		return errs
	})
}

// SpoolStatus says what is in the spool.
func (c *Client) SpoolStatus() (SpoolStatus, error) {
	if c.spool == nil {
		return SpoolStatus{}, failure("usage", "the client was made without a spool")
	}
	return c.spool.status()
}

// Status is what a client has at the moment.
type Status struct {
	// Pending events have callers that wait.
	Pending int
	// Retries are tries after the first, since the client was made.
	Retries uint64
	// LastError is why the last try failed, if one did.
	LastError error
	// LastDrain is why the spool was not emptied when Options.DrainEvery last tried.
	LastDrain error
}

// Status says what the client has at the moment.
func (c *Client) Status() Status {
	c.outbox.mu.Lock()
	defer c.outbox.mu.Unlock()
	status := Status{Pending: len(c.outbox.waiting), Retries: c.outbox.retries}
	if c.outbox.lastTrouble != nil {
		status.LastError = c.outbox.lastTrouble
	}
	if err := c.lastDrain.Load(); err != nil {
		status.LastDrain = *err
	}
	return status
}

// Flush returns once nobody waits any more, or with the error of ctx.
func (c *Client) Flush(ctx context.Context) error {
	if err := c.outbox.flush(ctx); err != nil {
		return fmt.Errorf("auditctl: events are still under way: %w", err)
	}
	return nil
}

// Close takes no more events, waits for those under way until ctx ends, and ends the client. Whoever
// still waits then is told unconfirmed or unreachable.
func (c *Client) Close(ctx context.Context) error {
	if c.stopDraining != nil {
		c.stopDraining()
		c.draining.Wait()
	}
	c.outbox.close(ctx)
	if c.spool != nil {
		return c.spool.close()
	}
	return nil
}
