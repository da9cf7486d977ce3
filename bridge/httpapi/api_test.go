package httpapi_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/bridge/httpapi"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// answers is how the service answers; the ticket brings the final answer of an upgrade.
func (a *api) answers(id string, answers ...otasvc.Answer) {
	for _, answer := range answers {
		a.bridge.UpgradeEnded(fmt.Appendf(nil, `{"operation":"upgrade","transaction":7,"id":%q}`, id), answer, func() {})
	}
}

// TestRequest: the answer is the final one if that comes in time; else the latest, with an address
// for the final one.
func TestRequest(t *testing.T) {
	a := startAPI(t, nil)
	asked := make(chan string, 1)
	for _, tt := range []struct {
		name    string
		answers []otasvc.Answer
		status  int
	}{
		{"success", []otasvc.Answer{{Status: otasvc.InProgress}, {Status: otasvc.Success}}, 200},
		{"service available", []otasvc.Answer{{Status: otasvc.ServiceAvailable}}, 200},
		{"failure", []otasvc.Answer{{Status: otasvc.Failure, Reason: upgrade.ReasonUpToDate, Error: "x"}}, 409},
		{"older driver", []otasvc.Answer{{Status: otasvc.IncompatibleDriverVersion, Error: "x"}}, 409},
		{"no device", []otasvc.Answer{{Status: otasvc.DeviceNotFound, Error: "x"}}, 404},
		{"no image", []otasvc.Answer{{Status: otasvc.ImageInfoNotFound, Error: "x"}}, 404},
		{"wrong", []otasvc.Answer{{Status: otasvc.InvalidData, Error: "x"}}, 400},
		{"not fetched", []otasvc.Answer{{Status: otasvc.ImageAccessFailed, Error: "x"}}, 502},
		{"not valid", []otasvc.Answer{{Status: otasvc.ImageValidationFailed, Error: "x"}}, 422},
		{"no dongle", []otasvc.Answer{{Status: otasvc.ServiceNotAvailable, Error: "x"}}, 503},
		{"in progress", []otasvc.Answer{{Status: otasvc.InProgress}}, 202},
		{"no answer", nil, 202},
	} {
		a.asked = func(id, operation string, payload []byte) {
			if operation != "upgrade" || string(payload) != `{"transaction":7}` {
				t.Errorf("%s: asked for %s with %s", tt.name, operation, payload)
			}
			a.answers(id, tt.answers...)
			asked <- id
		}
		got := a.call("POST", "/api/v1/request/upgrade?wait=0", `{"transaction":7}`, "Content-Type: application/json; charset=utf-8")
		id := <-asked
		o := jsonObject(t, got.body)
		if got.status != tt.status || o["id"] != id {
			t.Errorf("%s: status %d, want %d: %s", tt.name, got.status, tt.status, got.body)
		}
		if len(tt.answers) > 0 && (o["status"] != string(tt.answers[len(tt.answers)-1].Status) || o["transaction"] != 7.0) {
			t.Errorf("%s: %s", tt.name, got.body)
		}
		if location := got.header.Get("Location"); (location == "/api/v1/responses/"+id) != (got.status == 202) {
			t.Errorf("%s: Location %q", tt.name, location)
		}
		if tt.status != 202 {
			continue
		}
		a.answers(id, otasvc.Answer{Status: otasvc.Success})
		if got := a.call("GET", "/api/v1/responses/"+id, ""); got.status != 200 || jsonObject(t, got.body)["status"] != "success" {
			t.Errorf("%s: afterwards: status %d, %s", tt.name, got.status, got.body)
		}
	}
}

// TestRequestWaits: an answer that comes a little later is waited for.
func TestRequestWaits(t *testing.T) {
	a := startAPI(t, nil)
	a.asked = func(id, _ string, _ []byte) {
		a.answers(id, otasvc.Answer{Status: otasvc.InProgress})
		time.AfterFunc(20*time.Millisecond, func() { a.answers(id, otasvc.Answer{Status: otasvc.Success}) })
	}
	if got := a.call("POST", "/api/v1/request/upgrade", "{}"); got.status != 200 {
		t.Errorf("status %d: %s", got.status, got.body)
	}
}

