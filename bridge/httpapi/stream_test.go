package httpapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

func names(events []sent) string {
	var all []string
	for _, e := range events {
		all = append(all, e.name)
	}
	return strings.Join(all, " ")
}

func (a *api) happened(name otasvc.EventName) {
	a.bridge.Happened(otasvc.Event{Name: name, Time: time.Now(), EUID: kitchen})
}

// TestStream: a reader gets everything there is, then what changes; and when it comes back, what it missed,
// of each record the newest value.
func TestStream(t *testing.T) {
	a := startAPI(t, nil)
	a.known()
	a.happened(otasvc.EventDeviceAnnounced)
	next, stop := a.listen("")
	if got := names(until(next, "health")); got != "reset info images device device event ready health" {
		t.Errorf("at first %s", got)
	}
	a.bridge.DeviceChanged(device(kitchen, upgrade.Downloading, 50))
	seen := next()
	if seen.name != "device" || seen.id == "" || !strings.Contains(seen.data, `"progress":50`) {
		t.Errorf("a change came as %v", seen)
	}
	stop()

	for progress := 51.0; progress < 60; progress++ {
		a.bridge.DeviceChanged(device(kitchen, upgrade.Downloading, progress))
	}
	a.happened(otasvc.EventDownloadFinished)
	a.bridge.DeviceGone(hall)
	next, stop = a.listen(seen.id)
	missed := until(next, "deviceGone")
	if got := names(missed); got != "device event deviceGone" || !strings.Contains(missed[0].data, `"progress":59`) {
		t.Errorf("missed: %s, %v", got, missed[0])
	}
	if got := missed[2].data; got != `{"euid":"0x000b57fffec6a5c7"}` {
		t.Errorf("gone: %s", got)
	}
	stop()

	for _, id := range []string{"otherlife-5", "5", "x", seen.id + "000"} {
		next, stop := a.listen(id)
		if got := names(until(next, "health")); got != "reset info images event device event ready health" {
			t.Errorf("back with %q: %s", id, got)
		}
		stop()
	}
}

// TestStreamForgets: more happened than is remembered, so the reader begins anew, with the last events.
func TestStreamForgets(t *testing.T) {
	a := startAPI(t, nil)
	a.known()
	next, stop := a.listen("")
	var last sent
	for last.name != "ready" {
		last = next()
	}
	stop()
	for range 1500 {
		a.happened(otasvc.EventDownloadProgress)
	}
	next, _ = a.listen(last.id)
	got := until(next, "ready")
	if got[0].name != "reset" || len(got) != 2+4+200 {
		t.Errorf("%d events, beginning with %s", len(got), got[0].name)
	}
}

// TestStreamLimit: there are only so many streams, and one that was closed makes room.
func TestStreamLimit(t *testing.T) {
	a := startAPI(t, nil)
	a.known()
	var stops []func()
	for range 64 {
		_, stop := a.listen("")
		stops = append(stops, stop)
	}
	if got := a.call("GET", "/api/v1/events", ""); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("one more: status %d", got.status)
	}
	stops[0]()
	a.awaitStream()
}

// TestStreamHead: whoever asks only what it would be is not kept.
func TestStreamHead(t *testing.T) {
	a := startAPI(t, nil)
	if got := a.call("HEAD", "/api/v1/events", ""); got.status != 200 || got.header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("status %d, type %q", got.status, got.header.Get("Content-Type"))
	}
}

func TestHistory(t *testing.T) {
	a := startAPI(t, nil)
	for _, name := range []otasvc.EventName{otasvc.EventDongleConnected, otasvc.EventDeviceAnnounced, otasvc.EventDownloadStarted} {
		a.happened(name)
	}
	events := func(query string) (names []string, next string) {
		o := jsonObject(t, a.call("GET", "/api/v1/events/history"+query, "").body)
		for _, e := range asList(o["events"]) {
			names = append(names, e.(object)["name"].(string))
		}
		return names, o["next"].(string)
	}
	all, mark := events("")
	if diff := cmp.Diff([]string{"dongleConnected", "deviceAnnounced", "downloadStarted"}, all); diff != "" {
		t.Errorf("all (-want +got):\n%s", diff)
	}
	if last, _ := events("?limit=1"); len(last) != 1 || last[0] != "downloadStarted" {
		t.Errorf("the last: %v", last)
	}
	a.happened(otasvc.EventUpgradeSucceeded)
	if since, _ := events("?after=" + mark); len(since) != 1 || since[0] != "upgradeSucceeded" {
		t.Errorf("since: %v", since)
	}
	if since, _ := events("?after=otherlife-9"); len(since) != 4 {
		t.Errorf("since another life: %v", since)
	}
}
