// Command driver is what the contract's suite drives (clients/CONTRACT.md): commands as NDJSON on
// stdin, results on stdout.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	auditctl "auditctl.example/go"
)

const maxLine = 16 << 20

type command struct {
	N          int               `json:"n"`
	Cmd        string            `json:"cmd"`
	Event      json.RawMessage   `json:"event"`
	Events     []json.RawMessage `json:"events"`
	TimeoutMS  int               `json:"timeout_ms"`
	Socket     string            `json:"socket"`
	URL        string            `json:"url"`
	TokenFile  string            `json:"token_file"`
	TokenEnv   string            `json:"token_env"`
	CAFile     string            `json:"ca_file"`
	Window     int               `json:"window"`
	Trusted    []int             `json:"trusted_uids"`
	Redact     []string          `json:"redact"`
	Spool      string            `json:"spool"`
	SpoolBytes int64             `json:"spool_max_bytes"`
}

type object map[string]any

type driver struct {
	client  *auditctl.Client
	options auditctl.Options
	last    error
}

// event reads an event as strictly as the type: what Event has no field for cannot be sent.
func event(text json.RawMessage) (auditctl.Event, error) {
	var wire struct {
		Type      string          `json:"event_type"`
		Actor     string          `json:"actor"`
		Source    string          `json:"source"`
		Target    string          `json:"target"`
		Outcome   string          `json:"outcome"`
		Timestamp string          `json:"timestamp"`
		Details   json.RawMessage `json:"details"`
		ID        json.RawMessage `json:"id"`
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	invalid := func(err error) error { return &auditctl.Error{Kind: "invalid", Message: err.Error()} }
	if err := decoder.Decode(&wire); err != nil {
		return auditctl.Event{}, invalid(err)
	}
	result := auditctl.Event{Type: wire.Type, Actor: wire.Actor, Source: wire.Source, Target: wire.Target, Outcome: wire.Outcome}
	if wire.ID != nil {
		// An empty ID is none in Go: the client makes one. Here somebody wrote it.
		if json.Unmarshal(wire.ID, &result.ID) != nil || result.ID == "" {
			return result, invalid(errors.New("id is no text, or empty"))
		}
	}
	if wire.Details != nil {
		result.Details = wire.Details
	}
	if wire.Timestamp != "" {
		var err error
		if result.Timestamp, err = time.Parse(time.RFC3339Nano, wire.Timestamp); err != nil {
			return result, invalid(err)
		}
	}
	return result, nil
}

func (d *driver) failure(err error) object {
	var failed *auditctl.Error
	if !errors.As(err, &failed) {
		failed = &auditctl.Error{Kind: "usage", Message: err.Error()}
	}
	d.last = err
	said := object{"kind": failed.Kind, "message": failed.Message}
	if failed.ID != "" {
		said["id"] = failed.ID
	}
	return object{"error": said}
}

func (d *driver) outcome(receipt auditctl.Receipt, err error) object {
	if err != nil {
		return d.failure(err)
	}
	said := object{"seq": receipt.Seq, "id": receipt.ID}
	if receipt.Duplicate {
		said["duplicate"] = true
	}
	return object{"ok": said}
}

func (d *driver) batch(texts []json.RawMessage) object {
	results := make([]object, len(texts))
	var events []auditctl.Event
	var places []int
	for at, text := range texts {
		one, err := event(text)
		if err != nil {
			results[at] = d.failure(err)
			continue
		}
		events, places = append(events, one), append(places, at)
	}
	for at, result := range d.client.RecordAll(context.Background(), events) {
		results[places[at]] = d.outcome(result.Receipt, result.Err)
	}
	return object{"results": results}
}

func (d *driver) close() {
	if d.client == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = d.client.Close(ctx)
	d.client = nil
}

func (d *driver) open(c *command) object {
	d.close()
	d.options = auditctl.Options{
		Socket: c.Socket, URL: c.URL, TokenFile: c.TokenFile, TokenEnv: c.TokenEnv, CAFile: c.CAFile,
		Timeout: time.Duration(c.TimeoutMS) * time.Millisecond, Window: c.Window, TrustedUIDs: c.Trusted,
		Redact: c.Redact, Spool: c.Spool, SpoolMaxBytes: c.SpoolBytes,
	}
	client, err := auditctl.New(d.options)
	if err != nil {
		return d.failure(err)
	}
	d.client = client
	return object{"ok": object{}}
}

func (d *driver) state(withBytes bool) object {
	status, err := d.client.SpoolStatus()
	if err != nil {
		return d.failure(err)
	}
	said := object{"events": status.Events, "refused": status.Refused}
	if withBytes {
		said["bytes"] = status.Bytes
	}
	return object{"ok": said}
}

func (d *driver) run(c *command) object {
	switch c.Cmd {
	case "describe":
		features := []string{"socket", "http", "https", "peer_check", "spool", "redact"}
		return object{"ok": object{"client": "auditctl-go/" + auditctl.Version, "features": features}}
	case "open":
		return d.open(c)
	case "close":
		d.close()
		return object{"ok": object{}}
	case "texts":
		return object{"ok": object{"texts": []string{
			fmt.Sprintf("%v %+v %#v", d.client, d.client, d.client),
			fmt.Sprintf("%v %+v %#v", d.options, d.options, d.options),
			fmt.Sprintf("%v %+v %#v", d.last, d.last, d.last),
		}}}
	}
	if d.client == nil {
		return d.failure(errors.New("nothing is open"))
	}
	switch c.Cmd {
	case "record", "spool":
		one, err := event(c.Event)
		if err != nil {
			return d.failure(err)
		}
		if c.Cmd == "record" {
			return d.outcome(d.client.Record(context.Background(), one))
		}
		id, err := d.client.Spool(one)
		if err != nil {
			return d.failure(err)
		}
		return object{"ok": object{"id": id}}
	case "batch":
		return d.batch(c.Events)
	case "drain":
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(c.TimeoutMS)*time.Millisecond)
		defer cancel()
		if err := d.client.Drain(ctx); err != nil {
			if errors.Is(err, auditctl.ErrNoIDs) {
				return d.failure(err)
			}
			fmt.Fprintln(os.Stderr, "drain:", err)
		}
		return d.state(false)
	case "spool_state":
		return d.state(true)
	}
	return object{"error": object{"kind": "unknown_command", "message": "no command " + c.Cmd}}
}

func main() {
	d := &driver{}
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(make([]byte, 64<<10), maxLine)
	output := json.NewEncoder(os.Stdout)
	for input.Scan() {
		var c command
		if err := json.Unmarshal(input.Bytes(), &c); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		result := d.run(&c)
		result["n"] = c.N
		if err := output.Encode(result); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	d.close()
	if err := input.Err(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
