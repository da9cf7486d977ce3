package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"go.uber.org/goleak"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/commandline"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

const demoEnd = "All 4 devices run their new version, byte for byte.\n"

// leavesNothing fails the test if what it does leaves a goroutine behind, or anything in the folder for
// temporary files. The test must not be parallel.
func leavesNothing(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		goleak.VerifyNone(t, before)
		left, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range left {
			t.Errorf("left behind: %s", entry.Name())
		}
	})
}

func demoEnviron(more ...string) []string {
	return append([]string{"HOME=/nonexistent", "PATH=" + os.Getenv("PATH")}, more...)
}

// demoed runs a demo that has to go well and returns what it printed.
func demoed(t *testing.T, environ []string, args ...string) string {
	t.Helper()
	code, stdout, stderr := ran(t, environ, append([]string{"demo", "--once", "--speed", "10000"}, args...)...)
	if code != commandline.ExitOK || !strings.HasSuffix(stdout, demoEnd) {
		t.Errorf("exit code %d, want 0 and %q in the end:\n%s", code, demoEnd, stdout)
	}
	if stderr != "" {
		t.Errorf("stderr: %s", stderr)
	}
	return stdout
}

func TestDemo(t *testing.T) {
	leavesNothing(t)
	stdout := demoed(t, demoEnviron())
	for pattern, times := range map[string]int{
		`^A simulated ZiGate with 4 devices\. MQTT: tcp://127\.0\.0\.1:\d+  topics: zigate-ota/#  page: http://127\.0\.0\.1:\d+/$`:                           1,
		`^Look with: mosquitto_sub -h 127\.0\.0\.1 -p \d+ -v -t 'zigate-ota/#'$`:                                                                             1,
		`^> zigate-ota/request/add_image \{"deviceId":"0x[0-9a-f]{16}","transaction":"0x[0-9a-f]{16}","url":"http://127\.0\.0\.1:\d+/[A-Za-z0-9-]+\.ota"\}$`: 4,
		`^< response/add_image \{"operation":"addImageResponse","status":"success",`:                                                                         4,
		`^> zigate-ota/request/upgrade \{"deviceId":"0x[0-9a-f]{16}","transaction":"0x[0-9a-f]{16}"\}$`:                                                      4,
		`^< response/upgrade \{"operation":"upgradeResponse","status":"inProgress",`:                                                                         4,
		`^< response/upgrade \{"operation":"upgradeResponse","status":"success",`:                                                                            4,
		`^< event/imageAdded `:                                  4,
		`^< event/downloadStarted `:                             4,
		`^< event/downloadFinished `:                            4,
		`^< event/upgradeApplying `:                             4,
		`^< event/upgradeSucceeded `:                            4,
		`^0x[0-9a-f]{16} \S.{17} \[\.{30}\]   0\.0 % waits$`:    4,
		`^0x[0-9a-f]{16} \S.{17} \[#{30}\] 100\.0 % succeeded$`: 4,
	} {
		if got := len(regexp.MustCompile("(?m)"+pattern).FindAllString(stdout, -1)); got != times {
			t.Errorf("%d lines, want %d: %s", got, times, pattern)
		}
	}
	// Besides those that tell of a search.
	fetching := regexp.MustCompile(`(?m)^< response/add_image \{"operation":"addImageResponse","status":"inProgress",.*"url":"http`)
	if got := len(fetching.FindAllString(stdout, -1)); got < 4 {
		t.Errorf("%d lines, want at least 4: %s", got, fetching)
	}
	// Three images take turns in one slot. One is loaded again where its second bulb was asked for late, or where the
	// slot had to be empty for a moment, so that a device could say who it is. That makes 4 as a rule, and 5 now and then
	// where the machine is busy. A tighter bound would not hold by itself: the service lives by the real clock here, and
	// on a slow machine each of the four devices may be late with both. So it is two for each of them, which images that
	// drive each other out without an end soon pass.
	if got := strings.Count(stdout, "\n< event/imageLoaded "); got < 3 || got > 8 {
		t.Errorf("an image was loaded %d times, want 3, or a few more, at most two for each device", got)
	}
	for _, wrong := range []string{"upgradeFailed", "upgradeCancelled", "event/downloadProgress", "\x1b"} {
		if strings.Contains(stdout, wrong) {
			t.Errorf("there is %q in:\n%s", wrong, stdout)
		}
	}
	if t.Failed() {
		t.Log(stdout)
	}
}

// A demo can be run again upon the state that an earlier one has left: its devices have their
// old version again.
func TestDemoKeepsState(t *testing.T) {
	leavesNothing(t)
	state := filepath.Join(t.TempDir(), "state")
	for range 2 {
		demoed(t, demoEnviron("ZIGATE_OTA_STATE_DIR="+state))
	}
	if _, err := os.Stat(filepath.Join(state, "state.json")); err != nil {
		t.Error(err)
	}
}

