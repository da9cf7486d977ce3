// Package terminal makes a pseudo-terminal that a program can open in the place of a serial port with a
// dongle behind it. It knows nothing of frames, nor of the programs that use it.
package terminal
