package bridge_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// responses names the answers of every operation there is.
var responses = map[string]string{
	"service_status": "serviceStatusResponse", "add_image": "addImageResponse", "remove_image": "removeImageResponse",
	"image_info": "imageInfoResponse", "upgrade": "upgradeResponse", "cancel": "cancelResponse", "pause": "pauseResponse",
	"resume": "resumeResponse", "check": "checkResponse", "interview": "interviewResponse", "rename": "renameResponse", "configure": "configureResponse",
	"forget": "forgetResponse", "load_image": "loadImageResponse", "image_notify": "imageNotifyResponse",
	"upgrade_end": "upgradeEndResponse", "wait_for_data": "waitForDataResponse",
}

// statuses says of every status whether it is a success.
var statuses = map[string]bool{
	"serviceAvailable": true, "serviceNotAvailable": false, "inProgress": true, "success": true, "failure": false,
	"imageAccessFailed": false, "imageValidationFailed": false, "deviceNotFound": false, "invalidData": false,
	"incompatibleDriverVersion": false, "imageInfoNotFound": false,
}

var reasons = strings.Fields(`upToDate downgradeRefused alreadyQueued tooLate imageInfoNotFound imageAccessFailed imageValidationFailed hardwareMismatch noResponse stalled deviceAborted
	invalidImage requireMoreImages versionUnchanged notRejoined cancelled imageRemoved dongleLost dongleRefuses canaryFailed batteryLow excluded`)

// operationRecord is what every answer about a device has, in order.
var operationRecord = []string{"euid", "mfgId", "imageTypeId", "url", "driverTypeId", "driverVersion", "imageVersion", "oldImageVersion"}

var (
	euidPattern = regexp.MustCompile(`^0x[0-9a-f]{16}$`)
)

type object = map[string]any

func parse(payload string) (object, error) {
	var o object
	dec := json.NewDecoder(strings.NewReader(payload))
	dec.UseNumber()
	return o, dec.Decode(&o)
}

// whole reports whether v is a whole number from 0 to highest.
func whole(v any, highest int64) bool {
	n, ok := v.(json.Number)
	if !ok {
		return false
	}
	i, err := n.Int64()
	return err == nil && i >= 0 && i <= highest
}

// checkRecord holds an operation record against the contract.
func checkRecord(o object) error {
	for _, key := range operationRecord {
		v, ok := o[key]
		if !ok {
			return fmt.Errorf("%s is missing", key)
		}
		if v == nil {
			continue
		}
		s, text := v.(string)
		switch key {
		case "euid":
			ok = euidPattern.MatchString(s)
		case "mfgId", "imageTypeId":
			ok = whole(v, 0xFFFF)
		case "url", "driverTypeId":
			ok = text
		default:
			ok = whole(v, 0xFFFFFFFF)
		}
		if !ok {
			return fmt.Errorf("%s is %v", key, v)
		}
	}
	return nil
}

// checkResponse holds an answer against the contract. aboutDevice: it must have the operation
// record; else it must not.
func checkResponse(payload, operation, transaction string, aboutDevice bool) (status string, err error) {
	o, err := parse(payload)
	if err != nil {
		return "", err
	}
	status, _ = o["status"].(string)
	ok, known := statuses[status]
	_, hasError := o["error"]
	text, _ := o["error"].(string)
	switch {
	case o["operation"] != operation:
		return status, fmt.Errorf("operation is %v", o["operation"])
	case !known:
		return status, fmt.Errorf("status is %v", o["status"])
	case o["transaction"] != transaction:
		return status, fmt.Errorf("transaction is %v", o["transaction"])
	case hasError && text == "":
		return status, fmt.Errorf("error is %v", o["error"])
	case hasError == ok && status != "inProgress": // in progress, it is a warning
		return status, fmt.Errorf("%s with error %q", status, text)
	}
	allowed := append([]string{"operation", "status", "transaction", "runningVersion", "updateAvailable", "source", "upgrade", "reason", "results", "dongleStatus", "error"}, operationRecord...)
	for key := range o {
		if !slices.Contains(allowed, key) {
			return status, fmt.Errorf("key %s", key)
		}
	}
	if reason, there := o["reason"]; there {
		if s, _ := reason.(string); !slices.Contains(reasons, s) || ok {
			return status, fmt.Errorf("%s with reason %v", status, reason)
		}
	}
	if n, there := o["dongleStatus"]; there && (!whole(n, 255) || status != "failure") {
		return status, fmt.Errorf("%s with dongleStatus %v", status, n)
	}
	if aboutDevice {
		return status, checkRecord(o)
	}
	if _, there := o["euid"]; there {
		return status, errors.New("euid in an answer about no device")
	}
	return status, nil
}

