package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/commandline"
)

// shellUser runs commands of the shell in this process against a broker.
type shellUser struct {
	t       *testing.T
	environ []string
}

// run runs a command to its end and holds its exit code against the wanted one.
func (u *shellUser) run(code int, args ...string) (stdout, stderr string) {
	u.t.Helper()
	got, stdout, stderr := ran(u.t, u.environ, args...)
	if got != code {
		u.t.Errorf("zigate-ota %q: exit code %d, want %d\n%s%s", args, got, code, stdout, stderr)
	}
	return stdout, stderr
}

// shows runs a command that has to go well, and holds what it prints against a pattern.
func (u *shellUser) shows(pattern string, args ...string) string {
	u.t.Helper()
	stdout, stderr := u.run(commandline.ExitOK, args...)
	if !regexp.MustCompile(pattern).MatchString(stdout) || stderr != "" {
		u.t.Errorf("zigate-ota %q: want %s, got\n%s%s", args, pattern, stdout, stderr)
	}
	return stdout
}

// imageFile is a file with an image.
func imageFile(t *testing.T, name string, image []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// From nothing to upgraded devices, with the commands alone.
func TestShell(t *testing.T) {
	t.Parallel()
	s := serveHere(t, 2000)
	s.settle()
	u := &shellUser{t, []string{"ZIGATE_OTA_MQTT_URL=" + s.app.brokerURLs()[0]}}
	file := imageFile(t, "bulb.ota", bulbImage(newerVersion, 20_000))

	events := newLines()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"events"}, u.environ, events, newLines()) }()

	for len(events.journal.each(func(line string) bool { return strings.HasSuffix(line, "the dongle is connected") })) == 0 {
		// Until it listens.
		s.client.Publish("zigate-ota/event/dongleConnected", 1, false, `{"time":"2026-11-21T16:00:00Z"}`).Wait()
		awaitTick(t)
	}
	u.shows(`(?m)^NAME +MODEL +BUILD +VERSION +NEWER +UPGRADE +LQI +SEEN$`, "devices")
	u.shows(`^no images are registered`, "images")
	u.shows("^"+kitchen+" is called Kitchen bulb\n$", "rename", "0x4f4f", "Kitchen bulb")
	_, stderr := u.run(commandline.ExitFailed, "upgrade", "Kitchen bulb")
	if !strings.Contains(stderr, "(imageInfoNotFound)") {
		t.Errorf("without an image: %s", stderr)
	}
	u.shows(`^Kitchen bulb: image 0x22010731 is registered; it runs 34\.1\.6\.49 \(0x22010631\)\n$`, "add-image", "Kitchen bulb", file)
	u.shows(`(?m)^0x22010731 +0x117c +0x2201 +20 kB +Kitchen bulb +Bulb firmware +2 passed +now +http://127\.0\.0\.1:\d+/[0-9a-f]{16}/bulb\.ota$`, "images")
	u.shows(`(?m)^Kitchen bulb +TRADFRI bulb E27 +34\.1\.6\.49 +0x22010631 +0x22010731 +failed: imageInfoNotFound `, "devices")
	u.shows(`^Kitchen bulb: runs 34\.1\.6\.49 \(0x22010631\), there is 0x22010731\n$`, "check", "Kitchen bulb")
	u.shows(`(?m)^4 devices, 1 with a newer image, 0 without an answer$`, "check")

	out := u.shows(`(?m)^Kitchen bulb: runs 0x22010731, after \d+ s\n$`, "upgrade", "Kitchen bulb")
	if !strings.Contains(out, "Kitchen bulb [############################") && !strings.Contains(out, "applying") {
		t.Errorf("no progress:\n%s", out)
	}
	u.shows(`(?m)^Kitchen bulb +TRADFRI bulb E27 +\S+ +0x22010731 +- +succeeded `, "devices")
	_, stderr = u.run(commandline.ExitFailed, "upgrade", "Kitchen bulb")
	if !strings.HasSuffix(stderr, "(upToDate)\n") {
		t.Errorf("again: %s", stderr)
	}
	u.shows(`^no device has a newer image\n$`, "upgrade", "all")

	// Adding and upgrading at once, as JSON lines that end with the two answers.
	out = u.shows(``, "add-image", hall, file, "--upgrade", "--json")
	var last map[string]any
	for line := range strings.Lines(out) {
		last = nil
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Errorf("%v: %s", err, line)
		}
	}
	if last["operation"] != "upgradeResponse" || last["status"] != "success" || last["euid"] != hall {
		t.Errorf("the last line: %v", last)
	}
	u.shows(`^Kitchen bulb: configured\n$`, "configure", "Kitchen bulb", "--excluded", "true", "--block-size", "40", "--stall-timeout", "90m")
	u.shows(`(?m)^  set for it alone   excluded from upgrades, blocks of 40 bytes at most, stalled after 1 h 30 min$`, "devices", "Kitchen bulb")
	u.shows(`^Kitchen bulb: configured\n$`, "configure", "Kitchen bulb", "--excluded", "default", "--block-size", "default", "--stall-timeout", "default")
	if out := u.shows(``, "devices", "Kitchen bulb"); strings.Contains(out, "set for it alone") {
		t.Errorf("nothing is set any more: %s", out)
	}
	_, stderr = u.run(commandline.ExitFailed, "configure", "Kitchen bulb", "--block-size", "65")
	if !strings.Contains(stderr, "blockSize: must be a whole number from 1 to 64") {
		t.Errorf("a block of 65 bytes: %s", stderr)
	}
	u.shows(`^Kitchen bulb: the image is removed\n$`, "remove-image", "Kitchen bulb", "0x2201")
	u.shows("^"+hall+": forgotten\n$", "forget", hall)

	var names []string
	for _, line := range events.journal.each(func(line string) bool {
		return strings.Contains(line, "Kitchen bulb: ") && !strings.Contains(line, "%")
	}) {
		names = append(names, line[len("15:04:05  Kitchen bulb: "):])
	}
	want := []string{
		"was not upgraded: imageInfoNotFound: no image is registered for this device, and no image fits the device: the image folder has none for " +
			"manufacturer code 0x117C, image type 0x2201; add one with add_image",
		"image 0x22010731 is registered, 20084 bytes", "is told of image 0x22010731", "downloads 0x22010731 to go from 0x22010631, 20084 bytes",
		"has downloaded 0x22010731", "installs 0x22010731", "announces itself at network address 0x4f4f", "runs 0x22010731", "image 0x22010731 is removed",
	}
	events.await(t, "the removal", func(line string) bool { return strings.HasSuffix(line, want[len(want)-1]) })
	if len(names) < len(want) { // the last came behind the answer
		names = append(names, want[len(want)-1])
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	stop()
	if code := <-ended; code != 130 {
		t.Errorf("events: exit code %d", code)
	}
}

