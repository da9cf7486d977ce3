package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// screen shows lines of text that scroll, with a progress bar a device below them. Where the output is no terminal, each
// bar becomes a line whenever it has moved by a tenth or its text has changed in kind.
type screen struct {
	w        io.Writer
	terminal bool
	bars     []*bar
	drawn    int // bars on the terminal now
}

type bar struct {
	key, label string
	percent    float64
	text       string
	told       string
}

func newScreen(w io.Writer) *screen {
	s := &screen{w: w}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil {
			s.terminal = info.Mode()&os.ModeCharDevice != 0
		}
	}
	return s
}

// print shows a line above the bars.
func (s *screen) print(line string) {
	s.erase()
	if s.terminal {
		line = strings.Map(printableRune, line)
	}
	fmt.Fprintln(s.w, line)
	s.draw()
}

// printableRune keeps what comes over the network from steering the terminal.
func printableRune(r rune) rune {
	if r < 0x20 || r == 0x7F {
		return -1
	}
	return r
}

// bar shows or moves a bar.
func (s *screen) bar(key, label string, percent float64, text string) {
	var b *bar
	for _, other := range s.bars {
		if other.key == key {
			b = other
		}
	}
	if b == nil {
		b = &bar{key: key}
		s.bars = append(s.bars, b)
	}
	if label != "" {
		b.label = label
	}
	b.percent, b.text = percent, text
	if s.terminal {
		s.erase()
		s.draw()
		return
	}
	state, _, _ := strings.Cut(text, " ")
	if told := fmt.Sprintf("%s %d", state, int(percent/10)); told != b.told {
		b.told = told
		fmt.Fprintln(s.w, b)
	}
}

// finish leaves the bars where they are; what follows is printed below them.
func (s *screen) finish() {
	s.drawn = 0
	s.bars = nil
}

func (s *screen) erase() {
	if s.drawn > 0 {
		fmt.Fprintf(s.w, "\x1b[%dA\x1b[J", s.drawn)
		s.drawn = 0
	}
}

func (s *screen) draw() {
	if !s.terminal {
		return
	}
	for _, b := range s.bars {
		fmt.Fprintln(s.w, b)
	}
	s.drawn = len(s.bars)
}

// String draws the bar: 30 characters wide, so that a line fits 100 columns.
func (b *bar) String() string {
	const width = 30
	full := min(width, int(b.percent*width/100))
	return fmt.Sprintf("%s %-18.18s [%s%s] %5.1f %% %s", b.key, b.label, strings.Repeat("#", full), strings.Repeat(".", width-full), b.percent, b.text)
}
