// Package upgrade is the life of one upgrade: one device, one image, from the request to the end.
//
// An [Upgrade] holds everything that is known of it. [Upgrade.Step] is told what happened and says what is to
// be done about it; nothing else changes an upgrade, and Step does nothing else: it has no radio, no clock,
// no goroutine and no logger. What may follow on what stands in one table (steps.go). What has to happen by
// the clock stands in one list of deadlines, so that the owner can sleep until [Upgrade.Next] and then give
// the upgrade a [Tick].
//
// The package does not know other devices, the header slot's planning, MQTT, or where images lie. An upgrade
// is kept in the state file as JSON.
package upgrade