// wrapped is an image in one of the containers that manufacturers put theirs into.
func wrapped(t *testing.T, kind string, image []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	le := func(values ...uint32) (out []byte) {
		for _, v := range values {
			out = binary.LittleEndian.AppendUint32(out, v)
		}
		return out
	}
	switch kind {
	case "bare":
		return image
	case "with bytes behind it":
		return append(bytes.Clone(image), make([]byte, 100)...)
	case "zip":
		w := zip.NewWriter(&b)
		f, err := w.Create("firmware/image.ota")
		check(err)
		_, err = f.Write(image)
		check(err)
		check(w.Close())
	case "gzip":
		w := gzip.NewWriter(&b)
		_, err := w.Write(image)
		check(err)
		check(w.Close())
	case "tar":
		w := tar.NewWriter(&b)
		check(w.WriteHeader(&tar.Header{Name: "image.ota", Mode: 0o644, Size: int64(len(image))}))
		_, err := w.Write(image)
		check(err)
		check(w.Close())
	case "tar.gz":
		return wrapped(t, "gzip", wrapped(t, "tar", image))
	case "IKEA signed":
		// Twelve words, the digest of each block, the image, a signature.
		const block = 0x4000
		var digests []byte
		for at := 0; at < len(image); at += block {
			digest := sha256.Sum256(image[at:min(at+block, len(image))])
			digests = append(digests, digest[:]...)
		}
		begin, size := uint32(40+len(digests)), uint32(len(image))
		b.WriteString("NGIS")
		b.Write(le(12, 0x7DA, 0x19C, begin, size, begin+size, 11, block, uint32(len(digests)/sha256.Size)))
		b.Write(digests)
		b.Write(image)
		b.Write(make([]byte, 512))
	case "Legrand":
		// The image's size, the image, a signature.
		b.Write(le(uint32(len(image))))
		b.Write(image)
		b.Write(make([]byte, 17))
	default:
		t.Fatalf("no container %q", kind)
	}
	return b.Bytes()
}

// An image of one's own, in every container; the devices end up with what is inside.
func TestDemoImage(t *testing.T) {
	leavesNothing(t)
	dir := t.TempDir()
	image := otafile.Build(otafile.Header{ManufacturerCode: 0x1234, ImageType: 0x0042, FileVersion: 0x01020304}, firmware(20000), otafile.WithIntegrityCode())
	limited := otafile.Header{ManufacturerCode: 0x1234, ImageType: 0x0042, FileVersion: 0x01020304}
	lowest, highest := uint16(0x0100), uint16(0x01FF)
	limited.MinHardwareVersion, limited.MaxHardwareVersion = &lowest, &highest
	copy(limited.HeaderString[:], "Lamp \x1b[31m with\x07 colours")
	tests := []struct {
		kind, name string
		image      []byte
	}{
		{"bare", "image.ota", image},
		{"with bytes behind it", "image.zigbee", image},
		{"zip", "image.zip", image},
		{"gzip", "image.ota.gz", image},
		{"tar", "image.tar", image},
		{"tar.gz", "image.tgz", image},
		{"IKEA signed", "image.ota.ota.signed", image},
		{"Legrand", "image.fwz", image},
		{"bare", "image of 100 % #1?.ota", image},
		{"bare", "hardware.ota", otafile.Build(limited, firmware(1000))},
	}
	for i, tt := range tests {
		if testing.Short() && i%3 != 0 {
			continue
		}
		t.Run(tt.kind+" "+tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(dir, tt.name)
			if err := os.WriteFile(path, wrapped(t, tt.kind, tt.image), 0o600); err != nil {
				t.Fatal(err)
			}
			if stdout := demoed(t, demoEnviron(), "--image", path); strings.ContainsAny(stdout, "\x1b\x07") {
				t.Errorf("control characters from the image:\n%q", stdout)
			}
		})
	}
}

// Images as manufacturers publish them.
func TestDemoSamples(t *testing.T) {
	leavesNothing(t)
	const folder = "../../../shared/images"
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Skipf("no images of manufacturers here: %v", err)
	}
	for i, file := range files {
		if testing.Short() && i%4 != 0 {
			continue
		}
		t.Run(file.Name(), func(t *testing.T) {
			t.Parallel()
			demoed(t, demoEnviron(), "--image", filepath.Join(folder, file.Name()))
		})
	}
}

// An image from a web server, under addresses that make no good file name.
func TestDemoImageFromURL(t *testing.T) {
	leavesNothing(t)
	image := otafile.Build(otafile.Header{ManufacturerCode: 0x1234, ImageType: 0x0042, FileVersion: 0x01020304}, firmware(1000))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(wrapped(t, "zip", image))
	}))
	defer server.Close()
	for _, path := range []string{"/image.zip?signature=a/b&c=d", "/", "", "/a%20b/%23.ota"} {
		demoed(t, demoEnviron(), "--image", server.URL+path)
	}
	code, _, stderr := ran(t, demoEnviron("ZIGATE_OTA_IMAGE_MAX_BYTES=1024"), "demo", "--once", "--image", server.URL+"/image.zip")
	if code != commandline.ExitFailed || !strings.Contains(stderr, "1024") {
		t.Errorf("exit code %d, want 1 and 1024 in: %s", code, stderr)
	}
}

