package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/commandline"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// step is one request of a journey and all that is said in answer.
type step struct {
	name      string
	operation string
	request   string   // BASE stands for the URL of the image server
	before    []string // statuses before the final one
	want      string   // the final response, without its transaction and error
	err       string   // part of its error; empty: there is none
	check     func(t *testing.T, s *testService)
}

// walk does the steps one after the other.
func walk(t *testing.T, s *testService, base string, steps []step) {
	for _, st := range steps {
		replace := strings.NewReplacer("BASE", base)
		ok := t.Run(st.name, func(t *testing.T) {
			transaction := s.send(st.operation, replace.Replace(st.request))
			got := s.heard.await(t, "final response", finalTo(transaction))
			var before []string
			for _, m := range s.heard.each(responseTo(transaction)) {
				if !m.final() {
					before = append(before, fmt.Sprint(at(m.object(), "status")))
				}
			}
			if diff := cmp.Diff(st.before, before); diff != "" {
				t.Errorf("statuses before the final one (-want +got):\n%s", diff)
			}
			sameJSON(t, "final response", got.Payload, replace.Replace(st.want), "transaction", "error")
			text, _ := at(got.object(), "error").(string)
			if (text != "") != (st.err != "") || !strings.Contains(text, replace.Replace(st.err)) {
				t.Errorf("error %q, want %q in it", text, replace.Replace(st.err))
			}
			if st.check != nil {
				st.check(t, s)
			}
			s.fence()
			if n := len(s.heard.each(finalTo(transaction))); n != 1 {
				t.Errorf("%d final responses, want 1", n)
			}
		})
		if !ok {
			t.FailNow() // what follows builds upon it
		}
	}
}

var inProgress = []string{"inProgress"}

// Records of the devices in responses, as far as they are the same in all.
const (
	// noDeviceFor is what is known of a device that is not, and an image for it. What else add_image says is
	// what was asked for.
	noDeviceFor   = `"euid":null,"mfgId":null,"imageTypeId":null,"url":"BASE/%s","driverTypeId":"","driverVersion":0,"imageVersion":null,"oldImageVersion":null`
	noDevice      = `"euid":null,"mfgId":null,"imageTypeId":null,"url":null,"driverTypeId":null,"driverVersion":null,"imageVersion":null,"oldImageVersion":null`
	bareKitchen   = `"euid":"0x000b57fffec6a5b2","mfgId":4476,"imageTypeId":8705,"url":null,"driverTypeId":null,"driverVersion":null,"imageVersion":null,"oldImageVersion":570492465`
	newerKitchen  = `"euid":"0x000b57fffec6a5b2","mfgId":4476,"imageTypeId":8705,"url":"BASE/newer.ota","driverTypeId":"","driverVersion":0,"imageVersion":570492721,"oldImageVersion":570492465`
	strangersEUID = "0x00158d00deadbeef"
)

