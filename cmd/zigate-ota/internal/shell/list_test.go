package shell_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/bridge/broker"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/shell"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; go test -update writes it):\n%s", name, diff)
	}
}

// earlier is a time before now, as records have it.
func earlier(d time.Duration) string { return time.Now().Add(-d).UTC().Format(time.RFC3339) }

// home publishes a home with all kinds of devices.
func (s *service) home() {
	s.device("0x000b57fffec6a5b2", fmt.Sprintf(`{"euid":"0x000b57fffec6a5b2","networkAddress":20303,"name":"Kitchen bulb","manufacturerName":"IKEA of Sweden","modelId":"TRADFRI bulb E27",
		"mfgId":4476,"imageTypeId":8705,"hardwareVersion":1,"endpoint":1,"sleepy":false,"currentFileVersion":570492465,"softwareBuild":"2.2.010","dateCode":"20240131","otherServer":"0x00212effff00aabb","lqi":132,"lastSeen":%q,"updateAvailable":true,
		"image":{"imageVersion":587814449,"size":205488,"sha256":"ab","url":"https://example.com/bulb.ota","source":"registered","driverTypeId":"","driverVersion":0,"releaseNotes":"Better.","title":"Bulb firmware","fileName":"bulb.ota"},
		"otherImages":[{"endpoint":2,"mfgId":4476,"imageTypeId":8706,"currentFileVersion":5,"updateAvailable":true,
			"image":{"imageVersion":7,"size":1000,"sha256":"cd","url":null,"source":"folder","driverTypeId":"","driverVersion":0,"releaseNotes":null}},
			{"endpoint":null,"mfgId":null,"imageTypeId":8707,"currentFileVersion":null,"updateAvailable":false,"image":null}],
		"upgrade":{"state":"downloading","imageVersion":587814449,"oldImageVersion":570492465,"offset":36224,"size":205488,"progress":17.6,"bytesPerSecond":412,"remainingSeconds":411,"queuedAt":%q,"startedAt":%q,"attempt":1,"reason":null}}`,
		earlier(3*time.Minute), earlier(2*time.Hour), earlier(time.Hour)))
	s.device("0x000b57fffec6a5c7", fmt.Sprintf(`{"euid":"0x000b57fffec6a5c7","networkAddress":6699,"name":"日本の電球 🏠 im Flur vor der Küche","manufacturerName":"IKEA of Sweden","modelId":"TRADFRI bulb E27","mfgId":4476,"imageTypeId":8705,
		"endpoint":1,"sleepy":false,"currentFileVersion":587814449,"lqi":98,"lastSeen":%q,"updateAvailable":false,"image":null,
		"upgrade":{"state":"failed","imageVersion":587814449,"oldImageVersion":570492465,"offset":0,"size":205488,"progress":0,"bytesPerSecond":0,"remainingSeconds":null,"queuedAt":%q,"startedAt":null,"attempt":3,"reason":"noResponse"}}`,
		earlier(5*time.Hour), earlier(5*time.Hour)))
	s.device("0x00124b0022334455", fmt.Sprintf(`{"euid":"0x00124b0022334455","networkAddress":37086,"name":"0x00124b0022334455","manufacturerName":null,"modelId":null,"mfgId":null,"imageTypeId":null,"hardwareVersion":null,"endpoint":null,
		"sleepy":true,"currentFileVersion":null,"lqi":null,"lastSeen":%q,"updateAvailable":false,"image":null,"upgrade":null}`, earlier(100*time.Hour)))
	s.device("0x001788010b2c3d4e", `{"euid":"0x001788010b2c3d4e","networkAddress":null,"name":"<script>alert(1)</script>\u001b[2J","manufacturerName":"x","modelId":"LOM001","mfgId":4107,"imageTypeId":274,"endpoint":11,"sleepy":false,
		"currentFileVersion":16909568,"lqi":201,"lastSeen":null,"updateAvailable":false,"image":{"imageVersion":16909568,"size":null,"sha256":null,"url":null,"source":"index","driverTypeId":"","driverVersion":0,"releaseNotes":null},
		"upgrade":{"state":"succeeded","imageVersion":16909568,"oldImageVersion":1,"offset":1,"size":1,"progress":100,"bytesPerSecond":0,"remainingSeconds":null,"queuedAt":"2026-11-21T16:00:00Z","startedAt":null,"attempt":1,"reason":null}}`)
	s.say("info", fmt.Sprintf(`{"version":"1.2.0","startedAt":%q,"dongle":{"connected":true,"port":"/dev/ttyUSB0","firmware":"3.23","euid":"0x00158d0001020304","panId":4660,"channel":15,"error":null},
		"slot":{"mfgId":4476,"imageTypeId":8705,"imageVersion":587814449},"devices":4,"images":2,"upgrades":{"queued":0,"active":1}}`, earlier(30*time.Hour)), true)
	s.say("images", fmt.Sprintf(`{"images":[
		{"driverTypeId":"","driverVersion":0,"mfgId":4476,"imageTypeId":8705,"imageVersion":587814449,"size":205488,"sha256":"ab","url":"https://example.com/a/long/way/to/bulb.ota","title":"Bulb firmware","devices":["0x000b57fffec6a5b2","0x000b57fffec6a5c7"],"addedAt":%q,"report":{"checks":[{"name":"a","status":"passed"},{"name":"b","status":"notVerifiable"},{"name":"c","status":"passed"}]}},
		{"driverTypeId":"light.c4z","driverVersion":7,"mfgId":4107,"imageTypeId":274,"imageVersion":16909568,"size":980,"sha256":"cd","url":"file:///plug.ota","title":"","devices":[],"addedAt":%q,"report":{"checks":[]}}]}`,
		earlier(72*time.Hour), earlier(10*time.Minute)), true)
}

