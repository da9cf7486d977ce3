package commandline_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/commandline"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/shell"
)

// called is a program that does nothing but write down what it was called for.
type called struct {
	stdout bytes.Buffer
	stderr bytes.Buffer
	with   any
}

func (c *called) program() commandline.Program {
	note := func(v any) error {
		c.with = v
		return nil
	}
	return commandline.Program{
		Stdout:       &c.stdout,
		Stderr:       &c.stderr,
		Serve:        func(_ context.Context, s commandline.Serve) error { return note(s) },
		Demo:         func(_ context.Context, d commandline.Demo) error { return note(d) },
		Inspect:      func(_ context.Context, i commandline.Inspect) error { return note(i) },
		Simulate:     func(_ context.Context, s commandline.Simulation) error { return note(s) },
		Healthcheck:  func(context.Context) error { return note("healthcheck") },
		PrintConfig:  func(_ context.Context, example bool) error { return note(example) },
		PrintVersion: func() error { return note("version") },
		Shell: shell.Call{
			Stdout: &c.stdout,
			Stderr: &c.stderr,
			Configure: func(broker, topic string) (shell.Broker, error) {
				c.with = [2]string{broker, topic}
				return shell.Broker{}, errors.New("no broker")
			},
		},
	}
}

// Each command line calls the function of its command with what its words say.
func TestArguments(t *testing.T) {
	for _, tt := range []struct {
		line string // words separated by blanks
		want any
	}{
		{"", commandline.Serve{}},
		{"serve", commandline.Serve{}},
		{"--trace=a", commandline.Serve{Trace: "a"}},
		{"-trace a", commandline.Serve{Trace: "a"}},
		{"serve --trace a", commandline.Serve{Trace: "a"}},
		{"demo", commandline.Demo{Speed: 30}},
		{"demo --once --image x.ota --speed 1e3", commandline.Demo{Once: true, Image: "x.ota", Speed: 1000}},
		{"demo -once=false", commandline.Demo{Speed: 30}},
		{"inspect a --json b", commandline.Inspect{JSON: true, Names: []string{"a", "b"}}},
		{"inspect -json a", commandline.Inspect{JSON: true, Names: []string{"a"}}},
		{"inspect -- -json --json", commandline.Inspect{Names: []string{"-json", "--json"}}},
		{"config", false},
		{"config --example", true},
		{"healthcheck", "healthcheck"},
		{"version", "version"},
		{"--version", "version"},
		{"sim --tcp :1 --device {} --device {} --stacks ti,nxp --lose 0.5 --reset-every 5m --silent-resets", commandline.Simulation{
			TCP: ":1", Firmware: "3.23", Count: 4, Speed: 1, Seed: 1, Devices: []string{"{}", "{}"}, Stacks: []string{"ti", "nxp"},
			Faults: commandline.Faults{Lose: 0.5, ResetEvery: 5 * time.Minute, SilentResets: true},
			Given:  map[string]bool{"tcp": true, "device": true, "stacks": true, "lose": true, "reset-every": true, "silent-resets": true},
		}},
		{"sim --pty x --scenario y --firmware v2 --images d --trace f --devices 9 --speed 2 --seed 3 --corrupt .1 " +
			"--duplicate .2 --late .3 --refuse .4 --lose-air .5", commandline.Simulation{
			PTY: "x", Scenario: "y", Firmware: "v2", Images: "d", Trace: "f", Count: 9, Speed: 2, Seed: 3,
			Faults: commandline.Faults{Corrupt: .1, Duplicate: .2, Late: .3, Refuse: .4, LoseAir: .5}, Given: map[string]bool{
				"pty": true, "scenario": true, "firmware": true, "images": true, "trace": true, "devices": true,
				"speed": true, "seed": true, "corrupt": true, "duplicate": true, "late": true, "refuse": true,
				"lose-air": true,
			},
		}},
	} {
		var c called
		if code := commandline.Run(t.Context(), c.program(), strings.Fields(tt.line)); code != commandline.ExitOK {
			t.Errorf("%q: exit code %d: %s", tt.line, code, &c.stderr)
		}
		if diff := cmp.Diff(tt.want, c.with); diff != "" {
			t.Errorf("%q: called with (-want +got):\n%s", tt.line, diff)
		}
	}
}

