package auditctl

import (
	"context"
	"sync"
	"time"
)

// transport is a way to the collector. It gives each event back to the outbox with exactly one answer.
type transport interface {
	where() string
	up() bool
	knowsIDs() bool
	// room is how many events, and bytes of them, it takes at the moment.
	room() (events, bytes int)
	connect(ctx context.Context) *Error
	send(batch []*pending)
	close()
}

// outbox stands between callers and the transport: in order, retried, paced.
type outbox struct {
	transport  transport
	maxBackoff time.Duration
	// slots bounds how many events wait, maxBytes what they hold together.
	slots    chan struct{}
	maxBytes int
	wake     chan struct{}
	stop     context.CancelFunc
	ended    chan struct{}

	mu sync.Mutex
	// again came back for another try, by order; fresh was never sent.
	again, fresh []*pending
	waiting      map[*pending]struct{}
	bytes        int
	// freed is closed when there is room again, for those who wait for some.
	freed       chan struct{}
	idle        chan struct{}
	pacer       pacer
	failures    int
	connectAt   time.Time
	nextOrder   uint64
	closed      bool
	retries     uint64
	lastTrouble *Error
}

func newOutbox(maxPending, maxBytes int, maxBackoff time.Duration) *outbox {
	return &outbox{
		maxBytes:   maxBytes,
		maxBackoff: maxBackoff,
		slots:      make(chan struct{}, maxPending),
		wake:       make(chan struct{}, 1),
		ended:      make(chan struct{}),
		waiting:    map[*pending]struct{}{},
	}
}

func (o *outbox) start(transport transport) {
	o.transport = transport
	ctx, stop := context.WithCancel(context.Background())
	o.stop = stop
	go o.run(ctx)
}

