package auditctl

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestEventsOfManyGoroutinesAreEachRecordedOnce(t *testing.T) {
	fake := newFake(t, "")
	client := newClient(t, Options{Socket: fake.path, Window: 16})
	var wait sync.WaitGroup
	seqs := make([][]Result, 8)
	for worker := range seqs {
		worker := worker
		wait.Add(1)
		go func() {
			defer wait.Done()
			seqs[worker] = client.RecordAll(context.Background(), events(200))
		}()
	}
	wait.Wait()
	seen := map[uint64]bool{}
	for _, results := range seqs {
		last := -1
		for _, result := range results {
			if result.Err != nil || seen[result.Receipt.Seq] || int(result.Receipt.Seq) <= last {
				t.Fatalf("%+v after %d", result, last)
			}
			last = int(result.Receipt.Seq)
			seen[result.Receipt.Seq] = true
		}
	}
	if len(fake.targets()) != 1600 {
		t.Fatal(len(fake.targets()))
	}
}

func TestAConnectionCutAtAnyByteLosesNothingAndRecordsNothingTwice(t *testing.T) {
	for _, door := range []string{"in", "out"} {
		for cut := 0; cut < 240; cut++ {
			fake := newFake(t, filepath.Join(t.TempDir(), fmt.Sprintf("%s%d.sock", door, cut)))
			twice := func(connection int) int {
				if connection <= 2 {
					return cut
				}
				return -1
			}
			fake.mu.Lock()
			if door == "in" {
				fake.cutIn = twice
			} else {
				fake.cutOut = twice
			}
			fake.mu.Unlock()
			client := newClient(t, Options{Socket: fake.path})
			what := fmt.Sprintf("cut %s after %d bytes", door, cut)
			allRecorded(t, client.RecordAll(context.Background(), events(3)), what)
			sameStrings(t, fake.targets(), targetsOf(events(3)), what)
			_ = client.Close(context.Background())
			fake.close()
		}
	}
}

func TestWhatIsNoAnswerRecordsNothing(t *testing.T) {
	answers := []string{
		`{"ok":{"seq":` + strings.Repeat("1", 100_000), "[]\n", `{"ok":{"seq":-1}}` + "\n", `{"ok":{"seq":1.5}}` + "\n",
		`{"ok":{"seq":"1"}}` + "\n", `{"ok":{"seq":01}}` + "\n", `{"ok":{"seq":99999999999999999999}}` + "\n",
		`{"ok":{"query":{}}}` + "\n", "\n", `{"ok":{"seq":1},"error":{"kind":"busy"}}` + "\n",
		`{"error":{"message":"x"}}` + "\n", "{\"ok\":{\"seq\":1},\"\xff\":1}\n", strings.Repeat("[", 50_000) + "\n",
	}
	for _, answer := range answers {
		answer := answer
		fake := newFake(t, "")
		fake.script = func(string, int, int) string { return answer }
		client := newClient(t, Options{Socket: fake.path})
		_, err := client.Record(context.Background(), Event{Type: "x"})
		var failed *Error
		if !errors.As(err, &failed) || failed.Kind != "protocol" || !failed.MaybeRecorded {
			t.Fatalf("%.60q: %v", answer, err)
		}
	}
}

func TestAnAnswerThatNobodyAskedForIsNeverTheNextEvents(t *testing.T) {
	fake := newFake(t, "")
	fake.script = func(line string, nth, _ int) string {
		if nth == 1 {
			return fake.record(line) + `{"ok":{"seq":77}}` + "\n"
		}
		return usual
	}
	client := newClient(t, Options{Socket: fake.path})
	for seq := uint64(0); seq < 2; seq++ {
		receipt, err := client.Record(context.Background(), Event{Type: "x"})
		if err != nil || receipt.Seq != seq {
			t.Fatal(receipt, err)
		}
	}
}

func TestAHelloThatIsNoneIsNotSpokenTo(t *testing.T) {
	for _, hello := range []string{"hi\n", `{"ok":{}}` + "\n", helloLine + `{"ok":{"seq":1}}` + "\n", strings.Repeat("x", 70_000)} {
		fake := newFake(t, "")
		fake.hello = hello
		client := newClient(t, Options{Socket: fake.path})
		_, err := client.Record(context.Background(), Event{Type: "x"})
		if !errors.Is(err, ErrProtocol) || fake.lines != 0 {
			t.Fatalf("%.40q: %v, %d lines", hello, err, fake.lines)
		}
	}
}

