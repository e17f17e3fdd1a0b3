package auditctl

import (
	"bytes"
	"encoding/json"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// Redacted stands in place of a value that must not leave the process.
const Redacted = "[redacted]"

// redactor replaces what its names and paths hide. They are written as the collector's own setting
// redact: password, *_token, details.card.*, actor.
type redactor struct {
	// names hide a key wherever it is in details, and a field of that name.
	names []*regexp.Regexp
	// paths hide one place, from the top of details; nil stands for any key.
	paths [][]*regexp.Regexp
}

func newRedactor(patterns []string) (*redactor, error) {
	result := &redactor{}
	for _, pattern := range patterns {
		parts := segments(pattern)
		for _, part := range parts {
			if part == "" {
				return nil, failure("usage", "Redact: %q is no key and no path", pattern)
			}
		}
		if len(parts) == 1 {
			switch strings.ToLower(pattern) {
			case "event_type", "timestamp", "id":
				return nil, failure("usage", "Redact: %s cannot be hidden; for a key of that name write details.%s", pattern, pattern)
			}
			result.names = append(result.names, keyPattern(pattern))
			continue
		}
		if !strings.EqualFold(parts[0], "details") {
			return nil, failure("usage", "Redact: the path %q must begin with details", pattern)
		}
		var path []*regexp.Regexp
		for _, part := range parts[1:] {
			if part == "*" {
				path = append(path, nil)
			} else {
				path = append(path, keyPattern(part))
			}
		}
		result.paths = append(result.paths, path)
	}
	return result, nil
}

// keyPattern: * stands for anything; upper and lower case are the same.
func keyPattern(text string) *regexp.Regexp {
	var source strings.Builder
	source.WriteString("(?is)^")
	runes := []rune(text)
	for at := 0; at < len(runes); at++ {
		switch {
		case runes[at] == '\\' && at+1 < len(runes):
			at++
			source.WriteString(regexp.QuoteMeta(string(runes[at])))
		case runes[at] == '*':
			source.WriteString(".*")
		default:
			source.WriteString(regexp.QuoteMeta(string(runes[at])))
		}
	}
	source.WriteString("$")
	return regexp.MustCompile(source.String())
}

// segments splits at dots that no backslash escapes.
func segments(text string) []string {
	parts := []string{""}
	runes := []rune(text)
	for at := 0; at < len(runes); at++ {
		last := len(parts) - 1
		switch {
		case runes[at] == '\\' && at+1 < len(runes):
			at++
			parts[last] += "\\" + string(runes[at])
		case runes[at] == '.':
			parts = append(parts, "")
		default:
			parts[last] += string(runes[at])
		}
	}
	return parts
}

func (r *redactor) hides(key string) bool {
	for _, name := range r.names {
		if name.MatchString(key) {
			return true
		}
	}
	return false
}

func (r *redactor) hidesField(name string) bool {
	switch name {
	case "actor", "source", "target", "outcome":
		return r.hides(name)
	default:
		return false
	}
}

// details writes JSON again, without what is hidden. Numbers and the order of keys stay.
func (r *redactor) details(text []byte) ([]byte, error) {
	trimmed := bytes.TrimLeft(text, " \t\r\n")
	if len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, failure("usage", "it must be a JSON object")
	}
	// Halves of surrogate pairs, which only raw JSON can have, are refused by the collector.
	halves := bytes.Contains(text, []byte(`\ud`)) || bytes.Contains(text, []byte(`\uD`))
	if len(r.names) == 0 && len(r.paths) == 0 && !halves {
		// Marshal has checked and compacted it.
		return text, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	writer := &redacting{redactor: r, decoder: decoder, out: make([]byte, 0, len(text))}
	// A name that fits details hides all that is in it.
	if err := writer.value(r.paths, r.hides("details")); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, failure("usage", "more than one JSON value")
	}
	return writer.out, nil
}

type redacting struct {
	*redactor
	decoder *json.Decoder
	out     []byte
}

func (w *redacting) value(paths [][]*regexp.Regexp, hidden bool) error {
	token, err := w.decoder.Token()
	if err != nil {
		return err
	}
	switch token := token.(type) {
	case json.Delim:
		if token == '{' {
			return w.object(paths, hidden)
		}
		return w.array(paths, hidden)
	case nil:
		w.out = append(w.out, "null"...)
	case bool:
		w.scalar(strconv.FormatBool(token), hidden)
	case json.Number:
		w.scalar(token.String(), hidden)
	case string:
		w.scalar(string(quote(token)), hidden)
	}
	return nil
}

func (w *redacting) scalar(text string, hidden bool) {
	if hidden {
		text = `"` + Redacted + `"`
	}
	w.out = append(w.out, text...)
}

func (w *redacting) object(paths [][]*regexp.Regexp, hidden bool) error {
	w.out = append(w.out, '{')
	for first := true; w.decoder.More(); first = false {
		token, err := w.decoder.Token()
		if err != nil {
			return err
		}
		key, _ := token.(string)
		if !first {
			w.out = append(w.out, ',')
		}
		w.out = append(append(w.out, quote(key)...), ':')
		if err := w.child(paths, hidden, key); err != nil {
			return err
		}
	}
	return w.end('}')
}

func (w *redacting) array(paths [][]*regexp.Regexp, hidden bool) error {
	w.out = append(w.out, '[')
	for at := 0; w.decoder.More(); at++ {
		if at > 0 {
			w.out = append(w.out, ',')
		}
		if err := w.child(paths, hidden, strconv.Itoa(at)); err != nil {
			return err
		}
	}
	return w.end(']')
}

func (w *redacting) child(paths [][]*regexp.Regexp, hidden bool, key string) error {
	var below [][]*regexp.Regexp
	for _, path := range paths {
		if len(path) > 0 && (path[0] == nil || path[0].MatchString(key)) {
			below = append(below, path[1:])
			hidden = hidden || len(path) == 1
		}
	}
	return w.value(below, hidden || w.hides(key))
}

func (w *redacting) end(delimiter byte) error {
	if _, err := w.decoder.Token(); err != nil {
		return err
	}
	w.out = append(w.out, delimiter)
	return nil
}