// What keeps a demo from its end is told, with exit code 1.
func TestDemoFails(t *testing.T) {
	leavesNothing(t)
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	first := filepath.Join(dir, "first.ota")
	if err := os.WriteFile(first, otafile.Build(otafile.Header{ManufacturerCode: 0x1234, ImageType: 0x0042}, firmware(1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		environ []string
		args    []string
		want    string // in stderr
	}{
		{"an image of the lowest version", nil, []string{"--image", first}, "file version 0: there is no older version"},
		{"nothing at the image's address", nil, []string{"--image", "http://127.0.0.1:1/x.ota"}, "127.0.0.1:1"},
		{"no broker", []string{"ZIGATE_OTA_MQTT_URL=tcp://127.0.0.1:1"}, nil, "the demo's user cannot reach the broker at tcp://127.0.0.1:1"},
		{"the port for HTTP is taken", []string{"ZIGATE_OTA_HTTP_ADDR=" + taken.Addr().String()}, nil, "ZIGATE_OTA_HTTP_ADDR"},
		{"the broker's port is taken", []string{"ZIGATE_OTA_BROKER_ADDR=" + taken.Addr().String()}, nil, "ZIGATE_OTA_BROKER_ADDR"},
		{"images may not come from here", []string{"ZIGATE_OTA_IMAGE_ALLOWED_HOSTS=example.org"}, nil, "imageAccessFailed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, _, stderr := ran(t, demoEnviron(tt.environ...), append([]string{"demo", "--once"}, tt.args...)...)
			if code != commandline.ExitFailed || !strings.HasPrefix(stderr, "zigate-ota demo: ") || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit code %d, want 1 and %q in: %s", code, tt.want, stderr)
			}
		})
	}
}

// Without --once everything goes on running, and can be used, until it is stopped.
func TestDemoGoesOn(t *testing.T) {
	leavesNothing(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	stdout, stderr := newLines(), newLines()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"demo", "--speed", "Inf"}, demoEnviron(), stdout, stderr)
	}()
	first := stdout.await(t, "first line", func(line string) bool { return strings.Contains(line, "MQTT: tcp://") })
	broker := regexp.MustCompile(`tcp://\S+`).FindString(first)
	stdout.await(t, "end", func(line string) bool { return line == "Everything is still running; stop it with Ctrl-C." })

	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(broker).SetClientID("somebody").SetAutoReconnect(false))
	if token := client.Connect(); token.Wait() && token.Error() != nil {
		t.Fatal(token.Error())
	}
	heard := newHeard(t)
	client.Subscribe("zigate-ota/response/#", 1, func(_ mqtt.Client, m mqtt.Message) {
		heard.add(published{m.Topic(), string(m.Payload()), m.Retained()})
	}).Wait()
	client.Publish("zigate-ota/request/upgrade", 1, false, `{"deviceId":"`+kitchen+`","transaction":"again"}`).Wait()
	if got := heard.await(t, "answer", finalTo("again")); at(got.object(), "reason") != "upToDate" {
		t.Errorf("%s", got)
	}
	client.Disconnect(0)
	stop()
	if code := <-ended; code != commandline.ExitOK {
		t.Errorf("exit code %d after a stop, want 0: %s", code, stderr)
	}
}

// A demo that is stopped in the middle ends at once. With --once, whose exit code says whether all went well,
// that is a failure.
func TestDemoInterrupted(t *testing.T) {
	leavesNothing(t)
	for _, tt := range []struct {
		args []string
		code int
	}{{[]string{"demo"}, commandline.ExitOK}, {[]string{"demo", "--once"}, commandline.ExitFailed}} {
		ctx, stop := context.WithCancel(t.Context())
		stdout, stderr := newLines(), newLines()
		ended := make(chan int, 1)
		go func() { ended <- run(ctx, tt.args, demoEnviron(), stdout, stderr) }()
		stdout.await(t, "a download", func(line string) bool { return strings.HasPrefix(line, "< event/downloadStarted") })
		stop()
		if code := <-ended; code != tt.code {
			t.Errorf("%q: exit code %d after a stop, want %d: %s", tt.args, code, tt.code, stderr)
		}
	}
}

func TestHostAndPort(t *testing.T) {
	for url, want := range map[string]string{
		"tcp://127.0.0.1:1883": "127.0.0.1 -p 1883",
		"tcp://broker.lan":     "broker.lan",
		"mqtt://[::1]:1884":    "::1 -p 1884",
		"mqtt://[::1]":         "::1",
		"tcp://localhost:1883": "localhost -p 1883",
	} {
		if got := hostAndPort(url); got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}
