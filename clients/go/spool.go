package auditctl

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
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
	olderRefusedName  = "refused.1.ndjson"
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
	// refused.ndjson, with its reason; that and refused.1.ndjson, where older ones are, hold no more
	// together than the spool may, and the oldest give way.
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
	if err := makeDirectory(dir); err != nil {
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

// makeDirectory makes a directory, with those above it that are missing. Each new name is synced: what
// is in a directory that is gone after a crash is gone too.
func makeDirectory(dir string) error {
	if _, err := os.Stat(dir); err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	above := filepath.Dir(filepath.Clean(dir))
	if above != dir {
		if err := makeDirectory(above); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return syncDirectory(above)
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
	for _, name := range []string{refusedName, olderRefusedName} {
		lines, _, err := s.count(name)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return status, s.fail("", "read", err)
		}
		status.Refused += lines
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
