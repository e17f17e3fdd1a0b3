package auditctl

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// MaxLineBytes is the longest event as JSON; a longer line would end the connection.
const MaxLineBytes = 1 << 20

const maxIDBytes = 128

// Event is what a caller submits. The collector checks it; what it refuses is an *Error.
type Event struct {
	// Type says what happened, such as "login"; at most 128 bytes. Required.
	Type string
	// Actor did it. This and the next three take at most 256 bytes each.
	Actor string
	// Source is the service that says so, and the key of the rate limit. Empty: Options.Source.
	Source string
	// Target is what it was done to.
	Target string
	// Outcome says how it went, such as "success", "failure", "denied".
	Outcome string
	// Timestamp is when it happened. Zero: when it is accepted.
	Timestamp time.Time
	// Details is whatever else: a map, a struct, or json.RawMessage that encode as a JSON object;
	// at most 50 KiB, unless the collector allows more.
	Details any
	// ID is the sender's own key of this event: the same ID again is recorded once. Empty: the
	// client makes one. Give one to be safe across restarts of your own process.
	ID string
}

// encoded is an event as it goes over the wire.
type encoded struct {
	id string
	// body is the event without its id, for a collector that knows none.
	body []byte
}

func (e *encoded) appendTo(out []byte, ids bool) []byte {
	if ids {
		out = append(out, `{"id":`...)
		out = append(out, quote(e.id)...)
		out = append(out, ',')
		out = append(out, e.body[1:]...)
	} else {
		out = append(out, e.body...)
	}
	return append(out, '\n')
}

func (e *encoded) size() int { return len(e.body) + len(e.id) + 10 }

// quote writes a string as JSON does, without escaping what HTML would mind.
func quote(text string) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) // A string cannot fail.
	return bytes.TrimSuffix(out.Bytes(), []byte{'\n'})
}

// makeID makes an id that nobody else makes. Each is the kernel's own random numbers: of a process
// that is restored twice from one snapshot a counter, or numbers drawn in advance, would come twice.
func makeID() (string, error) {
	var random [16]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", failure("usage", "there are no random numbers to make an ID of: %v", err)
	}
	return base64.RawURLEncoding.EncodeToString(random[:]), nil
}

func breaksLine(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }

func checkID(id string) error {
	if len(id) > maxIDBytes {
		return failure("invalid", "ID has %d bytes, more than %d", len(id), maxIDBytes)
	}
	if !utf8.ValidString(id) || strings.IndexFunc(id, breaksLine) >= 0 {
		return failure("invalid", "ID must be UTF-8 without control characters and line separators")
	}
	return nil
}

// encode copies, redacts and encodes: what the caller changes afterwards changes nothing.
func encode(event *Event, redact *redactor, source string, now time.Time) (*encoded, error) {
	result := &encoded{id: event.ID}
	if result.id == "" {
		var err error
		if result.id, err = makeID(); err != nil {
			return nil, err
		}
	} else if err := checkID(result.id); err != nil {
		return nil, err
	}
	fail := func(kind, format string, args ...any) error {
		err := failure(kind, format, args...)
		err.ID = result.id
		return err
	}
	if event.Source != "" {
		source = event.Source
	}
	stamp := event.Timestamp
	if stamp.IsZero() {
		// A record's own times have microseconds: what is finer would be kept in details.
		stamp = now.Truncate(time.Microsecond)
	}
	out := append(make([]byte, 0, 256), '{')
	field := func(name, value string) {
		if value == "" && name != "event_type" {
			return
		}
		if redact.hidesField(name) {
			value = Redacted
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, '"')
		out = append(out, name...)
		out = append(out, `":`...)
		out = append(out, quote(value)...)
	}
	field("event_type", event.Type)
	field("actor", event.Actor)
	field("source", source)
	field("target", event.Target)
	field("outcome", event.Outcome)
	if !stamp.IsZero() {
		field("timestamp", stamp.UTC().Format(time.RFC3339Nano))
	}
	if event.Details != nil {
		details, err := json.Marshal(event.Details)
		if err != nil {
			return nil, fail("usage", "Details cannot be written as JSON: %v", err)
		}
		if details, err = redact.details(details); err != nil {
			return nil, fail("usage", "Details cannot be written as JSON: %v", err)
		}
		out = append(append(out, `,"details":`...), details...)
	}
	result.body = append(out, '}')
	if size := result.size(); size > MaxLineBytes {
		return nil, fail("too_large", "the event has %d bytes as JSON, more than %d", size, MaxLineBytes)
	}
	return result, nil
}
