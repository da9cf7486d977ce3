package bridge_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/bridge"
	"github.com/zigate-ota/zigate-ota/bridge/homeassistant/schema"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// deviceRecord is what the tests look at of a device's record.
type deviceRecord struct {
	EUID, Name         string
	CurrentFileVersion *uint32
	UpdateAvailable    bool
	Upgrade            *upgradeRecord
}

type upgradeRecord struct {
	State    string
	Offset   uint32
	Size     uint32
	Progress float64
	QueuedAt string
	Attempt  int
	Reason   *string
}

const (
	bulbTopic   = "zigate-ota/device/0x000b57fffec6a5b2"
	updateTopic = bulbTopic + "/update"
)

// state is the newest record of the bulb.
func (h *home) state() (d deviceRecord) {
	_ = json.Unmarshal([]byte(h.out.value(bulbTopic)), &d)
	return d
}

func (h *home) inState(state string, offset uint32) func() bool {
	return func() bool {
		u := h.state().Upgrade
		return u != nil && u.State == state && u.Offset >= offset
	}
}

// request makes a request whose answers are not looked at.
func (h *home) request(operation, payload string) {
	h.b.HandleRequest(command("zigate-ota/request/"+operation, []byte(payload), false))
}

// events lists the names of all events so far but progress.
func (h *home) events() []string {
	var names []string
	for _, m := range h.out.all("zigate-ota/event/") {
		if name := strings.TrimPrefix(m.topic, "zigate-ota/event/"); name != "downloadProgress" {
			names = append(names, name)
		}
	}
	return names
}

// TestUpgradeAsPublished follows a download that is paused, goes on and is cancelled, and one that succeeds,
// and holds everything that is published meanwhile against the contract.
func TestUpgradeAsPublished(t *testing.T) {
	inHome(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f)}}, func(h *home) {
		url := h.image(newer, 30_000)
		h.request("add_image", `{`+bulbID+`,"url":"`+url+`"}`)
		h.within(time.Minute, "the image is there", func() bool { return h.state().UpdateAvailable })
		h.request("upgrade", `{`+bulbID+`,"transaction":"first"}`)
		h.within(time.Minute, "the download is under way", h.inState("downloading", 5000))
		h.request("pause", `{`+bulbID+`}`)
		h.within(time.Minute, "it is held", h.inState("paused", 5000))
		time.Sleep(10 * time.Minute)
		h.request("resume", `{`+bulbID+`}`)
		h.within(time.Minute, "it goes on", h.inState("downloading", 6000))
		h.request("pause", `{`+bulbID+`,"seconds":90}`)
		h.within(time.Minute, "it is held again", h.inState("paused", 6000))
		h.within(3*time.Minute, "it goes on by itself", h.inState("downloading", 10_000))
		h.request("cancel", `{`+bulbID+`}`)
		h.within(time.Minute, "it has ended", h.inState("cancelled", 10_000))
		time.Sleep(time.Minute)
		h.request("upgrade", `{`+bulbID+`,"transaction":"second"}`)
		h.within(time.Hour, "it has succeeded", h.inState("succeeded", 30_000))
		time.Sleep(10 * time.Minute)
		synctest.Wait()

		want := strings.Fields(`dongleConnected imageAdded imageLoaded imageNotified downloadStarted downloadPaused downloadResumed
			downloadPaused downloadResumed upgradeCancelled imageLoaded imageNotified downloadStarted downloadFinished upgradeApplying
			upgradeSucceeded`)
		got := slices.DeleteFunc(h.events(), func(name string) bool { return name == "deviceAnnounced" })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		var states []string
		h.follow(func(d deviceRecord) {
			if u := d.Upgrade; u != nil && (len(states) == 0 || states[len(states)-1] != u.State) {
				states = append(states, u.State)
			}
		})
		wantStates := strings.Fields(`queued notified downloading paused downloading paused downloading cancelled
			queued notified downloading applying succeeded`)
		if diff := cmp.Diff(wantStates, states); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
		h.checkEvents()
		for transaction, status := range map[string]string{"first": "failure", "second": "success"} {
			var statuses []string
			for _, m := range h.out.all("zigate-ota/response/upgrade") {
				o, _ := parse(m.payload)
				if o["transaction"] != transaction {
					continue
				}
				if _, err := checkResponse(m.payload, "upgradeResponse", transaction, true); err != nil {
					t.Errorf("%s: %v", m.payload, err)
				}
				statuses = append(statuses, o["status"].(string))
			}
			if diff := cmp.Diff([]string{"inProgress", status}, statuses); diff != "" {
				t.Errorf("%s (-want +got):\n%s", transaction, diff)
			}
		}
	})
}