// step is a request and the status of its final answer.
type step struct {
	operation, payload, want string
	service                  bool // the answers are about no device
	before                   func()
}

// walk makes the requests one after the other. At the end it looks at everything that was answered: exactly
// one final answer to each, and each as the contract says.
func (h *home) walk(steps []step) {
	h.t.Helper()
	final := func(transaction string) (n int, last string) {
		for _, m := range h.out.all("zigate-ota/response/") {
			if o, err := parse(m.payload); err == nil && o["transaction"] == transaction && o["status"] != "inProgress" {
				n, last = n+1, m.payload
			}
		}
		return n, last
	}
	for i, s := range steps {
		if s.before != nil {
			s.before()
		}
		transaction := fmt.Sprintf("%d %s", i, s.operation)
		payload := strings.TrimSuffix(s.payload, "}") + `,"transaction":"` + transaction + `"}`
		payload = strings.Replace(payload, "{,", "{", 1)
		h.b.HandleRequest(command("zigate-ota/request/"+s.operation, []byte(payload), false))
		h.within(time.Hour, "final answer to "+s.operation+" "+s.payload, func() bool { n, _ := final(transaction); return n > 0 })
		_, last := final(transaction)
		if o, _ := parse(last); o["status"] != s.want {
			h.t.Errorf("%s %s: answered %s, want %s", s.operation, s.payload, last, s.want)
		}
	}
	time.Sleep(time.Hour)
	synctest.Wait()
	for i, s := range steps {
		transaction := fmt.Sprintf("%d %s", i, s.operation)
		if n, _ := final(transaction); n != 1 {
			h.t.Errorf("%s %s: %d final answers", s.operation, s.payload, n)
		}
		for _, m := range h.out.all("zigate-ota/response/" + s.operation) {
			if o, _ := parse(m.payload); o["transaction"] != transaction {
				continue
			}
			response := responses[s.operation]
			if response == "" {
				response = "unknown"
			}
			if _, err := checkResponse(m.payload, response, transaction, !s.service); err != nil {
				h.t.Errorf("%s %s: answered %s: %v", s.operation, s.payload, m.payload, err)
			}
		}
	}
}

// finalTo waits for the final answer to a request, and holds all answers to it against the contract. Those about a
// device have its operation record.
func (h *home) finalTo(operation, transaction string, aboutDevice bool) (final object) {
	h.t.Helper()
	var answers []string
	h.within(3*time.Hour, "the final answer to "+transaction, func() bool {
		answers, final = nil, nil
		for _, m := range h.out.all("zigate-ota/response/" + operation) {
			if o, _ := parse(m.payload); o["transaction"] == transaction {
				answers = append(answers, m.payload)
				final = o
			}
		}
		return final != nil && final["status"] != "inProgress"
	})
	for i, payload := range answers {
		status, err := checkResponse(payload, responses[operation], transaction, aboutDevice)
		if err != nil || (status == "inProgress") != (i < len(answers)-1) {
			h.t.Errorf("answered %s: %v", payload, err)
		}
	}
	return final
}

const (
	bulbID   = `"deviceId":"0x000b57fffec6a5b2"`
	cellarID = `"deviceId":"cellar"`
	newer    = 0x23095631
)

