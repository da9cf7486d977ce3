// Command manpage writes the program's manual page, zigate-ota(1), to a file. It is run by go generate; the
// page goes into the Debian package.
//
// It knows how a page is written (roff, with the macros of man(7)). It takes the contents from the grammar
// of the command line and from the variables of the configuration, and does not know what commands and
// variables do.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: manpage FILE")
		os.Exit(2)
	}
	if err := os.WriteFile(os.Args[1], []byte(page()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "manpage:", err)
		os.Exit(1)
	}
}
