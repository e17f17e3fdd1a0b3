// Command server is an HTTP service that leaves a record of each request: who, what, how it ended.
//
//	AUDIT_SOCKET=/var/lib/auditctl/logs/audit.sock go run ./examples/server
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	auditctl "auditctl.example/go"
)

// audited records each request once it is answered. An answer that must not go out without its record
// is what auditctl.Audited is for.
func audited(client *auditctl.Client, actor func(*http.Request) string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(out http.ResponseWriter, request *http.Request) {
		status := &statusWriter{ResponseWriter: out, status: http.StatusOK}
		next.ServeHTTP(status, request)
		event := auditctl.Event{
			Type:  "http.request",
			Actor: actor(request),
			// What a stranger sends must not be too long to be recorded.
			Target:  fmt.Sprintf("%.200s", request.Method+" "+request.URL.Path),
			Outcome: "success",
			Details: map[string]any{"status": status.status, "peer": request.RemoteAddr},
		}
		if status.status >= 400 {
			event.Outcome = "failure"
		}
		// The request's own context ends with it.
		if _, err := client.Record(context.Background(), event); err != nil {
			log.Printf("not recorded: %v: %+v", err, event)
		}
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func transfer(ctx context.Context, client *auditctl.Client, user string, amount int) (string, error) {
	event := auditctl.Event{Type: "transfer", Actor: user, Target: "acct-7", Details: map[string]int{"amount": amount}}
	return auditctl.Audited(ctx, client, event, func(context.Context) (string, error) {
		if amount <= 0 {
			return "", errors.New("an amount must be above zero")
		}
		return fmt.Sprintf("%d to acct-8", amount), nil
	})
}

func main() {
	socket := os.Getenv("AUDIT_SOCKET")
	if socket == "" {
		socket = "logs/audit.sock"
	}
	client, err := auditctl.New(auditctl.Options{
		Socket: socket, Source: "example-server", Timeout: 5 * time.Second,
		Redact: []string{"password", "*_token", "authorization"},
	})
	if err != nil {
		log.Fatal(err)
	}
	user := func(request *http.Request) string { return request.Header.Get("X-User") }
	handler := http.HandlerFunc(func(out http.ResponseWriter, request *http.Request) {
		amount, _ := strconv.Atoi(request.URL.Query().Get("amount"))
		done, err := transfer(request.Context(), client, user(request), amount)
		var failed *auditctl.AuditFailed
		switch {
		case errors.As(err, &failed):
			http.Error(out, "there is no audit trail at the moment", http.StatusServiceUnavailable)
		case err != nil:
			http.Error(out, err.Error(), http.StatusBadRequest)
		default:
			fmt.Fprintln(out, done)
		}
	})
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: audited(client, user, handler), ReadHeaderTimeout: 10 * time.Second}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	go func() {
		<-stop.Done()
		_ = server.Shutdown(context.Background())
	}()
	fmt.Println("port", listener.Addr().(*net.TCPAddr).Port)
	if err := server.Serve(listener); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	_ = client.Close(context.Background())
}