// TestRunningVersion: an upgrade is a success when the device runs another version than before, and who looks is told
// which where that is not the number in the file; a device that runs what it ran before is versionUnchanged.
func TestRunningVersion(t *testing.T) {
	old := uint32(0x22010631)
	for name, tt := range map[string]struct {
		reports uint32
		status  string
		reason  any
		running any
	}{
		"the file's number": {reports: 0, status: "success"},
		"another number":    {reports: 0x7777, status: "success", running: json.Number("30583")},
		"the old number":    {reports: old, status: "failure", reason: "versionUnchanged"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := bulbConfig(bulb, 0x4f4f)
			cfg.ReportsVersion = tt.reports
			inHome(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(h *home) {
				h.walk([]step{{operation: "upgrade", payload: `{` + bulbID + `,"url":"` + h.image(newer, 5000) + `"}`, want: tt.status}})
				answers := h.out.all("zigate-ota/response/upgrade")
				o, _ := parse(answers[len(answers)-1].payload)
				if o["reason"] != tt.reason || o["runningVersion"] != tt.running || o["imageVersion"] != json.Number("587814449") {
					t.Errorf("answered %v", o)
				}
				d, _ := parse(h.out.value(bulbTopic))
				if u := d["upgrade"].(object); u["runningVersion"] != tt.running || u["reason"] != tt.reason {
					t.Errorf("the record has %v", u)
				}
				if past := d["history"].([]any)[0].(object); past["runningVersion"] != tt.running {
					t.Errorf("the history has %v", past)
				}
				if available := d["updateAvailable"]; available != (tt.status == "failure") {
					t.Errorf("updateAvailable is %v", available)
				}
			})
		})
	}
}

// TestCancelTooLate: a device that installs is not stopped by cancel, which says so, and its upgrade ends as ever.
func TestCancelTooLate(t *testing.T) {
	inHome(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f), bulbConfig(cellar, 0x5050)}}, func(h *home) {
		url := h.image(newer, 5000)
		h.request("upgrade", `{`+bulbID+`,"url":"`+url+`","transaction":"u"}`)
		h.within(time.Hour, "it downloads", h.inState("downloading", 0))
		h.request("upgrade", `{"deviceId":"0x5050","url":"`+url+`","transaction":"w","when":"2099-01-01T00:00:00Z"}`)
		h.within(time.Hour, "it installs", h.inState("applying", 5000))
		still := func() {
			if u := h.state().Upgrade; u.State != "applying" {
				t.Errorf("the upgrade is %+v", u)
			}
		}
		h.walk([]step{
			{operation: "cancel", payload: `{` + bulbID + `}`, want: "failure"},
			{operation: "cancel", payload: `{"deviceId":"all"}`, want: "failure", service: true, before: still},
			{operation: "remove_image", payload: `{` + bulbID + `,"imageTypeId":8705}`, want: "success", before: still},
			{operation: "service_status", payload: `{}`, want: "serviceAvailable", service: true, before: still},
		})
		for _, m := range h.out.all("zigate-ota/response/cancel") {
			if o, _ := parse(m.payload); o["reason"] != "tooLate" || o["error"] == "" {
				t.Errorf("answered %s", m.payload)
			}
		}

		h.within(time.Hour, "it has succeeded", h.inState("succeeded", 5000))
		want := map[string]string{"u": "success", "w": "failure"}
		for _, m := range h.out.all("zigate-ota/response/upgrade") {
			o, _ := parse(m.payload)
			if o["status"] == "inProgress" {
				continue
			}
			asked, _ := o["transaction"].(string)
			if o["status"] != want[asked] || asked == "w" && o["reason"] != "cancelled" {
				t.Errorf("answered %s", m.payload)
			}
			delete(want, asked)
		}
		if len(want) > 0 {
			t.Errorf("without a final answer: %v", want)
		}
	})
}

