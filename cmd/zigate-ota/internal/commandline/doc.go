// Package commandline is the grammar of the program's command line: its commands, their arguments and
// flags, the help and the manual page for them, what a shell completes, and the exit codes.
//
// It does not know what the commands do: a command reads its arguments and flags into values and calls a
// function, which is a field of [Program] or a method of a shell.Shell.
package commandline