// Every field of a simulation is set by some flag, so that none is forgotten here or there.
func TestSimulationHasFlags(t *testing.T) {
	var flags []string
	for _, c := range commandline.Commands() {
		for _, f := range c.Flags {
			if c.Name == "sim" {
				flags = append(flags, f.Name)
			}
		}
	}
	// Given is made of all, and Faults is a struct of its own.
	fields := reflect.TypeFor[commandline.Simulation]().NumField() - 2 +
		reflect.TypeFor[commandline.Faults]().NumField()
	if len(flags) != fields {
		t.Errorf("%d flags for %d fields: %q", len(flags), fields, flags)
	}
}

// The flags for the broker and the base topic reach what looks for the service, for every command that asks
// it.
func TestAskingCommandsSayWhere(t *testing.T) {
	for _, command := range commandline.Commands() {
		if !command.Asking {
			continue
		}
		args := []string{command.Name, "--broker", "tcp://x", "--topic", "y"}
		for range strings.Fields(strings.ReplaceAll(command.Arguments, " | all", "")) {
			args = append(args, "http://x")
		}
		var c called
		code := commandline.Run(t.Context(), c.program(), args)
		want := "zigate-ota " + command.Name + ": no broker\n"
		if code != commandline.ExitUsage || c.stderr.String() != want {
			t.Errorf("%q: exit code %d, %q, want %q", args, code, &c.stderr, want)
		}
		if c.with != [2]string{"tcp://x", "y"} {
			t.Errorf("%q: looked for it at %q", args, c.with)
		}
	}
}