// The service is killed in the middle of an upgrade that is waited for, with the broker that it brings: the
// wait goes on when it is back, and its end comes.
func TestShellWaitsOverARestart(t *testing.T) {
	t.Parallel()
	dongle := simulation(t, "--tcp", "127.0.0.1:0", "--speed", "60")
	broker := freePort(t) // behind the dongle, which would get the same one
	dir := t.TempDir()
	serve := func() *process {
		return start(t, environ(dir, "ZIGATE_OTA_DONGLE="+dongle, "ZIGATE_OTA_BROKER_ADDR="+broker), programPath(t), "serve")
	}
	first := serve()
	first.stderr.await(t, "ready", func(line string) bool { return strings.Contains(line, "msg=ready") })
	u := &shellUser{t, []string{"ZIGATE_OTA_BROKER_ADDR=" + broker}}
	u.shows(`is registered`, "add-image", kitchen, imageFile(t, "bulb.ota", bulbImage(newerVersion, 40_000)))

	waiting := start(t, u.environ, programPath(t), "upgrade", kitchen)
	waiting.stdout.await(t, "20 %", func(line string) bool { return regexp.MustCompile(` [2-9]\d\.\d % downloading`).MatchString(line) })
	first.stop()
	waiting.stderr.await(t, "the loss", func(line string) bool { return strings.Contains(line, "the connection to the broker is lost") })
	serve()
	<-waiting.done
	if code := waiting.cmd.ProcessState.ExitCode(); code != commandline.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if out := waiting.stdout.String(); !regexp.MustCompile(`(?m)^` + kitchen + `: runs 0x22010731, after .+ s$`).MatchString(out) {
		t.Errorf("the end is not told:\n%s", out)
	}
	if err := waiting.stderr.String(); !strings.Contains(err, "the service is back") {
		t.Errorf("stderr: %s", err)
	}
}