// Progress is told once a second at most, also where something else in the record changes oftener.
func TestProgressAmidOtherChanges(t *testing.T) {
	inHome(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f)}}, func(h *home) {
		h.request("upgrade", `{`+bulbID+`,"url":"`+h.image(newer, 20_000)+`"}`)
		h.within(time.Minute, "the download is under way", h.inState("downloading", 1000))
		for i := range 30 {
			h.request("rename", fmt.Sprintf(`{%s,"name":"Bulb number %d"}`, bulbID, i))
			time.Sleep(230 * time.Millisecond)
			synctest.Wait()
			if got, want := h.state().Name, fmt.Sprintf("Bulb number %d", i); got != want {
				t.Errorf("the name is %q, want %q at once", got, want)
			}
		}
		h.within(time.Hour, "it has succeeded", h.inState("succeeded", 20_000))
		h.follow(func(deviceRecord) {})
	})
}

// slowImage is a web with one image for the bulbs, which takes 20 s.
type slowImage struct{ data []byte }

func (s slowImage) RoundTrip(r *http.Request) (*http.Response, error) {
	body, feed := io.Pipe()
	go func() {
		for piece := range slices.Chunk(s.data, len(s.data)/200+1) {
			select {
			case <-time.After(100 * time.Millisecond):
				_, _ = feed.Write(piece) // whoever reads may have gone
			case <-r.Context().Done():
				_ = feed.CloseWithError(r.Context().Err()) // it has no errors
				return
			}
		}
		_ = feed.Close() // it has no errors
	}()
	size := int64(len(s.data))
	return &http.Response{StatusCode: 200, Header: http.Header{}, ContentLength: size, Body: body, Request: r}, nil
}

// TestFetchingAsPublished follows an upgrade whose image takes a while to come, from the first moment on: one that is
// cancelled meanwhile, one whose image is not the one that was meant, and one that succeeds.
func TestFetchingAsPublished(t *testing.T) {
	image := otafile.Build(otafile.Header{ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: newer}, make([]byte, 30_000))
	cfg := sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f)}}
	inHomeOf(t, cfg, surroundings{web: slowImage{image}}, func(h *home) {
		const url = `"url":"http://example.com/a.ota"`
		h.request("upgrade", `{`+bulbID+`,`+url+`,"transaction":"first"}`)
		h.within(time.Second, "it is said to be under way", func() bool { return len(h.out.all("zigate-ota/response/upgrade")) == 1 })
		h.within(time.Second, "it is shown", h.inState("fetching", 0))
		if info := h.out.value("zigate-ota/info"); !strings.Contains(info, `"upgrades":{"queued":0,"active":1,`) {
			t.Errorf("the record of the service is %s", info)
		}
		h.within(time.Minute, "some of it is there", h.inState("fetching", 10_000))
		h.walk([]step{
			{operation: "upgrade", payload: `{` + bulbID + `}`, want: "failure"},
			{operation: "pause", payload: `{` + bulbID + `}`, want: "failure"},
			{operation: "resume", payload: `{` + bulbID + `}`, want: "failure"},
			{operation: "cancel", payload: `{` + bulbID + `}`, want: "success"},
		})
		h.within(time.Second, "it has ended", h.inState("cancelled", 0))
		time.Sleep(time.Minute)
		h.request("upgrade", `{`+bulbID+`,`+url+`,"sha256":"`+strings.Repeat("0", 64)+`","transaction":"second"}`)
		h.within(time.Minute, "it has failed", h.inState("failed", 0))
		h.request("upgrade", `{`+bulbID+`,`+url+`,"transaction":"third"}`)
		h.within(time.Hour, "it has succeeded", h.inState("succeeded", 30_000))
		time.Sleep(time.Minute)
		synctest.Wait()

		var states []string
		shown := map[string]bool{} // the offsets of the file that were told
		h.follow(func(d deviceRecord) {
			u := d.Upgrade
			if u == nil {
				return
			}
			if len(states) == 0 || states[len(states)-1] != u.State {
				states = append(states, u.State)
			}
			if u.State == "fetching" {
				shown[fmt.Sprint(u.Offset)] = true
			}
		})
		want := strings.Fields("fetching cancelled fetching failed fetching queued notified downloading applying succeeded")
		if diff := cmp.Diff(want, states); diff != "" || len(shown) < 15 {
			t.Errorf("%d offsets, states (-want +got):\n%s", len(shown), diff)
		}
		h.checkEvents()
		finals := map[string]string{}
		for _, m := range h.out.all("zigate-ota/response/upgrade") {
			o, _ := parse(m.payload)
			asked, _ := o["transaction"].(string)
			if asked == "" || o["status"] == "inProgress" {
				continue
			}
			if _, err := checkResponse(m.payload, "upgradeResponse", asked, true); err != nil {
				t.Errorf("%s: %v", m.payload, err)
			}
			finals[asked] += fmt.Sprint(o["status"], " ", o["reason"])
		}
		wantFinals := map[string]string{
			"first": "failure cancelled", "second": "failure imageValidationFailed", "third": "success <nil>",
		}
		for asked, want := range wantFinals {
			if finals[asked] != want {
				t.Errorf("%s is answered %q, want %q", asked, finals[asked], want)
			}
		}
	})
}

