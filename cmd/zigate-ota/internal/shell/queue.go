package shell

import (
	"fmt"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
)

// waits says what an upgrade in the queue waits for, in words for people.
var waits = map[contract.Wait]string{
	contract.WaitsForDongle:  "the dongle is away, or nothing may begin with it",
	contract.WaitsForSlot:    "another image has the slot",
	contract.WaitsForPlace:   "as many devices download as may",
	contract.WaitsForDevice:  "waits until the device wakes, answers or asks by itself",
	contract.WaitsForCanary:  "another device gets this image first",
	contract.WaitsForHolder:  "another device keeps this image for later",
	contract.WaitsForTime:    "its time has not come",
	contract.WaitsForPerson:  "paused by a person",
	contract.WaitsForQuicker: "put off for quicker ones",
}

// turn says where an upgrade stands in the queue, what it waits for, and how it is expected to go on. The
// time is that of this machine's clock.
func turn(u *contract.Upgrade, now time.Time) string {
	place := u.Queue
	if place == nil {
		return ""
	}
	var parts []string
	if place.Position != nil {
		parts = append(parts, fmt.Sprintf("place %d", *place.Position))
	}
	if place.WaitsFor != nil {
		words, known := waits[*place.WaitsFor]
		if !known { // of a newer service
			words = "waits for " + string(*place.WaitsFor)
		}
		parts = append(parts, words)
	}
	if place.ExpectedStart != nil {
		parts = append(parts, "begins "+expected(*place.ExpectedStart, now))
	}
	if place.ExpectedEnd != nil {
		parts = append(parts, "complete "+expected(*place.ExpectedEnd, now))
	}
	return strings.Join(parts, ", ")
}

// expected returns an expected time on this machine's clock, with the day where that is not today.
func expected(at, now time.Time) string {
	at = at.In(now.Location())
	switch {
	case at.Sub(now) < 30*time.Second:
		return "at any moment"
	case at.YearDay() == now.YearDay() && at.Year() == now.Year():
		return at.Format("about 15:04")
	default:
		return at.Format("about Mon 2 Jan 15:04")
	}
}
