package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/commandline"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

const root = "../../"

// Who runs the commands of the README.
const (
	bySession = "session"   // TestReadmeSession, in this order
	byTest    = "test: "    // a test by this name
	byCI      = ".ci/run: " // what has this in its text
)

// readmeRunners says for each command of the README who runs it. There is no command that nobody runs.
var readmeRunners = map[string]string{
	"go run ./cmd/zigate-ota demo": byTest + "TestReadmeDemo",
	"go test ./...":                byCI + "go test -race -timeout 20m -v ./...",
	".ci/run":                      byCI + "#!/usr/bin/env bash",

	"go build -o zigate-ota ./cmd/zigate-ota": bySession,
	"ls /dev/serial/by-id/":                   bySession,
	"ZIGATE_OTA_DONGLE=/dev/serial/by-id/usb-Silicon_Labs_CP2102-if00-port0 ZIGATE_OTA_MQTT_URL=tcp://127.0.0.1:1883 ./zigate-ota":                     bySession,
	"mosquitto_sub -C 1 -t zigate-ota/device/0x000b57fffec6a5b2":                                                                                       bySession,
	"mosquitto_sub -v -t 'zigate-ota/response/#' -t 'zigate-ota/event/#'":                                                                              bySession,
	`mosquitto_pub -t zigate-ota/request/add_image -m '{"deviceId":"0x000b57fffec6a5b2","url":"https://example.com/bulb.ota.signed","transaction":1}'`: bySession,
	`mosquitto_pub -t zigate-ota/request/upgrade -m '{"deviceId":"0x000b57fffec6a5b2","transaction":2}'`:                                               bySession,
	"ZIGATE_OTA_MQTT_URL=tcp://127.0.0.1:1883 ./zigate-ota config":                                                                                     bySession,
	"./zigate-ota inspect https://example.com/bulb.ota.signed":                                                                                         bySession,
	"./zigate-ota healthcheck":                              bySession,
	"./zigate-ota sim --pty /tmp/zigate --speed 10":         bySession,
	"./zigate-ota sim --tcp 127.0.0.1:9999 --firmware 3.1e": bySession,

	"./zigate-ota sim --tcp 127.0.0.1:9999 --speed 10 --images firmware": byTest + "TestReadmeShell",
	"ZIGATE_OTA_DONGLE=tcp://127.0.0.1:9999 ./zigate-ota serve":          byTest + "TestReadmeShell",
	"./zigate-ota events":                       byTest + "TestReadmeShell",
	"./zigate-ota devices":                      byTest + "TestReadmeShell",
	"./zigate-ota rename 0x4f4f 'Kitchen bulb'": byTest + "TestReadmeShell",
	"./zigate-ota add-image 'Kitchen bulb' firmware/TRADFRI-bulb-E27.ota": byTest + "TestReadmeShell",
	"./zigate-ota images":                 byTest + "TestReadmeShell",
	"./zigate-ota upgrade 'Kitchen bulb'": byTest + "TestReadmeShell",
	"./zigate-ota devices 'Kitchen bulb'": byTest + "TestReadmeShell",

	"sudo install zigate-ota /usr/bin/zigate-ota":                                                  byTest + "TestReadmeInstallation",
	"sudo install -m 644 deploy/systemd/zigate-ota.service /etc/systemd/system/zigate-ota.service": byTest + "TestReadmeInstallation",
	"sudo install -D -m 600 config.example.env /etc/zigate-ota/zigate-ota.env":                     byTest + "TestReadmeInstallation",
	"sudoedit /etc/zigate-ota/zigate-ota.env":                                                      byTest + "TestReadmeInstallation",
	"sudo systemctl enable --now zigate-ota":                                                       byTest + "TestReadmeInstallation",
	"journalctl -u zigate-ota -f":                                                                  byTest + "TestReadmeInstallation",
	"deploy/package/build 1.2.0 amd64 dist":                                                        byCI + "deploy/package/build 1.2.3",
	"sudo apt-get install ./dist/zigate-ota_1.2.0_amd64.deb":                                       byCI + "into --install",
	"docker compose up": byCI + ".ci/check-compose.py docker-compose.yml",
	"ZIGATE_DEVICE=/dev/serial/by-id/usb-Silicon_Labs_CP2102-if00-port0 docker compose --profile dongle up -d": byCI + ".ci/check-compose.py docker-compose.yml",
}

