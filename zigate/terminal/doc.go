// Package terminal makes a pseudo-terminal that a program can open in the place of a serial port with a
// dongle behind it. It does not know frames, nor the programs that use it.
package terminal
