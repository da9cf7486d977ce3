package bridge_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/bridge"
	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// fed is a bridge without a service, with a feed.
func fed() (*bridge.Bridge, *bridge.Feed, *paper) {
	feed, out := bridge.NewFeed(), newPaper()
	return bridge.New(bridge.Options{
		Topics: "zigate-ota", Version: "1.2.0", Out: out, Observer: noObserver{}, Logger: slog.New(slog.DiscardHandler), Feed: feed,
	}), feed, out
}

func keys(entries []bridge.FeedEntry) []string {
	all := []string{}
	for _, e := range entries {
		all = append(all, string(e.Kind)+" "+e.Key)
	}
	return all
}

// What the feed holds is what MQTT carries.
func TestFeedSaysWhatMQTTSays(t *testing.T) {
	b, feed, out := fed()
	b.InfoChanged(goldenInfo())
	b.ImagesChanged(nil)
	b.DeviceChanged(goldenDevice())
	b.Happened(otasvc.Event{Name: otasvc.EventDeviceAnnounced, Time: at("16:00:00"), EUID: bulb})
	all, _ := feed.All()
	if diff := cmp.Diff([]string{"info ", "images ", "device " + bulb.String(), "event deviceAnnounced"}, keys(all)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	for i, topic := range []string{"zigate-ota/info", "zigate-ota/images", "zigate-ota/device/" + bulb.String()} {
		if want := out.value(topic); string(all[i].Payload) != want {
			t.Errorf("%s: %s, want %s", topic, all[i].Payload, want)
		}
	}
	var event object
	if err := json.Unmarshal(all[3].Payload, &event); err != nil || event["name"] != "deviceAnnounced" || event["euid"] != bulb.String() {
		t.Errorf("event %s, %v", all[3].Payload, err)
	}
}

// A reader is told each record that has changed once, with its newest value, and every event, in order.
func TestFeedSince(t *testing.T) {
	b, feed, _ := fed()
	d := goldenDevice()
	b.DeviceChanged(d)
	_, mark := feed.All()
	changed := feed.Changed()
	b.DeviceChanged(d) // the same again
	if got, next, complete := feed.Since(mark); len(got) != 0 || next != mark || !complete {
		t.Errorf("nothing happened: %v, %d, %v", keys(got), next, complete)
	}
	select {
	case <-changed:
		t.Error("told of a change that is none")
	default:
	}
	for i := range 3 {
		d.Name = fmt.Sprint("Bulb ", i)
		b.DeviceChanged(d)
		b.Happened(otasvc.Event{Name: otasvc.EventDownloadProgress, Time: at("16:00:00"), EUID: bulb})
	}
	<-changed
	got, next, complete := feed.Since(mark)
	if want := []string{"event downloadProgress", "event downloadProgress", "device " + bulb.String(), "event downloadProgress"}; !complete || !slices.Equal(keys(got), want) {
		t.Errorf("since: %v, %v", keys(got), complete)
	}
	b.DeviceGone(bulb)
	if got, _, _ := feed.Since(next); !slices.Equal(keys(got), []string{"deviceGone " + bulb.String()}) {
		t.Errorf("gone: %v", keys(got))
	}
	if _, ok := feed.Get(bridge.FeedDevice, bulb.String()); ok {
		t.Error("a device that has gone is still told")
	}
	b.DeviceChanged(d) // it is back
	if got, _, _ := feed.Since(next); !slices.Equal(keys(got), []string{"device " + bulb.String()}) {
		t.Errorf("back: %v", keys(got))
	}
	if _, _, complete := feed.Since(next + 1000); complete {
		t.Error("a number that was never given is complete")
	}
}

// What is remembered is bounded; a reader that missed something that is forgotten has to begin anew.
func TestFeedIsBounded(t *testing.T) {
	b, feed, _ := fed()
	b.InfoChanged(goldenInfo())
	for i := range 3000 {
		b.Happened(otasvc.Event{Name: otasvc.EventDeviceLeft, Time: time.Now(), EUID: message.IEEE(i)})
		b.DeviceGone(message.IEEE(i + 1))
		b.Ask(fmt.Sprint("id ", i), "nonsense", nil)
	}
	if all, _ := feed.All(); len(all) != 1+1000 {
		t.Errorf("%d entries", len(all))
	}
	if got, _, complete := feed.Since(0); complete || len(got) != 0 {
		t.Errorf("complete with %d", len(got))
	}
	if _, ok := feed.Get(bridge.FeedResponse, "id 0"); ok {
		t.Error("the first response is remembered for ever")
	}
	if e, ok := feed.Get(bridge.FeedResponse, "id 2999"); !ok || !e.Final || e.Status != contract.StatusInvalidData {
		t.Errorf("the last response: %v, %+v", ok, e)
	}
}

// Who asks over the feed is answered there, and not over MQTT; an upgrade's final answer finds its
// way by its ticket.
func TestAsk(t *testing.T) {
	b, feed, out := fed()
	b.Ask("1", "rename", []byte(`{"deviceId":1,"transaction":"mine"}`))
	e, _ := feed.Get(bridge.FeedResponse, "1")
	want := `{"id":"1","operation":"renameResponse","status":"invalidData","transaction":"mine","euid":null,"mfgId":null,"imageTypeId":null,"url":null,"driverTypeId":null,"driverVersion":null,"imageVersion":null,"oldImageVersion":null,"error":"name: is required"}`
	if diff := cmp.Diff(want, string(e.Payload)); diff != "" {
		t.Errorf("response (-want +got):\n%s", diff)
	}
	b.UpgradeEnded(upgrade.Ticket(`{"operation":"upgrade","transaction":5,"id":"2"}`), otasvc.Answer{Status: otasvc.Success}, func() {})
	e, _ = feed.Get(bridge.FeedResponse, "2")
	if want := `{"id":"2","operation":"upgradeResponse","status":"success","transaction":5}`; string(e.Payload) != want || !e.Final {
		t.Errorf("response %s", e.Payload)
	}
	if said := out.on("zigate-ota/response/upgrade"); len(said) != 0 {
		t.Errorf("said on MQTT: %v", said)
	}
	b.UpgradeEnded(upgrade.Ticket(`{"operation":"upgrade","transaction":5}`), otasvc.Answer{Status: otasvc.Success}, func() {})
	if said := out.on("zigate-ota/response/upgrade"); len(said) != 1 {
		t.Errorf("said on MQTT of a request that came from there: %v", said)
	}
}
