// Package terminal makes a pseudo-terminal that a program can open in the place of a serial port with a
// dongle behind it. It knows nothing of what is said over it.
package terminal
