package auditctl

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"
)

const (
	pageRecords = 1000
	pageTimeout = 60 * time.Second
)

// Filter says which records; each field is the option of auditctl query of that name.
type Filter struct {
	Type, Actor, Source, Target, Outcome []string
	Where, Grep                          []string
	Since, Until, Seq                    string
	// Order is "newest", which is the default, or "oldest".
	Order string
	// Limit is how many records in all; 0: every one that matches.
	Limit int
	Count bool
	// GroupBy counts by a field; Top says how many groups.
	GroupBy string
	Top     int
}

// request is the query as an object of the protocol.
func (f *Filter) request() map[string]any {
	request := map[string]any{}
	for key, values := range map[string][]string{
		"type": f.Type, "actor": f.Actor, "source": f.Source, "target": f.Target, "outcome": f.Outcome,
		"where": f.Where, "grep": f.Grep,
	} {
		if len(values) > 0 {
			request[key] = values
		}
	}
	for key, value := range map[string]string{
		"since": f.Since, "until": f.Until, "seq": f.Seq, "order": f.Order, "group_by": f.GroupBy,
	} {
		if value != "" {
			request[key] = value
		}
	}
	if f.Count {
		request["count"] = true
	}
	if f.Top > 0 {
		request["top"] = f.Top
	}
	return request
}

// Record is an event as the log has it.
type Record struct {
	Seq       uint64          `json:"seq"`
	Timestamp time.Time       `json:"timestamp"`
	Type      string          `json:"event_type"`
	ID        string          `json:"id"`
	Actor     string          `json:"actor"`
	Source    string          `json:"source"`
	Target    string          `json:"target"`
	Outcome   string          `json:"outcome"`
	Details   json.RawMessage `json:"details"`
	// Origin is what the system attests of who sent it.
	Origin     json.RawMessage `json:"origin"`
	RecordedAt time.Time       `json:"recorded_at"`
	// Raw is the record as it stands in the log, byte for byte.
	Raw json.RawMessage `json:"-"`
}

// Answer is what the collector answers to one question; docs/queries.md explains each key.
type Answer struct {
	Records []json.RawMessage          `json:"records"`
	Count   *uint64                    `json:"count"`
	Groups  []json.RawMessage          `json:"groups"`
	More    bool                       `json:"more"`
	Next    map[string]json.RawMessage `json:"next"`
	// Raw is the whole answer.
	Raw json.RawMessage `json:"-"`
}

// Records iterates over what a query finds:
//
//	records := client.Query(ctx, auditctl.Filter{Type: []string{"login*"}})
//	defer records.Close()
//	for records.Next() {
//		fmt.Println(records.Record().Seq)
//	}
//	if err := records.Err(); err != nil { … }
type Records struct {
	ctx     context.Context
	asker   *asker
	request map[string]any
	left    int
	limited bool
	page    []json.RawMessage
	record  Record
	done    bool
	err     error
}

// Query asks the log, page by page.
func (c *Client) Query(ctx context.Context, filter Filter) *Records {
	return &Records{ctx: ctx, asker: &asker{client: c}, request: filter.request(), left: filter.Limit, limited: filter.Limit > 0}
}

// Next goes to the next record; false at the end, or after an error.
func (r *Records) Next() bool {
	for len(r.page) == 0 {
		if r.done || r.err != nil || (r.limited && r.left <= 0) {
			return false
		}
		r.err = r.turn()
	}
	raw := r.page[0]
	r.page = r.page[1:]
	r.left--
	r.record = Record{}
	if err := json.Unmarshal(raw, &r.record); err != nil {
		r.err, r.page = failure("protocol", "a record that cannot be read: %v", err), nil
		return false
	}
	r.record.Raw = raw
	return true
}

func (r *Records) turn() error {
	limit := pageRecords
	if r.limited && r.left < limit {
		limit = r.left
	}
	r.request["limit"] = limit
	before, err := json.Marshal(r.request)
	if err != nil {
		return err
	}
	answer, err := r.asker.ask(r.ctx, r.request)
	if err != nil {
		return err
	}
	r.page = answer.Records
	if !answer.More || len(answer.Next) == 0 {
		r.done = true
		return nil
	}
	for key, value := range answer.Next {
		r.request[key] = value
	}
	if after, err := json.Marshal(r.request); err != nil || bytes.Equal(before, after) {
		return failure("protocol", "the collector answers the same page again and again")
	}
	return nil
}

