package auditctl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// drain sends everything, oldest first.
func (s *spool) drain(ctx context.Context, send func([]*encoded) []error) error {
	if !s.draining.TryLock() {
		return failure("spool", "the spool %s is being drained already", s.dir)
	}
	defer s.draining.Unlock()
	lock, err := s.lock(ctx)
	if err != nil {
		return s.fail("", "drained", err)
	}
	defer lock.Close()
	for {
		names, err := s.files()
		if err != nil {
			return s.fail("", "drained", err)
		}
		if len(names) == 0 {
			return nil
		}
		if err := s.drainFile(ctx, names[0], send); err != nil {
			return s.fail("", "drained", err)
		}
	}
}

// lock waits until nobody else drains.
func (s *spool) lock(ctx context.Context) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(s.dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for tryLock(file) != nil {
		select {
		case <-time.After(lockLook):
		case <-ctx.Done():
			file.Close()
			return nil, failure("spool", "another process drains the spool %s", s.dir)
		}
	}
	return file, nil
}

func (s *spool) drainFile(ctx context.Context, name string, send func([]*encoded) []error) error {
	path := filepath.Join(s.dir, name)
	if strings.HasSuffix(name, ".ndjson") {
		from := path
		path = strings.TrimSuffix(path, "ndjson") + "draining"
		if err := os.Rename(from, path); err != nil {
			return err
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for at := position(path); at < int64(len(text)); {
		if ctx.Err() != nil {
			return &Error{Kind: "unreachable", Message: "the time was over before the spool was empty", Err: ctx.Err(), late: true}
		}
		lines := nextLines(text[at:])
		if len(lines) == 0 {
			// What has no end was not acknowledged: its writer was killed.
			break
		}
		end, err := s.sendSome(lines, send)
		at += end
		// A hint: without it lines are sent once more, and answered as duplicates.
		_ = os.WriteFile(path+".done", []byte(strconv.FormatInt(at, 10)+"\n"), 0o600)
		if err != nil {
			return err
		}
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	_ = os.Remove(path + ".done")
	return syncDirectory(s.dir)
}

func nextLines(text []byte) (lines [][]byte) {
	for size := 0; len(lines) < drainLines && size < drainBytes; {
		end := bytes.IndexByte(text[size:], '\n')
		if end < 0 {
			break
		}
		lines = append(lines, text[size:size+end])
		size += end + 1
	}
	return lines
}

// sendSome sends lines, and gives how many bytes of them are settled.
func (s *spool) sendSome(lines [][]byte, send func([]*encoded) []error) (settled int64, err error) {
	reasons := make([]error, len(lines))
	var good []*encoded
	var places []int
	for at, line := range lines {
		event, ok := spooled(line)
		if !ok {
			reasons[at] = failure("malformed", "the line in the spool is damaged")
			continue
		}
		good, places = append(good, event), append(places, at)
	}
	for at, err := range send(good) {
		reasons[places[at]] = err
	}
	for at, reason := range reasons {
		var failed *Error
		if reason != nil {
			if !errors.As(reason, &failed) || verdictOf(failed.Kind, false) != refused {
				return settled, reason
			}
			if err := s.setAside(lines[at], failed); err != nil {
				return settled, err
			}
		}
		settled += int64(len(lines[at])) + 1
	}
	return settled, nil
}

// spooled reads a line. The id is taken off again: the transport adds it.
func spooled(line []byte) (*encoded, bool) {
	const start = `{"id":`
	if !bytes.HasPrefix(line, []byte(start)) || !json.Valid(line) {
		return nil, false
	}
	decoder := json.NewDecoder(bytes.NewReader(line[len(start):]))
	var id string
	if decoder.Decode(&id) != nil {
		return nil, false
	}
	rest := line[len(start)+int(decoder.InputOffset()):]
	if len(rest) < 2 || rest[0] != ',' {
		return nil, false
	}
	return &encoded{id: id, body: append([]byte{'{'}, rest[1:]...)}, true
}

// setAside keeps what can never be recorded: its caller was told that it is safe.
func (s *spool) setAside(line []byte, reason *Error) error {
	text, err := json.Marshal(map[string]any{
		"refused_at": time.Now().UTC().Format(time.RFC3339Nano),
		"kind":       reason.Kind, "message": reason.Message, "event": string(line),
	})
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, refusedName)
	if info, err := os.Stat(path); err == nil && info.Size()+int64(len(text)) > s.maxBytes/2 {
		if err := os.Rename(path, filepath.Join(s.dir, olderRefusedName)); err != nil {
			return err
		}
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.WriteString(file, string(text)+"\n"); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	return syncDirectory(s.dir)
}
