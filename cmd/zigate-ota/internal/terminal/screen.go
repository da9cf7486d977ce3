package terminal

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// barWidth is how many columns a bar has where there is room.
const barWidth = 30

// tellEvery is how long a bar that moves may go without a line where the output is no terminal.
const tellEvery = 10 * time.Second

// Screen shows lines of text that scroll, with a progress bar for each thing under way below them. Where the
// output cannot be drawn again, each bar becomes a line when its state has changed, when it has moved by a
// tenth, and every 10 s while it moves. It is for one goroutine.
type Screen struct {
	term  *Terminal
	bars  []*bar
	align int // columns that a label has at least
	drawn int // lines on the terminal now
}

type bar struct {
	key, label  string
	percent     float64
	state, text string

	told      string // the state and tenth of the last line
	toldAt    time.Time
	toldAtAll float64 // the percent of the last line
	ended     bool
}

// NewScreen shows bars on a terminal.
func NewScreen(t *Terminal) *Screen { return &Screen{term: t} }

// Print shows a line above the bars.
func (s *Screen) Print(line string) {
	s.erase()
	if s.term.Interactive() {
		line = Clean(line)
	}
	fmt.Fprintln(s.term, line)
	s.draw()
}

// Bar shows or moves the bar of a key. percent is 0 to 100; state is a word, text what more there is to say.
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
	told := fmt.Sprintf("%s %d", b.state, int(b.percent/10))
	if told != b.told || b.percent != b.toldAtAll && now.Sub(b.toldAt) >= tellEvery {
		b.told = told
		b.toldAt = now
		b.toldAtAll = b.percent
		fmt.Fprintln(s.term, b.line(s.term.Width(), s.labelWidth()))
	}
}

// Align makes room for a label whose bar is still to come, so that all bars begin in one column.
func (s *Screen) Align(label string) { s.align = max(s.align, Width(Clean(label))) }

// End says that a bar does not move any more: where there is not room for all, it gives way to those that do.
func (s *Screen) End(key string) {
	s.find(key).ended = true
	if s.term.Interactive() {
		s.erase()
		s.draw()
	}
}

// Finish leaves the bars where they are; what follows is printed below them. All are shown once more,
// whatever room there is.
func (s *Screen) Finish() {
	s.erase()
	if s.term.Interactive() {
		for _, b := range s.bars {
			fmt.Fprintln(s.term, b.line(s.term.Width(), s.labelWidth()))
		}
	}
	s.bars = nil
}

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

func (s *Screen) erase() {
	if s.drawn > 0 {
		fmt.Fprintf(s.term, "\x1b[%dA\x1b[J", s.drawn)
		s.drawn = 0
	}
}

// draw draws the bars in one write, so that a terminal never shows half of them.
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
		b.WriteString(Fit(fmt.Sprintf("%s and %d more", Ellipsis, hidden), max(1, width-1)) + "\n")
		s.drawn++
	}
	_, _ = io.WriteString(s.term, b.String())
}

// fitting are the bars that there are lines for, those that still move first.
func (s *Screen) fitting() (shown []*bar, hidden int) {
	room := len(s.bars)
	if h := s.term.height(); h > 0 {
		room = max(1, h-2)
	}
	if len(s.bars) <= room {
		return s.bars, 0
	}
	room = max(1, room-1) // for the line that tells of the others
	for _, ended := range []bool{false, true} {
		for _, b := range s.bars {
			if b.ended == ended && len(shown) < room {
				shown = append(shown, b)
			}
		}
	}
	return shown, len(s.bars) - len(shown)
}

// labelWidth is the column at which all bars begin.
func (s *Screen) labelWidth() int {
	n := s.align
	for _, b := range s.bars {
		n = max(n, Width(Clean(b.label)))
	}
	return n
}

// line draws the bar so that it fits a width. On a narrow terminal the bar is shorter, then left out, then
// the text behind the state, and the label is cut at last.
func (b *bar) line(room, labelWidth int) string {
	percent := fmt.Sprintf("%5.1f %%", b.percent)
	state := Clean(b.state)
	rest := state
	if b.text != "" {
		rest += " " + Clean(b.text)
	}
	label := Pad(Clean(b.label), max(1, labelWidth))
	if room == Unlimited {
		return label + " " + drawBar(b.percent, barWidth) + " " + percent + " " + rest
	}
	for _, behind := range []string{rest, state} {
		left := room - Width(label) - len(percent) - Width(behind) - len(" [] ") - 1
		if left >= 10 {
			return label + " " + drawBar(b.percent, min(barWidth, left)) + " " + percent + " " + behind
		}
	}
	left := room - len(percent) - Width(state) - 2
	if left < labelWidth {
		label = Pad(Clean(b.label), max(4, left))
	}
	return Fit(label+" "+percent+" "+state, room)
}

func drawBar(percent float64, width int) string {
	full := min(width, int(percent*float64(width)/100))
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", width-full) + "]"
}
