package auditctl

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

const (
	// maxBatch: of up to 1,000 lines each is told of by itself. Fewer, because those that are refused
	// for the rate are told when *all* of them may come again.
	maxBatch      = 256
	maxBatchBytes = 1 << 20
	// maxPageBytes: a page is about 1 MiB of records, groups at most 16 MiB.
	maxPageBytes  = 32 << 20
	maxTokenBytes = 4096
)

// httpCaller makes requests to one collector. It follows no redirect and uses no proxy: either could
// hand the token to somebody else.
type httpCaller struct {
	base      *url.URL
	client    *http.Client
	tokenFile string
	tokenEnv  string
	timeout   time.Duration
	// A pointer: printing the client prints no token.
	token atomic.Pointer[string]
}

func newHTTPCaller(options *Options) (*httpCaller, error) {
	base, err := url.Parse(options.URL)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, failure("usage", "URL must be http://HOST or https://HOST")
	}
	if base.User != nil {
		return nil, failure("usage", "a token goes into TokenFile, not into URL")
	}
	hasToken := options.TokenFile != "" || options.TokenEnv != ""
	if hasToken && base.Scheme == "http" && !isLoopback(base.Hostname()) && !options.AllowPlainHTTP {
		return nil, failure("usage", "a token would cross the network to %s in the clear; use https, or set AllowPlainHTTP where the way is private", base.Hostname())
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if options.CAFile != "" {
		pem, err := os.ReadFile(options.CAFile)
		if err != nil {
			return nil, failure("usage", "CAFile: %v", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, failure("usage", "CAFile: there is no certificate in %s", options.CAFile)
		}
	}
	dialer := &net.Dialer{Timeout: options.ConnectTimeout}
	caller := &httpCaller{base: base, tokenFile: options.TokenFile, tokenEnv: options.TokenEnv, timeout: options.AnswerTimeout}
	caller.client = &http.Client{
		Transport: &http.Transport{
			DialContext:         dialer.DialContext,
			TLSClientConfig:     config,
			TLSHandshakeTimeout: options.ConnectTimeout,
			MaxIdleConnsPerHost: 4,
			IdleConnTimeout:     time.Minute,
			DisableCompression:  true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	token, err := caller.readToken()
	if err != nil {
		return nil, err
	}
	caller.token.Store(token)
	return caller, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

func (c *httpCaller) readToken() (*string, error) {
	var text, from string
	switch {
	case c.tokenFile != "":
		from = c.tokenFile
		file, err := os.Open(c.tokenFile)
		if err != nil {
			return nil, failure("usage", "TokenFile: %v", err)
		}
		defer file.Close()
		if info, err := file.Stat(); err != nil || info.Mode().Perm()&0o007 != 0 {
			return nil, failure("usage", "TokenFile: others can read %s; make it 0600, and revoke the token", c.tokenFile)
		}
		content, err := io.ReadAll(io.LimitReader(file, maxTokenBytes+2))
		if err != nil {
			return nil, failure("usage", "TokenFile: %v", err)
		}
		text, _, _ = strings.Cut(string(content), "\n")
	case c.tokenEnv != "":
		from = "the environment's " + c.tokenEnv
		text = os.Getenv(c.tokenEnv)
	default:
		return nil, nil
	}
	text = strings.TrimSpace(text)
	odd := func(r rune) bool { return r <= ' ' || r > '~' }
	if text == "" || len(text) > maxTokenBytes || strings.IndexFunc(text, odd) >= 0 {
		return nil, failure("usage", "there is no token in %s", from)
	}
	return &text, nil
}

// httpAnswer is an answer, whole.
type httpAnswer struct {
	status int
	header http.Header
	body   []byte
}

// call makes one request; once more if the token was replaced meanwhile.
func (c *httpCaller) call(ctx context.Context, method, path string, header map[string]string, body []byte) (*httpAnswer, *Error) {
	used := c.token.Load()
	got, err := c.once(ctx, method, path, header, body, used)
	if err != nil || got.status != http.StatusUnauthorized || used == nil {
		return got, err
	}
	token, failed := c.readToken()
	if failed != nil || *token == *used {
		return got, nil
	}
	c.token.Store(token)
	return c.once(ctx, method, path, header, body, token)
}

func (c *httpCaller) once(ctx context.Context, method, path string, header map[string]string, body []byte, token *string) (*httpAnswer, *Error) {
	sent := atomic.Bool{}
	trace := &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }}
	timeout := c.timeout
	if method == http.MethodGet {
		timeout = pageTimeout
	}
	ctx, cancel := context.WithTimeout(httptrace.WithClientTrace(ctx, trace), timeout)
	defer cancel()
	failed := func(err error) *Error {
		kind := "unreachable"
		switch {
		case sent.Load():
			kind = "lost"
		case isTLS(err):
			kind = "tls"
		}
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return &Error{Kind: kind, Message: fmt.Sprintf("the collector at %s cannot be reached: %v", c.where(), err), Err: err}
	}
	// A base with a path is a collector behind a proxy.
	target := strings.TrimSuffix(c.base.Scheme+"://"+c.base.Host+c.base.EscapedPath(), "/") + path
	request, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, failed(err)
	}
	request.Header.Set("User-Agent", agent)
	request.Header.Set("Accept", "application/json")
	for name, value := range header {
		request.Header.Set(name, value)
	}
	if token != nil {
		request.Header.Set("Authorization", "Bearer "+*token)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return nil, failed(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxPageBytes+1))
	if err != nil {
		return nil, failed(err)
	}
	if len(text) > maxPageBytes {
		return nil, failed(errors.New("an answer without end"))
	}
	return &httpAnswer{status: response.StatusCode, header: response.Header, body: text}, nil
}

func (c *httpCaller) where() string { return c.base.Scheme + "://" + c.base.Host }

// isTLS: the server's certificate or name. Any other trouble with TLS may pass.
func isTLS(err error) bool {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var roots x509.SystemRootsError
	return errors.As(err, &unknown) || errors.As(err, &name) || errors.As(err, &invalid) || errors.As(err, &roots)
}

// refusal says what an answer that is no 2xx says, whoever said it: the collector or a proxy before it.
func (a *httpAnswer) refusal() answer {
	var wire struct {
		Error *wireError `json:"error"`
	}
	result := answer{kind: "protocol", message: fmt.Sprintf("HTTP status %d, and not a collector's answer", a.status)}
	if json.Unmarshal(a.body, &wire) == nil && wire.Error != nil && wire.Error.Kind != "" {
		result = wire.Error.asAnswer()
	} else if a.status == http.StatusRequestEntityTooLarge {
		result.kind = "too_large"
	} else if a.status == 408 || a.status == 429 || a.status >= 500 {
		result.kind, result.unsure = "unreachable", a.status >= 500
	}
	if !result.hasRetry {
		result.retryAfter, result.hasRetry = retryAfter(a.header, time.Now())
	}
	return result
}

// retryAfter reads Retry-After: seconds, or a date, which is one of the clock that the answer's Date is of.
func retryAfter(header http.Header, now time.Time) (time.Duration, bool) {
	text := strings.TrimSpace(header.Get("Retry-After"))
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		return time.Duration(seconds * float64(time.Second)), seconds > 0 && seconds < 1e9
	}
	date, err := http.ParseTime(text)
	if err != nil {
		return 0, false
	}
	if said, err := http.ParseTime(header.Get("Date")); err == nil {
		now = said
	}
	wait := date.Sub(now)
	return wait, wait > 0
}