func TestTables(t *testing.T) {
	s := newService(t, broker.Options{})
	s.home()
	for _, columns := range []string{"40", "80", "200"} {
		for _, args := range [][]string{{"devices"}, {"images"}, {"devices", "kitchen BULB", "0x90de"}, {"status"}} {
			if len(args) > 1 && columns == "200" || args[0] == "status" && columns != "80" {
				continue
			}
			r := start(t, shell.Broker{URLs: []string{s.url()}}, []string{"COLUMNS=" + columns}, args...)
			name := args[0]
			if len(args) > 1 {
				name = "device"
			}
			got := strings.ReplaceAll(r.succeeds(), s.url(), "tcp://127.0.0.1:1883")
			golden(t, name+"-"+columns+".txt", got)
			if stderr := r.stderr.String(); stderr != "" {
				t.Errorf("%q: stderr %q", args, stderr)
			}
		}
	}
	piped := s.start("devices").succeeds()
	if !strings.Contains(piped, "日本の電球 🏠 im Flur vor der Küche") || strings.ContainsAny(piped, "…\x1b") {
		t.Errorf("in a pipe everything is shown, and nothing besides:\n%s", piped)
	}
}

// JSON is what MQTT has, key by key.
func TestListsAsJSON(t *testing.T) {
	s := newService(t, broker.Options{})
	s.home()
	var devices struct {
		Devices []map[string]any `json:"devices"`
	}
	out := s.start("devices", "--json").succeeds()
	if err := json.Unmarshal([]byte(out), &devices); err != nil || strings.Count(out, "\n") != 1 {
		t.Errorf("%v: %s", err, out)
	}
	if len(devices.Devices) != 4 || len(devices.Devices[1]) != 20 || devices.Devices[3]["name"] != "0x00124b0022334455" {
		t.Errorf("%d devices: %s", len(devices.Devices), out)
	}
	out = s.start("devices", "--json", "0x00:12:4B:00:22:33:44:55").succeeds()
	if err := json.Unmarshal([]byte(out), &devices); err != nil || len(devices.Devices) != 1 {
		t.Errorf("%v: %s", err, out)
	}
	for command, key := range map[string]string{"images": "images", "status": "dongle"} {
		var object map[string]any
		if err := json.Unmarshal([]byte(s.start(command, "--json").succeeds()), &object); err != nil || object[key] == nil {
			t.Errorf("%s: %v: %v", command, err, object)
		}
	}
}