// The four operations of the reference, with every status that they can have while the dongle is there.
func TestReferenceOperations(t *testing.T) {
	t.Parallel()
	newer, latest := bulbImage(newerVersion, 3000), bulbImage(latestBulb, 2000)
	ofPlug := otafile.Build(otafile.Header{ManufacturerCode: 0x100B, ImageType: 0x0112, FileVersion: 0x01030000}, firmware(1000))
	damaged := bytes.Clone(newer)
	damaged[2000] ^= 1
	base := serveFiles(t, map[string][]byte{
		"newer.ota": newer, "latest.ota": latest, "damaged.ota": damaged,
		"page.html": []byte("<html>Not found, but with status 200</html>"), "large.ota": make([]byte, 1<<16+1), "empty.ota": {},
	})
	images := t.TempDir()
	for name, content := range map[string][]byte{"driver/bulb/newer.ota": newer, "mine.ota": ofPlug} {
		path := filepath.Join(images, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := serveHere(t, 1e6, "ZIGATE_OTA_IMAGE_DIR="+images, "ZIGATE_OTA_IMAGE_MAX_BYTES=65536", "ZIGATE_OTA_IMAGE_DIRECTOR_URL="+base+"/director")
	s.settle()
	digest256, digest512 := sha256.Sum256(newer), sha512.Sum512(newer)

	added := func(n int) func(*testing.T, *testService) {
		return func(t *testing.T, s *testService) {
			s.fence()
			if got := len(s.heard.each(onTopic("zigate-ota/event/imageAdded", nil))); got != n {
				t.Errorf("%d events imageAdded so far, want %d", got, n)
			}
		}
	}
	registered := func(versions ...int) func(*testing.T, *testService) {
		return func(t *testing.T, s *testService) {
			s.fence()
			records := s.heard.each(onTopic("zigate-ota/images", nil))
			var got []int
			list, _ := at(records[len(records)-1].object(), "images").([]any)
			for _, image := range list {
				version, _ := image.(map[string]any)["imageVersion"].(json.Number).Int64()
				got = append(got, int(version))
			}
			if diff := cmp.Diff(versions, got); diff != "" {
				t.Errorf("registered versions (-want +got):\n%s", diff)
			}
		}
	}
	add := func(name, more, want, err string) step {
		status := "imageAccessFailed"
		if strings.HasPrefix(want, "!") {
			status, want = "imageValidationFailed", want[1:]
		}
		return step{
			name: name, operation: "add_image", request: `{"deviceId":"` + kitchen + `",` + more + `}`, before: inProgress,
			want: `{"operation":"addImageResponse","status":"` + status + `",` + want + `}`, err: err,
			check: registered(newerVersion),
		}
	}
	// of is the record in a response to an add_image that came to nothing: what was asked for.
	of := func(url string) string {
		return `"euid":"0x000b57fffec6a5b2","mfgId":4476,"imageTypeId":8705,"url":"` + url + `","driverTypeId":"","driverVersion":0,"imageVersion":null,"oldImageVersion":570492465`
	}
	status := func(name, request string) step {
		return step{name: "service_status of a device by " + name, operation: "service_status", request: request,
			want: `{"operation":"serviceStatusResponse","status":"serviceAvailable",` + bareKitchen + `}`}
	}
	invalid := func(name, operation, response, request, err string) step {
		if operation == "service_status" {
			return step{name: name, operation: operation, request: request, err: err, want: `{"operation":"serviceStatusResponse","status":"invalidData"}`}
		}
		return step{name: name, operation: operation, request: request, err: err,
			want: `{"operation":"` + response + `","status":"invalidData",` + noDevice + `}`}
	}

	minePlug := `"euid":"` + plug + `","mfgId":4107,"imageTypeId":274,"url":"file://` + images + `/mine.ota","driverTypeId":"","driverVersion":0,"imageVersion":16973824,"oldImageVersion":16909568`
	walk(t, s, base, []step{
		{name: "service_status", operation: "service_status", request: `{}`, want: `{"operation":"serviceStatusResponse","status":"serviceAvailable"}`},
		status("euid", `{"deviceId":"`+kitchen+`"}`),
		status("euid with colons", `{"deviceId":"00:0b:57:ff:fe:c6:a5:b2"}`),
		status("euid with dashes, upper case", `{"deviceId":"00-0B-57-FF-FE-C6-A5-B2"}`),
		status("bare euid", `{"deviceId":"000b57fffec6a5b2"}`),
		status("network address", `{"deviceId":20303}`),
		status("network address in hex", `{"deviceId":"0x4F4f"}`),
		{name: "rename", operation: "rename", request: `{"deviceId":"` + kitchen + `","name":"Kitchen bulb"}`,
			want: `{"operation":"renameResponse","status":"success",` + bareKitchen + `}`},
		status("name", `{"deviceId":"Kitchen bulb"}`),
		{name: "service_status of an unknown name", operation: "service_status", request: `{"deviceId":"Cellar"}`, err: `"Cellar"`,
			want: `{"operation":"serviceStatusResponse","status":"deviceNotFound",` + noDevice + `}`},
		{name: "service_status of an unknown euid", operation: "service_status", request: `{"deviceId":"` + strangersEUID + `"}`, before: inProgress, err: strangersEUID,
			want: `{"operation":"serviceStatusResponse","status":"deviceNotFound",` + strings.Replace(noDevice, `"euid":null`, `"euid":"`+strangersEUID+`"`, 1) + `}`},

		{name: "image_info without an image", operation: "image_info", request: `{"deviceId":"` + kitchen + `"}`, err: "no image is registered for this device",
			want: `{"operation":"imageInfoResponse","status":"imageInfoNotFound",` + bareKitchen + `,"upgrade":null}`},
		{name: "image_info of an unknown name", operation: "image_info", request: `{"deviceId":"Cellar"}`, err: `"Cellar"`,
			want: `{"operation":"imageInfoResponse","status":"deviceNotFound",` + noDevice + `}`},
		{name: "add_image", operation: "add_image", request: `{"deviceId":"` + kitchen + `","url":"BASE/newer.ota"}`, before: inProgress,
			want: `{"operation":"addImageResponse","status":"success",` + newerKitchen + `}`, check: added(1)},
		{name: "image_info", operation: "image_info", request: `{"deviceId":"` + kitchen + `"}`,
			want: `{"operation":"imageInfoResponse","status":"success",` + newerKitchen + `,"updateAvailable":true,"source":"registered","upgrade":null}`},
		{name: "add_image again changes nothing", operation: "add_image", request: `{"deviceId":"Kitchen bulb","url":"BASE/newer.ota"}`, before: inProgress,
			want: `{"operation":"addImageResponse","status":"success",` + newerKitchen + `}`, check: added(1)},
		{name: "add_image with everything that it can be checked against", operation: "add_image", before: inProgress,
			request: fmt.Sprintf(`{"deviceId":"0x4f4f","url":"BASE/newer.ota","mfgId":"0x117C","imageTypeId":8705,"sha256":"%X","sha512":"%x"}`, digest256, digest512),
			want:    `{"operation":"addImageResponse","status":"success",` + newerKitchen + `}`, check: added(1)},

		add("not there", `"url":"BASE/none.ota"`, of("BASE/none.ota"), "404"),
		add("nobody listens", `"url":"http://127.0.0.1:1/x.ota"`, of("http://127.0.0.1:1/x.ota"), "refused"),
		add("too large", `"url":"BASE/large.ota"`, of("BASE/large.ota"), "65536"),
		add("a file outside of the image folder", `"url":"file:///etc/passwd"`, of("file:///etc/passwd"), images),
		add("a file that is not there", `"url":"file://`+images+`/none.ota"`, of("file://"+images+"/none.ota"), "no such file"),
		add("a driver's file that is not there", `"url":"controller://driver/bulb/none.ota"`, of("controller://driver/bulb/none.ota"), "BASE/director/driver/bulb/none.ota"),
		add("a controller address without a driver", `"url":"controller://elsewhere/none.ota"`, of("controller://elsewhere/none.ota"), "controller://driver/<name>/<file>"),

		add("wrong SHA-256", `"url":"BASE/newer.ota","sha256":"`+strings.Repeat("0", 64)+`"`, "!"+of("BASE/newer.ota"), fmt.Sprintf("%x", digest256)),
		add("wrong SHA-512", `"url":"BASE/newer.ota","sha512":"`+strings.Repeat("0", 128)+`"`, "!"+of("BASE/newer.ota"), fmt.Sprintf("%x", digest512)),
		add("wrong mfgId", `"url":"BASE/newer.ota","mfgId":4107`, "!"+strings.Replace(of("BASE/newer.ota"), "4476", "4107", 1), "0x117C"),
		add("wrong imageTypeId", `"url":"BASE/newer.ota","imageTypeId":"0x0112"`, "!"+strings.Replace(of("BASE/newer.ota"), "8705", "274", 1), "0x2201"),
		add("a page instead of an image", `"url":"BASE/page.html"`, "!"+of("BASE/page.html"), "BASE/page.html"),
		add("an empty file", `"url":"BASE/empty.ota"`, "!"+of("BASE/empty.ota"), "BASE/empty.ota"),
		add("a damaged image", `"url":"BASE/damaged.ota"`, "!"+of("BASE/damaged.ota"), "integrity code"),

		{name: "add_image from the image folder", operation: "add_image", request: `{"deviceId":"` + plug + `","url":"file://` + images + `/mine.ota"}`, before: inProgress,
			want:  `{"operation":"addImageResponse","status":"success",` + minePlug + `}`,
			check: registered(0x01030000, newerVersion)},
		{name: "remove_image", operation: "remove_image", request: `{"deviceId":"` + plug + `","imageTypeId":274}`,
			want:  `{"operation":"removeImageResponse","status":"success",` + minePlug + `}`,
			check: registered(newerVersion)},
		{name: "add_image from the driver folder", operation: "add_image", request: `{"deviceId":"` + kitchen + `","url":"controller://driver/bulb/newer.ota"}`, before: inProgress,
			want: `{"operation":"addImageResponse","status":"success",` + strings.Replace(newerKitchen, "BASE/newer.ota", "controller://driver/bulb/newer.ota", 1) + `}`},
		{name: "add_image for a device of an unknown name", operation: "add_image", request: `{"deviceId":"Cellar","url":"BASE/newer.ota"}`, before: inProgress, err: `"Cellar"`,
			want: `{"operation":"addImageResponse","status":"deviceNotFound",` + fmt.Sprintf(noDeviceFor, "newer.ota") + `}`},

		// Drivers: one version for all devices of a type.
		{name: "add_image by a driver", operation: "add_image", request: `{"deviceId":"` + kitchen + `","url":"BASE/newer.ota","driverTypeId":"bulb.c4z","version":2}`, before: inProgress,
			want: `{"operation":"addImageResponse","status":"success",` + strings.Replace(newerKitchen, `"driverTypeId":"","driverVersion":0`, `"driverTypeId":"bulb.c4z","driverVersion":2`, 1) + `}`},
		{name: "add_image by an older driver", operation: "add_image", request: `{"deviceId":"` + hall + `","url":"BASE/latest.ota","driverTypeId":"bulb.c4z","version":"1"}`, before: inProgress, err: "bulb.c4z",
			want:  `{"operation":"addImageResponse","status":"incompatibleDriverVersion","euid":"` + hall + `","mfgId":4476,"imageTypeId":8705,"url":"BASE/latest.ota","driverTypeId":"bulb.c4z","driverVersion":1,"imageVersion":570492977,"oldImageVersion":570492465}`,
			check: registered(newerVersion, newerVersion)},
		{name: "add_image by a newer driver for another device", operation: "add_image", request: `{"deviceId":"` + hall + `","url":"BASE/latest.ota","driverTypeId":"bulb.c4z","version":3}`, before: inProgress,
			want:  `{"operation":"addImageResponse","status":"success","euid":"` + hall + `","mfgId":4476,"imageTypeId":8705,"url":"BASE/latest.ota","driverTypeId":"bulb.c4z","driverVersion":3,"imageVersion":570492977,"oldImageVersion":570492465}`,
			check: registered(newerVersion, latestBulb)},
		{name: "what the other device would get now", operation: "image_info", request: `{"deviceId":"` + kitchen + `"}`,
			want: `{"operation":"imageInfoResponse","status":"success","euid":"` + kitchen + `","mfgId":4476,"imageTypeId":8705,"url":"BASE/latest.ota","driverTypeId":"bulb.c4z","driverVersion":3,"imageVersion":570492977,"oldImageVersion":570492465,"updateAvailable":true,"source":"registered","upgrade":null}`},

		{name: "remove_image of a type that is not there", operation: "remove_image", request: `{"deviceId":"` + kitchen + `","imageTypeId":"0x0112"}`, err: "0x0112",
			want: `{"operation":"removeImageResponse","status":"imageInfoNotFound",` + strings.Replace(bareKitchen, "8705", "274", 1) + `}`},
		{name: "remove_image of an unknown device", operation: "remove_image", request: `{"deviceId":"Cellar","imageTypeId":8705}`, err: `"Cellar"`,
			want: `{"operation":"removeImageResponse","status":"deviceNotFound",` + noDevice + `}`},

		invalid("an unknown key", "add_image", "addImageResponse", `{"deviceId":"`+kitchen+`","url":"BASE/newer.ota","versoin":3}`, `unknown key "versoin"; allowed are deviceId`),
		invalid("two keys missing", "add_image", "addImageResponse", `{}`, "deviceId: is required; url: is required"),
		invalid("one key missing", "remove_image", "removeImageResponse", `{"deviceId":"`+kitchen+`"}`, "imageTypeId: is required"),
		invalid("a key missing", "image_info", "imageInfoResponse", `{}`, "deviceId: is required"),
		invalid("out of range", "remove_image", "removeImageResponse", `{"deviceId":"`+kitchen+`","imageTypeId":65536}`, "imageTypeId: must be a whole number from 0 to 65535"),
		invalid("the wrong type", "image_info", "imageInfoResponse", `{"deviceId":true}`, "deviceId: "),
		invalid("an address out of range", "service_status", "", `{"deviceId":65536}`, "deviceId: "),
		invalid("a digest that is none", "add_image", "addImageResponse", `{"deviceId":"`+kitchen+`","url":"BASE/newer.ota","sha256":"abc"}`, "sha256: must be 64 hexadecimal digits"),
		invalid("an address that is none", "add_image", "addImageResponse", `{"deviceId":"`+kitchen+`","url":"ftp://example.org/x"}`, "url: must be an http, https, file or controller URL"),
		{name: "an operation that there is not", operation: "add-image", request: `{}`, err: "there are add_image, ",
			want: `{"operation":"unknown","status":"invalidData"}`},
	})
	for _, m := range s.heard.each(func(m published) bool {
		return strings.Contains(m.Topic, "/response/") || strings.Contains(m.Topic, "/event/")
	}) {
		if m.Retained {
			t.Errorf("retained: %s", m)
		}
	}
}

// Requests in which no transaction can be found are answered too, one by one.
func TestUnreadableRequests(t *testing.T) {
	t.Parallel()
	s := serveHere(t, 1e6)
	tests := []struct{ operation, payload, topic, response, err string }{
		{"add_image", `{"deviceId":`, "add_image", "addImageResponse", "it ends too early"},
		{"image_info", `["0x4f4f"]`, "image_info", "imageInfoResponse", "must be one JSON object"},
		{"remove_image", "", "remove_image", "removeImageResponse", "the payload is empty; it must be a JSON object with deviceId, imageTypeId"},
		{"service_status", "online", "service_status", "serviceStatusResponse", "must be one JSON object"},
		{"add_image/now", "{}", "unknown", "unknown", "there is no operation of that name"},
		{"Upgrade", "{}", "unknown", "unknown", "there is no operation of that name"},
		{"upgrade", `{"deviceId":"` + strings.Repeat("x", 1<<16) + `"}`, "upgrade", "upgradeResponse", "at most 65536 are allowed"},
	}
	for _, tt := range tests {
		s.publish(tt.operation, tt.payload)
		s.heard.await(t, fmt.Sprintf("response to %s %.40s", tt.operation, tt.payload), onTopic("zigate-ota/response/"+tt.topic, func(r map[string]any) bool {
			text, _ := at(r, "error").(string)
			return at(r, "operation") == tt.response && at(r, "status") == "invalidData" && strings.Contains(text, tt.err)
		}))
	}
	// An empty payload is all that this one needs.
	s.publish("service_status", "")
	s.heard.await(t, "service_status", onTopic("zigate-ota/response/service_status", func(r map[string]any) bool { return at(r, "status") == "serviceAvailable" }))
	s.fence()
	if got := len(s.heard.each(func(m published) bool { return strings.Contains(m.Topic, "/response/") })); got != len(tests)+2 {
		t.Errorf("%d responses to %d requests", got, len(tests)+2)
	}
}

// Taking an image back ends the upgrade that uses it.
func TestRemoveImageEndsUpgrade(t *testing.T) {
	t.Parallel()
	base := serveFiles(t, map[string][]byte{"newer.ota": bulbImage(newerVersion, 30000)})
	s := serveHere(t, 1)
	s.settle()
	device := `"deviceId":"` + kitchen + `"`
	s.ask("add_image", `{`+device+`,"url":"`+base+`/newer.ota"}`)
	upgrade := s.send("upgrade", `{`+device+`}`)
	s.heard.await(t, "start", onTopic("zigate-ota/event/downloadStarted", nil))

	sameJSON(t, "a second upgrade", s.ask("upgrade", `{`+device+`}`).Payload,
		strings.ReplaceAll(`{"operation":"upgradeResponse","status":"failure","reason":"alreadyQueued",`+newerKitchen+`}`, "BASE", base), "transaction", "error")
	sameJSON(t, "remove_image", s.ask("remove_image", `{`+device+`,"imageTypeId":8705}`).Payload,
		strings.ReplaceAll(`{"operation":"removeImageResponse","status":"success",`+newerKitchen+`}`, "BASE", base), "transaction")

	end := s.heard.await(t, "end of the upgrade", finalTo(upgrade)).object()
	if at(end, "status") != "failure" || at(end, "reason") != "imageRemoved" || at(end, "error") == nil {
		t.Errorf("the upgrade ended with %v", end)
	}
	s.heard.await(t, "event", onTopic("zigate-ota/event/upgradeCancelled", func(e map[string]any) bool {
		return at(e, "euid") == kitchen && at(e, "reason") == "imageRemoved"
	}))
	s.heard.await(t, "list of images", func(m published) bool {
		return m.Topic == "zigate-ota/images" && m.Payload == `{"images":[]}` && !m.Retained
	})
	if got := at(s.ask("image_info", `{`+device+`}`).object(), "status"); got != "imageInfoNotFound" {
		t.Errorf("image_info: %v", got)
	}
	// The device is told ABORT at its next request and gives up.
	s.heard.await(t, "what Home Assistant sees", onTopic("zigate-ota/device/"+kitchen+"/update", func(u map[string]any) bool {
		return at(u, "in_progress") == false && at(u, "latest_version") == "0x22010631"
	}))
}

// add_image with "upgrade" does everything at one request: the device ends up with exactly the image's bytes.
func TestAddImageUpgrades(t *testing.T) {
	t.Parallel()
	image := bulbImage(newerVersion, 5000)
	base := serveFiles(t, map[string][]byte{"newer.ota": image})
	s := serveHere(t, 1e6)
	s.settle()
	s.ask("add_image", `{"deviceId":"`+kitchen+`","url":"`+base+`/newer.ota","upgrade":true}`)
	s.heard.await(t, "success", onTopic("zigate-ota/event/upgradeSucceeded", func(e map[string]any) bool { return at(e, "euid") == kitchen }))
	s.fence()

	euid, err := message.ParseIEEE(kitchen)
	if err != nil {
		t.Fatal(err)
	}
	device := s.app.home.Device(euid).Snapshot()
	if !bytes.Equal(device.Installed, image) || device.FileVersion != newerVersion {
		t.Errorf("the device has %d bytes and runs 0x%08x, want the %d bytes of the image and 0x%08x", len(device.Installed), device.FileVersion, len(image), newerVersion)
	}
	if other := s.app.home.Device(euid + (0xa5c7 - 0xa5b2)).Snapshot(); other.FileVersion != bulbVersion {
		t.Errorf("the other bulb runs 0x%08x", other.FileVersion)
	}
	var events []string
	for _, m := range s.heard.each(func(m published) bool {
		return strings.HasPrefix(m.Topic, "zigate-ota/event/") && at(m.object(), "euid") == kitchen && !strings.HasSuffix(m.Topic, "/downloadProgress")
	}) {
		events = append(events, strings.TrimPrefix(m.Topic, "zigate-ota/event/"))
	}
	want := []string{"imageAdded", "imageNotified", "downloadStarted", "downloadFinished", "upgradeApplying", "deviceAnnounced", "upgradeSucceeded"}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	for request, reason := range map[string]string{`{"deviceId":"` + kitchen + `"}`: "upToDate", `{"deviceId":"` + plug + `"}`: "imageInfoNotFound"} {
		if got := s.ask("upgrade", request).object(); at(got, "status") != "failure" || at(got, "reason") != reason {
			t.Errorf("upgrade %s: %v, want reason %s", request, got, reason)
		}
	}
}

// Without a dongle nothing is lost: what can be answered is, and what cannot says why.
func TestNoDongle(t *testing.T) {
	t.Parallel()
	s := serveHere(t, 1, "ZIGATE_OTA_DONGLE=tcp://127.0.0.1:1", "ZIGATE_OTA_LOG_LEVEL=error")
	stranger := `"deviceId":"` + strangersEUID + `"`
	record := strings.Replace(noDevice, `"euid":null`, `"euid":"`+strangersEUID+`"`, 1)
	const why = "the dongle is not connected: "
	walk(t, s, "http://127.0.0.1:1", []step{
		{name: "service_status", operation: "service_status", request: `{}`, err: why,
			want: `{"operation":"serviceStatusResponse","status":"serviceNotAvailable"}`},
		{name: "service_status of a device", operation: "service_status", request: `{` + stranger + `}`, err: why,
			want: `{"operation":"serviceStatusResponse","status":"serviceNotAvailable",` + record + `}`},
		{name: "image_info", operation: "image_info", request: `{` + stranger + `}`, err: why,
			want: `{"operation":"imageInfoResponse","status":"serviceNotAvailable",` + record + `}`},
		{name: "remove_image", operation: "remove_image", request: `{` + stranger + `,"imageTypeId":1}`, err: why,
			want: `{"operation":"removeImageResponse","status":"serviceNotAvailable",` + record + `}`},
		{name: "add_image", operation: "add_image", request: `{` + stranger + `,"url":"BASE/x.ota"}`, before: inProgress, err: why,
			want: `{"operation":"addImageResponse","status":"serviceNotAvailable",` + strings.Replace(fmt.Sprintf(noDeviceFor, "x.ota"), `"euid":null`, `"euid":"`+strangersEUID+`"`, 1) + `}`},
		{name: "add_image by name", operation: "add_image", request: `{"deviceId":"Cellar","url":"BASE/x.ota"}`, before: inProgress, err: `"Cellar"`,
			want: `{"operation":"addImageResponse","status":"deviceNotFound",` + fmt.Sprintf(noDeviceFor, "x.ota") + `}`},
		{name: "check", operation: "check", request: `{}`, err: why, want: `{"operation":"checkResponse","status":"serviceNotAvailable"}`},
	})
	info := s.heard.await(t, "info", onTopic("zigate-ota/info", func(i map[string]any) bool { return at(i, "dongle", "error") != nil }))
	if at(info.object(), "dongle", "connected") != false {
		t.Errorf("info: %s", info)
	}
	code, stdout, _ := ran(t, environ(t.TempDir(), "ZIGATE_OTA_HTTP_ADDR="+s.app.httpAddr()), "healthcheck")
	if code != commandline.ExitFailed || !strings.Contains(stdout, `"dongle":{"ok":false,"error":"the dongle is not connected`) || !strings.Contains(stdout, `"mqtt":{"ok":true}`) {
		t.Errorf("healthcheck: %d %s", code, stdout)
	}
}

// Images come only from where they may.
func TestHostNotAllowed(t *testing.T) {
	t.Parallel()
	base := serveFiles(t, map[string][]byte{"newer.ota": bulbImage(newerVersion, 1000)})
	s := serveHere(t, 1e6, "ZIGATE_OTA_IMAGE_ALLOWED_HOSTS=*.example.org")
	s.settle()
	got := s.ask("add_image", `{"deviceId":"`+kitchen+`","url":"`+base+`/newer.ota"}`).object()
	text, _ := at(got, "error").(string)
	if at(got, "status") != "imageAccessFailed" || !strings.Contains(text, "*.example.org") {
		t.Errorf("%v", got)
	}
}