// httpTransport sends events in batches, one request at a time: so their order stays, and what comes
// meanwhile is the next batch.
type httpTransport struct {
	caller *httpCaller
	outbox *outbox
	ctx    context.Context
	cancel context.CancelFunc
	// Only the goroutine that sends uses these.
	most, mostBytes int
	ids             atomic.Bool
}

func newHTTPTransport(caller *httpCaller, outbox *outbox) *httpTransport {
	ctx, cancel := context.WithCancel(context.Background())
	t := &httpTransport{caller: caller, outbox: outbox, ctx: ctx, cancel: cancel, most: maxBatch, mostBytes: maxBatchBytes}
	// There is no hello over HTTP: an older collector refuses the id as a key that it does not know.
	t.ids.Store(true)
	return t
}

func (t *httpTransport) where() string                  { return t.caller.where() }
func (t *httpTransport) up() bool                       { return true }
func (t *httpTransport) knowsIDs() bool                 { return t.ids.Load() }
func (t *httpTransport) room() (events, bytes int)      { return t.most, t.mostBytes }
func (t *httpTransport) connect(context.Context) *Error { return nil }

func (t *httpTransport) close() {
	t.cancel()
	t.caller.client.CloseIdleConnections()
}

func (t *httpTransport) send(batch []*pending) {
	ids := t.ids.Load()
	var body []byte
	for _, p := range batch {
		body = p.event.appendTo(body, ids)
	}
	header := map[string]string{"Content-Type": "application/x-ndjson"}
	if len(batch) == 1 {
		header["Content-Type"] = "application/json"
		// The id is in the body as well.
		if id := batch[0].event.id; ids && fitsHeader(id) {
			header["Idempotency-Key"] = id
		}
	}
	got, err := t.caller.call(t.ctx, http.MethodPost, "/v1/events", header, body)
	var answers []answer
	switch {
	case err != nil:
		// Fewer, so that some are answered before the next loss; and it may be another collector by then.
		if t.most /= 4; t.most < 1 {
			t.most = 1
		}
		t.ids.Store(true)
		answers = repeat(answer{kind: err.Kind, message: err.Message, unsure: err.Kind == "lost"}, len(batch))
	case len(batch) == 1:
		answers = []answer{t.readOne(got)}
	default:
		answers = t.readMany(got, len(batch))
	}
	if err == nil {
		if t.most *= 2; t.most > maxBatch {
			t.most = maxBatch
		}
	}
	for at := range answers {
		// An older collector refuses the id; nothing was recorded, and it goes on without.
		if ids && answers[at].kind == "invalid" && strings.HasPrefix(answers[at].message, "unknown key `id`") {
			t.ids.Store(false)
			answers[at] = answer{kind: "busy", message: "the collector knows no ids", hasRetry: true}
		}
	}
	t.outbox.answered(batch, answers)
}

