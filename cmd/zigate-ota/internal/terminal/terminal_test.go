package terminal_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/terminal"
)

func TestWidth(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "Kitchen bulb": 12, "Küche": 5, "Ku\u0308che": 5, "日本の電球": 10, "한국어": 6, "ｱｲｳ": 3, "Ａ": 2, "🏠": 2, "a\u200db": 2, "…": 1, "→": 1, "Ж": 1,
	} {
		if got := terminal.Width(text); got != want {
			t.Errorf("%q is %d wide, want %d", text, got, want)
		}
	}
}

func TestFit(t *testing.T) {
	tests := []struct {
		text  string
		width int
		want  string
	}{
		{"Kitchen bulb", terminal.Unlimited, "Kitchen bulb"},
		{"Kitchen bulb", 12, "Kitchen bulb"},
		{"Kitchen bulb", 11, "Kitchen bu…"},
		{"Kitchen bulb", 9, "Kitchen…"}, // no space before the ellipsis
		{"Kitchen bulb", 1, "…"},
		{"日本の電球", 10, "日本の電球"},
		{"日本の電球", 9, "日本の電…"},
		{"日本の電球", 8, "日本の…"}, // half a character is none
		{"e\u0301e\u0301e\u0301", 2, "e\u0301…"},
	}
	for _, tt := range tests {
		if got := terminal.Fit(tt.text, tt.width); got != tt.want {
			t.Errorf("Fit(%q, %d) = %q, want %q", tt.text, tt.width, got, tt.want)
		}
	}
}

func FuzzFit(f *testing.F) {
	f.Add("日本の電球 🏠 \x1b[31mred\x9b", 7)
	f.Add("\xff\xfe\u202e", 1)
	f.Fuzz(func(t *testing.T, text string, width int) {
		width = 1 + int(uint(width)%200)
		clean := terminal.Clean(text)
		if !utf8.ValidString(clean) || strings.ContainsFunc(clean, func(r rune) bool { return r < 0x20 || r >= 0x7F && r < 0xA0 }) {
			t.Errorf("Clean(%q) = %q", text, clean)
		}
		fitted := terminal.Fit(clean, width)
		if got := terminal.Width(fitted); got > width {
			t.Errorf("Fit(%q, %d) = %q, which is %d wide", clean, width, fitted, got)
		}
		if got := terminal.Width(terminal.Pad(clean, width)); got != width {
			t.Errorf("Pad(%q, %d) is %d wide", clean, width, got)
		}
	})
}

func TestClean(t *testing.T) {
	for text, want := range map[string]string{
		"Kitchen bulb": "Kitchen bulb", "a\nb\tc": "a b c", "\x1b[31mred\x1b[0m": "[31mred[0m", "\x9b31m": "?31m", "\u009b31m": "31m",
		"\u202egnp.exe": "gnp.exe", "<script>": "<script>", "bell\a": "bell",
	} {
		if got := terminal.Clean(text); got != want {
			t.Errorf("Clean(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	table := terminal.Table{
		Columns: []terminal.Column{{Heading: "NAME", Least: 6}, {Heading: "VERSION"}, {Heading: "SEEN", Right: true, Spare: 1}, {Heading: "EUID", Spare: 2}},
		Rows: [][]terminal.Cell{
			{{Text: "Kitchen bulb"}, {Text: "0x22010631"}, {Text: "3 s"}, {Text: "0x000b57fffec6a5b2"}},
			{{Text: "日本の電球\x1b[2J"}, {Text: "?"}, {Text: "never"}, {Text: "0x000b57fffec6a5c7"}},
		},
	}
	for columns, want := range map[string]string{
		"": `NAME           VERSION      SEEN  EUID
Kitchen bulb   0x22010631    3 s  0x000b57fffec6a5b2
日本の電球[2J  ?           never  0x000b57fffec6a5c7
`,
		"50": `NAME         VERSION      SEEN  EUID
Kitchen bu…  0x22010631    3 s  0x000b57fffec6a5b2
日本の電球…  ?           never  0x000b57fffec6a5c7
`,
		"32": `NAME           VERSION      SEEN
Kitchen bulb   0x22010631    3 s
日本の電球[2J  ?           never
`,
		"20": `NAME      VERSION
Kitchen…  0x22010631
日本の…   ?
`,
		"10": `NAME    V…
Kitch…  0…
日本…   ?
`,
	} {
		var b bytes.Buffer
		if err := table.Print(terminal.New(&b, []string{"COLUMNS=" + columns})); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Errorf("%s columns (-want +got):\n%s", columns, diff)
		}
	}
}

// Where nothing can be drawn again, a bar is a line at each change of state, each tenth and each 10 s.
func TestScreenWithoutTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		s := terminal.NewScreen(terminal.New(&b, nil))
		s.Align("Kitchen bulb")
		s.Bar("1", "Hall", 0, "queued", "")
		s.Bar("1", "", 0, "downloading", "")
		s.Bar("1", "", 0.5, "downloading", "100 B/s")
		s.Bar("1", "", 9.9, "downloading", "100 B/s")
		time.Sleep(9 * time.Second)
		s.Bar("1", "", 9.7, "downloading", "100 B/s")
		time.Sleep(time.Second)
		s.Bar("1", "", 9.7, "downloading", "101 B/s")
		time.Sleep(time.Minute)
		s.Bar("1", "", 9.7, "downloading", "102 B/s") // it has not moved
		s.Bar("1", "", 55, "downloading", "103 B/s")
		s.Bar("1", "", 200, "applying", "")
		s.End("1")
		s.Finish()
		want := `Hall         [..............................]   0.0 % queued
Hall         [..............................]   0.0 % downloading
Hall         [##............................]   9.7 % downloading 101 B/s
Hall         [################..............]  55.0 % downloading 103 B/s
Hall         [##############################] 100.0 % applying
`
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

func TestScreenFits(t *testing.T) {
	for columns, want := range map[string]string{
		"80": "Kitchen bulb [#############.................]  45.8 % downloading 412 B/s, 411 s\n",
		"60": "Kitchen bulb [####......]  45.8 % downloading 412 B/s, 411 s\n",
		"48": "Kitchen bulb [#####........]  45.8 % downloading\n",
		"32": "Kitchen bulb  45.8 % downloading\n",
		"26": "Kitch…  45.8 % downloading\n",
		"15": "Kit…  45.8 % d…\n",
	} {
		var b bytes.Buffer
		s := terminal.NewScreen(terminal.New(&b, []string{"COLUMNS=" + columns}))
		s.Bar("1", "Kitchen bulb", 45.8, "downloading", "412 B/s, 411 s")
		if got := b.String(); got != want {
			t.Errorf("%s columns: %q, want %q", columns, got, want)
		}
	}
}