// TestEveryOperation: every operation, in every way that it can end while the dongle is there.
func TestEveryOperation(t *testing.T) {
	cfg := sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f), bulbConfig(cellar, 0x5050)}}
	inHome(t, cfg, func(h *home) {
		add := func(more string) string { return `{` + bulbID + `,` + more + `}` }
		image, next, old := h.image(newer, 5000), h.image(newer+1, 5000), h.image(1, 500)
		steps := []step{
			{operation: "service_status", payload: `{}`, want: "serviceAvailable", service: true},
			{operation: "service_status", payload: `{` + bulbID + `}`, want: "serviceAvailable"},
			{operation: "service_status", payload: `{"deviceId":"nobody"}`, want: "deviceNotFound"},
			{operation: "service_status", payload: `{"deviceId":"0x1111111111111111"}`, want: "deviceNotFound"},
			{operation: "image_info", payload: `{` + bulbID + `}`, want: "imageInfoNotFound"},
			{operation: "upgrade", payload: `{` + bulbID + `}`, want: "failure"},
			{operation: "load_image", payload: `{` + bulbID + `}`, want: "imageInfoNotFound"},
			{operation: "remove_image", payload: `{` + bulbID + `,"imageTypeId":8705}`, want: "imageInfoNotFound"},
			{operation: "rename", payload: `{"deviceId":"0x5050","name":"cellar"}`, want: "success"},
			{operation: "rename", payload: `{` + bulbID + `,"name":"cellar"}`, want: "invalidData"},
			{operation: "rename", payload: `{` + bulbID + `,"name":" CELLAR"}`, want: "invalidData"},
			{operation: "rename", payload: `{"deviceId":"Cellar ","name":"Cellar"}`, want: "success"},
			{operation: "rename", payload: `{"deviceId":"attic","name":"roof"}`, want: "deviceNotFound"},
			{operation: "configure", payload: `{` + bulbID + `,"excluded":true,"blockSize":"0x28","blockIntervalMs":250}`, want: "success"},
			{operation: "configure", payload: `{` + bulbID + `,"blockIntervalMs":60000,"stallTimeoutSeconds":60}`, want: "invalidData"},
			{operation: "configure", payload: `{` + bulbID + `,"excluded":null,"blockSize":null,"blockIntervalMs":null}`, want: "success"},
			{operation: "configure", payload: `{` + bulbID + `}`, want: "success"},
			{operation: "configure", payload: `{"deviceId":"attic","excluded":true}`, want: "deviceNotFound"},

			{operation: "add_image", payload: add(`"url":"` + image + `","driverTypeId":"bulb.c4z","version":2`), want: "success"},
			{operation: "add_image", payload: add(`"url":"` + image + `","driverTypeId":"bulb.c4z","version":2`), want: "success"},
			{operation: "add_image", payload: add(`"url":"` + next + `","driverTypeId":"bulb.c4z","version":1`), want: "incompatibleDriverVersion"},
			{operation: "add_image", payload: add(`"url":"` + image + `x"`), want: "imageAccessFailed"},
			{operation: "add_image", payload: add(`"url":"` + image + `","mfgId":1`), want: "imageValidationFailed"},
			{operation: "add_image", payload: add(`"url":"` + image + `","sha256":"` + strings.Repeat("0", 64) + `"`), want: "imageValidationFailed"},
			{operation: "add_image", payload: `{"deviceId":"nobody","url":"` + image + `"}`, want: "deviceNotFound"},
			{operation: "add_image", payload: add(`"url":"nowhere"`), want: "invalidData"},
			{operation: "image_info", payload: `{` + bulbID + `}`, want: "success"},
			{operation: "check", payload: `{` + bulbID + `}`, want: "success"},
			{operation: "check", payload: `{}`, want: "success", service: true},
			{operation: "check", payload: `{"deviceId":"nobody"}`, want: "deviceNotFound"},
			{operation: "interview", payload: `{` + bulbID + `}`, want: "success"},

			{operation: "load_image", payload: `{` + bulbID + `}`, want: "success"},
			{operation: "load_image", payload: `{"url":"` + old + `"}`, want: "success"},
			{operation: "load_image", payload: `{"url":"` + old + `x"}`, want: "imageAccessFailed"},
			{operation: "load_image", payload: `{}`, want: "invalidData"},
			{operation: "image_notify", payload: `{` + bulbID + `,"payloadType":3,"queryJitter":"0x64"}`, want: "success"},
			{operation: "image_notify", payload: `{` + cellarID + `,"payloadType":3}`, want: "invalidData"},
			{operation: "upgrade_end", payload: `{` + bulbID + `,"upgradeTime":"0xFFFFFFFF"}`, want: "success"},
			{operation: "upgrade_end", payload: `{` + cellarID + `,"imageVersion":1,"imageTypeId":"8705","mfgId":"0x117C"}`, want: "success"},
			{operation: "wait_for_data", payload: `{` + bulbID + `,"requestTime":60,"blockRequestDelay":100}`, want: "success"},
			{operation: "wait_for_data", payload: `{"deviceId":"nobody"}`, want: "deviceNotFound"},

			{operation: "pause", payload: `{` + bulbID + `}`, want: "failure"},
			{operation: "resume", payload: `{` + bulbID + `}`, want: "failure"},
			{operation: "cancel", payload: `{` + bulbID + `}`, want: "failure"},
			{operation: "cancel", payload: `{"deviceId":"all"}`, want: "success", service: true},
			{operation: "upgrade", payload: `{` + bulbID + `,"imageVersion":7}`, want: "failure"},
			// A downgrade.
			{operation: "upgrade", payload: `{` + bulbID + `,"url":"` + old + `"}`, want: "failure"},
			{operation: "upgrade", payload: `{` + bulbID + `}`, want: "success"},
			{operation: "upgrade", payload: `{` + bulbID + `}`, want: "failure"}, // up to date
			{operation: "upgrade", payload: `{"deviceId":"all"}`, want: "success", service: true},
			{operation: "remove_image", payload: `{` + bulbID + `,"imageTypeId":"0x2201"}`, want: "success"},
			{operation: "upgrade_everything", payload: `{}`, want: "invalidData", service: true},
			{operation: "forget", payload: `{` + bulbID + `}`, want: "success"},
			{operation: "forget", payload: `{"deviceId":"Kitchen"}`, want: "deviceNotFound"},
		}
		h.walk(steps)
		asked := map[string]bool{}
		for _, s := range steps {
			asked[s.operation] = true
		}
		for _, operation := range slices.Sorted(maps.Keys(responses)) {
			if !asked[operation] {
				t.Errorf("%s was not asked", operation)
			}
		}
	})
}