// follow goes through all records of the bulb that were published and holds them, and the update states
// beside them, against the contract.
func (h *home) follow(see func(deviceRecord)) {
	h.t.Helper()
	var last deviceRecord
	var at time.Time
	records, updates := 0, 0
	for _, m := range h.out.all(bulbTopic) {
		if m.topic == updateTopic {
			updates++
			if err := schema.Message(m.topic, []byte(m.payload)); err != nil {
				h.t.Errorf("%v", err)
			}
			h.checkUpdate(last, m.payload)
			continue
		}
		records++
		var d deviceRecord
		if err := json.Unmarshal([]byte(m.payload), &d); err != nil {
			h.t.Errorf("%s: %v", m.payload, err)
		}
		before, now := last.Upgrade, d.Upgrade
		sameAttempt := before != nil && now != nil && before.QueuedAt == now.QueuedAt && before.Attempt == now.Attempt
		if fetched := sameAttempt && before.State == "fetching" && now.State != "fetching"; sameAttempt && !fetched {
			if now.Progress < before.Progress || now.Offset < before.Offset {
				h.t.Errorf("progress goes backwards, from %+v to %+v", before, now)
			}
			goesOn := before.State == now.State && (now.State == "downloading" || now.State == "fetching")
			if since := m.at.Sub(at); goesOn && now.Progress != before.Progress && since < time.Second {
				h.t.Errorf("progress is told again after %v", since)
			}
		}
		if u := d.Upgrade; u != nil && u.State == "succeeded" && (u.Progress != 100 || u.Offset != u.Size) {
			h.t.Errorf("succeeded with %+v", u)
		}
		see(d)
		if before == nil || now == nil || before.State != now.State || before.Progress != now.Progress {
			at = m.at
		}
		last = d
	}
	if records == 0 || updates != records {
		h.t.Errorf("%d records and %d update states", records, updates)
	}
}

// checkUpdate holds an update state against the record that was published just before it.
func (h *home) checkUpdate(d deviceRecord, payload string) {
	h.t.Helper()
	var u struct {
		In      bool     `json:"in_progress"`
		Percent *float64 `json:"update_percentage"`
	}
	if err := json.Unmarshal([]byte(payload), &u); err != nil {
		h.t.Error(err)
	}
	state := ""
	if d.Upgrade != nil {
		state = d.Upgrade.State
	}
	switch state {
	case "fetching", "queued", "notified", "applying":
		if !u.In || u.Percent != nil {
			h.t.Errorf("%s: %s", state, payload)
		}
	case "downloading", "paused":
		if !u.In || u.Percent == nil || *u.Percent != d.Upgrade.Progress {
			h.t.Errorf("%s with %v %%: %s", state, d.Upgrade.Progress, payload)
		}
	default:
		if u.In || u.Percent != nil {
			h.t.Errorf("%s: %s", state, payload)
		}
	}
}

