package auditctl

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Error says why an event was not recorded, or a query not answered.
//
// Use errors.As to get at it, or errors.Is with one of the values below:
//
//	if errors.Is(err, auditctl.ErrConflict) { … }
type Error struct {
	// Kind is a stable name: the collector's own word (invalid, too_large, conflict,
	// rate_limited, busy, disk_full, forbidden, unauthorized, …) or the client's (timeout,
	// cancelled, lost, unreachable, foreign, protocol, unsupported, usage, overflow,
	// spool_full, spool, client_closed).
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
	// Err is what caused it, such as context.DeadlineExceeded.
	Err error
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("auditctl: %s: %s", e.Kind, e.Message) }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is an *Error of the same kind and says no more than that.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Message == "" && other.Kind == e.Kind
}

// Errors to compare with, by errors.Is.
var (
	ErrInvalid      = &Error{Kind: "invalid"}
	ErrTooLarge     = &Error{Kind: "too_large"}
	ErrConflict     = &Error{Kind: "conflict"}
	ErrRateLimited  = &Error{Kind: "rate_limited"}
	ErrForbidden    = &Error{Kind: "forbidden"}
	ErrUnauthorized = &Error{Kind: "unauthorized"}
	ErrTimeout      = &Error{Kind: "timeout"}
	ErrCancelled    = &Error{Kind: "cancelled"}
	ErrLost         = &Error{Kind: "lost"}
	ErrUnreachable  = &Error{Kind: "unreachable"}
	ErrUnsupported  = &Error{Kind: "unsupported"}
	ErrOverflow     = &Error{Kind: "overflow"}
	ErrSpoolFull    = &Error{Kind: "spool_full"}
	ErrClosed       = &Error{Kind: "client_closed"}
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
	// The sender is at fault, whatever it sends.
	denied
)

func verdictOf(kind string) verdict {
	switch kind {
	case "rate_limited", "busy", "disk_full", "unavailable", "closed", "failed", "timeout",
		"too_many_connections", "too_many_refusals", "internal", "lost", "unreachable", "protocol":
		return again
	case "malformed", "too_large", "invalid", "conflict", "usage":
		return refused
	default:
		return denied
	}
}

// printable: what a collector says may end in somebody's terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
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