// With Mosquitto, as most people have it.
func TestShellMosquitto(t *testing.T) {
	t.Parallel()
	m := newMosquitto(t)
	dongle := simulation(t, "--tcp", "127.0.0.1:0", "--speed", "2000")
	u := &shellUser{t, []string{"ZIGATE_OTA_MQTT_URL=" + m.url()}}
	_, stderr := u.run(3, "devices")
	if !strings.HasPrefix(stderr, "zigate-ota devices: no service on zigate-ota at "+m.url()+"; is it running (zigate-ota serve)?") {
		t.Errorf("without a service: %s", stderr)
	}
	heard := m.sub("zigate-ota/#")
	m.service(t.TempDir(), dongle)
	settled(t, heard, "zigate-ota")
	u.shows(`"euid":"`+kitchen+`"`, "devices", "--json")
	u.shows(`(?m)^`+kitchen+`: runs 0x22010731, after \d+ s$`, "add-image", kitchen, imageFile(t, "bulb.ota", bulbImage(newerVersion, 5_000)), "--upgrade")
}

// Where the commands look for the service: what the service itself is configured with, unless flags
// say something else.
func TestShellBroker(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name           string
		environ        []string
		broker, topic  string
		url, user      string
		password, base string
		embedded       bool
		problem        string
	}{
		{name: "nothing", url: "tcp://127.0.0.1:1883", base: "zigate-ota", embedded: true},
		{name: "another port", environ: []string{"ZIGATE_OTA_BROKER_ADDR=:1884"}, url: "tcp://localhost:1884", base: "zigate-ota", embedded: true},
		{name: "a broker", environ: []string{"ZIGATE_OTA_MQTT_URL=mqtt://broker.lan", "ZIGATE_OTA_MQTT_USERNAME=me", "ZIGATE_OTA_MQTT_PASSWORD_FILE=" + secret, "ZIGATE_OTA_MQTT_BASE_TOPIC=up/stairs"},
			url: "tcp://broker.lan:1883", user: "me", password: "hunter2", base: "up/stairs"},
		{name: "flags", environ: []string{"ZIGATE_OTA_MQTT_URL=tcp://broker.lan", "ZIGATE_OTA_MQTT_BASE_TOPIC=a"}, broker: "wss://other.lan/mqtt", topic: "b", url: "wss://other.lan/mqtt", base: "b"},
		{name: "what is the service's alone is not looked at", environ: []string{"ZIGATE_OTA_HTTP_TOKEN_FILE=/nonexistent", "ZIGATE_OTA_UPGRADE_CONCURRENCY=many", "ZIGATE_OTA_STATE_DIR="}, url: "tcp://127.0.0.1:1883", base: "zigate-ota", embedded: true},
		{name: "a slip in a name", environ: []string{"ZIGATE_OTA_MQT_URL=tcp://broker.lan"}, problem: "the nearest name is ZIGATE_OTA_MQTT_URL"},
		{name: "a bad flag", broker: "broker.lan", problem: "(--broker stands for ZIGATE_OTA_MQTT_URL, --topic for ZIGATE_OTA_MQTT_BASE_TOPIC):\nZIGATE_OTA_MQTT_URL: "},
		{name: "no port", environ: []string{"ZIGATE_OTA_BROKER_ADDR=127.0.0.1:0"}, problem: "name it with --broker"},
	} {
		b, err := shellBroker(tt.environ, tt.broker, tt.topic)
		if tt.problem != "" {
			if err == nil || !strings.Contains(err.Error(), tt.problem) {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.problem)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if len(b.URLs) != 1 || b.URLs[0] != tt.url || b.Username != tt.user || b.Password != tt.password || b.Base != tt.base || b.Embedded != tt.embedded {
			t.Errorf("%s: %+v", tt.name, b)
		}
	}
}

// The exit codes of processes, as scripts see them.
func TestShellExitCodes(t *testing.T) {
	t.Parallel()
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	for _, tt := range []struct {
		code int
		args []string
	}{
		{2, []string{"upgrade"}},
		{2, []string{"devices", "--nothing"}},
		{2, []string{"devices", "--broker", "nowhere"}},
		{3, []string{"devices", "--broker", "tcp://127.0.0.1:1"}},
		{4, []string{"devices", "--broker", "tcp://" + deaf.Addr().String(), "--timeout", "200ms"}},
		{0, []string{"help", "devices"}},
		{0, []string{"completion", "zsh"}},
	} {
		began := time.Now()
		p := start(t, nil, programPath(t), tt.args...)
		<-p.done
		if code := p.cmd.ProcessState.ExitCode(); code != tt.code {
			t.Errorf("%q: exit code %d, want %d (after %s)", tt.args, code, tt.code, time.Since(began))
		}
	}
}