// TestCheckAsPublished: a check reads the running version anew and says whether there is something newer; of all devices
// it says so of each, and is a success once every one was asked, whether it has answered or not.
func TestCheckAsPublished(t *testing.T) {
	cfg := sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f), bulbConfig(cellar, 0x5050)}}
	inHome(t, cfg, func(h *home) {
		h.request("add_image", `{`+bulbID+`,"url":"`+h.image(newer, 500)+`"}`)
		h.within(time.Minute, "the image is there", func() bool { return h.state().UpdateAvailable })
		h.sim.Device(cellar).PowerOff()
		h.request("check", `{"transaction":"all"}`)
		all := h.finalTo("check", "all", false)
		want := []any{
			object{"euid": bulb.String(), "status": "success", "updateAvailable": true},
			object{"euid": cellar.String(), "status": "failure", "updateAvailable": false},
		}
		if diff := cmp.Diff(want, all["results"]); diff != "" || all["status"] != "success" {
			t.Errorf("answered %v; results (-want +got):\n%s", all["status"], diff)
		}
		h.sim.Device(bulb).Reflash(newer)
		h.request("check", `{`+bulbID+`,"transaction":"one"}`)
		one := h.finalTo("check", "one", true)
		if one["updateAvailable"] != false || one["oldImageVersion"] != json.Number("587814449") {
			t.Errorf("answered %v", one)
		}
	})
}

// TestEveryOperationWithoutDongle: what needs the dongle is not available, the rest works.
func TestEveryOperationWithoutDongle(t *testing.T) {
	inHome(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f)}}, func(h *home) {
		image := h.image(newer, 500)
		h.unplug()
		time.Sleep(time.Minute)
		device := `{` + bulbID + `}`
		h.walk([]step{
			{operation: "service_status", payload: `{}`, want: "serviceNotAvailable", service: true},
			{operation: "service_status", payload: device, want: "serviceNotAvailable"},
			{operation: "service_status", payload: `{"deviceId":"0x1111111111111111"}`, want: "serviceNotAvailable"},
			{operation: "add_image", payload: `{` + bulbID + `,"url":"` + image + `"}`, want: "success"},
			{operation: "add_image", payload: `{"deviceId":"0x1111111111111111","url":"` + image + `"}`, want: "serviceNotAvailable"},
			{operation: "image_info", payload: device, want: "success"},
			{operation: "upgrade", payload: device, want: "serviceNotAvailable"},
			{operation: "upgrade", payload: `{"deviceId":"all"}`, want: "serviceNotAvailable", service: true},
			{operation: "pause", payload: device, want: "failure"},
			{operation: "resume", payload: device, want: "failure"},
			{operation: "cancel", payload: device, want: "failure"},
			{operation: "check", payload: device, want: "serviceNotAvailable"},
			{operation: "check", payload: `{}`, want: "serviceNotAvailable", service: true},
			{operation: "interview", payload: device, want: "serviceNotAvailable"},
			{operation: "load_image", payload: device, want: "serviceNotAvailable"},
			{operation: "load_image", payload: `{"url":"` + image + `"}`, want: "serviceNotAvailable"},
			{operation: "image_notify", payload: device, want: "serviceNotAvailable"},
			{operation: "upgrade_end", payload: device, want: "serviceNotAvailable"},
			{operation: "wait_for_data", payload: device, want: "serviceNotAvailable"},
			{operation: "rename", payload: `{` + bulbID + `,"name":"Kitchen"}`, want: "success"},
			{operation: "remove_image", payload: `{"deviceId":"Kitchen","imageTypeId":8705}`, want: "success"},
			{operation: "forget", payload: device, want: "success"},
		})
	})
}

// TestFramesByHandRefused: the dongle's own status is told.
func TestFramesByHandRefused(t *testing.T) {
	cfg := sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f)}, Faults: sim.Faults{Refuse: 1}}
	inHome(t, cfg, func(h *home) {
		h.walk([]step{{operation: "image_notify", payload: `{` + bulbID + `}`, want: "failure"}, {operation: "wait_for_data", payload: `{` + bulbID + `}`, want: "failure"}})
		for _, operation := range []string{"image_notify", "wait_for_data"} {
			if answers := h.out.on("zigate-ota/response/" + operation); len(answers) != 1 || !strings.Contains(answers[0], `"dongleStatus":20,"error":"`) {
				t.Errorf("%v", answers)
			}
		}
	})
}
