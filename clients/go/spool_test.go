package auditctl

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain is also the process that spools, or drains, until it is killed.
func TestMain(m *testing.M) {
	if what := os.Getenv("AUDITCTL_TEST_SPOOLER"); what != "" {
		spooler(what)
	}
	os.Exit(m.Run())
}

func spooler(what string) {
	client, err := New(Options{Socket: os.Getenv("AUDITCTL_TEST_SOCKET"), Spool: os.Getenv("AUDITCTL_TEST_DIR")})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		if what == "drain" {
			_ = client.Drain(context.Background())
			time.Sleep(5 * time.Millisecond)
			continue
		}
		id, err := client.Spool(Event{Type: "x"})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(id)
	}
}

func spoolFiles(t *testing.T, dir string) []string {
	t.Helper()
	found, err := (&spool{dir: dir}).files()
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func spoolAll(t *testing.T, client *Client, events []Event) {
	t.Helper()
	for _, event := range events {
		_, err := client.Spool(event)
		must(t, err)
	}
}

func TestWhatIsSpooledIsDrainedInOrderAndThenGone(t *testing.T) {
	fake := newFake(t, "")
	dir := filepath.Join(t.TempDir(), "spool")
	client := newClient(t, Options{Socket: fake.path, Spool: dir})
	spoolAll(t, client, events(300))
	status, err := client.SpoolStatus()
	if err != nil || status.Events != 300 || status.Bytes == 0 || status.Oldest.IsZero() {
		t.Fatal(status, err)
	}
	for _, name := range append(spoolFiles(t, dir), ".") {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Fatal(info, err)
		}
	}
	must(t, client.Drain(context.Background()))
	sameStrings(t, fake.targets(), targetsOf(events(300)), "order")
	if left := spoolFiles(t, dir); len(left) != 0 {
		t.Fatal(left)
	}
}

func TestAFileThatEndsAtAnyByteGivesWhatWasPromisedAndNoHalfEvent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	client := newClient(t, Options{Socket: "/nowhere", Spool: dir})
	spoolAll(t, client, events(2))
	must(t, client.Close(context.Background()))
	name := spoolFiles(t, dir)[0]
	whole, err := os.ReadFile(filepath.Join(dir, name))
	must(t, err)
	for end := 0; end <= len(whole); end++ {
		must(t, os.RemoveAll(dir))
		must(t, os.Mkdir(dir, 0o700))
		must(t, os.WriteFile(filepath.Join(dir, name), whole[:end], 0o600))
		fake := newFake(t, filepath.Join(t.TempDir(), fmt.Sprintf("%d.sock", end)))
		again := newClient(t, Options{Socket: fake.path, Spool: dir})
		must(t, again.Drain(context.Background()))
		status, err := again.SpoolStatus()
		if err != nil || status.Refused != 0 || status.Events != 0 {
			t.Fatal(end, status, err)
		}
		if recorded := len(fake.targets()); recorded != bytes.Count(whole[:end], []byte{'\n'}) {
			t.Fatalf("%d bytes: %d recorded", end, recorded)
		}
		_ = again.Close(context.Background())
		fake.close()
	}
}

func TestADamagedLineAndARefusedEventAreKeptAsideAndBlockNothing(t *testing.T) {
	fake := newFake(t, "")
	fake.script = func(line string, _, _ int) string {
		if strings.Contains(line, `"target":"1"`) {
			return `{"error":{"kind":"invalid","message":"no"}}` + "\n"
		}
		return usual
	}
	dir := filepath.Join(t.TempDir(), "spool")
	client := newClient(t, Options{Socket: fake.path, Spool: dir})
	spoolAll(t, client, events(2))
	file, err := os.OpenFile(filepath.Join(dir, spoolFiles(t, dir)[0]), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = file.WriteString("{\"id\":\"half\n\x00\x00\x00\n")
	must(t, err)
	must(t, file.Close())
	spoolAll(t, client, []Event{{Type: "test", Target: "last"}})
	must(t, client.Drain(context.Background()))
	sameStrings(t, fake.targets(), []string{"0", "last"}, "recorded")
	text, err := os.ReadFile(filepath.Join(dir, refusedName))
	must(t, err)
	var kinds []string
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		var aside struct{ Kind string }
		must(t, json.Unmarshal([]byte(line), &aside))
		kinds = append(kinds, aside.Kind)
	}
	sameStrings(t, kinds, []string{"invalid", "malformed", "malformed"}, "kinds")
}

func TestAFullSpoolSaysSoAndHasRoomAgainOnceDrained(t *testing.T) {
	fake := newFake(t, "")
	client := newClient(t, Options{Socket: fake.path, Spool: filepath.Join(t.TempDir(), "spool"), SpoolMaxBytes: 500})
	kept := 0
	for _, event := range events(10) {
		_, err := client.Spool(event)
		if err == nil {
			kept++
		} else if !errors.Is(err, ErrSpoolFull) {
			t.Fatal(err)
		}
	}
	if kept == 0 || kept == 10 {
		t.Fatal(kept)
	}
	must(t, client.Drain(context.Background()))
	spoolAll(t, client, events(1))
}

