//go:build unix

package terminal

import (
	"os"

	"golang.org/x/sys/unix"
)

// size asks the terminal behind f for its columns and lines; zeros where there is none.
func size(f *os.File) (columns, lines int) {
	ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0
	}
	return int(ws.Col), int(ws.Row)
}
