// Package commandline is the grammar of the program's command line: its commands, their arguments and
// flags, the help and the manual page for them, what a shell completes, and the exit codes.
//
// It does not know what the commands do: a command reads its words into values and calls the function for
// it, which stands in [Program] or is a method of a shell.Shell.
package commandline
