package auditctl

import (
	"math"
	"math/rand"
	"os"
	"sync"
	"time"
)

const (
	mostSaved = 64
	freeBelow = 50 * time.Microsecond
	leastHold = 5 * time.Millisecond
	// mostHold: whoever says "tomorrow" is asked again all the same. It may have been a proxy's page.
	mostHold = time.Minute
)

// random: before Go 1.20 the package's own numbers are the same in every process.
var random = rand.New(&locked{source: rand.NewSource(time.Now().UnixNano() ^ int64(os.Getpid())<<32)})

type locked struct {
	mu     sync.Mutex
	source rand.Source
}

func (l *locked) Int63() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.source.Int63()
}

func (l *locked) Seed(seed int64) {}

// pacer heeds retry_after. After a refusal for the rate it sends no faster than the collector said
// it may, and then a little faster with each event that is taken, until nothing is refused any more.
// Without it a window of a thousand events would be refused a thousand times for each that is taken.
type pacer struct {
	notBefore time.Time
	// interval is the time for each event; 0: as fast as it goes.
	interval time.Duration
	saved    float64
	savedAt  time.Time
}

// allowance says how many events may go now.
func (p *pacer) allowance(now time.Time) int {
	if now.Before(p.notBefore) {
		return 0
	}
	if p.interval == 0 {
		return math.MaxInt
	}
	p.saved = math.Min(mostSaved, p.saved+float64(now.Sub(p.savedAt))/float64(p.interval))
	p.savedAt = now
	return int(p.saved)
}

// wait says when that will be at least one.
func (p *pacer) wait(now time.Time) time.Duration {
	hold := p.notBefore.Sub(now)
	if p.interval == 0 {
		return hold
	}
	// A few at a time: a timer for each costs more than it gives.
	wanted := math.Min(8, math.Max(1, float64(20*time.Millisecond)/float64(p.interval)))
	refill := time.Duration((wanted - p.saved) * float64(p.interval))
	if refill > hold {
		return refill
	}
	return hold
}

func (p *pacer) took(events int) {
	if p.interval > 0 {
		p.saved -= float64(events)
	}
}

func (p *pacer) accepted() {
	p.interval = p.interval * 99 / 100
	if p.interval < freeBelow {
		p.interval = 0
	}
}

// limited: a refusal for the rate; after wait so many events may come.
func (p *pacer) limited(now time.Time, wait time.Duration, events int) {
	wait = capped(wait)
	// One window's refusals come together, and are one reason to slow down.
	slower := p.interval
	if !now.Before(p.notBefore) {
		slower = slower * 105 / 100
	}
	p.interval = longest(wait/time.Duration(events), capped(slower), freeBelow)
	p.hold(now, longest(wait, leastHold))
	p.saved, p.savedAt = 0, now
}

// hold: nothing goes before that time is over.
func (p *pacer) hold(now time.Time, wait time.Duration) {
	if until := now.Add(wait); until.After(p.notBefore) {
		p.notBefore = until
	}
}

func capped(wait time.Duration) time.Duration {
	if wait > mostHold {
		return mostHold
	}
	return wait
}

func longest(times ...time.Duration) time.Duration {
	var result time.Duration
	for _, one := range times {
		if one > result {
			result = one
		}
	}
	return result
}

// backoff is by chance up to 50 ms, doubled with each failure, and up to most.
func backoff(failures int, most time.Duration) time.Duration {
	if failures > 16 {
		failures = 16
	}
	full := 50 * time.Millisecond << failures
	if full > most {
		full = most
	}
	return time.Duration(random.Int63n(int64(full) + 1))
}
