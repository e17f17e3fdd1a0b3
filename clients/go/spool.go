package auditctl

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	defaultSpoolBytes = 64 << 20
	segmentBytes      = 1 << 20
	drainLines        = 256
	drainBytes        = 1 << 20
	lockLook          = 50 * time.Millisecond
	refusedName       = "refused.ndjson"
	lockName          = "drain.lock"
)

// spoolName: .ndjson is written by the process that made it; .draining is not written any more.
var spoolName = regexp.MustCompile(`^(\d{16})-[0-9a-f]{16}\.(ndjson|draining)$`)

// SpoolStatus is what a spool holds.
type SpoolStatus struct {
	// Events that wait there, and their Bytes.
	Events int
	Bytes  int64
	// Oldest is when the oldest of them was written; zero when there is none.
	Oldest time.Time
	// Refused events: the collector refused them for good, or their line was damaged. Each is in
	// refused.ndjson, with its reason.
	Refused int
}

// spool keeps events on disk, while the collector is away: files of NDJSON, a line an event, written
// and synced before anybody is told that they are there, and removed once everything in them is
// acknowledged.
//
// Several processes may write and drain one directory, and none needs to know whether another lives.
// Each writes files of its own. Whoever drains renames a file first and reads it then; a writer looks
// after each sync whether its file still has its name, and otherwise writes the same lines into a new
// file. So an event that was promised is in a file that will be read; at worst it is sent twice, under
// its id.
type spool struct {
	dir      string
	maxBytes int64

	mu      sync.Mutex
	queue   []*spooling
	writing bool
	closed  bool
	idle    *sync.Cond

	// Only the goroutine that writes uses these.
	active *os.File
	path   string
	bytes  int64

	counts   sync.Mutex
	counted  map[string]counted
	draining sync.Mutex
}

type spooling struct {
	id   string
	line []byte
	done chan error
}

type counted struct {
	size, from int64
	modified   time.Time
	lines      int
}

func openSpool(dir string, maxBytes int64) (*spool, error) {
	if maxBytes <= 0 {
		maxBytes = defaultSpoolBytes
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, failure("usage", "the spool %s cannot be used: %v", dir, err)
	}
	info, err := os.Stat(dir)
	if err != nil || !isPrivate(info) {
		return nil, failure("usage", "the spool %s must belong to this user, with mode 0700: events lie in it", dir)
	}
	s := &spool{dir: dir, maxBytes: maxBytes, counted: map[string]counted{}}
	s.idle = sync.NewCond(&s.mu)
	return s, nil
}

func (s *spool) fail(id, what string, err error) error {
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	return &Error{Kind: "spool", Message: fmt.Sprintf("the spool %s cannot be %s: %v", s.dir, what, err), ID: id, Err: err}
}

// append returns once the event is on disk. What comes during a sync is the next one's.
func (s *spool) append(event *encoded) error {
	entry := &spooling{id: event.id, line: event.appendTo(nil, true), done: make(chan error, 1)}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return &Error{Kind: "closed", Message: "the client was closed", ID: event.id}
	}
	s.queue = append(s.queue, entry)
	if !s.writing {
		s.writing = true
		go s.write()
	}
	s.mu.Unlock()
	return <-entry.done
}

