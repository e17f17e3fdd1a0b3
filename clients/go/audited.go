package auditctl

import (
	"context"
	"encoding/json"
	"fmt"
)

// AuditFailed says that a call ended, and that its event was not recorded.
type AuditFailed struct {
	// Call is how the call itself ended: nil if it succeeded.
	Call error
	// Audit is why its event was not recorded.
	Audit error
}

// Error implements error.
func (e *AuditFailed) Error() string {
	if e.Call != nil {
		return fmt.Sprintf("%v; and its event was not recorded: %v", e.Call, e.Audit)
	}
	return fmt.Sprintf("the call succeeded, and its event was not recorded: %v", e.Audit)
}

// Unwrap gives the call's own error.
func (e *AuditFailed) Unwrap() error { return e.Call }

// Is finds the reason why the event was not recorded, too.
func (e *AuditFailed) Is(target error) bool {
	audit, ok := e.Audit.(*Error)
	return ok && audit.Is(target)
}

// Audited makes a call and records it, with how it ended: Outcome is "success" or "failure", and
// details.error says why. It returns once that is durable. If the event cannot be recorded the error is
// an *AuditFailed, and the call's result is returned all the same.
//
// The record does not depend on ctx: that the caller went away during the call is no reason to leave
// no trail of it. The wait for it ends after Options.Timeout.
//
// A panic is recorded as a failure, and goes on.
func Audited[T any](ctx context.Context, client *Client, event Event, call func(context.Context) (T, error)) (result T, err error) {
	// Whoever makes the call, and can end its context, must not keep it out of the trail so. The client's
	// own Timeout bounds the wait.
	record := func() error {
		_, err := client.Record(context.Background(), event)
		return err
	}
	ended := false
	defer func() {
		if ended {
			return
		}
		event.Outcome = "failure"
		event.Details = withError(event.Details, "the call panicked")
		_ = record() // The panic goes on by itself.
	}()
	result, err = call(ctx)
	ended = true
	event.Outcome = "success"
	if err != nil {
		event.Outcome = "failure"
		event.Details = withError(event.Details, err.Error())
	}
	if failed := record(); failed != nil {
		return result, &AuditFailed{Call: err, Audit: failed}
	}
	return result, err
}

// withError adds details.error to what encodes as an object.
func withError(details any, message string) any {
	if len(message) > 1000 {
		message = message[:1000]
	}
	object := map[string]json.RawMessage{}
	if details != nil {
		text, err := json.Marshal(details)
		if err != nil || json.Unmarshal(text, &object) != nil {
			return details // Record says what is wrong with it.
		}
	}
	object["error"] = quote(message)
	return object
}
