package httpapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/bridge"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
)

// TestOpenAPIRoutes: every path of the document is there, with its methods and no others, and every operation
// that there is has a path.
func TestOpenAPIRoutes(t *testing.T) {
	a, d := startAPI(t, nil), readDocument(t)
	var requests []string
	for path, item := range d.Paths.Map() {
		if operation, ok := strings.CutPrefix(path, "/api/v1/request/"); ok {
			requests = append(requests, operation)
		}
		var allowed []string
		for method := range item.Operations() {
			allowed = append(allowed, method)
		}
		if slices.Contains(allowed, "GET") {
			allowed = append(allowed, "HEAD")
		}
		slices.Sort(allowed)
		concrete := regexp.MustCompile(`{[a-z]+}`).ReplaceAllString(path, "x")
		got := a.call("PATCH", concrete, "") // which nothing takes
		if got.status != 405 || got.header.Get("Allow") != strings.Join(allowed, ", ") {
			t.Errorf("%s: status %d, takes %q, described are %q", path, got.status, got.header.Get("Allow"), allowed)
		}
	}
	slices.Sort(requests)
	if diff := cmp.Diff(bridge.Operations(), requests); diff != "" {
		t.Errorf("operations (-there +described):\n%s", diff)
	}
}

// TestOpenAPIServed: what is served is the document itself.
func TestOpenAPIServed(t *testing.T) {
	a := startAPI(t, nil)
	want, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if got := a.call("GET", "/api/v1/openapi.json", ""); got.body != string(want) {
		t.Errorf("status %d, %d bytes instead of %d", got.status, len(got.body), len(want))
	}
}

// TestOpenAPIRequestKeys: each operation takes the keys that are described, and requires those
// that are said to be.
func TestOpenAPIRequestKeys(t *testing.T) {
	a, d := startAPI(t, nil), readDocument(t)
	for _, operation := range bridge.Operations() {
		path := d.Paths.Value("/api/v1/request/" + operation)
		if path == nil || path.Post == nil || path.Post.RequestBody == nil {
			t.Errorf("%s: openapi.json does not describe its request", operation)
			continue
		}
		body := path.Post.RequestBody.Value
		schema := body.Content.Get("application/json").Schema.Value
		got := a.call("POST", "/api/v1/request/"+operation, `{"noSuchKey":1}`)
		_, allowed, _ := strings.Cut(jsonObject(t, got.body)["error"].(string), "allowed are ")
		allowed, _, _ = strings.Cut(allowed, ";")
		if diff := cmp.Diff(strings.Split(allowed, ", "), slices.Sorted(maps.Keys(schema.Properties))); diff != "" {
			t.Errorf("%s: keys (-taken +described):\n%s", operation, diff)
		}
		var required []string
		for _, m := range regexp.MustCompile(`(\w+): is required`).FindAllStringSubmatch(got.body, -1) {
			required = append(required, m[1])
		}
		if diff := cmp.Diff(required, schema.Required); diff != "" {
			t.Errorf("%s: required (-are +described):\n%s", operation, diff)
		}
		if body.Required != (len(required) > 0) {
			t.Errorf("%s: the body is described as required: %v", operation, body.Required)
		}
	}
}

func jsonObject(t *testing.T, text string) object {
	t.Helper()
	var o object
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return o
}

