package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/commandline"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/config"
)

const path = "../../../../deploy/package/zigate-ota.1"

// The page in the repository is what the program says of itself.
func TestPageIsCurrent(t *testing.T) {
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(page(), string(got)); diff != "" {
		t.Errorf("%s is not current, run go generate ./cmd/zigate-ota (-want +got):\n%s", path, diff)
	}
}

// Every command, flag and variable stands in it.
func TestPageNamesEverything(t *testing.T) {
	text := strings.ReplaceAll(page(), `\-`, "-")
	for _, c := range commandline.Commands() {
		if !strings.Contains(text, "\n.SS \""+c.Usage()+"\"\n") {
			t.Errorf("nothing is said of %s", c.Name)
		}
		for _, f := range c.Flags {
			if !strings.Contains(text, "\n.B \""+f.Usage()+"\"\n") {
				t.Errorf("nothing is said of --%s", f.Name)
			}
		}
	}
	for _, name := range config.Variables() {
		if !strings.Contains(text, "\n.B \""+name+"\"\n") {
			t.Errorf("nothing is said of %s", name)
		}
	}
}

// What sets manual pages finds no mistake in it.
func TestPageIsRoff(t *testing.T) {
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("there is no groff")
	}
	cmd := exec.CommandContext(t.Context(), groff, "-man", "-ww", "-z", "-K", "utf8")
	cmd.Stdin = strings.NewReader(page())
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// Text is text, whatever roff would make of it.
func TestText(t *testing.T) {
	r := &roff{}
	r.text(".first\n'second\n\\third - \"x\"\n")
	r.macro("B", `a "b" \c`)
	want := "\\&.first\n\\&'second\n\\ethird \\- \"x\"\n.B \"a \\(dqb\\(dq \\ec\"\n"
	if got := r.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
