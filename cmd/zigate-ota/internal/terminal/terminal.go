// Package terminal writes output for people: tables that fit the width, progress bars that are drawn again in
// place, and text from the network without its control characters. It knows nothing of devices, upgrades or
// MQTT.
package terminal

import (
	"io"
	"os"
	"strconv"
)

// Unlimited is the width of an output that is no terminal: lines in a file or a pipe are not cut.
const Unlimited = 0

// Terminal is an output, and knows what the output can show.
type Terminal struct {
	w      io.Writer
	file   *os.File // the terminal; nil where the output is none
	live   bool     // lines can be drawn again in place
	colour bool
	fixed  int // the width from the environment in columns; 0 where that has none
}

// New makes a Terminal for an output. environ has entries "NAME=value": COLUMNS sets the width; NO_COLOR with
// any text (see no-color.org) and TERM=dumb turn colours off.
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

// Write writes p to the output as it is.
func (t *Terminal) Write(p []byte) (int, error) { return t.w.Write(p) }

// Interactive reports whether lines can be drawn again in place.
func (t *Terminal) Interactive() bool { return t.live }

// Width returns how many columns a line may have, or Unlimited. The result changes when a terminal is
// resized.
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

// height returns how many lines the terminal has, or 0 where that is not known.
func (t *Terminal) height() int {
	if t.file == nil {
		return 0
	}
	_, lines := size(t.file)
	return lines
}

// Style is how text looks on a terminal that has colours.
type Style string

// The styles, as the parameters of ECMA-48's SGR.
const (
	Plain Style = ""
	Bold  Style = "1"
	Green Style = "32"
	Red   Style = "31"
	Faint Style = "2"
)

// Styled returns the text in a style where the output has colours, else the text alone.
func (t *Terminal) Styled(s Style, text string) string {
	if !t.colour || s == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}
