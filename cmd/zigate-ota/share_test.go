package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/config"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// sharer is a program that shares the dongle.
type sharer struct {
	t     *testing.T
	line  interface{ Write([]byte) (int, error) }
	heard *journal[message.Frame]
}

// shareOver lets a program use the dongle over a line that is open.
func shareOver(t *testing.T, line interface {
	Read([]byte) (int, error)
	Write([]byte) (int, error)
}) *sharer {
	s := &sharer{t: t, line: line, heard: newJournal[message.Frame]()}
	go func() {
		var decoder message.Decoder
		buf := make([]byte, 4096)
		for {
			n, err := line.Read(buf)
			for in := buf[:n]; len(in) > 0; {
				f, rest, ok := decoder.Feed(in)
				if in = rest; ok {
					f.Payload = append([]byte(nil), f.Payload...)
					s.heard.add(f)
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return s
}

func (s *sharer) says(m message.Message) {
	s.t.Helper()
	if _, err := s.line.Write(message.AppendFrame(nil, m.Type(), message.AppendPayload(nil, m))); err != nil {
		s.t.Error(err)
	}
}

func (s *sharer) hears(want message.MsgType) message.Frame {
	s.t.Helper()
	return s.heard.await(s.t, want.Name(), func(f message.Frame) bool { return f.Type == want })
}

// A download goes on while another program uses the dongle, and also after that has restarted it.
func TestShared(t *testing.T) {
	t.Parallel()
	image := bulbImage(newerVersion, 20000)
	base := serveFiles(t, map[string][]byte{"newer.ota": image})
	link := filepath.Join(t.TempDir(), "zigate")
	s := serveHere(t, 20, "ZIGATE_OTA_SHARE_ADDR=127.0.0.1:0", "ZIGATE_OTA_SHARE_PTY="+link)
	s.settle()
	conn, err := net.Dial("tcp", s.app.hub.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	a := shareOver(t, conn)
	a.says(message.SetRawMode{Mode: message.RawModeRaw})
	a.says(message.GetVersion{})
	a.hears(message.TypeVersion)
	pty, err := os.OpenFile(link, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pty.Close()
	b := shareOver(t, pty)
	b.says(message.GetNetworkState{})
	b.hears(message.NetworkState{}.Type())

	s.ask("add_image", `{"deviceId":"`+kitchen+`","url":"`+base+`/newer.ota"}`)
	upgrade := s.send("upgrade", `{"deviceId":"`+kitchen+`"}`)
	s.heard.await(t, "start", onTopic("zigate-ota/event/downloadStarted", nil))
	a.says(message.ReadAttributes{Target: message.Target{AddrMode: message.AddrModeNetwork, Addr: 0x4f4f, SrcEndpoint: 1, DstEndpoint: 1}, IDs: []uint16{5}})
	a.hears(message.TypeDataIndication) // in raw mode
	b.says(message.Reset{})
	a.hears(message.TypeRestart)
	b.hears(message.TypeRestart)
	if end := s.heard.await(t, "end of the upgrade", finalTo(upgrade)).object(); at(end, "status") != "success" {
		t.Errorf("the upgrade ended with %v", end)
	}
	for who, program := range map[string]*sharer{"the one on TCP": a, "the one on the pseudo-terminal": b} {
		for _, f := range program.heard.each(func(f message.Frame) bool { return true }) {
			payload, _, _ := f.Message()
			m, err := message.ParseMessage(f.Type, payload)
			ind, raw := m.(message.DataIndication)
			if f.Type == message.TypeImageBlockRequest || f.Type == message.TypeUpgradeEndRequest || err == nil && raw && ind.Cluster == message.ClusterOTA {
				t.Errorf("%s was shown %s", who, f)
				break
			}
		}
	}
}

// While upgrades are the clients', none is begun here, and nobody holds that against the service.
func TestSharedOTAOfClients(t *testing.T) {
	t.Parallel()
	base := serveFiles(t, map[string][]byte{"newer.ota": bulbImage(newerVersion, 2000)})
	link := filepath.Join(t.TempDir(), "zigate")
	s := serveHere(t, 1e6, "ZIGATE_OTA_SHARE_PTY="+link, "ZIGATE_OTA_SHARE_OTA=client")
	s.settle()
	answer := s.ask("upgrade", `{"deviceId":"`+kitchen+`","url":"`+base+`/newer.ota"}`).object()
	if text, _ := at(answer, "error").(string); at(answer, "status") != "serviceNotAvailable" || !strings.Contains(text, "ZIGATE_OTA_SHARE_OTA=client") {
		t.Errorf("an upgrade: %v", answer)
	}
	if err := s.app.service.DongleHealth(); err != nil {
		t.Errorf("the service is not well: %v", err)
	}
}

// The link goes when the service does.
func TestSharedLinkIsRemoved(t *testing.T) {
	link := filepath.Join(t.TempDir(), "zigate")
	t.Run("service", func(t *testing.T) { serveHere(t, 1, "ZIGATE_OTA_SHARE_PTY="+link) })
	if _, err := os.Lstat(link); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the link is still there: %v", err)
	}
}

func TestShareConfig(t *testing.T) {
	c := load(t, "ZIGATE_OTA_SHARE_ADDR=:9999", "ZIGATE_OTA_SHARE_ALLOW=192.168.1.7, fd00::/8,::ffff:10.0.0.1")
	if got := c.Share.Allow.String(); got != "192.168.1.7,fd00::/8,10.0.0.1" {
		t.Errorf("allowed: %s", got)
	}
	o := shareOptions(c.Share, nil)
	want := []netip.Prefix{netip.MustParsePrefix("192.168.1.7/32"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("10.0.0.1/32")}
	if diff := cmp.Diff(want, o.Allow, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	for entry, want := range map[string]string{
		"ZIGATE_OTA_SHARE_ADDR=localhost":        `"localhost" has no port`,
		"ZIGATE_OTA_SHARE_ADDR=127.0.0.1:1883":   "has the port of ZIGATE_OTA_BROKER_ADDR",
		"ZIGATE_OTA_SHARE_ADDR=127.0.0.1:8501":   "has the port of ZIGATE_OTA_HTTP_ADDR",
		"ZIGATE_OTA_SHARE_PTY=zigate":            `"zigate" is not an absolute path`,
		"ZIGATE_OTA_SHARE_OTA=client":            "neither ZIGATE_OTA_SHARE_ADDR nor ZIGATE_OTA_SHARE_PTY lets a client in",
		"ZIGATE_OTA_SHARE_ALLOW=lan":             `"lan" is no IP address and no network`,
		"ZIGATE_OTA_SHARE_ALLOW=192.168.1.77/24": "the network is 192.168.1.0/24",
		"ZIGATE_OTA_SHARE_CLIENTS=0":             "0 is too small",
	} {
		if _, err := config.Load(append([]string{entry}, home...)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", entry, err, want)
		}
	}
}

// The libraries with which ZHA and Zigbee2MQTT use a ZiGate find the same through the service as at the
// dongle itself, also when the service was restarted under them. They have to be installed: zigpy-zigate for
// the Python that ZIGPY_PYTHON names (python3 if not set), zigbee-herdsman where NODE_PATH leads.
func TestSharedWithRealSoftware(t *testing.T) {
	python := "python3"
	if named := os.Getenv("ZIGPY_PYTHON"); named != "" {
		python = named
	}
	tests := []struct {
		name, scheme string
		probe, run   []string
	}{
		{"zigpy-zigate", "socket://", []string{python, "-c", "import zigpy_zigate"}, []string{python, "testdata/share/zha.py"}},
		{"zigbee-herdsman", "tcp://", []string{"node", "-e", "require('zigbee-herdsman')"}, []string{"node", "testdata/share/zigbee2mqtt.js"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := exec.Command(test.probe[0], test.probe[1:]...).Run(); err != nil {
				t.Skipf("%s is not installed here (%v)", test.name, err)
			}
			alone := simulatedPort(t)
			want := output(t, nil, append(test.run, test.scheme+alone)...)
			if len(want) < 5 {
				t.Fatalf("at the dongle itself it finds only %q", want)
			}
			dongle := simulatedPort(t)
			port := freePort(t)
			settings := []string{"ZIGATE_OTA_DONGLE=tcp://" + dongle, "ZIGATE_OTA_SHARE_ADDR=" + port}
			service := serveUntilStopped(t, settings)
			connected := func() { // what runs in the program when it says so
				service()
				service = serveUntilStopped(t, settings)
			}
			got := output(t, connected, append(test.run, test.scheme+port, "restart")...)
			service()
			if diff := cmp.Diff(append(append(want[:len(want):len(want)], "connected"), want...), got); diff != "" {
				t.Errorf("it finds (-at the dongle itself +through the service, twice):\n%s", diff)
			}
		})
	}
}

// simulatedPort is a simulated dongle like a WiFi ZiGate.
func simulatedPort(t *testing.T) (addr string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	home := newSimulation(simulatedDevices(), 1)
	ctx, stop := context.WithCancel(context.Background())
	var users sync.WaitGroup
	users.Go(func() { _ = home.Run(ctx) })
	users.Go(func() { _ = home.ServeTCP(ctx, listener) })
	t.Cleanup(func() { stop(); users.Wait() })
	return listener.Addr().String()
}

// serveUntilStopped runs a service and returns when its dongle is connected.
func serveUntilStopped(t *testing.T, settings []string) (stop func()) {
	t.Helper()
	cfg, err := config.Load(environ(t.TempDir(), settings...))
	if err != nil {
		t.Fatal(err)
	}
	a, err := newApp(cfg, newLogger(newLines(), cfg.Log), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	<-a.Ready()
	for deadline := time.Now().Add(10 * time.Second); a.service.DongleHealth() != nil; {
		if time.Now().After(deadline) {
			t.Fatal(a.service.DongleHealth())
		}
		awaitTick(t)
	}
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// output runs a program and returns the lines that it writes. connected is called after the line "connected".
func output(t *testing.T, connected func(), args ...string) []string {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	out := newLines()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if connected != nil {
		out.await(t, "connected", func(line string) bool { return line == "connected" })
		connected()
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%q: %v\n%s", args, err, out)
	}
	return strings.Split(strings.TrimSpace(out.String()), "\n")
}