func TestReadmeCommandsAreRun(t *testing.T) {
	script, err := os.ReadFile(root + ".ci/run")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("readme_test.go")
	if err != nil {
		t.Fatal(err)
	}
	left := make(map[string]bool)
	for line := range readmeRunners {
		left[line] = true
	}
	for _, c := range commandsOf(t, "README.md") {
		runner, known := readmeRunners[c.line]
		delete(left, c.line)
		test, isTest := strings.CutPrefix(runner, byTest)
		text, isCI := strings.CutPrefix(runner, byCI)
		switch {
		case !known:
			t.Errorf("nobody runs this command of the README: %s", c.line)
		case isTest && !strings.Contains(string(tests), "\nfunc "+test+"(t *testing.T) {"):
			t.Errorf("%s: there is no %s", c.line, test)
		case isCI && !strings.Contains(string(script), text):
			t.Errorf("%s: there is no %q in .ci/run", c.line, text)
		}
	}
	for line := range left {
		t.Errorf("no longer in the README: %s", line)
	}
}

// The demo shows what the README says.
func TestReadmeDemo(t *testing.T) {
	t.Parallel()
	commands := commandsOf(t, "README.md")
	at := slices.IndexFunc(commands, func(c documentCommand) bool { return c.line == "go run ./cmd/zigate-ota demo" })
	if at < 0 || len(commands[at].output) < 5 {
		t.Fatal("the README does not show the demo")
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	stdout, stderr := newLines(), newLines()
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"demo", "--speed", "100"}, demoEnviron(), stdout, stderr) }()
	awaitShown(t, commands[at].line, commands[at].output, stdout.journal, 0, same)
	stop()
	if code := <-ended; code != commandline.ExitOK {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// What the README shows of the tests are packages that there are.
func TestReadmeShowsPackages(t *testing.T) {
	for _, c := range commandsOf(t, "README.md") {
		if c.line != "go test ./..." {
			continue
		}
		for _, line := range c.output {
			if line == "…" {
				continue
			}
			match := regexp.MustCompile(`^ok  \tgithub\.com/zigate-ota/zigate-ota(\S*)\t[0-9.]+s$`).FindStringSubmatch(line)
			if match == nil {
				t.Errorf("not as go test says it: %q", line)
			} else if tests, _ := filepath.Glob(root + "." + match[1] + "/*_test.go"); len(tests) == 0 {
				t.Errorf("there are no tests in %s", match[1])
			}
		}
	}
}

// shellRoom is where the README's commands are run: a folder that looks like the repository's root and the
// user's machine, with other ports and another broker than theirs.
type shellRoom struct {
	t       *testing.T
	dir     string
	environ []string
	there   *strings.Replacer // from the README's world into this one
	back    *strings.Replacer
}

// run runs a command to its end.
func (r *shellRoom) run(line string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "sh", "-c", r.there.Replace(line))
	cmd.Dir, cmd.Env = r.dir, r.environ
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return r.back.Replace(string(out))
}

// start starts a command that goes on running.
func (r *shellRoom) start(line string) *journal[string] {
	r.t.Helper()
	p := &process{name: line, cmd: exec.Command("sh", "-c", "exec env "+r.there.Replace(line)), stdout: newLines(), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = r.dir, r.environ, p.stdout, p.stdout
	if err := p.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		if r.t.Failed() {
			r.t.Logf("%s\n%s", line, p.stdout)
		}
	})
	return p.stdout.journal
}

