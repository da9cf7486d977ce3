package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// tool finds a program of Mosquitto. Without it the test is skipped, but not in CI.
func tool(t *testing.T, name string) string {
	t.Helper()
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/usr/local/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	notInstalled(t, name)
	return ""
}

// notInstalled skips a test for want of something, but not in CI.
func notInstalled(t *testing.T, name string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed, and CI has to have it", name)
	}
	t.Skipf("%s is not installed", name)
}

// onLinux skips a test of what only Linux has: pseudo-terminals as the simulation makes them, systemd.
func onLinux(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has what this is about")
	}
}

// mosquitto is a broker as people run it, and the two commands that they talk to it with.
type mosquitto struct {
	t                    *testing.T
	program, pubTool     string
	subTool, config, dir string
	port                 string
	as                   []string // arguments that say who the two commands are; nil: nobody
	process              *process
}

// newMosquitto starts a Mosquitto on a free port, with a configuration of its own: anybody may do anything,
// unless more lines say otherwise.
func newMosquitto(t *testing.T, more ...string) *mosquitto {
	t.Helper()
	m := &mosquitto{t: t, program: tool(t, "mosquitto"), pubTool: tool(t, "mosquitto_pub"), subTool: tool(t, "mosquitto_sub"), dir: t.TempDir()}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, m.port, _ = net.SplitHostPort(listener.Addr().String())
	listener.Close()
	lines := append([]string{"listener " + m.port + " 127.0.0.1", "persistence false"}, more...)
	if len(more) == 0 {
		lines = append(lines, "allow_anonymous true")
	}
	if os.Getuid() == 0 {
		lines = append(lines, "user root") // it could not read the folder of the test otherwise
	}
	m.config = filepath.Join(m.dir, "mosquitto.conf")
	if err := os.WriteFile(m.config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.start()
	return m
}

// start starts the broker, which remembers nothing, and waits until it listens.
func (m *mosquitto) start() {
	m.t.Helper()
	m.process = start(m.t, os.Environ(), m.program, "-c", m.config)
	for range 600 {
		conn, err := net.Dial("tcp", "127.0.0.1:"+m.port)
		if err == nil {
			conn.Close()
			return
		}
		awaitTick(m.t)
	}
	m.t.Fatal("mosquitto does not listen")
}

// user is the same broker for the commands of somebody whose password is "secret".
func (m *mosquitto) user(name string) *mosquitto {
	other := *m
	other.as = []string{"-u", name, "-P", "secret"}
	return &other
}

func (m *mosquitto) url() string { return "tcp://127.0.0.1:" + m.port }

// pub runs mosquitto_pub to its end: then the broker has the message.
func (m *mosquitto) pub(topic, payload string, more ...string) {
	m.t.Helper()
	args := slices.Concat([]string{"-h", "127.0.0.1", "-p", m.port, "-t", topic, "-m", payload}, m.as, more)
	if out, err := exec.CommandContext(m.t.Context(), m.pubTool, args...).CombinedOutput(); err != nil {
		m.t.Fatalf("mosquitto_pub %q: %v\n%s", args, err, out)
	}
}

// sub runs mosquitto_sub from now on, and returns what it shows once it gets messages.
func (m *mosquitto) sub(topics ...string) *journal[published] {
	m.t.Helper()
	if m.as != nil {
		m.user("test").pub("test/ready", "ready", "-r", "-q", "1")
	} else {
		m.pub("test/ready", "ready", "-r", "-q", "1")
	}
	args := append([]string{"-h", "127.0.0.1", "-p", m.port, "-q", "1", "-F", "%r %t %p", "-t", "test/ready"}, m.as...)
	for _, topic := range topics {
		args = append(args, "-t", topic)
	}
	heard := newHeard(m.t)
	p := &process{name: "mosquitto_sub", cmd: exec.Command(m.subTool, args...), done: make(chan struct{})}
	p.cmd.Stdout = &lines{journal: newJournal[string](), each: func(line string) {
		retained, rest, _ := strings.Cut(line, " ")
		topic, payload, _ := strings.Cut(rest, " ")
		heard.add(published{Topic: topic, Payload: payload, Retained: retained == "1"})
	}}
	if err := p.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	heard.await(m.t, "mosquitto_sub listens", func(msg published) bool { return msg.Topic == "test/ready" })
	return heard
}

// simulation starts the simulated dongle as a process of its own and returns what
// ZIGATE_OTA_DONGLE has to be for it.
func simulation(t *testing.T, args ...string) string {
	t.Helper()
	p := start(t, nil, programPath(t), append([]string{"sim"}, args...)...)
	line := p.stdout.await(t, "the simulated dongle's address", func(line string) bool { return strings.HasPrefix(line, "ZIGATE_OTA_DONGLE=") })
	return strings.TrimPrefix(line, "ZIGATE_OTA_DONGLE=")
}

// service starts the service as a process of its own, with its state in dir.
func (m *mosquitto) service(dir, dongle string, more ...string) *process {
	m.t.Helper()
	more = append(more, "ZIGATE_OTA_DONGLE="+dongle, "ZIGATE_OTA_MQTT_URL="+m.url())
	return start(m.t, environ(dir, more...), programPath(m.t), "serve")
}

// settled waits until the service has told of its dongle and of all that the bulb in the
// kitchen says of itself.
func settled(t *testing.T, heard *journal[published], base string) {
	t.Helper()
	heard.await(t, "status", func(m published) bool { return m.Topic == base+"/status" && m.Payload == "online" })
	heard.await(t, "dongle", onTopic(base+"/info", func(i map[string]any) bool {
		return at(i, "dongle", "connected") == true && number(i, "devices") == 4
	}))
	heard.await(t, "bulb", onTopic(base+"/device/"+kitchen, func(d map[string]any) bool {
		return number(d, "currentFileVersion") == bulbVersion && number(d, "imageTypeId") >= 0 && number(d, "mfgId") >= 0 && at(d, "softwareBuild") != nil
	}))
}

// progressed waits until more than this part of the download, in percent, is done, and returns the offset.
func progressed(t *testing.T, heard *journal[published], base string, percent float64) float64 {
	t.Helper()
	m := heard.await(t, fmt.Sprintf("%v %%", percent), onTopic(base+"/device/"+kitchen, func(d map[string]any) bool {
		return number(d, "upgrade", "progress") > percent && at(d, "upgrade", "state") == "downloading"
	}))
	return number(m.object(), "upgrade", "offset")
}
