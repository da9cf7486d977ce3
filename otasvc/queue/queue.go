// Package queue decides when people are told anew how the queue of upgrades is expected to go on.
//
// A forecast is another one each time that it is made, and what is told is retained and looked at by people.
// So a [Told] follows the forecasts of one upgrade, and a [Total] those of the whole queue, as closely as is
// worth telling. Both are values: nothing here has a clock or a state of its own, or knows how forecasts are
// made, who is told, and how.
package queue

import (
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/slot"
)

const (
	// PlaceInterval is how soon after a place in the queue, or what the upgrade waits for, another one is
	// told.
	PlaceInterval = time.Second
	// TimesInterval is how soon after expected times others are told.
	TimesInterval = time.Minute
	// leastMove is by how much an expected time has to move until it is told anew.
	leastMove = 2 * time.Minute
	// leastShare is the part of what is left by which it has to move besides: the farther away a time is, the
	// less it is known.
	leastShare = 10
)

// Told is what was told of the place of one upgrade. The zero Told is that of an upgrade that has no place,
// or of which nothing was told.
type Told struct {
	place   slot.Place
	placeAt time.Time // when position and what it waits for were told
	timesAt time.Time // when the times were told
}

// Place returns what was told, its times in whole minutes; nil where that is nothing.
func (t Told) Place() *slot.Place {
	if t.placeAt.IsZero() {
		return nil
	}
	place := t.place
	return &place
}

// Follow returns what is to be told after a forecast for the upgrade, and reports whether that is something
// else than before. An upgrade that begins, or goes back to the queue, is told at once, since its state is.
func (t Told) Follow(forecast slot.Place, now time.Time) (next Told, changed bool) {
	forecast.Start = minute(forecast.Start)
	forecast.End = minute(forecast.End)
	if t.placeAt.IsZero() || (t.place.Position == 0) != (forecast.Position == 0) {
		return Told{place: forecast, placeAt: now, timesAt: now}, true
	}

	next = t
	placed := t.isBehind(forecast) && now.Sub(t.placeAt) >= PlaceInterval
	if placed {
		next.place.Position = forecast.Position
		next.place.WaitsFor = forecast.WaitsFor
		next.placeAt = now
	}
	if t.timesDue(forecast, placed, now) {
		next.place.Start = forecast.Start
		next.place.End = forecast.End
		next.timesAt = now
	}
	return next, next != t
}

// isBehind reports whether an upgrade has another place than was told, or waits for something else.
func (t Told) isBehind(forecast slot.Place) bool {
	return t.place.Position != forecast.Position || t.place.WaitsFor != forecast.WaitsFor
}

// timesDue reports whether the times are to be told anew. Whether they can be told at all goes with what the
// upgrade waits for.
func (t Told) timesDue(forecast slot.Place, placed bool, now time.Time) bool {
	if placed && t.place.End.IsZero() != forecast.End.IsZero() {
		return true
	}
	if now.Sub(t.timesAt) < TimesInterval {
		return false
	}
	return moved(t.place.Start, forecast.Start, now) || moved(t.place.End, forecast.End, now)
}

// Due is when a place that was forecast may be told; zero where it was told already.
func (t Told) Due(forecast slot.Place) time.Time {
	if !t.isBehind(forecast) {
		return time.Time{}
	}
	return t.placeAt.Add(PlaceInterval)
}

// Total is what was told of the end of the whole queue. The zero Total is that of an empty queue.
type Total struct {
	end      time.Time
	upgrades int       // how many there were
	at       time.Time // when it was told
}

// End returns what was told, in whole minutes; zero where nobody can tell.
func (t Total) End() time.Time { return t.end }

// Follow returns what is to be told after a forecast of the end of a queue of so many upgrades; zero stands
// for an end that nobody can tell. With another number of upgrades it is told at once, since the number is.
func (t Total) Follow(forecast time.Time, upgrades int, now time.Time) Total {
	forecast = minute(forecast)
	waits := now.Sub(t.at) < TimesInterval || !moved(t.end, forecast, now)
	if upgrades == t.upgrades && !t.end.IsZero() && waits {
		return t
	}
	return Total{end: forecast, upgrades: upgrades, at: now}
}

// minute rounds a time to whole minutes; a zero time stays.
func minute(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Round(time.Minute)
}

// moved reports whether an expected time has moved by so much that it is worth telling.
func moved(told, forecast, now time.Time) bool {
	if told.IsZero() || forecast.IsZero() {
		return told.IsZero() != forecast.IsZero()
	}
	by := forecast.Sub(told).Abs()
	left := max(forecast.Sub(now), 0)
	return by > leastMove && by > left/leastShare
}