func TestADrainThatEndsEarlyKeepsWhatIsLeftAndLosesNoPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "late.sock")
	client := newClient(t, Options{Socket: path, Spool: filepath.Join(t.TempDir(), "spool")})
	spoolAll(t, client, events(600))
	drain := func(timeout time.Duration) error {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		return client.Drain(ctx)
	}
	if err := drain(100 * time.Millisecond); !errors.Is(err, ErrUnreachable) {
		t.Fatal(err)
	}
	fake := newFake(t, path)
	fake.mu.Lock()
	fake.script = func(_ string, nth, _ int) string {
		if nth > 300 {
			return hang
		}
		return usual
	}
	fake.mu.Unlock()
	if err := drain(time.Second); err == nil {
		t.Fatal("drained into a collector that died")
	}
	fake.mu.Lock()
	fake.script = nil
	fake.mu.Unlock()
	must(t, drain(20*time.Second))
	sameStrings(t, fake.targets(), targetsOf(events(600)), "order")
}

func TestACollectorThatKnowsNoIDsIsSentNothingOfASpool(t *testing.T) {
	fake := newFake(t, "")
	fake.hello = `{"error":{"kind":"invalid","message":"old"}}` + "\n"
	client := newClient(t, Options{Socket: fake.path, Spool: filepath.Join(t.TempDir(), "spool")})
	spoolAll(t, client, events(1))
	if err := client.Drain(context.Background()); !errors.Is(err, ErrNoIDs) || fake.lines != 0 {
		t.Fatal(err, fake.lines)
	}
}

func TestAnEventThatCannotBeRecordedIsSpooledUnderTheSameID(t *testing.T) {
	fake := newFake(t, "")
	silent := true
	fake.script = func(line string, _, _ int) string {
		answer := fake.record(line)
		if silent {
			return ""
		}
		return answer
	}
	client := newClient(t, Options{Socket: fake.path, AnswerTimeout: 100 * time.Millisecond, Spool: filepath.Join(t.TempDir(), "spool")})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, spooled, err := client.RecordOrSpool(ctx, Event{Type: "x"})
	if err != nil || !spooled {
		t.Fatal(spooled, err)
	}
	fake.mu.Lock()
	silent = false
	fake.mu.Unlock()
	must(t, client.Drain(context.Background()))
	if len(fake.targets()) != 1 {
		t.Fatal(fake.targets())
	}
}

func TestTwoWhoWriteAndTwoWhoDrainLoseNothing(t *testing.T) {
	fake := newFake(t, "")
	dir := filepath.Join(t.TempDir(), "spool")
	var writers, drainers sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	for at := 0; at < 2; at++ {
		client := newClient(t, Options{Socket: fake.path, Spool: dir})
		writers.Add(1)
		go func() {
			defer writers.Done()
			for at := 0; at < 150; at++ {
				if _, err := client.Spool(Event{Type: "x"}); err != nil {
					t.Error(err)
				}
			}
		}()
		drainers.Add(1)
		go func() {
			defer drainers.Done()
			for ctx.Err() == nil {
				_ = client.Drain(ctx)
			}
		}()
	}
	writers.Wait()
	stop()
	drainers.Wait()
	must(t, newClient(t, Options{Socket: fake.path, Spool: dir}).Drain(context.Background()))
	if recorded := len(fake.targets()); recorded != 300 {
		t.Fatal(recorded)
	}
}

func TestProcessesThatAreKilledLoseNoEventWhoseCallHadReturned(t *testing.T) {
	fake := newFake(t, "")
	dir := filepath.Join(t.TempDir(), "spool")
	var promised []string
	for round := 0; round < 5; round++ {
		var processes []*exec.Cmd
		lines := make(chan string, 100_000)
		var readers sync.WaitGroup
		for _, what := range []string{"write", "write", "drain"} {
			process := exec.Command(os.Args[0])
			process.Env = append(os.Environ(), "AUDITCTL_TEST_SPOOLER="+what, "AUDITCTL_TEST_SOCKET="+fake.path, "AUDITCTL_TEST_DIR="+dir)
			process.Stderr = os.Stderr
			output, err := process.StdoutPipe()
			must(t, err)
			must(t, process.Start())
			processes = append(processes, process)
			readers.Add(1)
			go func() {
				defer readers.Done()
				scanner := bufio.NewScanner(output)
				for scanner.Scan() {
					lines <- scanner.Text()
				}
			}()
		}
		for at := 0; at < 20+round*7; at++ {
			promised = append(promised, <-lines)
		}
		for _, process := range processes {
			must(t, process.Process.Kill())
		}
		readers.Wait()
		for _, process := range processes {
			_ = process.Wait()
		}
		close(lines)
		for id := range lines {
			promised = append(promised, id)
		}
	}
	client := newClient(t, Options{Socket: fake.path, Spool: dir})
	must(t, client.Drain(context.Background()))
	for _, id := range promised {
		if _, ok := fake.ids[id]; !ok && len(id) > 22 {
			t.Errorf("%s was promised and is not in the log", id)
		}
	}
	if status, err := client.SpoolStatus(); err != nil || status.Refused != 0 || len(fake.log) != len(fake.ids) {
		t.Fatal(status, err)
	}
}

