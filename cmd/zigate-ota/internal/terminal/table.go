package terminal

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// gap is the number of spaces between two columns.
const gap = 2

// Column is one column of a table.
type Column struct {
	Heading string
	Right   bool // cells are aligned to the right, as numbers are
	// Least is the smallest width in columns to which cells are cut. With 0 they are not cut.
	Least int
	// Spare says which column is left out first where there is no room: the one with the highest Spare. A
	// column with 0 is not left out.
	Spare int
}

// Cell is one cell of a table.
type Cell struct {
	Text  string
	Style Style
}

// Table holds rows under headings.
type Table struct {
	Columns []Column
	Rows    [][]Cell // each as long as Columns
}

// Print writes the table so that its lines fit the terminal. It first makes columns narrower as far as Least
// allows, then leaves columns out. It writes cells as Clean returns them. The error is that of the output.
func (t *Table) Print(term *Terminal) error {
	rows := make([][]Cell, 0, len(t.Rows)+1)
	heading := make([]Cell, len(t.Columns))
	for i, c := range t.Columns {
		heading[i] = Cell{c.Heading, Bold}
	}
	rows = append(rows, heading)
	for _, row := range t.Rows {
		cleaned := make([]Cell, len(row))
		for i, cell := range row {
			cleaned[i] = Cell{Clean(cell.Text), cell.Style}
		}
		rows = append(rows, cleaned)
	}
	natural := make([]int, len(t.Columns))
	for _, row := range rows {
		for i, cell := range row {
			natural[i] = max(natural[i], textWidth(cell.Text))
		}
	}
	shown, widths := t.layout(natural, term.Width())
	for _, row := range rows {
		if _, err := io.WriteString(term, line(term, t.Columns, row, shown, widths)); err != nil {
			return fmt.Errorf("writing the table: %w", err)
		}
	}
	return nil
}

// layout returns the columns that are shown, and the widths of all. natural has the widths of the columns
// without cutting. A column that may be cut starts at its least width; the rest of the line is given to
// columns from left to right.
func (t *Table) layout(natural []int, room int) (shown, widths []int) {
	for i := range t.Columns {
		shown = append(shown, i)
	}
	least := func(i int) int {
		if n := t.Columns[i].Least; n > 0 {
			return min(n, natural[i])
		}
		return natural[i]
	}
	needed := func(of func(i int) int) int {
		n := gap * (len(shown) - 1)
		for _, i := range shown {
			n += of(i)
		}
		return n
	}
	widths = slices.Clone(natural)
	if room == Unlimited || needed(func(i int) int { return natural[i] }) <= room {
		return shown, widths
	}
	for needed(least) > room {
		spare := slices.MaxFunc(shown, func(a, b int) int { return t.Columns[a].Spare - t.Columns[b].Spare })
		if t.Columns[spare].Spare == 0 {
			break
		}
		shown = slices.DeleteFunc(shown, func(i int) bool { return i == spare })
	}
	left := max(0, room-needed(least))
	for _, i := range shown {
		widths[i] = least(i)
		if more := min(left, natural[i]-widths[i]); more > 0 {
			widths[i] += more
			left -= more
		}
	}
	// No more columns can be left out, so the last ones are cut until the line fits.
	over := needed(func(i int) int { return widths[i] }) - room
	for _, i := range slices.Backward(shown) {
		if over <= 0 {
			break
		}
		cut := min(over, widths[i]-1)
		widths[i] -= cut
		over -= cut
	}
	return shown, widths
}

// line returns one line of the table.
func line(term *Terminal, columns []Column, row []Cell, shown, widths []int) string {
	var b strings.Builder
	for n, i := range shown {
		if n > 0 {
			b.WriteString(strings.Repeat(" ", gap))
		}
		text := Fit(row[i].Text, widths[i])
		space := strings.Repeat(" ", max(0, widths[i]-textWidth(text)))
		switch {
		case columns[i].Right:
			b.WriteString(space + term.Styled(row[i].Style, text))
		case n == len(shown)-1:
			b.WriteString(term.Styled(row[i].Style, text))
		default:
			b.WriteString(term.Styled(row[i].Style, text) + space)
		}
	}
	return strings.TrimRight(b.String(), " ") + "\n"
}
