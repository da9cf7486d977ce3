package shell_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/bridge/broker"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/shell"
)

const (
	kitchen = "0x000b57fffec6a5b2"
	hall    = "0x000b57fffec6a5c7"
)

// record is a device with the state of an upgrade that was queued at a time; no state: there was none.
func record(euid, name, state, queuedAt string, progress float64) string {
	upgrade := "null"
	if state != "" {
		reason := "null"
		if state == "failed" {
			reason = `"stalled"`
		}
		upgrade = fmt.Sprintf(`{"state":%q,"imageVersion":2,"oldImageVersion":1,"offset":0,"size":100,"progress":%v,"bytesPerSecond":10,"remainingSeconds":9,"queuedAt":%q,"startedAt":null,"attempt":1,"reason":%s}`, state, progress, queuedAt, reason)
	}
	return fmt.Sprintf(`{"euid":%q,"name":%q,"networkAddress":1,"mfgId":4476,"imageTypeId":8705,"currentFileVersion":1,"updateAvailable":true,"image":{"imageVersion":2,"source":"registered"},"upgrade":%s}`, euid, name, upgrade)
}

// Each command asks for what its arguments say, and shows the answer.
func TestRequests(t *testing.T) {
	s := newService(t, broker.Options{})
	s.device(kitchen, record(kitchen, "Kitchen bulb", "", "", 0))
	tests := []struct {
		args           []string
		operation      string
		request        string
		status, fields string
		code           int
		stdout, stderr string // stderr is what is wrong, where code is not 0
	}{
		{args: []string{"cancel", "Kitchen bulb"}, operation: "cancel", request: `{"deviceId":"Kitchen bulb"}`, status: "success", fields: `,"euid":"` + kitchen + `"`, stdout: "Kitchen bulb: cancelled\n"},
		{args: []string{"cancel", "all"}, operation: "cancel", request: `{"deviceId":"all"}`, status: "success", stdout: "all: cancelled\n"},
		{args: []string{"pause", kitchen, "--for", "10m"}, operation: "pause", request: `{"deviceId":"` + kitchen + `","seconds":600}`, status: "success", fields: `,"euid":"` + kitchen + `"`, stdout: "Kitchen bulb: paused\n"},
		{args: []string{"pause", "--for=90", "--", "-h"}, operation: "pause", request: `{"deviceId":"-h","seconds":90}`, status: "deviceNotFound", fields: `,"euid":null,"error":"no such device"`, code: 1, stderr: "-h: no such device (deviceNotFound)"},
		{args: []string{"resume", "0x4f4f"}, operation: "resume", request: `{"deviceId":"0x4f4f"}`, status: "failure", fields: `,"euid":"` + kitchen + `","error":"nothing is paused"`, code: 1, stderr: "Kitchen bulb: nothing is paused"},
		{args: []string{"interview", "a"}, operation: "interview", request: `{"deviceId":"a"}`, status: "success", stdout: "a: has told who it is\n"},
		{args: []string{"forget", "a"}, operation: "forget", request: `{"deviceId":"a"}`, status: "success", stdout: "a: forgotten\n"},
		{args: []string{"rename", kitchen, "Küche\x1b"}, operation: "rename", request: `{"deviceId":"` + kitchen + `","name":"Küche\u001b"}`, status: "success", fields: `,"euid":"` + kitchen + `"`, stdout: kitchen + " is called Küche\n"},
		{args: []string{"remove-image", kitchen, "0x2201"}, operation: "remove_image", request: `{"deviceId":"` + kitchen + `","imageTypeId":"0x2201"}`, status: "imageInfoNotFound", fields: `,"error":"none is registered"`, code: 1, stderr: kitchen + ": none is registered (imageInfoNotFound)"},
		{args: []string{"check", kitchen}, operation: "check", request: `{"deviceId":"` + kitchen + `"}`, status: "success", fields: `,"euid":"` + kitchen + `","imageVersion":2,"oldImageVersion":1,"updateAvailable":true`, stdout: "Kitchen bulb: runs 0x00000001, there is 0x00000002\n"},
		{args: []string{"check"}, operation: "check", request: `{}`, status: "success", fields: `,"results":[{"euid":"` + kitchen + `","status":"failure","updateAvailable":true}]`,
			stdout: "NAME          VERSION     NEWER       CHECK\nKitchen bulb  0x00000001  0x00000002  no answer\n1 devices, 1 with a newer image, 1 without an answer\n"},
		{args: []string{"check"}, operation: "check", request: `{}`, status: "serviceNotAvailable", fields: `,"error":"the dongle is not connected"`, code: 1, stderr: "the dongle is not connected (serviceNotAvailable)"},
		{args: []string{"add-image", kitchen, "https://example.com/a.ota", "--sha256", "ab", "--mfg-id", "0x117c", "--image-type", "8705", "--driver-type", "x", "--driver-version", "3"}, operation: "add_image",
			request: `{"deviceId":"` + kitchen + `","driverTypeId":"x","imageTypeId":"8705","mfgId":"0x117c","sha256":"ab","url":"https://example.com/a.ota","version":"3"}`,
			status:  "success", fields: `,"euid":"` + kitchen + `","imageVersion":2,"oldImageVersion":1`, stdout: "Kitchen bulb: image 0x00000002 is registered; it runs 0x00000001\n"},
		{args: []string{"upgrade", kitchen, "--url", "https://example.com/a.ota", "--sha512", "cd", "--image-version", "0x2", "--image-type", "0x2202", "--allow-downgrade", "--force", "--when", "window", "--apply", "2026-11-22T02:00:00+01:00"}, operation: "upgrade",
			request: `{"allowDowngrade":true,"apply":"2026-11-22T02:00:00+01:00","deviceId":"` + kitchen + `","force":true,"imageTypeId":"0x2202","imageVersion":"0x2","sha512":"cd","url":"https://example.com/a.ota","when":"window"}`,
			status:  "failure", fields: `,"euid":"` + kitchen + `","reason":"upToDate","error":"it runs that version"`, code: 1, stderr: "Kitchen bulb: it runs that version (upToDate)"},
	}
	for _, tt := range tests {
		name := strings.Join(tt.args, " ")
		r := s.start(tt.args...)
		asked := s.request(tt.operation, tt.request)
		s.say("response/"+tt.operation, `{"status":"success","transaction":"somebody else's"}`, false)
		s.say("response/"+tt.operation, `{"status":"success","transaction":7}`, false)
		s.say("response/"+tt.operation, `no JSON`, false)
		s.answer(asked, "inProgress", "")
		s.answer(asked, tt.status, tt.fields)
		code, problem := r.code()
		if code != tt.code || problem != tt.stderr || r.stdout.String() != tt.stdout {
			t.Errorf("%s: exit code %d, %q, stdout %q; want %d, %q, %q", name, code, problem, &r.stdout, tt.code, tt.stderr, tt.stdout)
		}
		if stderr := r.stderr.String(); stderr != "" {
			t.Errorf("%s: stderr %q", name, stderr)
		}
	}
}