// checkEvents holds all events so far against the contract.
func (h *home) checkEvents() {
	h.t.Helper()
	for _, m := range h.out.all("zigate-ota/event/") {
		name := strings.TrimPrefix(m.topic, "zigate-ota/event/")
		e, err := parse(m.payload)
		if err != nil {
			h.t.Errorf("%s: %v", m.payload, err)
			continue
		}
		var keys []string // that it must have
		switch {
		case strings.HasPrefix(name, "dongle"), name == "imageLoaded":
			if _, there := e["euid"]; there {
				h.t.Errorf("%s names a device: %s", name, m.payload)
			}
		default:
			keys = []string{"euid"}
		}
		// Of an image that was not had nobody knows the version.
		unfetched := (name == "upgradeFailed" || name == "upgradeCancelled") && e["offset"] == nil
		switch {
		case unfetched:
			keys = append(keys, "oldImageVersion")
		case strings.HasPrefix(name, "upgrade"), strings.HasPrefix(name, "download"):
			keys = append(keys, "imageVersion", "oldImageVersion")
		}
		if strings.HasPrefix(name, "download") {
			keys = append(keys, "offset", "size", "progress")
		}
		if name == "upgradeFailed" || name == "upgradeCancelled" {
			keys = append(keys, "reason")
		}
		for _, key := range keys {
			if e[key] == nil {
				h.t.Errorf("%s without %s: %s", name, key, m.payload)
			}
		}
		text, _ := e["time"].(string)
		if _, err := time.Parse(time.RFC3339, text); err != nil {
			h.t.Errorf("%s: %v", m.payload, err)
		}
	}
}

// TestDevicesThatGo: nothing stays behind of a device that is forgotten or leaves for good, and
// nothing comes back.
func TestDevicesThatGo(t *testing.T) {
	const id = "000b57fffec6a5b2" // in every topic of the bulb
	ways := map[string]func(h *home){
		"forget": func(h *home) { h.request("forget", `{`+bulbID+`}`) },
		"leave":  func(h *home) { h.sim.Device(bulb).Leave() },
		"leave during a download": func(h *home) {
			h.request("upgrade", `{`+bulbID+`,"url":"`+h.image(newer, 30_000)+`","transaction":"u"}`)
			h.within(time.Minute, "the download is under way", h.inState("downloading", 5000))
			h.sim.Device(bulb).Leave()
		},
		"forget while it is asked for its version": func(h *home) {
			h.sim.Device(bulb).PowerOff()
			h.request("check", `{`+bulbID+`,"transaction":"u"}`)
			h.request("interview", `{`+bulbID+`}`)
			h.request("forget", `{`+bulbID+`}`)
		},
	}
	for name, leave := range ways {
		t.Run(name, func(t *testing.T) {
			cfg := sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f), bulbConfig(cellar, 0x5050)}}
			inHome(t, cfg, func(h *home) {
				topics := h.out.topics(id)
				slices.Sort(topics)
				if diff := cmp.Diff([]string{"homeassistant/device/zigate_ota_" + id + "/config", bulbTopic, updateTopic}, topics); diff != "" {
					t.Errorf("before (-want +got):\n%s", diff)
				}
				leave(h)
				h.within(time.Minute, "its topics are cleared", func() bool { return len(h.out.topics(id)) == 0 })
				time.Sleep(24 * time.Hour)
				synctest.Wait()
				if topics := h.out.topics(id); len(topics) != 0 {
					t.Errorf("came back: %v", topics)
				}
				if n := len(h.out.topics("000b57fffec6a5c7")); n != 3 {
					t.Errorf("the other device has %d topics", n)
				}
				// A request that was open has its one answer.
				open := map[string]int{}
				for _, m := range h.out.all("zigate-ota/response/") {
					if o, _ := parse(m.payload); o["transaction"] == "u" {
						if o["status"] == "inProgress" {
							open[m.topic] += 0
						} else {
							open[m.topic]++
						}
					}
				}
				for topic, n := range open {
					if n != 1 {
						t.Errorf("%d final answers on %s", n, topic)
					}
				}
				// Discovery goes first: no entity may read a topic that is empty.
				var cleared []string
				for _, m := range h.out.all("") {
					if m.retained && m.payload == "" {
						cleared = append(cleared, m.topic)
					}
				}
				if len(cleared) != 3 || !strings.HasPrefix(cleared[0], "homeassistant/") {
					t.Errorf("cleared %v", cleared)
				}
			})
		})
	}
}