// Record is the one that Next went to.
func (r *Records) Record() Record { return r.record }

// Err is why Next ended early; nil at the end.
func (r *Records) Err() error { return r.err }

// Close ends the query.
func (r *Records) Close() {
	r.done, r.page = true, nil
	r.asker.close()
}

// Ask asks once, and gives the answer as the collector gives it: for counts, groups, and what is
// missing.
func (c *Client) Ask(ctx context.Context, filter Filter) (*Answer, error) {
	request := filter.request()
	if filter.Limit > 0 {
		request["limit"] = filter.Limit
	}
	asker := &asker{client: c}
	defer asker.close()
	return asker.ask(ctx, request)
}

// asker asks on a connection of its own: events do not wait behind queries.
type asker struct {
	client *Client
	conn   net.Conn
	reader *bufio.Reader
}

func (a *asker) close() {
	if a.conn != nil {
		a.conn.Close()
		a.conn = nil
	}
}

func (a *asker) ask(ctx context.Context, request map[string]any) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	var text json.RawMessage
	var err error
	if a.client.http != nil {
		text, err = a.overHTTP(ctx, request)
	} else {
		text, err = a.overSocket(ctx, request)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, &Error{Kind: "cancelled", Message: "the query was not answered in time", Err: ctx.Err()}
		}
		return nil, err
	}
	answer := &Answer{Raw: text}
	if !utf8.Valid(text) || json.Unmarshal(text, answer) != nil {
		return nil, failure("protocol", "an answer that cannot be read")
	}
	return answer, nil
}

func (a *asker) overSocket(ctx context.Context, request map[string]any) (json.RawMessage, error) {
	line, err := json.Marshal(map[string]any{"query": request})
	if err != nil {
		return nil, err
	}
	if a.conn == nil {
		socket := a.client.socket()
		conn, reader, _, err := socket.open(ctx)
		if err != nil {
			return nil, err
		}
		a.conn, a.reader = conn, reader
	}
	conn := a.conn
	watched := make(chan struct{})
	defer close(watched)
	go func() {
		select {
		case <-ctx.Done():
			_ = conn.SetDeadline(time.Unix(1, 0))
		case <-watched:
		}
	}()
	if _, err := conn.Write(append(line, '\n')); err != nil {
		a.close()
		return nil, &Error{Kind: "lost", Message: "the collector went away: " + err.Error(), Err: err}
	}
	answer, err := readLine(a.reader)
	if err != nil {
		a.close()
		return nil, err
	}
	wire, ok := parseAnswer(answer)
	switch {
	case !ok:
		return nil, failure("protocol", "an answer that cannot be read")
	case wire.Error != nil:
		said := wire.Error.asAnswer()
		return nil, said.asError()
	case wire.OK.Query == nil:
		return nil, failure("protocol", "an answer to something else")
	}
	return wire.OK.Query, nil
}

// readLine reads a line of at most maxPageBytes.
func readLine(reader *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := reader.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, &Error{Kind: "lost", Message: "the collector went away: " + err.Error(), Err: err}
		case len(line) > maxPageBytes:
			return nil, failure("protocol", "an answer without end")
		}
	}
}

func (a *asker) overHTTP(ctx context.Context, request map[string]any) (json.RawMessage, error) {
	values := url.Values{}
	for key, value := range request {
		switch value := value.(type) {
		case []string:
			values[key] = value
		case string:
			values.Set(key, value)
		case bool:
			values.Set(key, strconv.FormatBool(value))
		case int:
			values.Set(key, strconv.Itoa(value))
		case json.RawMessage:
			// Of the answer before: a text.
			var text string
			if json.Unmarshal(value, &text) != nil {
				text = string(value)
			}
			values.Set(key, text)
		}
	}
	got, err := a.client.http.call(ctx, http.MethodGet, "/v1/events?"+values.Encode(), nil, nil)
	if err != nil {
		return nil, err
	}
	if got.status != http.StatusOK {
		said := got.refusal()
		return nil, said.asError()
	}
	return got.body, nil
}