func TestBadRequests(t *testing.T) {
	a := startAPI(t, func(o *httpapi.Options) { o.MaxImageBytes = 2048 })
	a.known()
	for _, tt := range []struct {
		method, path, body, kind string
		status                   int
		text                     string
	}{
		{"POST", "/api/v1/request/upgrade", "[", "application/json", 400, `"status":"invalidData"`},
		{"POST", "/api/v1/request/upgrade", `{"deviceId":1,"transaction":"t","x":1}`, "", 400, `"transaction":"t"`},
		{"POST", "/api/v1/request/nonsense", `{"transaction":"t"}`, "application/json", 400, "there is no operation of that name"},
		{"POST", "/api/v1/request/a%2Fb", `{}`, "application/json", 400, "there is no operation of that name"},
		{"POST", "/api/v1/request/a/b", `{}`, "application/json", 404, "not found"},
		{"POST", "/api/v1/request/check?wait=26", `{}`, "", 400, "wait: must be"},
		{"POST", "/api/v1/request/check?wait=-1", `{}`, "", 400, "wait: must be"},
		{"POST", "/api/v1/request/check", "a=b", "application/x-www-form-urlencoded", 415, "application/json"},
		{"POST", "/api/v1/request/check", `{"deviceId":"` + strings.Repeat("x", 64<<10) + `"}`, "application/json", 413, "65536"},
		{"POST", "/api/v1/images", "", "application/octet-stream", 400, "empty"},
		{"POST", "/api/v1/images", strings.Repeat("x", 2049), "application/octet-stream", 413, "ZIGATE_OTA_IMAGE_MAX_BYTES"},
		{"POST", "/api/v1/images", "x", "multipart/form-data; boundary=x", 415, "octet-stream"},
		{"POST", "/api/v1/images", `{"url":""}`, "application/json", 400, "url: is required"},
		{"POST", "/api/v1/images", `{"url":"http://x","path":"/etc"}`, "application/json", 400, "url: is required"},
		{"POST", "/api/v1/images", `{"url":"` + strings.Repeat("x", 4096) + `"}`, "application/json", 413, "4096"},
		{"POST", "/api/v1/images", "x", "", 409, "no more images"},
		{"DELETE", "/api/v1/images/added/missing.ota", "", "", 404, "imageInfoNotFound"},
		{"GET", "/api/v1/events/history?limit=0", "", "", 400, "limit: must be"},
		{"GET", "/api/v1/devices/nobody", "", "", 404, "no device is known"},
		{"PUT", "/api/v1/log-level", `{"level":"info"} x`, "", 400, "level: must be"},
		{"PUT", "/api/v1/log-level", `{"level":"INFO"}`, "", 400, "level: must be"},
		{"GET", "/api/v2/info", "", "", 404, "not found"},
	} {
		var headers []string
		if tt.kind != "" {
			headers = append(headers, "Content-Type: "+tt.kind)
		}
		got := a.call(tt.method, tt.path, tt.body, headers...)
		if got.status != tt.status || !strings.Contains(got.body, tt.text) {
			t.Errorf("%s %s: status %d, want %d with %q: %.300s", tt.method, tt.path, got.status, tt.status, tt.text, got.body)
		}
	}
}

// TestAddImage: what is added is told to the other readers, and what went wrong is told as everywhere.
func TestAddImage(t *testing.T) {
	a := startAPI(t, nil)
	a.known()
	next, _ := a.listen("")
	until(next, "health")
	for _, tt := range []struct {
		err    error
		isNew  bool
		status int
		want   string
	}{
		{nil, true, 201, "success"},
		{nil, false, 200, "success"},
		{fmt.Errorf("%w: it is none", library.ErrValidation), false, 422, "imageValidationFailed"},
		{fmt.Errorf("%w: it is gone", library.ErrAccess), false, 502, "imageAccessFailed"},
		{fmt.Errorf("%w: by far", library.ErrTooLarge), false, 413, "imageAccessFailed"},
		{fmt.Errorf("%w: 500", library.ErrFolderFull), false, 507, "failure"},
	} {
		var given library.Added
		a.shelf.add = func(added library.Added) (library.FolderImage, bool, error) {
			given = added
			return folderImage("added/x"), tt.isNew, tt.err
		}
		got := a.call("POST", "/api/v1/images?name=a%20b.ota&sha256=00", "OTA", "Content-Type: application/octet-stream")
		o := jsonObject(t, got.body)
		if got.status != tt.status || o["status"] != tt.want {
			t.Errorf("%v: status %d, %s", tt.err, got.status, got.body)
		}
		if _, explained := o["error"].(string); explained != (tt.err != nil) {
			t.Errorf("%v: %s", tt.err, got.body)
		}
		if diff := cmp.Diff(library.Added{Name: "a b.ota", Data: []byte("OTA"), SHA256: "00"}, given); diff != "" {
			t.Errorf("given (-want +got):\n%s", diff)
		}
	}
	until(next, "files")
	a.call("DELETE", "/api/v1/images/added/a%20b.ota", "")
	until(next, "files")
	if diff := cmp.Diff([]string{"added/a b.ota"}, a.shelf.removed); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
}

