package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// firstBulb is the first of the bulbs of a home of many.
const firstBulb = message.IEEE(0x000b57fffe000001)

// bulbs writes a scenario with so many bulbs, of which the first has no power where off says so.
func bulbs(t *testing.T, count int, off bool) (file string) {
	t.Helper()
	scenario := map[string]any{
		"speed": 60,
		"devices": []any{map[string]any{
			"ieee": firstBulb.String(), "count": count, "manufacturerCode": 0x117C, "imageType": 0x2201,
			"fileVersion": bulbVersion, "manufacturerName": "IKEA of Sweden", "modelId": "TRADFRI bulb E27",
		}},
	}
	if off {
		scenario["events"] = []any{map[string]any{"after": "0s", "do": "powerOff", "device": firstBulb.String()}}
	}
	data, err := json.Marshal(scenario)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "scenario.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// homeOf starts a service with so many bulbs, and an image for all of them, and waits until it knows an update for
// each. It returns what has to be done to start it again with another dongle.
func homeOf(t *testing.T, m *mosquitto, heard *journal[published], count int, more ...string) (restart func(dongle string)) {
	t.Helper()
	dir := t.TempDir()
	images := filepath.Join(dir, "state", "images")
	if err := os.MkdirAll(images, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(images, "bulb.ota"), bulbImage(newerVersion, 4000), 0o600); err != nil {
		t.Fatal(err)
	}
	service := m.service(dir, simulation(t, "--tcp", "127.0.0.1:0", "--scenario", bulbs(t, count, false)), more...)
	for i := range count {
		euid := (firstBulb + message.IEEE(i)).String()
		heard.await(t, "an update for "+euid, onTopic("zigate-ota/device/"+euid, func(d map[string]any) bool {
			return at(d, "updateAvailable") == true
		}))
	}
	return func(dongle string) {
		if err := service.cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		<-service.done
		m.service(dir, dongle, more...)
	}
}

// ends are how the upgrades of all ended, by state and reason.
func ends(t *testing.T, response published) map[string]int {
	t.Helper()
	list, ok := at(response.object(), "results").([]any)
	if !ok {
		t.Fatalf("no results: %s", response)
	}
	count := map[string]int{}
	for _, one := range list {
		result := one.(map[string]any)
		count[fmt.Sprint(at(result, "state"), " ", at(result, "reason"))]++
	}
	return count
}

// One bulb of twelve, which would have gone first with a new image, has no power: the others are upgraded, and it alone
// ends, as one that never asked.
func TestMosquittoFirstBulbIsOff(t *testing.T) {
	t.Parallel()
	const count = 12
	m := newMosquitto(t)
	heard := m.sub("zigate-ota/#")
	restart := homeOf(t, m, heard, count, "ZIGATE_OTA_UPGRADE_NOTIFY_INTERVAL=1s", "ZIGATE_OTA_UPGRADE_NOTIFY_ATTEMPTS=5",
		"ZIGATE_OTA_UPGRADE_RETRIES=0")
	restart(simulation(t, "--tcp", "127.0.0.1:0", "--scenario", bulbs(t, count, true)))

	m.pub("zigate-ota/request/upgrade", `{"deviceId":"all","transaction":"all"}`, "-q", "1")
	heard.await(t, "another one waits for the first", onTopic("zigate-ota/device/"+(firstBulb+1).String(), func(d map[string]any) bool {
		return at(d, "upgrade", "waitsFor") != nil
	}))
	response := heard.await(t, "the answer", finalTo("all"))
	if got := at(response.object(), "status"); got != "failure" {
		t.Errorf("status %v", got)
	}
	want := map[string]int{"succeeded <nil>": count - 1, "failed noResponse": 1}
	if diff := cmp.Diff(want, ends(t, response)); diff != "" {
		t.Errorf("ends (-want +got):\n%s", diff)
	}
}

// All are cancelled while one goes first and 49 others wait: none of them counts as failed.
func TestMosquittoCancelAll(t *testing.T) {
	t.Parallel()
	const count = 50
	m := newMosquitto(t)
	heard := m.sub("zigate-ota/#")
	homeOf(t, m, heard, count)
	m.pub("zigate-ota/request/upgrade", `{"deviceId":"all","transaction":"all"}`, "-q", "1")
	waits := 0
	for i := range count {
		euid := (firstBulb + message.IEEE(i)).String()
		queued := heard.await(t, "the upgrade of "+euid, onTopic("zigate-ota/device/"+euid, func(d map[string]any) bool {
			state := at(d, "upgrade", "state")
			return state != nil && state != "fetching"
		}))
		if at(queued.object(), "upgrade", "state") == "queued" {
			waits++
		}
	}
	m.pub("zigate-ota/request/cancel", `{"deviceId":"all","transaction":"cancel"}`, "-q", "1")
	if got := heard.await(t, "the answer to the cancel", finalTo("cancel")); at(got.object(), "status") != "success" {
		t.Errorf("cancel: %s", got)
	}
	response := heard.await(t, "the answer", finalTo("all"))
	if diff := cmp.Diff(map[string]int{"cancelled cancelled": count}, ends(t, response)); diff != "" || waits < count-1 {
		t.Errorf("%d waited; ends (-want +got):\n%s", waits, diff)
	}
}
