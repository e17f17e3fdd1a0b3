package auditctl

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What the README and the examples say is run as it stands, beside a real collector: AUDITCTL_BIN.
func startCollector(t *testing.T) (socket string) {
	t.Helper()
	bin := os.Getenv("AUDITCTL_BIN")
	if bin == "" {
		t.Skip("AUDITCTL_BIN names no auditctl")
	}
	home := t.TempDir()
	socket = filepath.Join(home, "audit.sock")
	must(t, os.WriteFile(filepath.Join(home, "auditctl.toml"), []byte("[rate_limit]\nenabled = false\n"), 0o600))
	serving := exec.Command(bin, "serve", "--http", "off", "--socket", socket)
	serving.Dir = home
	for _, variable := range os.Environ() {
		// Each variable of that prefix is a setting of its own.
		if !strings.HasPrefix(variable, "AUDITCTL_") {
			serving.Env = append(serving.Env, variable)
		}
	}
	said, err := serving.StderrPipe()
	must(t, err)
	must(t, serving.Start())
	t.Cleanup(func() {
		_ = serving.Process.Kill()
		_ = serving.Wait()
	})
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "ready") {
			go func() { _, _ = io.Copy(io.Discard, said) }()
			return socket
		}
		t.Log(lines.Text())
	}
	t.Fatal("the collector ended")
	return ""
}

func TestTenThousandEventsArePipelinedAndAQueryFindsThemInOrder(t *testing.T) {
	client := newClient(t, Options{Socket: startCollector(t), Timeout: time.Minute})
	ctx := context.Background()
	for _, result := range client.RecordAll(ctx, events(10_000)) {
		must(t, result.Err)
	}
	records := client.Query(ctx, Filter{Type: []string{"test"}, Order: "oldest"})
	defer records.Close()
	found := 0
	for ; records.Next(); found++ {
		if records.Record().Target != strconv.Itoa(found) {
			t.Fatal(records.Record())
		}
	}
	must(t, records.Err())
	answer, err := client.Ask(ctx, Filter{Type: []string{"test"}, Count: true})
	if err != nil || found != 10_000 || answer.Count == nil || *answer.Count != 10_000 {
		t.Fatal(found, err)
	}
}

func build(t *testing.T, what string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	if text, err := exec.Command("go", "build", "-o", program, what).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", what, err, text)
	}
	return program
}

func TestTheREADMEsProgramsRun(t *testing.T) {
	socket := startCollector(t)
	text, err := os.ReadFile("README.md")
	must(t, err)
	programs := regexp.MustCompile("(?s)<!-- run -->\n```go\n(.*?)```").FindAllSubmatch(text, -1)
	if len(programs) < 2 {
		t.Fatal(len(programs))
	}
	for at, program := range programs {
		// Below this module, so that it is found without a home of its own.
		dir, err := os.MkdirTemp("examples", "readme-")
		must(t, err)
		defer os.RemoveAll(dir)
		code := bytes.ReplaceAll(program[1], []byte("/run/auditctl/audit.sock"), []byte(socket))
		must(t, os.WriteFile(filepath.Join(dir, "main.go"), code, 0o600))
		if said, err := exec.Command(build(t, "./"+dir)).CombinedOutput(); err != nil || len(said) == 0 {
			t.Fatalf("program %d: %v\n%s", at, err, said)
		}
	}
}

func TestTheExamplesRunAndWhatTheyAreAskedIsInTheLog(t *testing.T) {
	socket := startCollector(t)
	env := append(os.Environ(), "AUDIT_SOCKET="+socket, "PORT=0")
	home := t.TempDir()
	serving := exec.Command(build(t, "./examples/server"))
	serving.Env, serving.Dir, serving.Stderr = env, home, os.Stderr
	said, err := serving.StdoutPipe()
	must(t, err)
	must(t, serving.Start())
	line, err := bufio.NewReader(said).ReadString('\n')
	must(t, err)
	address := net.JoinHostPort("127.0.0.1", strings.TrimSpace(strings.TrimPrefix(line, "port ")))
	for amount, wanted := range map[string]int{"5": 200, "-1": 400} {
		request, err := http.NewRequest("GET", "http://"+address+"/?amount="+amount, nil)
		must(t, err)
		request.Header.Set("X-User", "alice")
		answer, err := http.DefaultClient.Do(request)
		must(t, err)
		answer.Body.Close()
		if answer.StatusCode != wanted {
			t.Fatal(amount, answer.Status)
		}
	}
	must(t, serving.Process.Signal(syscall.SIGTERM))
	must(t, serving.Wait())
	for _, name := range []string{"./examples/spool", "./examples/query"} {
		program := exec.Command(build(t, name))
		program.Env, program.Dir = env, home
		if text, err := program.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, text)
		}
	}
	records := newClient(t, Options{Socket: socket}).Query(context.Background(), Filter{Type: []string{"transfer", "http.request", "door.*"}})
	defer records.Close()
	var found []string
	for records.Next() {
		record := records.Record()
		found = append(found, record.Type+" "+record.Actor+" "+record.Outcome)
	}
	must(t, records.Err())
	sort.Strings(found)
	sameStrings(t, found, []string{
		"door.opened badge-1138 ", "http.request alice failure", "http.request alice success", "transfer alice failure", "transfer alice success",
	}, "the log")
}