// fitsHeader: other characters no header can have, or they mean something there.
func fitsHeader(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool {
		plain := (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z') || (r >= '0' && r <= '9')
		return !plain && !strings.ContainsRune("_.~:/+=@-", r)
	}) < 0
}

func (t *httpTransport) notCollectors(got *httpAnswer) answer {
	if got.status >= 200 && got.status < 300 {
		return answer{kind: "protocol", message: "the answer of " + t.where() + " is not a collector's", unsure: true}
	}
	return got.refusal()
}

func (t *httpTransport) readOne(got *httpAnswer) answer {
	var wire struct {
		Seq       *uint64 `json:"seq"`
		Duplicate bool    `json:"duplicate"`
	}
	fine := got.status == http.StatusOK || got.status == http.StatusCreated
	if fine && utf8.Valid(got.body) && json.Unmarshal(got.body, &wire) == nil && wire.Seq != nil {
		return answer{seq: *wire.Seq, duplicate: wire.Duplicate}
	}
	return t.notCollectors(got)
}

type wireResult struct {
	Seq       *uint64    `json:"seq"`
	Duplicate bool       `json:"duplicate"`
	Error     *wireError `json:"error"`
}

func (t *httpTransport) readMany(got *httpAnswer, count int) []answer {
	var wire struct {
		Results []wireResult `json:"results"`
		Stopped *struct {
			Error *wireError `json:"error"`
		} `json:"stopped"`
	}
	if !utf8.Valid(got.body) || json.Unmarshal(got.body, &wire) != nil || wire.Results == nil {
		refused := t.notCollectors(got)
		if refused.kind == "too_large" {
			// It takes smaller bodies than most do. One event alone is told by itself.
			t.mostBytes /= 2
			refused = answer{kind: "busy", message: refused.message, hasRetry: true}
		}
		return repeat(refused, count)
	}
	if len(wire.Results) > count {
		message := t.where() + " answered more events than it was sent"
		return repeat(answer{kind: "protocol", message: message, unsure: true}, count)
	}
	limited := 0
	for _, result := range wire.Results {
		if result.Error != nil && result.Error.Kind == "rate_limited" {
			limited++
		}
	}
	// The body was not read so far.
	rest := answer{kind: "lost", message: "an event without its result", unsure: true}
	if wire.Stopped != nil && wire.Stopped.Error != nil && wire.Stopped.Error.Kind != "" {
		rest = wire.Stopped.Error.asAnswer()
		switch rest.kind {
		case "malformed", "too_large", "timeout":
			rest.kind = "lost"
		}
	}
	answers := repeat(rest, count)
	for at, result := range wire.Results {
		switch {
		case result.Error != nil && result.Error.Kind != "":
			// Over HTTP each is told when all of them may come again.
			answers[at] = result.Error.asAnswer()
			answers[at].events = limited
		case result.Seq != nil:
			answers[at] = answer{seq: *result.Seq, duplicate: result.Duplicate}
		default:
			answers[at] = answer{kind: "protocol", message: "a result that cannot be read", unsure: true}
		}
	}
	return answers
}
