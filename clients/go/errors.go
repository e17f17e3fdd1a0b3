package auditctl

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Error says why an event was not recorded, or a query not answered.
//
// Use errors.As to get at it, or errors.Is with one of the values below:
//
//	if errors.Is(err, auditctl.ErrConflict) { … }
type Error struct {
	// Kind is a stable name: the collector's own word (invalid, too_large, conflict, forbidden,
	// unauthorized, …) or the client's (unreachable, unconfirmed, cancelled, foreign_collector, tls,
	// protocol, usage, spool_full, spool, closed).
	Kind string
	// Message says what happened, and where there is something to do, what.
	Message string
	// RetryAfter is when the collector said that another try makes sense; 0: it did not.
	RetryAfter time.Duration
	// MaybeRecorded: the event may be in the log all the same. Sending it again under the same
	// ID is safe.
	MaybeRecorded bool
	// ID is the event's id, with which it can be sent again.
	ID string
	// Err is what caused it, such as what the last try said.
	Err error
	// late: a deadline was over.
	late bool
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("auditctl: %s: %s", e.Kind, e.Message) }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is one of the values below of the same kind, or
// context.DeadlineExceeded and the time was over.
func (e *Error) Is(target error) bool {
	if target == context.DeadlineExceeded {
		return e.late
	}
	other, ok := target.(*Error)
	return ok && other.Message == "" && other.Kind == e.Kind
}

// Errors to compare with, by errors.Is.
var (
	// ErrUnreachable: certainly not recorded by this call: never sent, or refused each time.
	ErrUnreachable = &Error{Kind: "unreachable"}
	// ErrUnconfirmed: it was sent, and nobody said what became of it. The same ID again is safe.
	ErrUnconfirmed = &Error{Kind: "unconfirmed"}
	// ErrInvalid: the collector takes no such event.
	ErrInvalid = &Error{Kind: "invalid"}
	// ErrTooLarge: the event has more bytes than it may have.
	ErrTooLarge = &Error{Kind: "too_large"}
	// ErrConflict: the ID was used for other content.
	ErrConflict = &Error{Kind: "conflict"}
	// ErrForbidden: this user or token may not do that.
	ErrForbidden = &Error{Kind: "forbidden"}
	// ErrUnauthorized: the token is not valid.
	ErrUnauthorized = &Error{Kind: "unauthorized"}
	// ErrForeign: the program that listens at the socket belongs to a user who is not trusted.
	ErrForeign = &Error{Kind: "foreign_collector"}
	// ErrTLS: the server's certificate or name is not accepted.
	ErrTLS = &Error{Kind: "tls"}
	// ErrProtocol: what answers does not speak the protocol.
	ErrProtocol = &Error{Kind: "protocol"}
	// ErrUsage: an option, or a value of the event, makes no sense.
	ErrUsage = &Error{Kind: "usage"}
	// ErrSpoolFull: the spool has no room left.
	ErrSpoolFull = &Error{Kind: "spool_full"}
	// ErrNoIDs: the collector is too old for a spool; what is in it stays.
	ErrNoIDs = &Error{Kind: "no_ids"}
	// ErrClosed: the client was closed.
	ErrClosed = &Error{Kind: "closed"}
)

func failure(kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// verdict is what an answer means for the event that it is about.
type verdict int

const (
	// It was not recorded, or that is not known; another try can succeed.
	again verdict = iota
	// The event itself is at fault; no other try can succeed.
	refused
	// The sender, or what answers, is at fault, whatever is sent.
	denied
)

// verdictOf: a kind that nobody knows is final, unless it says when to come again.
func verdictOf(kind string, saysWhen bool) verdict {
	switch kind {
	case "rate_limited", "busy", "disk_full", "unavailable", "closed", "failed", "timeout",
		"too_many_connections", "too_many_refusals", "lost", "unreachable":
		return again
	case "malformed", "too_large", "invalid", "conflict":
		return refused
	case "forbidden", "unauthorized", "foreign_collector", "tls", "protocol", "internal", "unknown_request", "no_ids":
		return denied
	}
	if saysWhen {
		return again
	}
	return denied
}

// printable: what a collector says may end in somebody's terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if breaksLine(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\ufffd"))
}

func cut(text string, bytes int) string {
	if len(text) > bytes {
		return text[:bytes]
	}
	return text
}
