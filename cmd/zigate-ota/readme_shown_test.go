package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// documentCommand is one command of a document's code blocks, and the output that stands there for it.
type documentCommand struct {
	line   string
	output []string
}

// block is one fenced code block.
type block struct {
	language string
	lines    []string
}

func blocksOf(t *testing.T, document string) []block {
	t.Helper()
	content, err := os.ReadFile(root + document)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []block
	inside := false
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSuffix(line, "\n")
		switch fence, isFence := strings.CutPrefix(line, "```"); {
		case isFence && inside:
			inside = false
		case isFence:
			inside = true
			blocks = append(blocks, block{language: fence})
		case inside:
			last := &blocks[len(blocks)-1]
			last.lines = append(last.lines, line)
		}
	}
	return blocks
}

// commandsOf lists the commands of a document in their order: the lines of "sh" blocks, with a "text" block
// behind them as output of the last, and the lines of "console" blocks that begin with a prompt.
func commandsOf(t *testing.T, document string) []documentCommand {
	t.Helper()
	var commands []documentCommand
	shell := false // the last block was of the shell
	for _, b := range blocksOf(t, document) {
		switch b.language {
		case "sh":
			for _, line := range b.lines {
				if line != "" && !strings.HasPrefix(line, "#") {
					commands = append(commands, documentCommand{line: line})
				}
			}
		case "console":
			for i, line := range b.lines {
				if command, ok := strings.CutPrefix(line, "$ "); ok {
					commands = append(commands, documentCommand{line: command})
				} else if i == 0 {
					t.Errorf("%s: a console block begins without a prompt: %s", document, line)
				} else {
					last := &commands[len(commands)-1]
					last.output = append(last.output, line)
				}
			}
		case "text":
			if !shell {
				t.Errorf("%s: output without a command: %s", document, b.lines[0])
				continue
			}
			commands[len(commands)-1].output = b.lines
		default:
			t.Errorf("%s: a code block in %q: is it run by anybody? There are sh, console and text", document, b.language)
		}
		shell = b.language == "sh"
	}
	return commands
}

// vary is what is another at each run: times, ports, progress.
var vary = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "127.0.0.1:PORT"},
	{regexp.MustCompile(`-p \d+`), "-p PORT"},
	{regexp.MustCompile(`\[[#.]{30}\] +[0-9.]+ %`), "BAR"},
	{regexp.MustCompile(`\d+ B/s(, \d+ s left)?`), "SPEED"},
	{regexp.MustCompile(`^\d\d:\d\d:\d\d  `), "CLOCK  "},
	{regexp.MustCompile(`after \d+( min \d\d)? s$`), "after SPAN"},
	{regexp.MustCompile(` +(SEEN|ADDED)( |$)`), " AGO "}, // they are as wide as what stands below
	{regexp.MustCompile(` +(now|never|\d+ (s|min))( ago)?(  |$)`), " AGO "},
	{regexp.MustCompile(`/[0-9a-f]{16}/`), "/TOKEN/"},
	{regexp.MustCompile(`version=\S+`), "version=VERSION"},
}

func steady(line string) string {
	for _, v := range vary {
		line = v.pattern.ReplaceAllString(line, v.by)
	}
	return line
}

// shown is the output that stands in a document, to be held against what comes: a line "…" stands for any
// lines, a "…" in a line for anything in it.
type shown struct {
	lines []string
	next  int
	any   bool // the next line need not come at once
}

// take takes an actual line and reports whether it is as shown.
func (s *shown) take(line string) bool {
	for s.next < len(s.lines) && s.lines[s.next] == "…" {
		s.next, s.any = s.next+1, true
	}
	if s.next == len(s.lines) {
		return true
	}
	var pattern strings.Builder
	for i, part := range strings.Split(steady(s.lines[s.next]), "…") {
		if i > 0 {
			pattern.WriteString(".*")
		}
		pattern.WriteString(regexp.QuoteMeta(part))
	}
	if regexp.MustCompile("^" + pattern.String() + "$").MatchString(steady(line)) {
		s.next, s.any = s.next+1, false
		return true
	}
	return s.any
}

// done reports whether all that is shown has come.
func (s *shown) done() bool {
	return !slices.ContainsFunc(s.lines[s.next:], func(line string) bool { return line != "…" })
}

// awaitShown waits until all that a document shows has come, beginning with the entry number from.
func awaitShown(t *testing.T, command string, output []string, came *journal[string], from int, translate func(string) string) {
	t.Helper()
	expected := &shown{lines: output}
	if expected.done() {
		return
	}
	defer func() {
		if !expected.done() {
			t.Logf("%s: not seen: %q", command, expected.lines[expected.next:])
		}
	}()
	index := -1
	came.await(t, "the output of "+command, func(line string) bool {
		if index++; index < from {
			return false
		}
		if !expected.take(translate(line)) {
			t.Fatalf("%s:\ngot  %s\nwant %s", command, translate(line), expected.lines[expected.next])
		}
		return expected.done()
	})
}

func same(line string) string { return line }

// isAsShown reports whether an output is as shown.
func isAsShown(lines []string, output string) bool {
	expected := &shown{lines: lines}
	for line := range strings.Lines(output) {
		if !expected.take(strings.TrimSuffix(line, "\n")) {
			return false
		}
	}
	return expected.done()
}