func TestLogLevel(t *testing.T) {
	a := startAPI(t, nil)
	if got := a.call("GET", "/api/v1/log-level", ""); got.body != `{"level":"info"}` {
		t.Errorf("at first %s", got.body)
	}
	a.call("PUT", "/api/v1/log-level", `{"level":"warn"}`)
	if got := a.call("GET", "/api/v1/log-level", ""); got.body != `{"level":"warn"}` || a.level.Level() != slog.LevelWarn {
		t.Errorf("afterwards %s, %v", got.body, a.level.Level())
	}
}

// TestQueue: who waits by their positions, who does not by when their upgrades were asked for, without those that
// have ended.
func TestQueue(t *testing.T) {
	const first, second, third, fourth, fifth, sixth = kitchen, kitchen - 1, kitchen - 2, kitchen - 3, kitchen - 4, kitchen - 5
	end := time.Date(2026, 11, 21, 18, 5, 0, 0, time.UTC)
	tests := map[string]struct {
		positions map[message.IEEE]int // 0 for one whose download has begun
		end       time.Time
		want      []message.IEEE
	}{
		"no positions yet":          {nil, time.Time{}, []message.IEEE{second, fourth, fifth}},
		"by positions":              {map[message.IEEE]int{fifth: 1, second: 2, fourth: 3, sixth: 0}, end, []message.IEEE{fifth, second, fourth}},
		"one has just come":         {map[message.IEEE]int{fourth: 1, second: 2}, end, []message.IEEE{fourth, second, fifth}},
		"one paused stands between": {map[message.IEEE]int{fourth: 1, third: 2, second: 3, fifth: 4}, end, []message.IEEE{fourth, second, fifth}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a := startAPI(t, nil)
			at := time.Now()
			a.bridge.InfoChanged(otasvc.InfoRecord{DownloadsEnd: tt.end})
			for i, state := range []upgrade.State{upgrade.Succeeded, upgrade.Queued, upgrade.Paused, upgrade.Scheduled, upgrade.Queued, upgrade.Downloading, ""} {
				d := device(first-message.IEEE(i), state, 0)
				if d.Upgrade != nil {
					d.Upgrade.QueuedAt = at.Add(time.Duration(i) * time.Second)
				}
				if position, has := tt.positions[d.EUID]; has {
					d.Queue = &slot.Place{Device: d.EUID, Position: position}
				}
				a.bridge.DeviceChanged(d)
			}
			got := map[string][]string{}
			o := jsonObject(t, a.call("GET", "/api/v1/queue", "").body)
			for _, line := range []string{"active", "queued"} {
				for _, entry := range asList(o[line]) {
					got[line] = append(got[line], entry.(object)["euid"].(string))
				}
			}
			want := map[string][]string{"active": {third.String(), sixth.String()}}
			for _, e := range tt.want {
				want["queued"] = append(want["queued"], e.String())
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("queue (-want +got):\n%s", diff)
			}
			wantEnd := any(nil)
			if !tt.end.IsZero() {
				wantEnd = "2026-11-21T18:05:00Z"
			}
			if o["expectedEnd"] != wantEnd {
				t.Errorf("it ends at %v, want %v", o["expectedEnd"], wantEnd)
			}
		})
	}
}