func TestRetryAfterIsHeededAndARefusedWindowIsNotSentAgainAtOnce(t *testing.T) {
	fake := newFake(t, "")
	// A bucket of 20, and one more every 2 ms.
	tokens, at, refusals := 20.0, time.Now(), 0
	fake.script = func(string, int, int) string {
		now := time.Now()
		if tokens += float64(now.Sub(at)) / float64(2*time.Millisecond); tokens > 20 {
			tokens = 20
		}
		at = now
		if tokens >= 1 {
			tokens--
			return usual
		}
		refusals++
		return fmt.Sprintf(`{"error":{"kind":"rate_limited","message":"slowly","retry_after_ms":%d}}`+"\n", int((1-tokens)*2)+1)
	}
	client := newClient(t, Options{Socket: fake.path})
	for _, result := range client.RecordAll(context.Background(), events(400)) {
		if result.Err != nil {
			t.Fatal(result.Err)
		}
	}
	if len(fake.targets()) != 400 || refusals > 800 {
		t.Fatalf("%d recorded, %d refusals", len(fake.targets()), refusals)
	}
}

func TestAtItsDeadlineAnEventIsUnreachableOrUnconfirmed(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	nobody := newClient(t, Options{Socket: filepath.Join(t.TempDir(), "none.sock")})
	_, err := nobody.Record(ctx, Event{Type: "x", ID: "mine"})
	if !errors.Is(err, ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	fake := newFake(t, "")
	fake.script = func(string, int, int) string { return "" }
	silent := newClient(t, Options{Socket: fake.path, Timeout: 100 * time.Millisecond})
	_, err = silent.Record(context.Background(), Event{Type: "x", ID: "mine"})
	var failed *Error
	if !errors.As(err, &failed) || failed.Kind != "unconfirmed" || failed.ID != "mine" || !failed.MaybeRecorded {
		t.Fatal(err)
	}
	busy := newFake(t, "")
	busy.script = func(string, int, int) string {
		return `{"error":{"kind":"busy","message":"later","retry_after_ms":10}}` + "\n"
	}
	client := newClient(t, Options{Socket: busy.path, Timeout: 100 * time.Millisecond})
	_, err = client.Record(context.Background(), Event{Type: "x"})
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "busy: later") {
		t.Fatal(err)
	}
}

func TestAContextThatEndsEndsTheWaitAndNothingElse(t *testing.T) {
	fake := newFake(t, "")
	client := newClient(t, Options{Socket: fake.path})
	ctx, cancel := context.WithCancel(context.Background())
	waiting, err := client.Submit(ctx, Event{Type: "x"})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := waiting.Wait(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := client.Record(context.Background(), Event{Type: "y"}); err != nil {
		t.Fatal(err)
	}
}

func TestACollectorThatFallsSilentIsLeftAndAskedAnew(t *testing.T) {
	fake := newFake(t, "")
	fake.script = func(_ string, _, connection int) string {
		if connection == 1 {
			return ""
		}
		return usual
	}
	client := newClient(t, Options{Socket: fake.path, AnswerTimeout: 60 * time.Millisecond})
	allRecorded(t, client.RecordAll(context.Background(), events(3)), "silent")
}

func TestAnOlderCollectorGetsNoIDsAndNothingTwice(t *testing.T) {
	fake := newFake(t, "")
	fake.hello = `{"error":{"kind":"invalid","message":"old"}}` + "\n"
	cut := true
	fake.script = func(line string, _, _ int) string {
		if strings.Contains(line, `"id"`) {
			t.Error(line)
		}
		if strings.Contains(line, `"target":"1"`) && cut {
			cut = false
			return hang
		}
		return `{"ok":{"seq":5}}` + "\n"
	}
	client := newClient(t, Options{Socket: fake.path, Window: 1})
	results := client.RecordAll(context.Background(), events(3))
	if results[0].Err != nil || !errors.Is(results[1].Err, ErrUnconfirmed) || results[2].Err != nil {
		t.Fatal(results)
	}
}

func TestNoMoreEventsWaitThanMayAndCloseTellsThem(t *testing.T) {
	fake := newFake(t, "")
	fake.script = func(string, int, int) string { return "" }
	client := newClient(t, Options{Socket: fake.path, MaxPending: 2})
	var waiting []*Waiting
	for at := 0; at < 2; at++ {
		one, err := client.Submit(context.Background(), Event{Type: "x"})
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, one)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Millisecond)
	defer cancel()
	if _, err := client.Submit(ctx, Event{Type: "x"}); !errors.Is(err, ErrUnreachable) {
		t.Fatal(err)
	}
	_ = client.Close(ctx)
	for _, one := range waiting {
		if _, err := one.Wait(context.Background()); !errors.Is(err, ErrUnconfirmed) {
			t.Fatal(err)
		}
	}
	if _, err := client.Record(context.Background(), Event{Type: "x"}); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}

func TestACollectorThatComesLaterTakesWhatWaitsInOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "late.sock")
	client := newClient(t, Options{Socket: path})
	done := make(chan []Result)
	go func() { done <- client.RecordAll(context.Background(), events(50)) }()
	time.Sleep(50 * time.Millisecond)
	fake := newFake(t, path)
	allRecorded(t, <-done, "late")
	sameStrings(t, fake.targets(), targetsOf(events(50)), "order")
}