// TestFramesOfAnUpgrade: every frame of a download is published, as it was on the line.
func TestFramesOfAnUpgrade(t *testing.T) {
	inHome(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f)}}, func(h *home) {
		frames := bridge.NewFrames("zigate-ota", h.out, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(h.t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = frames.Run(ctx) })
		defer running.Wait()
		defer cancel()
		h.dongle.TraceTo(frames.Trace)
		h.request("upgrade", `{`+bulbID+`,"url":"`+h.image(newer, 5000)+`"}`)
		h.within(time.Hour, "it has succeeded", h.inState("succeeded", 5000))
		h.dongle.TraceTo(nil)
		count := map[string]int{}
		for _, m := range h.out.all("zigate-ota/frame/") {
			o, err := parse(m.payload)
			_, hasLQI := o["lqi"]
			if received := m.topic == "zigate-ota/frame/rx"; err != nil || hasLQI != received {
				t.Errorf("%s %s", m.topic, m.payload)
			}
			count[o["type"].(string)]++
		}
		stats := h.sim.Stats()
		for _, typ := range []message.MsgType{message.TypeLoadImage, (message.ImageBlockResponse{}).Type()} {
			if n := uint64(count[typ.String()]); n == 0 || n > stats.Received[typ] {
				t.Errorf("%d frames of %v, the dongle received %d", n, typ, stats.Received[typ])
			}
		}
		if n := count[message.TypeImageBlockRequest.String()]; uint64(n) != stats.Sent[message.TypeImageBlockRequest] || n != count[(message.ImageBlockResponse{}).Type().String()] {
			t.Errorf("%d block requests of %d, %d blocks", n, stats.Sent[message.TypeImageBlockRequest], count[message.ImageBlockResponse{}.Type().String()])
		}
		for _, m := range h.out.all("zigate-ota/frame/rx") {
			if strings.Contains(m.payload, `"0x8503"`) && !strings.Contains(m.payload, `"name":"upgrade end request"`) {
				t.Errorf("%s", m.payload)
			}
		}
	})
}

// TestDongleRefuses: a dongle that takes no blocks is told as such within a minute, in the record of the service, in the
// answer, the event and the record of the device; what waits says so, and goes on once the dongle was without power.
func TestDongleRefuses(t *testing.T) {
	cfg := sim.Config{
		Devices: []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f), bulbConfig(cellar, 0x5050)},
		Faults:  sim.Faults{RefusalOutlastsReset: true},
	}
	inHome(t, cfg, func(h *home) {
		url := h.image(newer, 20_000)
		h.request("upgrade", `{`+bulbID+`,"url":"`+url+`","transaction":"u"}`)
		h.within(time.Hour, "it downloads", h.inState("downloading", 1000))
		h.sim.RefuseBlocks(message.StatusNoBuffer)
		h.within(time.Minute, "it has failed", h.inState("failed", 0))
		h.request("upgrade", `{"deviceId":"0x5050","url":"`+url+`","transaction":"w"}`)
		time.Sleep(time.Minute)

		says := func(what string, o object, key string) {
			if text, _ := o[key].(string); !strings.Contains(text, "no blocks") || !strings.Contains(text, "pull it out and put it back") {
				t.Errorf("%s says %v", what, o)
			}
		}
		info, _ := parse(h.out.value("zigate-ota/info"))
		says("info", info["dongle"].(object), "error")
		d, _ := parse(h.out.value(bulbTopic))
		says("the record", d["upgrade"].(object), "error")
		if u := d["upgrade"].(object); u["reason"] != "dongleRefuses" {
			t.Errorf("the record has %v", u)
		}
		answers := h.out.all("zigate-ota/response/upgrade")
		for _, m := range answers {
			if o, _ := parse(m.payload); o["transaction"] == "u" && o["status"] != "inProgress" {
				says("the answer", o, "error")
				if o["status"] != "failure" || o["reason"] != "dongleRefuses" {
					t.Errorf("answered %v", o)
				}
			}
		}
		event, _ := parse(h.out.all("zigate-ota/event/upgradeFailed")[0].payload)
		if event["reason"] != "dongleRefuses" {
			t.Errorf("the event is %v", event)
		}
		waits, _ := parse(h.out.value("zigate-ota/device/0x000b57fffec6a5c7"))
		if q, _ := waits["upgrade"].(object)["queue"].(object); waits["upgrade"].(object)["state"] != "queued" || q["waitsFor"] != "dongle" {
			t.Errorf("what waits is %v", waits["upgrade"])
		}

		h.sim.PowerCycle()
		h.within(time.Minute, "nothing is wrong with the dongle", func() bool {
			info, _ := parse(h.out.value("zigate-ota/info"))
			return info["dongle"].(object)["error"] == nil
		})
		h.within(time.Hour, "the one that waited has succeeded", func() bool {
			d, _ := parse(h.out.value("zigate-ota/device/0x000b57fffec6a5c7"))
			return d["upgrade"].(object)["state"] == "succeeded"
		})
	})
}