// script puts a program of this name before all others.
func (r *shellRoom) script(name, text string) {
	r.t.Helper()
	if err := os.MkdirAll(r.dir+"/bin", 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(r.dir+"/bin/"+name, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		r.t.Fatal(err)
	}
}

func newShellRoom(t *testing.T, replacements ...string) *shellRoom {
	t.Helper()
	dir := t.TempDir()
	absolute, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"deploy", "config.example.env"} {
		if err := os.Symlink(filepath.Join(absolute, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	replacements = append([]string{"/home/you", dir + "/home", "/tmp/zigate", dir + "/zigate", "/dev/serial/by-id", dir + "/by-id"}, replacements...)
	var reversed []string
	for i := 0; i < len(replacements); i += 2 {
		reversed = append(reversed, replacements[i+1], replacements[i])
	}
	return &shellRoom{
		t: t, dir: dir, environ: []string{"HOME=" + dir + "/home", "PATH=" + dir + "/bin:" + os.Getenv("PATH"), "ZIGATE_OTA_IMAGE_INDEXES=none"},
		there: strings.NewReplacer(replacements...), back: strings.NewReplacer(reversed...),
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// The README's session, from the build to the upgrade, with a simulated dongle where the user's own is
// plugged in. What the README shows as output is what comes.
func TestReadmeSession(t *testing.T) {
	t.Parallel()
	onLinux(t)
	m := newMosquitto(t)
	image := otafile.Build(otafile.Header{ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: 0x23095631, StackVersion: 2}, firmware(205488-62))
	if len(image) != 205488 {
		t.Fatalf("the image has %d bytes", len(image))
	}
	url := serveFiles(t, map[string][]byte{"bulb.ota.signed": wrapped(t, "IKEA signed", image)})
	room := newShellRoom(t, "tcp://127.0.0.1:1883", m.url(), "https://example.com", url, "127.0.0.1:9999", freePort(t))
	room.environ = append(room.environ, "ZIGATE_OTA_HTTP_ADDR="+freePort(t))
	room.script("mosquitto_pub", `exec `+m.pubTool+` -h 127.0.0.1 -p `+m.port+` "$@"`)
	room.script("mosquitto_sub", `exec `+m.subTool+` -h 127.0.0.1 -p `+m.port+` "$@"`)
	if err := os.Mkdir(room.dir+"/by-id", 0o700); err != nil {
		t.Fatal(err)
	}
	simulation(t, "--pty", room.dir+"/by-id/usb-Silicon_Labs_CP2102-if00-port0", "--speed", "1000")
	heard := m.sub("zigate-ota/#")

	var watch *journal[string] // the README's second terminal
	for _, c := range commandsOf(t, "README.md") {
		if readmeRunners[c.line] != bySession {
			continue
		}
		words := strings.Fields(c.line)
		program := words[slices.IndexFunc(words, func(w string) bool { return !strings.Contains(w, "=") })]
		switch {
		case program == "go":
			// At the root, but the program goes where the other commands look for it.
			build := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(c.line, "-o zigate-ota ", "-o "+room.dir+"/zigate-ota ", 1))
			build.Dir = root
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", c.line, err, out)
			}
		case strings.HasSuffix(c.line, "./zigate-ota"), slices.Contains(words, "sim"):
			awaitShown(t, c.line, c.output, room.start(c.line), 0, room.back.Replace)
		case program == "mosquitto_sub" && !slices.Contains(words, "-C"):
			watch = room.start(c.line)
			m.awaitSubscriber(watch, "zigate-ota/event/test")
		case program == "mosquitto_pub":
			before, _ := watch.all()
			room.run(c.line)
			awaitShown(t, c.line, c.output, watch, len(before), room.back.Replace)
		default:
			if program == "mosquitto_sub" {
				settled(t, heard, "zigate-ota")
			}
			output := room.run(c.line)
			if strings.HasPrefix(c.line, "./zigate-ota devices ") { // after an upgrade a device has to tell who it is now
				for until := time.Now().Add(patience); !isAsShown(c.output, output) && time.Now().Before(until); output = room.run(c.line) {
					awaitTick(t)
				}
			}
			expected := &shown{lines: c.output}
			for line := range strings.Lines(output) {
				if !expected.take(strings.TrimSuffix(line, "\n")) {
					t.Fatalf("%s:\ngot  %swant %s", c.line, line, expected.lines[expected.next])
				}
			}
			if !expected.done() {
				t.Errorf("%s: did not come: %s", c.line, expected.lines[expected.next:])
			}
		}
	}
}

// The session with the shell's commands alone, from a simulated home to an upgraded device.
func TestReadmeShell(t *testing.T) {
	t.Parallel()
	room := newShellRoom(t, "127.0.0.1:9999", freePort(t), "--speed 10 --images", "--speed 50 --images")
	broker := freePort(t)
	room.environ = append(room.environ, "ZIGATE_OTA_HTTP_ADDR="+freePort(t), "ZIGATE_OTA_BROKER_ADDR="+broker)
	if err := os.Symlink(programPath(t), room.dir+"/zigate-ota"); err != nil {
		t.Fatal(err)
	}
	var events *journal[string]
	var eventsShown documentCommand
	for _, c := range commandsOf(t, "README.md") {
		if readmeRunners[c.line] != byTest+"TestReadmeShell" {
			continue
		}
		switch words := strings.Fields(c.line); {
		case slices.Contains(words, "sim"):
			awaitShown(t, c.line, c.output, room.start(c.line), 0, room.back.Replace)
		case slices.Contains(words, "serve"):
			service := room.start(c.line)
			awaitShown(t, c.line, c.output, service, 0, room.back.Replace)
			service.await(t, "ready", func(line string) bool { return strings.Contains(line, "msg=ready") })
		case slices.Contains(words, "events"):
			// Its output comes when the commands behind it in the text are run, once it listens.
			events, eventsShown = room.start(c.line), c
			client := connected(t, "tcp://"+broker)
			for len(events.each(func(string) bool { return true })) == 0 {
				client.Publish("zigate-ota/event/dongleConnected", 1, false, `{"time":"2026-11-21T16:00:00Z"}`).Wait()
				awaitTick(t)
			}
			client.Disconnect(0)
		default:
			if c.line == "./zigate-ota devices" { // they have to tell who they are first
				for strings.Contains(room.run(c.line), " ? ") || strings.Count(room.run(c.line), "\n") < 5 {
					awaitTick(t)
				}
			}
			output := room.run(c.line)
			if strings.HasPrefix(c.line, "./zigate-ota devices ") { // after an upgrade a device has to tell who it is now
				for until := time.Now().Add(patience); !isAsShown(c.output, output) && time.Now().Before(until); output = room.run(c.line) {
					awaitTick(t)
				}
			}
			expected := &shown{lines: c.output}
			for line := range strings.Lines(output) {
				if !expected.take(strings.TrimSuffix(line, "\n")) {
					t.Fatalf("%s:\ngot  %swant %s", c.line, line, expected.lines[expected.next])
				}
			}
			if !expected.done() {
				t.Errorf("%s: did not come: %s", c.line, expected.lines[expected.next:])
			}
		}
	}
	awaitShown(t, eventsShown.line, eventsShown.output, events, 0, same)
}

// awaitSubscriber publishes on a topic until it is seen, so that nothing that is published
// afterwards is missed.
func (m *mosquitto) awaitSubscriber(seen *journal[string], topic string) {
	m.t.Helper()
	for range 600 {
		m.pub(topic, "test", "-q", "1")
		if len(seen.each(func(line string) bool { return strings.HasPrefix(line, topic) })) > 0 {
			// All of them have to be through.
			m.pub(topic, "last", "-q", "1")
			seen.await(m.t, "the last one", func(line string) bool { return line == topic+" last" })
			return
		}
		awaitTick(m.t)
	}
	m.t.Fatalf("nobody listens to %s", topic)
}

// The commands that install the service, as far as that goes without touching this machine: files go where
// the unit looks for them.
func TestReadmeInstallation(t *testing.T) {
	onLinux(t)
	room := newShellRoom(t)
	// "sudo" moves absolute paths into a folder that stands for the machine; what would act
	// on it only says so.
	machine := room.dir + "/machine"
	room.script("sudo", `for a do shift; case "$a" in /*) a="`+machine+`$a";; esac; set -- "$@" "$a"; done; exec "$@"`)
	for _, name := range []string{"systemctl", "sudoedit", "journalctl"} {
		room.script(name, `echo "`+name+` $*" >>"`+room.dir+`/done"`)
	}
	for _, dir := range []string{"/usr/bin", "/etc/systemd/system"} {
		if err := os.MkdirAll(machine+dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(programPath(t), room.dir+"/zigate-ota"); err != nil {
		t.Fatal(err)
	}
	for _, c := range commandsOf(t, "README.md") {
		if readmeRunners[c.line] == byTest+"TestReadmeInstallation" {
			room.run(c.line)
		}
	}
	done, err := os.ReadFile(room.dir + "/done")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(done), "sudoedit /etc/zigate-ota/zigate-ota.env\nsystemctl enable --now zigate-ota\njournalctl -u zigate-ota -f\n"; got != want {
		t.Errorf("did %q, want %q", got, want)
	}
	unit, err := os.ReadFile(machine + "/etc/systemd/system/zigate-ota.service")
	if err != nil {
		t.Fatal(err)
	}
	for setting, mode := range map[string]os.FileMode{`ExecStart=(\S+)`: 0o755, `EnvironmentFile=-(\S+)`: 0o600} {
		match := regexp.MustCompile(setting).FindSubmatch(unit)
		if match == nil {
			t.Fatalf("the unit has no %s", setting)
		}
		info, err := os.Stat(machine + string(match[1]))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, want mode %v: %v", match[0], info, mode, err)
		}
	}
	installed := start(t, nil, machine+"/usr/bin/zigate-ota", "version")
	<-installed.done
	if got := installed.stdout.String(); !strings.HasPrefix(got, "zigate-ota ") {
		t.Errorf("the installed program says %q", got)
	}
}