func TestAClockThatWasSetBackPutsNoNewEventBeforeAnOldOne(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	must(t, os.Mkdir(dir, 0o700))
	// As if written tomorrow.
	ahead := fmt.Sprintf("%016d-%016x.ndjson", time.Now().Add(24*time.Hour).UnixMicro(), 1)
	line := `{"id":"tomorrow","event_type":"test","target":"0"}` + "\n"
	must(t, os.WriteFile(filepath.Join(dir, ahead), []byte(line), 0o600))
	fake := newFake(t, "")
	client := newClient(t, Options{Socket: fake.path, Spool: dir})
	spoolAll(t, client, []Event{{Type: "test", Target: "1"}})
	names := spoolFiles(t, dir)
	if !sort.StringsAreSorted(names) || names[0] != ahead {
		t.Fatal(names)
	}
	must(t, client.Drain(context.Background()))
	sameStrings(t, fake.targets(), []string{"0", "1"}, "order")
}

func TestANoteOfThePlaceThatLiesCostsNoEvent(t *testing.T) {
	for at, note := range []string{"999999\n", "7\n", "-1\n", "x", ""} {
		dir := filepath.Join(t.TempDir(), "spool")
		fake := newFake(t, filepath.Join(t.TempDir(), fmt.Sprintf("%d.sock", at)))
		client := newClient(t, Options{Socket: fake.path, Spool: dir})
		spoolAll(t, client, events(3))
		path := strings.TrimSuffix(filepath.Join(dir, spoolFiles(t, dir)[0]), "ndjson") + "draining.done"
		must(t, os.WriteFile(path, []byte(note), 0o600))
		must(t, client.Drain(context.Background()))
		sameStrings(t, fake.targets(), targetsOf(events(3)), note)
	}
}

func TestAClientDrainsByItselfAndSaysWhyItCouldNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "late.sock")
	client := newClient(t, Options{
		Socket: path, Spool: filepath.Join(t.TempDir(), "spool"), Timeout: 40 * time.Millisecond, DrainEvery: 20 * time.Millisecond,
	})
	spoolAll(t, client, events(1))
	for !errors.Is(client.Status().LastDrain, ErrUnreachable) {
		time.Sleep(5 * time.Millisecond)
	}
	fake := newFake(t, path)
	for len(fake.targets()) == 0 || client.Status().LastDrain != nil {
		time.Sleep(5 * time.Millisecond)
	}
}

func TestADirectoryThatOthersCanReadIsNoSpool(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "open")
	must(t, os.Mkdir(dir, 0o755))
	if _, err := New(Options{Socket: "x", Spool: dir}); !errors.Is(err, ErrUsage) {
		t.Fatal(err)
	}
}

func TestTheNameOfANewSpoolIsSyncedWithThoseAboveIt(t *testing.T) {
	home := t.TempDir()
	var synced []string
	really := syncDirectory
	syncDirectory = func(path string) error {
		synced = append(synced, path)
		return really(path)
	}
	defer func() { syncDirectory = really }()
	newClient(t, Options{Socket: "/nowhere", Spool: filepath.Join(home, "a", "b")})
	sameStrings(t, synced, []string{home, filepath.Join(home, "a")}, "synced")
	synced = nil
	newClient(t, Options{Socket: "/nowhere", Spool: filepath.Join(home, "a", "b")})
	if synced != nil {
		t.Fatal(synced)
	}
}

func TestWhatIsRefusedIsKeptWithinBoundsAndStopsNoDrain(t *testing.T) {
	fake := newFake(t, "")
	fake.script = func(string, int, int) string { return `{"error":{"kind":"invalid","message":"no"}}` + "\n" }
	dir := filepath.Join(t.TempDir(), "spool")
	client := newClient(t, Options{Socket: fake.path, Spool: dir, SpoolMaxBytes: 4000})
	for round := 0; round < 8; round++ {
		spoolAll(t, client, events(5))
		must(t, client.Drain(context.Background()))
	}
	total := int64(0)
	for _, name := range []string{refusedName, olderRefusedName} {
		info, err := os.Stat(filepath.Join(dir, name))
		must(t, err)
		total += info.Size()
	}
	status, err := client.SpoolStatus()
	if err != nil || total > 4000 || status.Events != 0 || status.Refused < 5 || status.Refused > 39 {
		t.Fatal(total, status, err)
	}
}
