// Package slot plans the use of the dongle's header slot.
//
// The dongle answers Query Next Image from the one image header that was loaded into it, and refuses the
// blocks of every other image. So the devices of one image download side by side, and the devices of other
// images wait. [Plan] looks at a [View] of the slot and of the upgrades and says what is to be done next: one
// [Decision], or nil where there is nothing to do for now. Whoever carries the decision out asks again with a
// new view until the answer is nil. [Forecast] tells in which order the upgrades that wait are to have the
// slot, and when, from the same rules. [Conflict] says why a person must not load another header now.
//
// Everything here is a function of its arguments: the package has no clock, no radio, no goroutine and no
// state of its own, and it changes nothing that it is given. It does not know what a device or an upgrade is
// beyond a [Candidate], how an image is read or served, and what devices and people are told.
package slot
