package terminal

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// barWidth is the number of columns of a bar where there is room.
const barWidth = 30

// lineInterval is the longest time between two lines of a bar that moves, on an output that is no terminal.
const lineInterval = 10 * time.Second

// Screen shows lines of text that scroll, and progress bars below them. Where the output cannot be drawn
// again, a bar is written as a line when its state has changed, when it has moved by a tenth, and every 10 s
// while it moves. A Screen is for one goroutine. It ignores errors of the output: a terminal that is gone
// ends the program by other means.
type Screen struct {
	term  *Terminal
	bars  []*bar
	align int // smallest width of labels in columns
	drawn int // number of lines of bars that are on the terminal
}

// bar is a progress bar.
type bar struct {
	key, label  string
	percent     float64 // 0 to 100
	state, text string
	ended       bool

	// These describe the last line, where the output is no terminal.
	written        string // state and tenth
	writtenAt      time.Time
	writtenPercent float64
}

// NewScreen makes a screen without bars.
func NewScreen(t *Terminal) *Screen { return &Screen{term: t} }

// Print shows a line of text above the bars.
func (s *Screen) Print(line string) {
	s.erase()
	if s.term.Interactive() {
		line = Clean(line)
	}
	s.write(line + "\n")
	s.draw()
}

// Bar shows or moves the bar of a key. An empty label keeps the last one. percent is 0 to 100. state is one
// word; text says more and is left out where there is no room.
func (s *Screen) Bar(key, label string, percent float64, state, text string) {
	b := s.find(key)
	if label != "" {
		b.label = label
	}
	b.percent = min(max(percent, 0), 100)
	b.state = state
	b.text = text
	if s.term.Interactive() {
		s.erase()
		s.draw()
		return
	}
	now := time.Now()
	tenth := fmt.Sprintf("%s %d", b.state, int(b.percent/10))
	if tenth != b.written || b.percent != b.writtenPercent && now.Sub(b.writtenAt) >= lineInterval {
		b.written = tenth
		b.writtenAt = now
		b.writtenPercent = b.percent
		s.write(b.line(s.term.Width(), s.labelWidth()) + "\n")
	}
}

// Align makes room for the label of a bar that is shown later, so that all bars begin in one column.
func (s *Screen) Align(label string) { s.align = max(s.align, textWidth(Clean(label))) }

// End marks a bar as one that does not move any more. Where there is no room for all bars, those that move
// are shown.
func (s *Screen) End(key string) {
	s.find(key).ended = true
	if s.term.Interactive() {
		s.erase()
		s.draw()
	}
}

// Finish leaves the bars where they are, so that what follows is printed below them. It shows all of them,
// also where there is no room.
func (s *Screen) Finish() {
	s.erase()
	if s.term.Interactive() {
		for _, b := range s.bars {
			s.write(b.line(s.term.Width(), s.labelWidth()) + "\n")
		}
	}
	s.bars = nil
}

// find returns the bar of a key, a new one where there is none.
func (s *Screen) find(key string) *bar {
	for _, b := range s.bars {
		if b.key == key {
			return b
		}
	}
	b := &bar{key: key}
	s.bars = append(s.bars, b)
	return b
}

// erase removes the bars from the terminal.
func (s *Screen) erase() {
	if s.drawn > 0 {
		s.write(fmt.Sprintf("\x1b[%dA\x1b[J", s.drawn))
		s.drawn = 0
	}
}

// write writes to the terminal in one call.
func (s *Screen) write(text string) { _, _ = io.WriteString(s.term, text) }

// draw draws the bars in one write, so that a terminal does not show a part of them.
func (s *Screen) draw() {
	if !s.term.Interactive() || len(s.bars) == 0 {
		return
	}
	width := s.term.Width()
	label := s.labelWidth()
	shown, hidden := s.fitting()
	var b strings.Builder
	for _, bar := range shown {
		// One column is left free: a terminal may go to the next line by itself when the last one is written.
		b.WriteString(bar.line(max(1, width-1), label) + "\n")
	}
	s.drawn = len(shown)
	if hidden > 0 {
		b.WriteString(Fit(fmt.Sprintf("%s and %d more", ellipsis, hidden), max(1, width-1)) + "\n")
		s.drawn++
	}
	s.write(b.String())
}

// fitting returns the bars for which the terminal has lines, those that still move first, and how many are
// left out.
func (s *Screen) fitting() (shown []*bar, hidden int) {
	room := len(s.bars)
	if h := s.term.height(); h > 0 {
		room = max(1, h-2)
	}
	if len(s.bars) <= room {
		return s.bars, 0
	}
	room = max(1, room-1) // one line says how many are left out
	for _, ended := range []bool{false, true} {
		for _, b := range s.bars {
			if b.ended == ended && len(shown) < room {
				shown = append(shown, b)
			}
		}
	}
	return shown, len(s.bars) - len(shown)
}

// labelWidth returns the width of the labels of all bars, in columns.
func (s *Screen) labelWidth() int {
	n := s.align
	for _, b := range s.bars {
		n = max(n, textWidth(Clean(b.label)))
	}
	return n
}

// line returns the bar as a line of at most room columns. On a narrow terminal it first makes the bar
// shorter, then leaves out the text, then the bar, and at last cuts the label.
func (b *bar) line(room, labelWidth int) string {
	percent := fmt.Sprintf("%5.1f %%", b.percent)
	state := Clean(b.state)
	rest := state
	if b.text != "" {
		rest += " " + Clean(b.text)
	}
	label := pad(Clean(b.label), max(1, labelWidth))
	if room == Unlimited {
		return label + " " + drawBar(b.percent, barWidth) + " " + percent + " " + rest
	}
	for _, behind := range []string{rest, state} {
		left := room - textWidth(label) - len(percent) - textWidth(behind) - len(" [] ") - 1
		if left >= 10 {
			return label + " " + drawBar(b.percent, min(barWidth, left)) + " " + percent + " " + behind
		}
	}
	left := room - len(percent) - textWidth(state) - 2
	if left < labelWidth {
		label = pad(Clean(b.label), max(4, left))
	}
	return Fit(label+" "+percent+" "+state, room)
}

// drawBar returns the bar alone, in brackets.
func drawBar(percent float64, width int) string {
	full := min(width, int(percent*float64(width)/100))
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", width-full) + "]"
}
