package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Everything here is done as a person would do it: a Mosquitto, a dongle (simulated, but a process of its own
// behind a TCP or serial port), the service, and the commands mosquitto_pub and mosquitto_sub.

// A whole upgrade, over both kinds of port.
func TestMosquittoJourney(t *testing.T) {
	for _, port := range []string{"tcp", "pty"} {
		t.Run(port, func(t *testing.T) {
			t.Parallel()
			m := newMosquitto(t)
			heard := m.sub("zigate-ota/#")
			address := "127.0.0.1:0"
			if port == "pty" {
				onLinux(t)
				address = filepath.Join(t.TempDir(), "zigate")
			}
			service := m.service(t.TempDir(), simulation(t, "--"+port, address, "--speed", "60"))
			settled(t, heard, "zigate-ota")
			image := bulbImage(newerVersion, 12000)
			url := serveFiles(t, map[string][]byte{"bulb.ota": image}) + "/bulb.ota"

			asked := 0
			ask := func(operation, request string) published {
				t.Helper()
				asked++
				transaction := fmt.Sprint(operation, " ", asked)
				m.pub("zigate-ota/request/"+operation, withTransaction(request, transaction), "-q", "1")
				return heard.await(t, "final response to "+operation, finalTo(transaction))
			}
			sameJSON(t, "service_status", ask("service_status", "{}").Payload,
				`{"operation":"serviceStatusResponse","status":"serviceAvailable"}`, "transaction")
			record := strings.ReplaceAll(newerKitchen, "BASE/newer.ota", url)
			sameJSON(t, "add_image", ask("add_image", `{"deviceId":"`+kitchen+`","url":"`+url+`"}`).Payload,
				`{"operation":"addImageResponse","status":"success",`+record+`}`, "transaction")
			sameJSON(t, "image_info", ask("image_info", `{"deviceId":"`+kitchen+`"}`).Payload,
				`{"operation":"imageInfoResponse","status":"success","updateAvailable":true,"source":"registered","upgrade":null,`+record+`}`, "transaction")

			end := ask("upgrade", `{"deviceId":"`+kitchen+`"}`)
			sameJSON(t, "upgrade", end.Payload, `{"operation":"upgradeResponse","status":"success",`+
				strings.Replace(record, `"oldImageVersion":570492465`, `"oldImageVersion":570492721`, 1)+`}`, "transaction")
			var events []string
			for _, e := range heard.each(func(msg published) bool {
				return strings.HasPrefix(msg.Topic, "zigate-ota/event/") && !strings.HasSuffix(msg.Topic, "/downloadProgress") && at(msg.object(), "euid") == kitchen
			}) {
				events = append(events, strings.TrimPrefix(e.Topic, "zigate-ota/event/"))
			}
			want := []string{"imageAdded", "imageNotified", "downloadStarted", "downloadFinished", "upgradeApplying", "deviceAnnounced", "upgradeSucceeded"}
			if diff := cmp.Diff(want, events); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			sameJSON(t, "image_info afterwards", ask("image_info", `{"deviceId":"`+kitchen+`"}`).Payload, end.Payload, "transaction", "operation", "updateAvailable", "source", "upgrade")

			// Who comes later finds everything retained.
			late := m.sub("zigate-ota/#")
			sameJSON(t, "update state", late.await(t, "update state", onTopic("zigate-ota/device/"+kitchen+"/update", nil)).Payload, `{
				"installed_version":"0x22010731","latest_version":"0x22010731","title":"TRADFRI bulb E27 firmware","release_summary":"",
				"in_progress":false,"update_percentage":null}`, "release_url")
			for _, topic := range []string{"status", "info", "images", "device/" + kitchen, "device/" + hall, "device/" + plug, "device/" + sensor} {
				if got := late.await(t, topic, onTopic("zigate-ota/"+topic, nil)); !got.Retained {
					t.Errorf("not retained: %s", got)
				}
			}
			device := late.await(t, "bulb", onTopic("zigate-ota/device/"+kitchen, nil)).object()
			for _, key := range []string{"image", "upgrade", "history", "lastSeen", "lqi"} {
				if at(device, key) == nil {
					t.Errorf("%s is missing in %v", key, device)
				}
				delete(device, key)
			}
			if diff := cmp.Diff(jsonObject(`{"euid":"`+kitchen+`","networkAddress":20303,"name":"`+kitchen+`","manufacturerName":"IKEA of Sweden",
				"modelId":"TRADFRI bulb E27","mfgId":4476,"imageTypeId":8705,"hardwareVersion":null,"endpoint":1,"sleepy":false,
				"currentFileVersion":570492721,"softwareBuild":"34.1.7.49","dateCode":"20240131","updateAvailable":false,"settings":{}}`), device); diff != "" {
				t.Errorf("record of the bulb (-want +got):\n%s", diff)
			}

			sameJSON(t, "remove_image", ask("remove_image", `{"deviceId":"`+kitchen+`","imageTypeId":"0x2201"}`).Payload,
				`{"operation":"removeImageResponse","status":"success",`+strings.Replace(record, `"oldImageVersion":570492465`, `"oldImageVersion":570492721`, 1)+`}`, "transaction")
			late.await(t, "empty list", func(msg published) bool { return msg.Topic == "zigate-ota/images" && msg.Payload == `{"images":[]}` })
			if got := at(ask("image_info", `{"deviceId":"`+kitchen+`"}`).object(), "status"); got != "imageInfoNotFound" {
				t.Errorf("image_info in the end: %v", got)
			}

			service.stop() // with SIGKILL
			late.await(t, "last will", func(msg published) bool { return msg.Topic == "zigate-ota/status" && msg.Payload == "offline" })
			if got := m.sub("zigate-ota/status").await(t, "status", onTopic("zigate-ota/status", nil)); got.Payload != "offline" || !got.Retained {
				t.Errorf("status after a kill: %+v", got)
			}
		})
	}
}

// slow is the speed of the simulated home where something happens in the middle of a download
// of slowImage bytes.
const (
	slow      = "20"
	slowImage = 40000
)

// upgradeWith begins the upgrade of the bulb in the kitchen and waits until the download is well under way.
func upgradeWith(t *testing.T, m *mosquitto, heard *journal[published], transaction string) (offset float64) {
	t.Helper()
	url := serveFiles(t, map[string][]byte{"bulb.ota": bulbImage(newerVersion, slowImage)}) + "/bulb.ota"
	m.pub("zigate-ota/request/add_image", `{"deviceId":"`+kitchen+`","url":"`+url+`","transaction":"add"}`, "-q", "1")
	if got := heard.await(t, "add_image", finalTo("add")); at(got.object(), "status") != "success" {
		t.Fatalf("add_image: %s", got)
	}
	m.pub("zigate-ota/request/upgrade", `{"deviceId":"`+kitchen+`","transaction":"`+transaction+`"}`, "-q", "1")
	return progressed(t, heard, "zigate-ota", 20)
}

// succeeded checks the end of such an upgrade: with the new version told by the device itself.
func succeeded(t *testing.T, end published) {
	t.Helper()
	r := end.object()
	if at(r, "status") != "success" || number(r, "oldImageVersion") != newerVersion {
		t.Errorf("the upgrade ended as %s", end)
	}
}

// The service is killed in the middle of a download and started again: the download goes on where it was, and
// who asked for it gets the answer.
func TestMosquittoServiceKilled(t *testing.T) {
	t.Parallel()
	m := newMosquitto(t)
	heard := m.sub("zigate-ota/#")
	dongle, dir := simulation(t, "--tcp", "127.0.0.1:0", "--speed", slow), t.TempDir()
	service := m.service(dir, dongle)
	settled(t, heard, "zigate-ota")
	offset := upgradeWith(t, m, heard, "killed")
	service.stop()
	heard.await(t, "last will", func(msg published) bool { return msg.Topic == "zigate-ota/status" && msg.Payload == "offline" })
	// Somebody asks meanwhile.
	m.pub("zigate-ota/request/service_status", `{"transaction":"while away"}`, "-q", "1")

	after := m.sub("zigate-ota/#")
	m.service(dir, dongle)
	after.await(t, "online again", func(msg published) bool { return msg.Topic == "zigate-ota/status" && msg.Payload == "online" })
	if got := after.await(t, "what waited at the broker", finalTo("while away")); at(got.object(), "status") != "serviceAvailable" {
		t.Errorf("service_status from before the start: %s", got)
	}
	succeeded(t, after.await(t, "final response", finalTo("killed")))
	for _, r := range after.each(onTopic("zigate-ota/device/"+kitchen, func(d map[string]any) bool { return at(d, "upgrade", "state") == "downloading" })) {
		if !r.Retained && number(r.object(), "upgrade", "offset") < offset {
			t.Errorf("the download, which was at %v, fell back: %s", offset, r)
		}
	}
	// What was not on the disk yet at the kill may be told twice, but it did not begin anew.
	for _, again := range after.each(onTopic("zigate-ota/event/downloadStarted", nil)) {
		if number(again.object(), "offset") < offset {
			t.Errorf("the download, which was at %v, began again: %s", offset, again)
		}
	}
	for _, name := range []string{"downloadFinished", "upgradeApplying", "upgradeSucceeded"} {
		if got := after.each(onTopic("zigate-ota/event/"+name, nil)); len(got) != 1 {
			t.Errorf("%d events %s: %v", len(got), name, got)
		}
	}
	// All of it again from the device itself.
	m.pub("zigate-ota/request/check", `{"deviceId":"`+kitchen+`","transaction":"check"}`, "-q", "1")
	if got := after.await(t, "check", finalTo("check")).object(); at(got, "status") != "success" || at(got, "updateAvailable") != false || number(got, "oldImageVersion") != newerVersion {
		t.Errorf("check: %v", got)
	}
}

// The broker is killed in the middle of a download and comes back knowing nothing.
func TestMosquittoBrokerKilled(t *testing.T) {
	t.Parallel()
	m := newMosquitto(t)
	heard := m.sub("zigate-ota/#")
	m.service(t.TempDir(), simulation(t, "--tcp", "127.0.0.1:0", "--speed", slow))
	settled(t, heard, "zigate-ota")
	offset := upgradeWith(t, m, heard, "broker killed")
	m.process.stop()
	m.start()
	after := m.sub("zigate-ota/#")
	for _, topic := range []string{"info", "images", "device/" + kitchen, "device/" + kitchen + "/update", "device/" + hall, "device/" + plug, "device/" + sensor} {
		after.await(t, topic+" comes back", onTopic("zigate-ota/"+topic, nil))
	}
	after.await(t, "status comes back", func(msg published) bool { return msg.Topic == "zigate-ota/status" && msg.Payload == "online" })
	end := after.await(t, "final response", finalTo("broker killed"))
	succeeded(t, end)
	for _, r := range after.each(onTopic("zigate-ota/device/"+kitchen, nil)) {
		if number(r.object(), "upgrade", "offset") < offset {
			t.Errorf("the download, which was at %v, fell back: %s", offset, r)
		}
	}
	// They are retained again, not only sent.
	late := m.sub("zigate-ota/#")
	for _, topic := range []string{"status", "info", "images", "device/" + hall, "device/" + sensor + "/update"} {
		if got := late.await(t, topic, onTopic("zigate-ota/"+topic, nil)); !got.Retained {
			t.Errorf("not retained: %s", got)
		}
	}
}

// Requests of every quality of service are answered once.
func TestMosquittoQoS(t *testing.T) {
	t.Parallel()
	m := newMosquitto(t)
	heard := m.sub("zigate-ota/#")
	m.service(t.TempDir(), simulation(t, "--tcp", "127.0.0.1:0", "--speed", "1000"))
	settled(t, heard, "zigate-ota")
	var transactions []string
	for i := range 9 {
		transactions = append(transactions, fmt.Sprintf("%d at QoS %d", i, i%3))
		m.pub("zigate-ota/request/image_info", fmt.Sprintf(`{"deviceId":"%s","transaction":%q}`, kitchen, transactions[i]), "-q", fmt.Sprint(i%3))
	}
	for _, transaction := range transactions {
		heard.await(t, transaction, finalTo(transaction))
	}
	m.pub("zigate-ota/request/service_status", `{"transaction":"last"}`, "-q", "2")
	heard.await(t, "last", finalTo("last"))
	for _, transaction := range transactions {
		if n := len(heard.each(responseTo(transaction))); n != 1 {
			t.Errorf("%s: %d responses", transaction, n)
		}
	}
}

// Two services, each with a dongle of its own, share a broker under different base topics.
func TestMosquittoTwoServices(t *testing.T) {
	t.Parallel()
	m := newMosquitto(t)
	heard := m.sub("#")
	bases := []string{"house/upstairs/ota", "house/cellar/ota"}
	var services []*process
	for _, base := range bases {
		services = append(services, m.service(t.TempDir(), simulation(t, "--tcp", "127.0.0.1:0", "--speed", "1000"), "ZIGATE_OTA_MQTT_BASE_TOPIC="+base))
	}
	for _, base := range bases {
		settled(t, heard, base)
	}
	url := serveFiles(t, map[string][]byte{"bulb.ota": bulbImage(newerVersion, 3000)}) + "/bulb.ota"
	m.pub(bases[1]+"/request/add_image", `{"deviceId":"`+kitchen+`","url":"`+url+`","upgrade":true,"transaction":"cellar"}`, "-q", "1")
	heard.await(t, "upgrade", onTopic(bases[1]+"/event/upgradeSucceeded", nil))
	m.pub(bases[0]+"/request/image_info", `{"deviceId":"`+kitchen+`","transaction":"upstairs"}`, "-q", "1")
	got := heard.await(t, "image_info", finalTo("upstairs"))
	if got.Topic != bases[0]+"/response/image_info" || at(got.object(), "status") != "imageInfoNotFound" || number(got.object(), "oldImageVersion") != bulbVersion {
		t.Errorf("upstairs: %s", got)
	}
	for _, r := range heard.each(responseTo("cellar")) {
		if r.Topic != bases[1]+"/response/add_image" {
			t.Errorf("cellar: %s", r)
		}
	}
	services[1].stop()
	heard.await(t, "last will of the one", func(msg published) bool { return msg.Topic == bases[1]+"/status" && msg.Payload == "offline" })
	m.pub(bases[0]+"/request/service_status", `{"transaction":"still here"}`, "-q", "1")
	heard.await(t, "the other", finalTo("still here"))
	if slices.ContainsFunc(heard.each(func(msg published) bool { return msg.Topic == bases[0]+"/status" }), func(msg published) bool { return msg.Payload == "offline" }) {
		t.Error("the other went offline, too")
	}
}

// A request that somebody retained is refused at each start, and not carried out.
func TestMosquittoRetainedRequest(t *testing.T) {
	t.Parallel()
	m := newMosquitto(t)
	url := serveFiles(t, map[string][]byte{"bulb.ota": bulbImage(newerVersion, 3000)}) + "/bulb.ota"
	m.pub("zigate-ota/request/add_image", `{"deviceId":"`+kitchen+`","url":"`+url+`","upgrade":true,"transaction":"kept"}`, "-q", "1", "-r")
	dongle, dir := simulation(t, "--tcp", "127.0.0.1:0", "--speed", "1000"), t.TempDir()
	for life := range 2 {
		heard := m.sub("zigate-ota/#")
		service := m.service(dir, dongle)
		heard.await(t, "online", func(msg published) bool {
			return msg.Topic == "zigate-ota/status" && msg.Payload == "online" && !msg.Retained
		})
		got := heard.await(t, "refusal", responseTo("kept")).object()
		text, _ := at(got, "error").(string)
		if at(got, "status") != "invalidData" || !strings.Contains(text, "retain") || !strings.Contains(text, "zigate-ota/request/add_image") {
			t.Errorf("life %d: %v", life, got)
		}
		settled(t, heard, "zigate-ota")
		m.pub("zigate-ota/request/image_info", `{"deviceId":"`+kitchen+`","transaction":"info"}`, "-q", "1")
		if got := heard.await(t, "image_info", finalTo("info")).object(); at(got, "status") != "imageInfoNotFound" {
			t.Errorf("life %d: it was carried out: %v", life, got)
		}
		service.stop()
		heard.await(t, "last will", func(msg published) bool { return msg.Topic == "zigate-ota/status" && msg.Payload == "offline" })
	}
	// Without the flag it is taken.
	m.pub("zigate-ota/request/add_image", "", "-r")
	heard := m.sub("zigate-ota/#")
	m.service(dir, dongle)
	heard.await(t, "online", func(msg published) bool {
		return msg.Topic == "zigate-ota/status" && msg.Payload == "online" && !msg.Retained
	})
	m.pub("zigate-ota/request/add_image", `{"deviceId":"`+kitchen+`","url":"`+url+`","transaction":"sent"}`, "-q", "1")
	if got := heard.await(t, "add_image", finalTo("sent")).object(); at(got, "status") != "success" {
		t.Errorf("%v", got)
	}
	if got := heard.each(responseTo("kept")); len(got) > 0 {
		t.Errorf("what was cleared came back: %v", got)
	}
}

// What Home Assistant does with the service: it finds the devices by their documents, shows the update state,
// installs at the press of a button, and asks for everything again when it has started.
func TestMosquittoHomeAssistant(t *testing.T) {
	t.Parallel()
	m := newMosquitto(t)
	heard := m.sub("zigate-ota/#", "homeassistant/#")
	m.service(t.TempDir(), simulation(t, "--tcp", "127.0.0.1:0", "--speed", "1000"))
	settled(t, heard, "zigate-ota")
	url := serveFiles(t, map[string][]byte{"bulb.ota": bulbImage(newerVersion, 3000)}) + "/bulb.ota"
	m.pub("zigate-ota/request/add_image", `{"deviceId":"`+kitchen+`","url":"`+url+`"}`, "-q", "1")

	config := "homeassistant/device/zigate_ota_" + strings.TrimPrefix(kitchen, "0x") + "/config"
	document := heard.await(t, "discovery of the bulb", onTopic(config, func(d map[string]any) bool {
		return at(d, "device", "model") == "TRADFRI bulb E27" && at(d, "device", "sw_version") == "34.1.6.49 (0x22010631)" && at(d, "device", "via_device") != nil
	})).object()
	heard.await(t, "discovery of the dongle", onTopic("homeassistant/device/zigate_ota_00158d0001020304/config", nil))
	if via := at(document, "device", "via_device"); via != "zigate_ota_00158d0001020304" {
		t.Errorf("via_device %v is not the dongle", via)
	}
	entity, _ := at(document, "components", "update").(map[string]any)
	state, _ := entity["state_topic"].(string)
	heard.await(t, "update offered", onTopic(state, func(u map[string]any) bool {
		return at(u, "installed_version") == "0x22010631" && at(u, "latest_version") == "0x22010731" && at(u, "in_progress") == false
	}))
	command, _ := entity["command_topic"].(string)
	install, _ := entity["payload_install"].(string)
	m.pub(command, install)
	heard.await(t, "update under way", onTopic(state, func(u map[string]any) bool { return at(u, "in_progress") == true }))
	heard.await(t, "update installed", onTopic(state, func(u map[string]any) bool {
		return at(u, "installed_version") == "0x22010731" && at(u, "latest_version") == "0x22010731" && at(u, "in_progress") == false
	}))
	heard.await(t, "new version in the discovery", onTopic(config, func(d map[string]any) bool { return at(d, "device", "sw_version") == "0x22010731" }))

	before := len(heard.each(onTopic(config, nil)))
	m.pub("homeassistant/status", "online")
	heard.await(t, "discovery after Home Assistant's start", func(published) bool { return len(heard.each(onTopic(config, nil))) > before })

	m.pub("zigate-ota/request/forget", `{"deviceId":"`+kitchen+`","transaction":"forget"}`, "-q", "1")
	heard.await(t, "forget", finalTo("forget"))
	for _, topic := range []string{config, "zigate-ota/device/" + kitchen, state} {
		heard.await(t, "cleared: "+topic, func(msg published) bool { return msg.Topic == topic && msg.Payload == "" })
	}
	late := m.sub("homeassistant/#", "zigate-ota/#")
	m.pub("zigate-ota/request/service_status", `{"transaction":"after what was retained"}`, "-q", "1")
	late.await(t, "service_status", finalTo("after what was retained"))
	if got := late.each(func(msg published) bool { return strings.Contains(msg.Topic, strings.TrimPrefix(hall, "0x")) }); len(got) != 3 {
		t.Errorf("of another device: %v, want its document, record and update state", got)
	}
	if got := late.each(func(msg published) bool { return strings.Contains(msg.Topic, strings.TrimPrefix(kitchen, "0x")) }); len(got) > 0 {
		t.Errorf("still there: %v", got)
	}
}

// The demo with a broker that is there already, as in docker-compose.yml.
func TestMosquittoDemo(t *testing.T) {
	t.Parallel()
	m := newMosquitto(t)
	heard := m.sub("zigate-ota/#")
	stdout := demoed(t, demoEnviron("ZIGATE_OTA_MQTT_URL="+m.url()))
	if !strings.Contains(stdout, "Look with: mosquitto_sub -h 127.0.0.1 -p "+m.port+" ") {
		t.Errorf("names another broker:\n%s", stdout)
	}
	heard.await(t, "its end", func(msg published) bool { return msg.Topic == "zigate-ota/status" && msg.Payload == "offline" })
}
