// Package terminal writes for people: tables that fit, progress bars that redraw in place, text from the
// network that cannot steer the terminal. It knows nothing of devices, upgrades or MQTT.
package terminal

import (
	"io"
	"os"
	"strconv"
)

// Unlimited is the width of an output that no terminal shows: a file or a pipe gets every line in whole.
const Unlimited = 0

// Terminal is an output and what it can do.
type Terminal struct {
	w      io.Writer
	file   *os.File // nil: not a file, so no terminal
	live   bool     // lines can be drawn again in place
	colour bool
	fixed  int // the width that the environment gives; 0: none
}

// New looks at an output and at the environment ("NAME=value"): COLUMNS sets the width, NO_COLOR with any
// text (see no-color.org) and TERM=dumb keep colours away.
func New(w io.Writer, environ []string) *Terminal {
	t := &Terminal{w: w}
	value := func(name string) string {
		for _, entry := range environ {
			if len(entry) > len(name) && entry[:len(name)] == name && entry[len(name)] == '=' {
				return entry[len(name)+1:]
			}
		}
		return ""
	}
	if n, err := strconv.Atoi(value("COLUMNS")); err == nil && n > 0 {
		t.fixed = n
	}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			if columns, _ := size(f); columns > 0 {
				t.file = f
			}
		}
	}
	dumb := value("TERM") == "dumb"
	t.live = t.file != nil && !dumb
	t.colour = t.live && value("NO_COLOR") == ""
	return t
}

// Write writes to the output.
func (t *Terminal) Write(p []byte) (int, error) { return t.w.Write(p) }

// Interactive reports whether lines can be drawn again in place.
func (t *Terminal) Interactive() bool { return t.live }

// Width is how many columns a line may have; Unlimited where nothing says. A terminal may have been resized
// since the last call.
func (t *Terminal) Width() int {
	if t.fixed > 0 {
		return t.fixed
	}
	if t.file == nil {
		return Unlimited
	}
	columns, _ := size(t.file)
	return columns
}

// height is how many lines there are, 0 where nothing says.
func (t *Terminal) height() int {
	if t.file == nil {
		return 0
	}
	_, lines := size(t.file)
	return lines
}

// Style is how text stands out on a terminal that has colours.
type Style string

// The styles, as the parameters of ECMA-48's SGR.
const (
	Plain Style = ""
	Bold  Style = "1"
	Green Style = "32"
	Red   Style = "31"
	Faint Style = "2"
)

// Styled is the text in a style where the output shows one, the text alone elsewhere.
func (t *Terminal) Styled(s Style, text string) string {
	if !t.colour || s == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}