func TestAConnectionOnWhichALineWasTornCarriesNothingMore(t *testing.T) {
	fake := newFake(t, "")
	// It answers all the time, and reads too slowly for the batch to be written in time.
	fake.script = func(_ string, _, connection int) string {
		if connection == 1 {
			time.Sleep(5 * time.Millisecond)
		}
		return usual
	}
	client := newClient(t, Options{Socket: fake.path, AnswerTimeout: 150 * time.Millisecond, WindowBytes: 2 << 20})
	made := events(200)
	for at := range made {
		made[at].Details = map[string]string{"text": strings.Repeat("x", 20_000)}
	}
	results := client.RecordAll(context.Background(), made)
	log := fake.targets()
	for at, result := range results {
		if result.Err != nil || int(result.Receipt.Seq) >= len(log) || log[result.Receipt.Seq] != made[at].Target {
			t.Fatalf("event %d: %+v", at, result)
		}
	}
	if client.Status().Retries == 0 {
		t.Fatal("no line was torn")
	}
	sameStrings(t, log, targetsOf(made), "log")
}

func TestCloseEndsAWriteThatNobodyReads(t *testing.T) {
	fake := newFake(t, "")
	held := make(chan bool)
	fake.script = func(string, int, int) string {
		<-held
		return hang
	}
	client := newClient(t, Options{Socket: fake.path, AnswerTimeout: time.Minute, Timeout: time.Minute})
	// More than a socket holds.
	for at := 0; at < 4; at++ {
		if _, err := client.Submit(context.Background(), Event{Type: "x", Details: map[string]string{"text": strings.Repeat("x", 900_000)}}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	closed := make(chan bool)
	go func() {
		_ = client.Close(ctx)
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Error("it waits for the write")
	}
	close(held)
}

func TestARefusalAfterATryThatNobodyAnsweredIsUnconfirmed(t *testing.T) {
	fake := newFake(t, "")
	fake.script = func(line string, nth, _ int) string {
		if nth == 1 {
			fake.record(line)
			return hang
		}
		return `{"error":{"kind":"forbidden","message":"not you"}}` + "\n"
	}
	client := newClient(t, Options{Socket: fake.path})
	_, err := client.Record(context.Background(), Event{Type: "x", ID: "mine"})
	var failed *Error
	if !errors.As(err, &failed) || failed.Kind != "unconfirmed" || !failed.MaybeRecorded || failed.ID != "mine" || !strings.Contains(failed.Message, "forbidden: not you") {
		t.Fatal(err)
	}
	// Of an event that was not sent before, it is what it says.
	if _, err := client.Record(context.Background(), Event{Type: "x"}); !errors.Is(err, ErrForbidden) {
		t.Fatal(err)
	}
}

func TestWhoeverSaysTomorrowIsAskedAgainInAMinute(t *testing.T) {
	now := time.Now()
	for _, kind := range []string{"rate_limited", "busy"} {
		box := newOutbox(1, 1, time.Second)
		box.transport = newHTTPTransport(&httpCaller{}, box)
		box.hold(&answer{kind: kind, hasRetry: true, retryAfter: 24 * time.Hour})
		if wait := box.pacer.notBefore.Sub(now); wait < 50*time.Second || wait > 70*time.Second {
			t.Fatal(kind, wait)
		}
	}
	box := newOutbox(1, 1, time.Second)
	box.unreachable(&Error{Kind: "busy", RetryAfter: 24 * time.Hour})
	if wait := box.connectAt.Sub(now); wait > 70*time.Second {
		t.Fatal(wait)
	}
}

func TestWhatWaitsIsBoundedInBytes(t *testing.T) {
	fake := newFake(t, "")
	held := make(chan bool)
	fake.script = func(string, int, int) string {
		<-held
		return usual
	}
	client := newClient(t, Options{Socket: fake.path, MaxPendingBytes: 1000})
	large := Event{Type: "x", Details: map[string]string{"text": strings.Repeat("x", 800)}}
	first, err := client.Submit(context.Background(), large)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if _, err := client.Submit(ctx, large); !errors.Is(err, ErrUnreachable) {
		t.Fatal(err)
	}
	waits := make(chan error)
	go func() {
		_, err := client.Record(context.Background(), large)
		waits <- err
	}()
	close(held)
	if _, err := first.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := <-waits; err != nil {
		t.Fatal(err)
	}
	// One that is larger than all that may wait goes by itself.
	if _, err := client.Record(context.Background(), Event{Type: "x", Details: map[string]string{"text": strings.Repeat("x", 2000)}}); err != nil {
		t.Fatal(err)
	}
}