// Several devices are several requests; each answer counts, and JSON has them all.
func TestSeveralDevices(t *testing.T) {
	s := newService(t, broker.Options{})
	for _, asJSON := range []bool{false, true} {
		args := []string{"cancel", "a", "b", "a"}
		if asJSON {
			args = append(args, "--json")
		}
		r := s.start(args...)
		a, b := s.request("cancel", `{"deviceId":"a"}`), s.request("cancel", `{"deviceId":"b"}`)
		if a.keys["transaction"] == b.keys["transaction"] {
			t.Error("two requests have one transaction")
		}
		s.answer(b, "failure", `,"error":"nothing runs"`)
		s.answer(a, "success", "")
		code, problem := r.code()
		if code != shell.ExitFailed || problem != "1 of 2 failed" {
			t.Errorf("exit code %d, %s", code, problem)
		}
		want, wantErr := "a: cancelled\n", "b: nothing runs\n"
		if asJSON {
			want = fmt.Sprintf("{\"operation\":\"cancelResponse\",\"status\":\"success\",\"transaction\":%q}\n{\"operation\":\"cancelResponse\",\"status\":\"failure\",\"transaction\":%q,\"error\":\"nothing runs\"}\n", a.keys["transaction"], b.keys["transaction"])
			wantErr = ""
		}
		if r.stdout.String() != want || r.stderr.String() != wantErr {
			t.Errorf("stdout %q, stderr %q", &r.stdout, &r.stderr)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct{ args, problem string }{
		{"devices --verbose", "there is no flag --verbose; see zigate-ota help devices"},
		{"images x", `takes no argument, got "x"; see zigate-ota help images`},
		{"upgrade", "wants DEVICE... | all; see zigate-ota help upgrade"},
		{"upgrade all a", `"all" stands alone, got all, a`},
		{"upgrade a --sha256 x", "--sha256 and --sha512 go with --url"},
		{"upgrade a --when 25:00", `--when "25:00": not a time such as 02:00 or `},
		{"rename a", "wants DEVICE NAME; see zigate-ota help rename"},
		{"rename a b c", "wants DEVICE NAME; see zigate-ota help rename"},
		{"pause a --for soon", `--for "soon": not a duration such as 90s or 10m; see zigate-ota help pause`},
		{"check --timeout -1s", `--timeout "-1s": must be more than 0; see zigate-ota help check`},
		{"events --name upgraded", `there is no event "upgraded"; there are deliveryFailed, `},
		{"events --count -1", "--count must be more than 0"},
		{"add-image a http://x --serve y", "--serve goes with a FILE, and http://x is a URL"},
		{"completion tcsh", `there is completion for bash, zsh and fish, not for "tcsh"`},
	} {
		code, problem := start(t, shell.Broker{URLs: []string{"tcp://127.0.0.1:1"}}, nil, strings.Fields(tt.args)...).code()
		if code != shell.ExitUsage || !strings.HasPrefix(problem, tt.problem) {
			t.Errorf("%s: exit code %d, %q, want %q", tt.args, code, problem, tt.problem)
		}
	}
}

// The broker or the service is not there: what is said, and the exit code for it.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	s := newService(t, broker.Options{Username: "user", Password: "hunter2"})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	deaf := "127.0.0.1:1"
	for _, tt := range []struct {
		name   string
		broker shell.Broker
		want   string
	}{
		{"nobody listens", shell.Broker{URLs: []string{"tcp://" + deaf}}, `^the broker at tcp://127\.0\.0\.1:1 cannot be reached: dial tcp 127\.0\.0\.1:1: connect: connection refused; another broker is named with --broker or ZIGATE_OTA_MQTT_URL$`},
		{"nobody listens where the service's own should", shell.Broker{URLs: []string{"tcp://" + deaf}, Embedded: true}, `; is the service running here\? \(zigate-ota serve\); `},
		{"no such host", shell.Broker{URLs: []string{"tcp://broker.invalid:1883"}}, `^the broker at tcp://broker\.invalid:1883 cannot be reached: dial tcp: lookup broker\.invalid`},
		{"no credentials", shell.Broker{URLs: []string{s.url()}}, `wants a user name and a password: set ZIGATE_OTA_MQTT_USERNAME and ZIGATE_OTA_MQTT_PASSWORD`},
		{"wrong credentials", shell.Broker{URLs: []string{s.url()}, Username: "user", Password: "swordfish"}, `refuses the user: check ZIGATE_OTA_MQTT_USERNAME and ZIGATE_OTA_MQTT_PASSWORD`},
		{"TLS where there is none", shell.Broker{URLs: []string{strings.Replace(s.url(), "tcp", "ssl", 1)}}, `a port without TLS needs tcp://`},
		{"something else listens", shell.Broker{URLs: []string{"tcp://" + listener.Addr().String()}}, `closes the connection instead of answering; a port for TLS needs ssl://`},
		{"another base topic", shell.Broker{URLs: []string{s.url()}, Username: "user", Password: "hunter2", Base: "upstairs"}, `^no service on upstairs at tcp://[0-9.:]+; is it running \(zigate-ota serve\)\?`},
	} {
		code, problem := start(t, tt.broker, nil, "devices").code()
		if code != shell.ExitUnreachable || !regexp.MustCompile(tt.want).MatchString(problem) {
			t.Errorf("%s: exit code %d, %q, want %s", tt.name, code, problem, tt.want)
		}
		if strings.Contains(problem, "swordfish") {
			t.Errorf("%s: tells the password: %s", tt.name, problem)
		}
	}
	s.say("status", "offline", true)
	code, problem := start(t, shell.Broker{URLs: []string{s.url()}, Username: "user", Password: "hunter2"}, nil, "cancel", "all").code()
	if code != shell.ExitUnreachable || !strings.HasPrefix(problem, "the service on zigate-ota at ") || !strings.Contains(problem, "is offline") {
		t.Errorf("exit code %d, %q", code, problem)
	}
}

// A broker that goes before it has acknowledged the request, and stays away, may have handed it out or not.
func TestConnectionLostWithTheRequest(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	served := make(chan error, 1)
	go func() { served <- goesWithARequest(listener) }()
	url := "tcp://" + listener.Addr().String()
	code, problem := start(t, shell.Broker{URLs: []string{url}}, nil, "cancel", "a").code()
	want := "the connection to the broker at " + url + " was lost, and it is not certain that the request reached the " +
		`broker; "zigate-ota devices" shows what the service does`
	if code != shell.ExitUnreachable || problem != want {
		t.Errorf("exit code %d, %q", code, problem)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// goesWithARequest is a broker for one client, of a service that is online, until that client makes a request.
func goesWithARequest(listener net.Listener) error {
	conn, err := listener.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	for {
		p, err := packets.ReadPacket(conn)
		if err != nil {
			return err
		}
		var answers []packets.ControlPacket
		switch p := p.(type) {
		case *packets.ConnectPacket:
			answers = append(answers, packets.NewControlPacket(packets.Connack))
		case *packets.SubscribePacket:
			granted := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
			granted.MessageID = p.MessageID
			granted.ReturnCodes = p.Qoss
			status := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
			status.TopicName = "zigate-ota/status"
			status.Payload = []byte("online")
			answers = append(answers, granted, status)
		case *packets.PublishPacket:
			return listener.Close()
		}
		for _, answer := range answers {
			if err := answer.Write(conn); err != nil {
				return err
			}
		}
	}
}

// With several brokers the first that is there is taken.
func TestSeveralBrokers(t *testing.T) {
	s := newService(t, broker.Options{})
	s.home()
	start(t, shell.Broker{URLs: []string{"tcp://127.0.0.1:1", s.url()}}, nil, "devices").succeeds()
}

func TestTimeoutAndInterrupt(t *testing.T) {
	t.Parallel()
	s := newService(t, broker.Options{})
	code, problem := s.start("cancel", "a", "--timeout", "300ms").code()
	if code != shell.ExitTimeout || problem != "the time is over (--timeout); the service goes on with what was asked for" {
		t.Errorf("exit code %d, %q", code, problem)
	}
	r := s.start("check", "a")
	s.request("cancel", `{"deviceId":"a"}`)
	s.request("check", `{"deviceId":"a"}`)
	r.stop()
	code, problem = r.code()
	// The broker may hand a request out before it acknowledges it.
	unsure := "interrupted; it is not certain that the request reached the broker"
	if code != shell.ExitInterrupted || problem != "interrupted; the service goes on with the check" && problem != unsure {
		t.Errorf("exit code %d, %q", code, problem)
	}
}

// A file of this machine is served until the service has fetched it, and its digest goes with the request.
func TestAddImageFromFile(t *testing.T) {
	s := newService(t, broker.Options{})
	s.device(kitchen, record(kitchen, "Kitchen bulb", "", "", 0))
	s.say("info", `{"devices":1,"dongle":{"connected":true}}`, true)
	path := filepath.Join(t.TempDir(), "bulb ä.ota")
	content := []byte("not looked at here")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	get := func(url string) (int, string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(body)
	}
	r := s.start("add-image", "Kitchen bulb", path)
	asked := <-s.came
	url, _ := asked.keys["url"].(string)
	if got, want := asked.keys["sha256"], fmt.Sprintf("%x", sha256.Sum256(content)); got != want || asked.keys["deviceId"] != "Kitchen bulb" {
		t.Errorf("asked for %v", asked.keys)
	}
	if !regexp.MustCompile(`^http://127\.0\.0\.1:\d+/[0-9a-f]{16}/bulb%20%C3%A4\.ota$`).MatchString(url) {
		t.Errorf("serves %s", url)
	}
	if status, body := get(url); status != http.StatusOK || body != string(content) {
		t.Errorf("status %d, %q", status, body)
	}
	if status, _ := get(url + "x"); status != http.StatusNotFound {
		t.Errorf("status %d for another path", status)
	}
	s.answer(asked, "success", `,"euid":"`+kitchen+`","mfgId":4107,"imageTypeId":274,"imageVersion":2,"oldImageVersion":1`)
	if got, want := r.succeeds(), "Kitchen bulb: image 0x00000002 is registered; it runs 0x00000001\n"; got != want {
		t.Errorf("stdout %q", got)
	}
	if got, want := r.stderr.String(), "Kitchen bulb will not get it: the image is for manufacturer 0x100b, type 0x0112, the device is of manufacturer 0x117c, type 0x2201\n"; got != want {
		t.Errorf("stderr %q, want %q", got, want)
	}
	dialer := net.Dialer{Timeout: time.Second}
	host := strings.Split(strings.TrimPrefix(url, "http://"), "/")[0]
	if conn, err := dialer.DialContext(context.Background(), "tcp", host); err == nil {
		conn.Close()
		t.Error("the file is still served")
	}

	// The service cannot fetch it: what to do is said.
	r = s.start("add-image", "Kitchen bulb", path, "--serve", "localhost")
	asked = <-s.came
	if url, _ := asked.keys["url"].(string); !strings.HasPrefix(url, "http://localhost:") {
		t.Errorf("serves %s", url)
	}
	s.answer(asked, "imageAccessFailed", `,"error":"no route to host"`)
	code, problem := r.code()
	if code != shell.ExitFailed || !strings.HasPrefix(problem, "Kitchen bulb: no route to host (imageAccessFailed); the service was to fetch the file from this machine, at localhost:") || !strings.Contains(problem, "--serve") {
		t.Errorf("exit code %d, %q", code, problem)
	}

	for arg, want := range map[string]string{
		path + "x":          "no such file or directory (a URL begins with http:// or https://)",
		filepath.Dir(path):  " is a folder",
		"http.example/nope": "no such file or directory",
	} {
		if code, problem := s.start("add-image", "a", arg).code(); code != shell.ExitFailed || !strings.Contains(problem, want) {
			t.Errorf("%s: exit code %d, %q", arg, code, problem)
		}
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	s := newService(t, broker.Options{})
	s.device(kitchen, strings.Replace(record(kitchen, "Kitchen bulb", "", "", 0), "Kitchen", `Kitchen\u001b`, 1))
	s.say("info", `{"devices":1,"dongle":{"connected":true}}`, true)
	said := []struct{ name, payload, line string }{
		{"dongleConnected", `{"time":"2026-11-21T16:00:00Z"}`, "the dongle is connected"},
		{"deviceAnnounced", `{"euid":"` + hall + `","time":"2026-11-21T16:00:00Z","networkAddress":20303}`, hall + ": announces itself at network address 0x4f4f"},
		{"downloadStarted", `{"euid":"` + kitchen + `","time":"2026-11-21T16:00:00Z","imageVersion":2,"oldImageVersion":1,"offset":0,"size":100,"progress":0}`, "Kitchen bulb: downloads 0x00000002 to go from 0x00000001, 100 bytes"},
		{"downloadProgress", `{"euid":"` + kitchen + `","time":"2026-11-21T16:00:00Z","imageVersion":2,"progress":17.61}`, "Kitchen bulb: has 17.6 %"},
		{"upgradeFailed", `{"euid":"` + kitchen + `","time":"2026-11-21T16:00:00Z","imageVersion":2,"reason":"deviceAborted","zclStatus":149}`, "Kitchen bulb: was not upgraded to 0x00000002: deviceAborted (ZCL status 0x95)"},
		{"somethingNew", `{"time":"2026-11-21T16:00:00Z","error":"who\u001b knows"}`, "somethingNew: who knows"},
	}
	all := s.start("events")
	device := s.start("events", "--device", "kitchen bulb", "--count", "3", "--json")
	named := s.start("events", "--device", "Kitchen bulb", "--name", "upgradeFailed,dongleConnected", "--timeout", "3s")
	late := s.start("events", "--device", "Kitchen bulb", "--count", "9", "--timeout", "3s")
	awaits(t, "the others to listen", func() bool { return s.asked.Load() == 3 })
	awaits(t, "the first to listen", func() bool {
		s.say("event/probe", `{"time":"2026-11-21T16:00:00Z"}`, false)
		return strings.Contains(all.stdout.String(), "probe")
	})
	for _, e := range said {
		s.say("event/"+e.name, e.payload, false)
	}
	at := time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC).Local().Format(time.TimeOnly)
	var want strings.Builder
	for _, e := range said {
		want.WriteString(at + "  " + e.line + "\n")
	}
	all.shows("somethingNew", &all.stdout)
	all.stop()
	if code, problem := all.code(); code != shell.ExitInterrupted || problem != "interrupted" {
		t.Errorf("exit code %d, %q", code, problem)
	}
	if diff := cmp.Diff(want.String(), strings.ReplaceAll(all.stdout.String(), at+"  probe\n", "")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	wantJSON := ""
	for _, e := range said[2:5] {
		wantJSON += `{"event":"` + e.name + `",` + e.payload[1:] + "\n"
	}
	if diff := cmp.Diff(wantJSON, device.succeeds()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := named.succeeds(); strings.Count(got, "\n") != 1 {
		t.Errorf("of one device and two names: %s", got)
	}
	if code, problem := late.code(); code != shell.ExitTimeout || problem != "3 of 9 events came in time" {
		t.Errorf("exit code %d, %q", code, problem)
	}
	r := s.start("events", "--device", "nobody")
	if code, problem := r.code(); code != shell.ExitFailed || problem != `there is no device "nobody"; "zigate-ota devices" lists them` {
		t.Errorf("exit code %d, %q", code, problem)
	}
}
