package auditctl

import (
	"time"
)

// Receipt says that an event is durable in the log.
type Receipt struct {
	// Seq is its record's place in the log.
	Seq uint64
	// ID is its id: the caller's own, or one that the client made.
	ID string
	// Duplicate: it was there already, sent before under the same ID.
	Duplicate bool
}

// answer is what the collector said about one event, or what kept it from saying anything.
type answer struct {
	// kind is empty when the event is recorded.
	kind      string
	seq       uint64
	duplicate bool
	message   string
	// retryAfter: after that time so many events may come; hasRetry: the collector said so.
	retryAfter time.Duration
	hasRetry   bool
	events     int
	// unsure: the event may be recorded.
	unsure bool
}

// pending is an event on its way, whose caller waits. The outbox's mutex guards what changes.
type pending struct {
	event *encoded
	size  int
	// order is its place among all: what comes back for another try goes before what came later.
	order uint64
	// needsIDs: it may have been sent before, by a process that is no more.
	needsIDs bool
	deadline time.Time
	done     chan struct{}

	settled    bool
	inFlight   bool
	unsure     bool
	sentWithID bool
	trouble    *Error
	receipt    Receipt
	err        *Error
}

func (p *pending) fail(kind, message string, cause error) *Error {
	err := &Error{Kind: kind, Message: message, ID: p.event.id, Err: cause, MaybeRecorded: p.unsure || p.inFlight}
	if p.trouble != nil {
		err.RetryAfter = p.trouble.RetryAfter
	}
	return err
}

// ended says what a final refusal means for the event. One for the sender's sake says nothing of an
// earlier try that nobody answered.
func (p *pending) ended(kind, message string, cause *Error) *Error {
	if p.unsure && verdictOf(kind, false) == denied && kind != "protocol" {
		if cause == nil {
			cause = &Error{Kind: kind, Message: message, ID: p.event.id}
		}
		why := "an earlier try was not answered, so it is not known whether the event was recorded; the last said " + kind + ": " + message
		return p.fail("unconfirmed", why, cause)
	}
	if cause == nil {
		return p.fail(kind, message, nil)
	}
	return p.fail(kind, message, cause)
}

// expired says what is known when its time is over.
func (p *pending) expired(after string) *Error {
	why, kind := "the collector did not answer", ""
	var cause error
	if p.trouble != nil {
		why, kind, cause = p.trouble.Message, p.trouble.Kind, p.trouble
	}
	if p.unsure || p.inFlight {
		return p.fail("unconfirmed", after+", and it is not known whether the event was recorded: "+why, cause)
	}
	if kind != "" && kind != "unreachable" {
		why = kind + ": " + why
	}
	return p.fail("unreachable", after+", and the event was not recorded: "+why, cause)
}