// A thousand devices are listed in whole, also where the broker sends them faster than they are read.
func TestThousandDevices(t *testing.T) {
	t.Parallel()
	s := newService(t, broker.Options{})
	for i := range 1200 {
		euid := fmt.Sprintf("0x%016x", i)
		s.device(euid, fmt.Sprintf(`{"euid":%q,"name":%q,"updateAvailable":false}`, euid, euid))
	}
	s.say("info", `{"version":"1","dongle":{"connected":false,"error":"no such port"},"devices":1200}`, true)
	s.client.Publish("fence", 1, false, "").Wait()
	r := s.start("devices")
	if n := strings.Count(r.succeeds(), "\n"); n != 1201 {
		t.Errorf("%d lines, want a heading and 1200 devices", n)
	}
	if got, want := r.stderr.String(), "the dongle is not connected: no such port\n"; got != want {
		t.Errorf("stderr %q, want %q", got, want)
	}
}

// What is wrong with a dongle that is connected is said beside every list, and in the status.
func TestTroubleWithTheDongle(t *testing.T) {
	t.Parallel()
	s := newService(t, broker.Options{})
	s.say("info", `{"devices":0,"dongle":{"connected":true,"error":"the dongle takes no blocks; pull it out and put it back"}}`, true)
	s.client.Publish("fence", 1, false, "").Wait()
	r := s.start("devices")
	r.succeeds()
	if got, want := r.stderr.String(), "the dongle takes no blocks; pull it out and put it back\n"; got != want {
		t.Errorf("stderr %q, want %q", got, want)
	}
	if out := s.start("status").succeeds(); !strings.Contains(out, "the dongle takes no blocks") {
		t.Errorf("the status is %q", out)
	}
}

func TestEmptyLists(t *testing.T) {
	s := newService(t, broker.Options{})
	s.say("images", `{"images":[]}`, true)
	s.say("info", `{"devices":0,"dongle":{"connected":true}}`, true)
	for command, want := range map[string]string{"devices": "no devices yet", "images": "no images are registered"} {
		if got := s.start(command).succeeds(); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q", command, got)
		}
	}
}

// The status has the queue: who has begun, then who waits, by their places.
func TestStatusHasTheQueue(t *testing.T) {
	s := newService(t, broker.Options{})
	at := func(euid, name, place string) {
		s.device(euid, fmt.Sprintf(`{"euid":%q,"name":%q,"updateAvailable":true,"upgrade":{"state":"queued","imageVersion":2,
			"queuedAt":"2026-11-21T16:00:00Z","attempt":1,"queue":%s}}`, euid, name, place))
	}
	at("0x0000000000000001", "Attic", `{"position":2,"waitsFor":"device","expectedStart":null,"expectedEnd":null}`)
	at("0x0000000000000002", "Bath", `{"position":1,"waitsFor":"slot","expectedStart":"2026-11-21T16:00:00Z","expectedEnd":null}`)
	at("0x0000000000000003", "Cellar", `null`)
	at("0x0000000000000004", "Desk", `{"position":null,"waitsFor":"person","expectedStart":null,"expectedEnd":null}`)
	s.say("info", `{"devices":4,"dongle":{"connected":true},"upgrades":{"queued":3,"active":1,"expectedEnd":"2026-11-21T16:00:00Z"}}`, true)
	_, got, _ := strings.Cut(s.start("status").succeeds(), "  upgrades ")
	want := `          1 running, 3 waiting
  downloads          all complete at any moment
  queue              Desk: paused by a person
                     Bath: place 1, another image has the slot, begins at any moment
                     Attic: place 2, waits until the device wakes, answers or asks by itself
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// While an upgrade waits, its bar says what for.
func TestUpgradeShowsItsTurn(t *testing.T) {
	s := upgrading(t)
	r := s.start("upgrade", "Kitchen bulb")
	a := s.request("upgrade", `{"deviceId":"Kitchen bulb"}`)
	s.answer(a, "inProgress", `,"euid":"`+kitchen+`"`)
	waiting := strings.Replace(record(kitchen, "Kitchen bulb", "queued", queuedAt, 0), `"attempt":1`,
		`"attempt":1,"queue":{"position":2,"waitsFor":"slot","expectedStart":null,"expectedEnd":null}`, 1)
	s.device(kitchen, waiting)
	s.device(kitchen, record(kitchen, "Kitchen bulb", "succeeded", queuedAt, 100))
	s.answer(a, "success", `,"euid":"`+kitchen+`","imageVersion":2,"oldImageVersion":2`)
	out := r.succeeds()
	if want := "queued place 2, another image has the slot\n"; !strings.Contains(out, want) {
		t.Errorf("%q is not in\n%s", want, out)
	}
}