// signal wakes the goroutine that sends: there is something to do, or room to do it.
func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// push takes an event, once there is room for it.
func (o *outbox) push(ctx context.Context, event *encoded, deadline time.Time, needsIDs bool) (*pending, error) {
	p := &pending{event: event, size: event.size(), deadline: deadline, needsIDs: needsIDs, done: make(chan struct{})}
	select {
	case o.slots <- struct{}{}:
	default:
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		select {
		case o.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, o.gaveUp(p, ctx.Err())
		case <-timer.C:
			return nil, o.gaveUp(p, context.DeadlineExceeded)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.waitForBytes(ctx, p); err != nil {
		<-o.slots
		return nil, err
	}
	if o.closed {
		<-o.slots
		return nil, &Error{Kind: "closed", Message: "the client was closed", ID: event.id}
	}
	p.order = o.nextOrder
	o.nextOrder++
	o.waiting[p] = struct{}{}
	o.bytes += p.size
	o.fresh = append(o.fresh, p)
	o.signal()
	return p, nil
}

// waitForBytes waits until an event fits, or is the only one. It is called, and returns, under the mutex.
func (o *outbox) waitForBytes(ctx context.Context, p *pending) error {
	if o.fits(p) {
		return nil
	}
	timer := time.NewTimer(time.Until(p.deadline))
	defer timer.Stop()
	for !o.fits(p) {
		if o.freed == nil {
			o.freed = make(chan struct{})
		}
		freed := o.freed
		o.mu.Unlock()
		var err error
		select {
		case <-freed:
		case <-ctx.Done():
			err = o.gaveUp(p, ctx.Err())
		case <-timer.C:
			err = o.gaveUp(p, context.DeadlineExceeded)
		}
		o.mu.Lock()
		if err != nil {
			return err
		}
	}
	return nil
}

func (o *outbox) fits(p *pending) bool {
	return o.closed || len(o.waiting) == 0 || o.bytes+p.size <= o.maxBytes
}

func (o *outbox) free() {
	if o.freed != nil {
		close(o.freed)
		o.freed = nil
	}
}

// await waits until it is known what became of the event, or nobody wants to know any more.
func (o *outbox) await(ctx context.Context, p *pending) (Receipt, error) {
	select {
	case <-p.done:
	default:
		timer := time.NewTimer(time.Until(p.deadline))
		defer timer.Stop()
		select {
		case <-p.done:
		case <-ctx.Done():
			o.giveUp(p, ctx.Err())
		case <-timer.C:
			o.giveUp(p, context.DeadlineExceeded)
		}
	}
	// Whoever settled it closed done afterwards.
	if p.err != nil {
		return Receipt{ID: p.event.id}, p.err
	}
	return p.receipt, nil
}

func (o *outbox) gaveUp(p *pending, why error) *Error {
	if why == context.DeadlineExceeded {
		err := p.expired("the time is over")
		err.late = true
		return err
	}
	return p.fail("cancelled", "the caller gave up", why)
}

func (o *outbox) giveUp(p *pending, why error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !p.settled {
		o.settle(p, Receipt{}, o.gaveUp(p, why))
		// What nobody waits for any more is dropped.
		o.signal()
	}
}

func (o *outbox) settle(p *pending, receipt Receipt, err *Error) {
	if p.settled {
		return
	}
	p.settled, p.receipt, p.err = true, receipt, err
	close(p.done)
	<-o.slots
	delete(o.waiting, p)
	o.bytes -= p.size
	o.free()
	if len(o.waiting) == 0 && o.idle != nil {
		close(o.idle)
		o.idle = nil
	}
}

// flush waits until nobody waits any more.
func (o *outbox) flush(ctx context.Context) error {
	o.mu.Lock()
	if len(o.waiting) == 0 {
		o.mu.Unlock()
		return nil
	}
	if o.idle == nil {
		o.idle = make(chan struct{})
	}
	idle := o.idle
	o.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close takes no more events, waits for those under way until ctx is done, and ends.
func (o *outbox) close(ctx context.Context) {
	o.mu.Lock()
	first := !o.closed
	o.closed = true
	o.free()
	o.mu.Unlock()
	if first {
		_ = o.flush(ctx)
		o.mu.Lock()
		for p := range o.waiting {
			o.settle(p, Receipt{}, p.expired("the client was closed"))
		}
		o.mu.Unlock()
		o.stop()
		// It may be in the middle of a write.
		o.transport.close()
	}
	<-o.ended
}

// run sends until it is stopped.
func (o *outbox) run(ctx context.Context) {
	defer close(o.ended)
	defer o.transport.close()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		batch, wait, connect := o.next(time.Now())
		switch {
		case len(batch) > 0:
			o.transport.send(batch)
			continue
		case connect:
			if err := o.transport.connect(ctx); err != nil {
				o.unreachable(err)
			}
			continue
		}
		if !timer.Stop() {
			select {
			case <-timer.C:
			default:
			}
		}
		timer.Reset(wait)
		select {
		case <-o.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
}

// next says what to do now: send a batch, connect, or wait so long.
func (o *outbox) next(now time.Time) (batch []*pending, wait time.Duration, connect bool) {
	const forever = time.Hour
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.first(now) == nil {
		return nil, forever, false
	}
	if !o.transport.up() {
		if wait := o.connectAt.Sub(now); wait > 0 {
			return nil, wait, false
		}
		return nil, 0, true
	}
	events, bytes := o.transport.room()
	if events < 1 || bytes < 1 {
		return nil, forever, false
	}
	if allowed := o.pacer.allowance(now); allowed < events {
		events = allowed
	}
	if events < 1 {
		return nil, o.pacer.wait(now), false
	}
	ids := o.transport.knowsIDs()
	for len(batch) < events {
		p := o.first(now)
		// At least one, however large.
		if p == nil || (len(batch) > 0 && p.size > bytes) {
			break
		}
		o.drop()
		if p.needsIDs && !ids {
			why := "the collector at " + o.transport.where() + " knows no ids, so nothing is drained: update it"
			o.settle(p, Receipt{}, p.fail("no_ids", why, nil))
			continue
		}
		bytes -= p.size
		p.inFlight, p.sentWithID = true, ids
		batch = append(batch, p)
	}
	o.pacer.took(len(batch))
	return batch, 0, false
}

// first is the event whose turn it is.
func (o *outbox) first(now time.Time) *pending {
	for {
		var p *pending
		switch {
		case len(o.again) > 0:
			p = o.again[0]
		case len(o.fresh) > 0:
			p = o.fresh[0]
		default:
			return nil
		}
		if !p.settled && now.After(p.deadline) {
			o.settle(p, Receipt{}, o.gaveUp(p, context.DeadlineExceeded))
		}
		if !p.settled {
			return p
		}
		o.drop()
	}
}

func (o *outbox) drop() {
	if len(o.again) > 0 {
		o.again[0] = nil
		o.again = o.again[1:]
		return
	}
	o.fresh[0] = nil
	o.fresh = o.fresh[1:]
}

func (o *outbox) unreachable(err *Error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lastTrouble = err
	wait := longest(capped(err.RetryAfter), backoff(o.failures, o.maxBackoff))
	o.failures++
	o.connectAt = time.Now().Add(wait)
	for _, queue := range [][]*pending{o.again, o.fresh} {
		for _, p := range queue {
			p.trouble = err
			// Those who come later try anew: by then it may be another one who answers.
			if verdictOf(err.Kind, err.RetryAfter > 0) != again {
				o.settle(p, Receipt{}, p.ended(err.Kind, err.Message, err))
			}
		}
	}
}

// answered takes what was said about events, in the order in which they were sent.
func (o *outbox) answered(batch []*pending, answers []answer) {
	o.mu.Lock()
	for at, p := range batch {
		o.answer(p, &answers[at])
	}
	o.mu.Unlock()
	o.signal()
}

func (o *outbox) answer(p *pending, a *answer) {
	p.inFlight = false
	if a.kind == "" {
		o.failures = 0
		o.pacer.accepted()
		o.settle(p, Receipt{Seq: a.seq, ID: p.event.id, Duplicate: a.duplicate}, nil)
		return
	}
	unsure := a.unsure || a.kind == "unavailable"
	p.unsure = p.unsure || unsure
	p.trouble = &Error{Kind: a.kind, Message: a.message, RetryAfter: a.retryAfter, ID: p.event.id}
	verdict := verdictOf(a.kind, a.hasRetry)
	if verdict != refused {
		o.lastTrouble = p.trouble
		o.hold(a)
	}
	switch {
	case verdict != again:
		o.settle(p, Receipt{}, p.ended(a.kind, a.message, nil))
	case unsure && !p.sentWithID:
		why := a.message + "; it may have been recorded, and is not sent again, as the collector knows no ids"
		o.settle(p, Receipt{}, p.fail("unconfirmed", why, p.trouble))
	case !p.settled:
		o.retry(p)
	}
}

func (o *outbox) hold(a *answer) {
	now := time.Now()
	if a.kind == "rate_limited" && a.hasRetry {
		events := a.events
		if events < 1 {
			events = 1
		}
		o.pacer.limited(now, a.retryAfter, events)
		return
	}
	if !o.transport.up() {
		// The next thing is another connection.
		if !now.Before(o.connectAt) {
			o.connectAt = now.Add(backoff(o.failures, o.maxBackoff))
			o.failures++
		}
		return
	}
	// What a window is refused with comes all at once, and counts once.
	isNew := !now.Before(o.pacer.notBefore)
	switch {
	case a.hasRetry:
		wait := capped(a.retryAfter)
		o.pacer.hold(now, wait+time.Duration(random.Int63n(int64(wait)/20+1)))
	case isNew:
		o.pacer.hold(now, backoff(o.failures, o.maxBackoff))
	}
	if isNew {
		o.failures++
	}
}

func (o *outbox) retry(p *pending) {
	o.retries++
	// Nearly always the last: it comes back in the order in which it went.
	at := len(o.again)
	for at > 0 && o.again[at-1].order > p.order {
		at--
	}
	o.again = append(o.again, nil)
	copy(o.again[at+1:], o.again[at:])
	o.again[at] = p
}
