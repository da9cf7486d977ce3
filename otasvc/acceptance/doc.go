// Package acceptance judges whether the dongle takes blocks: what was counted of its statuses in, a
// judgement out. A dongle whose buffers have leaked, or that hangs half way, refuses every block (0x0502)
// while all else works. Devices that download then stop asking, as if their radio link was weak.
//
// That the dongle has no room for a moment is normal, and is told apart: a frame leaves its buffers after
// some seconds, whether it arrives or not. The package knows no radio, no clock, no devices and no
// upgrades.
package acceptance