// TestOpenAPIFields holds every kind of answer against its schema: all keys that are there are described, and
// all that are described come.
func TestOpenAPIFields(t *testing.T) {
	a, d := startAPI(t, nil), readDocument(t)
	check := func(schema, what string, payload []byte) {
		t.Helper()
		if err := d.check(schema, payload); err != nil {
			t.Errorf("%s: %v\n%s", what, err, payload)
		}
	}
	// What MQTT says, too.
	for file, schema := range map[string]string{"info": "Info", "images": "RegisteredImages", "device": "Device", "event": "Event", "response": "Response"} {
		for _, c := range goldenCases(t, file) {
			switch schema {
			case "Event":
				c.payload["name"] = strings.TrimPrefix(c.topic, "zigate-ota/event/")
			case "Response":
				c.payload["id"] = "X"
			}
			b, err := json.Marshal(c.payload)
			if err != nil {
				t.Fatal(err)
			}
			check(schema, file+": "+c.name, b)
		}
	}
	// What only HTTP says.
	a.known()
	a.bridge.Happened(otasvc.Event{Name: otasvc.EventDeviceAnnounced, Time: time.Now(), EUID: kitchen})
	a.shelf.folder = library.FolderState{
		Images: []library.FolderImage{folderImage("added/bulb.ota"), folderImage("mine.ota")},
		Faults: []library.FolderFault{{Name: "broken.ota", Err: "it ends too early"}},
	}
	a.shelf.indexes = []library.IndexStatus{{Name: "https://x/index.json", Format: "zigpy", Images: 3, ReadAt: time.Now()}, {Name: "/y", Error: "it is gone"}}
	a.shelf.add = func(added library.Added) (library.FolderImage, bool, error) {
		if added.URL != "" {
			return library.FolderImage{}, false, fmt.Errorf("%w: %s", library.ErrAccess, added.URL)
		}
		return folderImage("added/" + added.Name), true, nil
	}
	a.asked = func(id, _ string, _ []byte) {} // no answer
	for _, c := range []struct {
		method, path, body, kind string
		status                   int
		schema                   string
	}{
		{"GET", "/api/v1/info", "", "", 200, "Info"},
		{"GET", "/api/v1/devices", "", "", 200, "DeviceList"},
		{"GET", "/api/v1/devices/00:0B:57:FF:FE:C6:A5:B2", "", "", 200, "Device"},
		{"GET", "/api/v1/devices/0x1", "", "", 404, "Error"},
		{"GET", "/api/v1/queue", "", "", 200, "Queue"},
		{"GET", "/api/v1/images", "", "", 200, "ImageList"},
		{"POST", "/api/v1/images?name=bulb.ota", "x", "application/octet-stream", 201, "Addition"},
		{"POST", "/api/v1/images", `{"url":"http://x/y"}`, "application/json", 502, "Addition"},
		{"DELETE", "/api/v1/images/added/bulb.ota", "", "", 200, "Addition"},
		{"DELETE", "/api/v1/images/added/missing.ota", "", "", 404, "Addition"},
		{"GET", "/api/v1/access", "", "", 200, "Access"},
		{"GET", "/api/v1/events/history?limit=5", "", "", 200, "History"},
		{"POST", "/api/v1/request/upgrade?wait=0", "{}", "application/json", 202, "Accepted"},
		{"GET", "/api/v1/responses/x", "", "", 404, "Error"},
		{"GET", "/api/v1/log-level", "", "", 200, "LogLevel"},
		{"PUT", "/api/v1/log-level", `{"level":"debug"}`, "application/json", 200, "LogLevel"},
		{"PUT", "/api/v1/log-level", `{"level":"loud"}`, "application/json", 400, "Error"},
		{"GET", "/readyz", "", "", 503, "Health"},
	} {
		got := a.call(c.method, c.path, c.body, "Content-Type: "+c.kind)
		what := c.method + " " + c.path
		if got.status != c.status {
			t.Errorf("%s: status %d, want %d: %s", what, got.status, c.status, got.body)
		}
		check(c.schema, what, []byte(got.body))
	}
	check("Access", "access from elsewhere", []byte(a.call("GET", "/api/v1/access", "", "X-Forwarded-For: 1.2.3.4").body))
	check("ImageURL", "image to be fetched", []byte(`{"url":"","sha256":"","sha512":""}`))
	next, _ := a.listen("")
	until(next, "health")
	a.bridge.DeviceGone(hall)
	check("DeviceGone", "device gone", []byte(until(next, "deviceGone")[0].data))
	a.feed.FilesChanged(time.Now())
	check("Time", "files", []byte(until(next, "files")[0].data))
	if missing := d.unseen(); len(missing) > 0 {
		t.Errorf("described, but nothing has it: %s", strings.Join(missing, ", "))
	}
}

type goldenCase struct {
	name, topic string
	payload     object
}

// goldenCases reads the bridge's golden file of a kind of payload.
func goldenCases(t *testing.T, name string) []goldenCase {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", name+".golden.json"))
	var list []struct {
		Case, Topic string
		Payload     object
	}
	if err := errors.Join(err, json.Unmarshal(b, &list)); err != nil || len(list) == 0 {
		t.Fatalf("%d cases in the golden file of %s, %v", len(list), name, err)
	}
	var cases []goldenCase
	for _, c := range list {
		cases = append(cases, goldenCase{c.Case, c.Topic, c.Payload})
	}
	return cases
}

// TestAPIDocument: what docs/api.md shows is there, with the method that it shows, and it leaves nothing out.
func TestAPIDocument(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	d, text := readDocument(t), string(b)
	var described []string // "METHOD path", with what stands for anything as {}
	for path, item := range d.Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+regexp.MustCompile(`{[^}]*}`).ReplaceAllString(path, "{}"))
		}
	}
	shown := regexp.MustCompile("(?:`(GET|POST|PUT|DELETE) (/api/v1[^`?]*)`)").FindAllStringSubmatch(text, -1)
	for _, line := range regexp.MustCompile(`(?m)^curl .*$`).FindAllString(text, -1) {
		method := "GET"
		if m := regexp.MustCompile(`-X (\w+)`).FindStringSubmatch(line); m != nil {
			method = m[1]
		} else if strings.Contains(line, "--data") {
			method = "POST"
		}
		shown = append(shown, []string{line, method, regexp.MustCompile(`/api/v1[^ '?]*`).FindString(line)})
	}
	seen := map[string]bool{}
	for _, s := range shown {
		known := false
		for _, path := range described {
			pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(path), `\{\}`, `[^/]+`) + "$"
			if regexp.MustCompile(pattern).MatchString(s[1] + " " + s[2]) {
				known, seen[path] = true, true
			}
		}
		if !known && s[2] != "/api/v1/request/<operation>" {
			t.Errorf("%s: there is no %s %s", s[0], s[1], s[2])
		}
	}
	for _, path := range described {
		if !seen[path] && !strings.Contains(path, "/request/") && !strings.Contains(text, strings.TrimPrefix(path, "GET ")) {
			t.Errorf("%s is not in the document", path)
		}
	}
}