// What is wrong is said in words, and where to read on; nothing is done.
func TestUsage(t *testing.T) {
	for line, want := range map[string]string{
		"demo --speed":              "--speed wants N; see zigate-ota help demo",
		"demo --speed 1e999":        `--speed "1e999": out of range; see zigate-ota help demo`,
		"demo --once=maybe":         `--once "maybe": neither true nor false; see zigate-ota help demo`,
		"demo -x":                   "there is no flag -x; see zigate-ota help demo",
		"sim --devices 1.5":         `--devices "1.5": not a whole number; see zigate-ota help sim`,
		"sim --seed -1":             `--seed "-1": not a whole number; see zigate-ota help sim`,
		"events --count many":       `--count "many": not a whole number; see zigate-ota help events`,
		"pause a --for 0":           `--for "0": must be more than 0; see zigate-ota help pause`,
		"inspect":                   "wants [--json] FILE|URL...; see zigate-ota help inspect",
		"add-image a":               "wants DEVICE URL|FILE; see zigate-ota help add-image",
		"completion":                "wants bash|zsh|fish; see zigate-ota help completion",
		"status --help=perhaps":     `--help "perhaps": neither true nor false; see zigate-ota help status`,
		"--version=false":           "there is no flag --version; see zigate-ota help serve",
		"healthcheck --broker x":    "there is no flag --broker; see zigate-ota help healthcheck",
		"devices --timeout forever": `--timeout "forever": not a duration such as 90s or 10m; see zigate-ota help devices`,
	} {
		var c called
		command, err := commandline.Execute(t.Context(), c.program(), strings.Fields(line))
		if commandline.ExitCode(err) != commandline.ExitUsage || err.Error() != want || c.with != nil {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
		if name, _, _ := strings.Cut(line, " "); !strings.HasPrefix(name, "-") && command != "zigate-ota "+name {
			t.Errorf("%q: told of %q", line, command)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code int
	}{
		{nil, 0},
		{errors.New("x"), 1},
		{&commandline.UsageError{Err: errors.New("x")}, 2},
		{fmt.Errorf("wrapped: %w", &commandline.UsageError{Err: errors.New("x")}), 2},
		{&shell.Error{Code: shell.ExitUnreachable, Err: errors.New("x")}, 3},
		{&shell.Error{Code: shell.ExitInterrupted, Err: errors.New("x")}, 130},
	} {
		c := called{}
		p := c.program()
		p.Healthcheck = func(context.Context) error { return tt.err }
		if code := commandline.Run(t.Context(), p, []string{"healthcheck"}); code != tt.code {
			t.Errorf("%v: exit code %d, want %d", tt.err, code, tt.code)
		}
		if want := "zigate-ota healthcheck: "; tt.err != nil && !strings.HasPrefix(c.stderr.String(), want) {
			t.Errorf("%v: stderr %q", tt.err, &c.stderr)
		}
	}
}

// The help of every command fits a terminal, and says what the command is, how it is called, and all its
// flags.
func TestHelp(t *testing.T) {
	for _, command := range commandline.Commands() {
		var c called
		if code := commandline.Run(t.Context(), c.program(), []string{"help", command.Name}); code != 0 {
			t.Errorf("%s: exit code %d", command.Name, code)
		}
		text := c.stdout.String()
		for line := range strings.Lines(text) {
			if n := len(line); n > 120 {
				t.Errorf("%s: %d characters are too long for a terminal: %s", command.Name, n, line)
			}
		}
		if !strings.HasPrefix(text, "zigate-ota "+command.Name+": "+command.Summary+".\n") ||
			!strings.Contains(text, "\nUsage: zigate-ota "+command.Usage()+"\n") {
			t.Errorf("%s: %s", command.Name, text)
		}
		for _, f := range command.Flags {
			if f.Meaning == "" || !strings.Contains(text, "\n  --"+f.Name+" ") {
				t.Errorf("%s: nothing is said of --%s", command.Name, f.Name)
			}
		}
		var flagged called
		_ = commandline.Run(t.Context(), flagged.program(), []string{command.Name, "a", "b", "c", "--help"})
		if flagged.stdout.String() != text || flagged.with != nil {
			t.Errorf("%s --help says something else than help %s: %s", command.Name, command.Name, &flagged.stdout)
		}
	}
}

// completions are the candidates for the last of the words, without their descriptions, and whether files
// come besides.
func completions(t *testing.T, words ...string) (candidates []string, files bool) {
	t.Helper()
	var c called
	if code := commandline.Run(t.Context(), c.program(), append([]string{"__complete"}, words...)); code != 0 {
		t.Fatalf("%q: exit code %d", words, code)
	}
	lines := strings.Split(strings.TrimSpace(c.stdout.String()), "\n")
	for _, line := range lines[:len(lines)-1] {
		name, _, _ := strings.Cut(line, "\t")
		candidates = append(candidates, name)
	}
	return candidates, lines[len(lines)-1] == ":0"
}

// What is completed without asking a service.
func TestCompletion(t *testing.T) {
	for _, tt := range []struct {
		words string
		want  string // separated by blanks
		files bool
	}{
		{"re", "remove-image rename resume", false},
		{"help up", "upgrade", false},
		{"completion ", "bash zsh fish", false},
		{"completion bash ", "", false},
		{"version ", "", false},
		{"config --e", "--example", false},
		{"serve --trace ", "", true},
		{"inspect ", "", true},
		{"inspect a ", "", true},
		{"demo --image ", "", true},
		{"add-image a ", "", true},
		{"rename a ", "", false},
		{"upgrade --when ", "now window", false},
		{"upgrade a --apply h", "hold", false},
		{"upgrade --ap", "--apply", false},
		{"events --name upgradeF", "upgradeFailed", false},
		{"nonsense ", "", false},
	} {
		got, files := completions(t, strings.Split(tt.words, " ")...)
		if text := strings.Join(got, " "); text != tt.want || files != tt.files {
			t.Errorf("%q: %q, files %v; want %q, %v", tt.words, text, files, tt.want, tt.files)
		}
	}
}
