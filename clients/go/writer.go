package auditctl

import (
	"bytes"
	"context"
	"io"
)

// Writer makes an event of each line that is written to it, as log.New wants it:
//
//	logger := log.New(client.Writer(auditctl.Event{Type: "log"}, report), "", 0)
//
// A Write returns once its lines are durable. The package log throws errors away, so that report is
// told of each; it must not log to the same logger.
func (c *Client) Writer(template Event, report func(line string, err error)) io.Writer {
	return &lineWriter{client: c, template: template, report: report}
}

type lineWriter struct {
	client   *Client
	template Event
	report   func(string, error)
}

// Write implements io.Writer.
func (w *lineWriter) Write(text []byte) (int, error) {
	var events []Event
	var lines []string
	for _, line := range bytes.Split(bytes.TrimRight(text, "\n"), []byte{'\n'}) {
		event := w.template
		event.Details = map[string]string{"message": string(line)}
		events, lines = append(events, event), append(lines, string(line))
	}
	var failed error
	for at, result := range w.client.RecordAll(context.Background(), events) {
		if result.Err == nil {
			continue
		}
		failed = result.Err
		if w.report != nil {
			w.report(lines[at], result.Err)
		}
	}
	if failed != nil {
		return 0, failed
	}
	return len(text), nil
}
