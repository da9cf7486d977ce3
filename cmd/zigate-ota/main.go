package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/commandline"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run carries the command line out and returns the exit code. It uses nothing of the process but its
// arguments.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	p := &program{environ: environ, stdout: stdout, stderr: stderr}
	return commandline.Run(ctx, p.commands(), args)
}
