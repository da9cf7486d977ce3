// Package share lets other software use the dongle beside this program, as if each had one of its own: it
// listens like a WiFi ZiGate and like a serial one, passes commands on, one at a time and in order, and gives
// each answer to the program that asked.
//
// A [Hub] stands between the [zigate.Dongle] and its [zigate.Handler]. Clients see the raw mode that they
// asked for, whatever the dongle runs in, and nothing of what this program asks for itself. OTA belongs to
// one side only: to this program, and then clients neither see nor send any of it, or to the clients, and
// then this program only watches.
//
// The package knows nothing of images and upgrades. Of a message of the dongle it knows no more than which
// command it answers and in which raw mode it exists.
package share
