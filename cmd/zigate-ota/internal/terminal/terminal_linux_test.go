package terminal_test

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/creack/pty"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/terminal"
)

// onTerminal runs something whose output is a terminal of that size, and returns what it wrote.
func onTerminal(t *testing.T, size pty.Winsize, environ []string, do func(*terminal.Terminal)) string {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := pty.Setsize(master, &size); err != nil {
		t.Fatal(err)
	}
	wrote := make(chan string)
	go func() {
		b, _ := io.ReadAll(master) // it ends with an error when the other side is closed
		wrote <- string(b)
	}()
	do(terminal.New(slave, environ))
	slave.Close()
	return strings.ReplaceAll(<-wrote, "\r\n", "\n")
}

func TestTerminal(t *testing.T) {
	for _, tt := range []struct {
		name     string
		environ  []string
		width    int
		live     bool
		coloured string
	}{
		{"as it is", nil, 70, true, "\x1b[31mbad\x1b[0m"},
		{"COLUMNS", []string{"COLUMNS=50"}, 50, true, "\x1b[31mbad\x1b[0m"},
		{"COLUMNS that are none", []string{"COLUMNS=wide"}, 70, true, "\x1b[31mbad\x1b[0m"},
		{"NO_COLOR", []string{"NO_COLOR=1"}, 70, true, "bad"},
		{"an empty NO_COLOR", []string{"NO_COLOR="}, 70, true, "\x1b[31mbad\x1b[0m"},
		{"dumb", []string{"TERM=dumb"}, 70, false, "bad"},
	} {
		onTerminal(t, pty.Winsize{Cols: 70, Rows: 10}, tt.environ, func(term *terminal.Terminal) {
			if term.Width() != tt.width || term.Interactive() != tt.live || term.Styled(terminal.Red, "bad") != tt.coloured {
				t.Errorf("%s: width %d, interactive %v, %q", tt.name, term.Width(), term.Interactive(), term.Styled(terminal.Red, "bad"))
			}
		})
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if term := terminal.New(null, nil); term.Interactive() || term.Width() != terminal.Unlimited {
		t.Error("/dev/null is taken for a terminal")
	}
}

// Bars are drawn again in place, in as many lines as there are.
func TestScreenOnTerminal(t *testing.T) {
	got := onTerminal(t, pty.Winsize{Cols: 60, Rows: 6}, nil, func(term *terminal.Terminal) {
		s := terminal.NewScreen(term)
		s.Bar("1", "One", 0, "queued", "")
		s.Bar("1", "", 50, "downloading", "")
		s.Print("a line\x07 above")
		for _, key := range []string{"2", "3", "4", "5"} {
			s.Bar(key, key, 0, "queued", "")
		}
		s.End("1")
		s.Finish()
	})
	bar := func(label, filled, percent, rest string) string {
		return label + " [" + filled + strings.Repeat(".", 30-len(filled)) + "] " + percent + " % " + rest + "\n"
	}
	one, half := bar("One", "", "  0.0", "queued"), bar("One", strings.Repeat("#", 15), " 50.0", "downloading")
	queued := func(label string) string { return bar(label+"  ", "", "  0.0", "queued") }
	want := one +
		"\x1b[1A\x1b[J" + half +
		"\x1b[1A\x1b[Ja line above\n" + half +
		"\x1b[1A\x1b[J" + half + queued("2") +
		"\x1b[2A\x1b[J" + half + queued("2") + queued("3") +
		"\x1b[3A\x1b[J" + half + queued("2") + queued("3") + queued("4") +
		// There are 6 lines, and 2 are left free.
		"\x1b[4A\x1b[J" + half + queued("2") + queued("3") + "… and 2 more\n" +
		"\x1b[4A\x1b[J" + queued("2") + queued("3") + queued("4") + "… and 2 more\n" + // the first has ended
		"\x1b[4A\x1b[J" + half + queued("2") + queued("3") + queued("4") + queued("5")
	if got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}