func (s *spool) write() {
	for {
		s.mu.Lock()
		batch := s.queue
		s.queue = nil
		if len(batch) == 0 {
			s.writing = false
			s.idle.Broadcast()
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		s.writeBatch(batch)
	}
}

func (s *spool) writeBatch(batch []*spooling) {
	status, err := s.status()
	room := s.maxBytes - status.Bytes
	var text []byte
	var taken []*spooling
	for _, entry := range batch {
		if err == nil && int64(len(entry.line)) > room {
			message := fmt.Sprintf("the spool %s may hold %d bytes, and has no room left", s.dir, s.maxBytes)
			entry.done <- &Error{Kind: "spool_full", Message: message, ID: entry.id}
			continue
		}
		room -= int64(len(entry.line))
		text = append(text, entry.line...)
		taken = append(taken, entry)
	}
	if err == nil && len(taken) > 0 {
		err = s.store(text)
	}
	for _, entry := range taken {
		if err != nil {
			entry.done <- s.fail(entry.id, "written", err)
		} else {
			entry.done <- nil
		}
	}
}

func (s *spool) store(text []byte) error {
	for {
		if s.active == nil {
			if err := s.create(); err != nil {
				return err
			}
		}
		_, err := s.active.Write(text)
		if err == nil {
			err = s.active.Sync()
		}
		if err != nil {
			// What is in the file now is not known, and nobody was told of it: it gets nothing more.
			_ = s.active.Truncate(s.bytes)
			s.retire()
			return err
		}
		// Somebody may have taken it over, and may have read it before this was there.
		own, err := s.active.Stat()
		if err != nil {
			return err
		}
		named, err := os.Lstat(s.path)
		if err != nil || !os.SameFile(own, named) {
			s.retire()
			continue
		}
		if s.bytes += int64(len(text)); s.bytes >= segmentBytes {
			s.retire()
		}
		return nil
	}
}

func (s *spool) retire() {
	if s.active != nil {
		s.active.Close()
		s.active = nil
	}
}

func (s *spool) create() error {
	files, err := s.files()
	if err != nil {
		return err
	}
	now := time.Now().UnixMicro()
	// A clock that was set back must not put new events before old ones.
	if len(files) > 0 {
		if newest, _ := strconv.ParseInt(files[len(files)-1][:16], 10, 64); newest >= now {
			now = newest + 1
		}
	}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return err
	}
	path := filepath.Join(s.dir, fmt.Sprintf("%016d-%s.ndjson", now, hex.EncodeToString(random[:])))
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if err := syncDirectory(s.dir); err != nil {
		file.Close()
		return err
	}
	s.active, s.path, s.bytes = file, path, 0
	return nil
}

// files gives the names, oldest first.
func (s *spool) files() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if spoolName.MatchString(entry.Name()) {
			names = append(names, entry.Name())
		}
	}
	sort.Strings(names)
	return names, nil
}

func (s *spool) status() (SpoolStatus, error) {
	var status SpoolStatus
	names, err := s.files()
	if err != nil {
		return status, s.fail("", "read", err)
	}
	for _, name := range names {
		lines, bytes, err := s.count(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // Drained meanwhile.
		}
		if err != nil {
			return status, s.fail("", "read", err)
		}
		if lines == 0 {
			continue
		}
		status.Events += lines
		status.Bytes += bytes
		if micros, _ := strconv.ParseInt(name[:16], 10, 64); status.Oldest.IsZero() {
			status.Oldest = time.UnixMicro(micros)
		}
	}
	if refused, err := os.ReadFile(filepath.Join(s.dir, refusedName)); err == nil {
		status.Refused = bytes.Count(refused, []byte{'\n'})
	}
	return status, nil
}

// count counts lines with their ends: what a crash left unfinished is none.
func (s *spool) count(name string) (lines int, size int64, err error) {
	path := filepath.Join(s.dir, name)
	info, err := os.Stat(path)
	if err != nil {
		return 0, 0, err
	}
	from := position(path)
	s.counts.Lock()
	defer s.counts.Unlock()
	known, ok := s.counted[name]
	if !ok || known.size != info.Size() || known.from != from || known.modified != info.ModTime() {
		text, err := os.ReadFile(path)
		if err != nil {
			return 0, 0, err
		}
		if from > int64(len(text)) {
			from = 0
		}
		if len(s.counted) > 1000 {
			s.counted = map[string]counted{}
		}
		known = counted{info.Size(), from, info.ModTime(), bytes.Count(text[from:], []byte{'\n'})}
		s.counted[name] = known
	}
	return known.lines, info.Size() - from, nil
}

// position is how far a file was sent: a hint, which can cost sending something twice.
func position(path string) int64 {
	text, err := os.ReadFile(path + ".done")
	if err != nil || len(text) > 16 {
		return 0
	}
	at, err := strconv.ParseInt(strings.TrimSuffix(string(text), "\n"), 10, 64)
	if err != nil || at <= 0 {
		return 0
	}
	file, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer file.Close()
	last := make([]byte, 1)
	if _, err := file.ReadAt(last, at-1); err != nil || last[0] != '\n' {
		return 0
	}
	return at
}

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
	file, err := os.OpenFile(filepath.Join(s.dir, refusedName), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
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

func (s *spool) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for s.writing {
		s.idle.Wait()
	}
	s.retire()
	return nil
}
