package shell

import (
	"context"
	"errors"
	"fmt"
)

// Exit codes of the commands, for scripts.
const (
	ExitFailed      = 1   // the service refused, or what was asked for failed
	ExitUsage       = 2   // the command line or the configuration is wrong
	ExitUnreachable = 3   // the broker or the service does not answer
	ExitTimeout     = 4   // the time given with --timeout is over; what was asked for goes on
	ExitInterrupted = 130 // Ctrl-C; what was asked for goes on
)

// Error is an error with the exit code that it ends the process with.
type Error struct {
	Code int
	Err  error
}

// Error returns what went wrong, in one sentence.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the error itself.
func (e *Error) Unwrap() error { return e.Err }

func failed(code int, format string, args ...any) error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}

// errSubscription says that the broker does not let this user read a topic.
var errSubscription = errors.New("the broker's access list denies the subscription")

// ended returns the error of a wait whose context is over. what says what goes on nevertheless; it is empty
// where nothing does.
func ended(ctx context.Context, what string) error {
	code := ExitInterrupted
	why := "interrupted"
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		code = ExitTimeout
		why = "the time is over (--timeout)"
	}
	if what == "" {
		return failed(code, "%s", why)
	}
	return failed(code, "%s; %s", why, what)
}
