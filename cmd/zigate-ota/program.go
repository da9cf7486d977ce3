package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/commandline"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/config"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/shell"
)

// version and commit are stamped by the linker: -X main.version=1.2.0 -X main.commit=abc123.
var (
	version = "dev"
	commit  = ""
)

// program has what the commands need of the process.
type program struct {
	environ []string
	stdout  io.Writer
	stderr  io.Writer
}

// commands returns the functions for the commands of the command line's grammar.
func (p *program) commands() commandline.Program {
	return commandline.Program{
		Stdout:       p.stdout,
		Stderr:       p.stderr,
		Serve:        p.serve,
		Demo:         p.demo,
		Inspect:      p.inspect,
		Simulate:     p.simulate,
		Healthcheck:  p.healthcheck,
		PrintConfig:  p.printConfig,
		PrintVersion: p.printVersion,
		Shell: shell.Call{
			Environ: p.environ,
			Stdout:  p.stdout,
			Stderr:  p.stderr,
			Configure: func(broker, topic string) (shell.Broker, error) {
				return shellBroker(p.environ, broker, topic)
			},
		},
	}
}

// config reads the configuration. The error lists all mistakes, one a line.
func (p *program) config() (config.Config, error) { return loadConfig(p.environ) }

// loadConfig reads the configuration from an environment.
func loadConfig(environ []string) (config.Config, error) {
	cfg, err := config.Load(environ)
	if err != nil {
		return config.Config{}, usageError("the configuration has mistakes:\n%v", err)
	}
	return cfg, nil
}

// usageError says that the command line or the configuration is wrong.
func usageError(format string, args ...any) error {
	return &commandline.UsageError{Err: fmt.Errorf(format, args...)}
}

func (p *program) printConfig(_ context.Context, example bool) error {
	if example {
		return config.WriteExample(p.stdout)
	}
	cfg, err := p.config()
	if err != nil {
		return err
	}
	return cfg.Print(p.stdout)
}

func (p *program) printVersion() error {
	_, err := fmt.Fprintf(p.stdout, "zigate-ota %s%s %s %s/%s\n",
		version, commitSuffix(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// commitSuffix returns the commit that the program was built from, in the form in which it follows the
// version. It returns an empty text where the commit is not known.
func commitSuffix() string {
	c := commit
	if c == "" {
		if info, ok := debug.ReadBuildInfo(); ok {
			for _, s := range info.Settings {
				if s.Key == "vcs.revision" {
					c = s.Value
				}
			}
		}
	}
	if c == "" {
		return ""
	}
	return " (" + c[:min(12, len(c))] + ")"
}
