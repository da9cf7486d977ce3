// Package concurrency says how many devices may download at once: a number that was set, or as many as the
// line to the dongle and its radio take.
//
// A [Limit] is a value. [Limit.After] is told what was counted and seen up to a moment, and returns the limit
// afterwards. It looks at whole periods: after one in which all places were used and nothing spoke against it
// one more device may download; when the dongle's buffers fill or frames do not arrive a quarter fewer may.
// It remembers at which number that happened, and comes back to it only after a while, and after a longer
// while each time.
//
// The package has no clock, no radio and no state of its own. It does not know which devices download, and it
// ends no download: fewer devices download when the next ones do not begin.
package concurrency
