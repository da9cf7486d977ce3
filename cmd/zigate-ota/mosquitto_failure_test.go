package main

import (
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// What is lost with a broker in the middle of a download, and what not. TestMosquittoBrokerKilled is about
// one that is killed and comes back knowing nothing.

// checkGoesOn asserts that a download that was at offset never fell back, came to its end, and
// that this was told.
func checkGoesOn(t *testing.T, heard *journal[published], transaction string, offset float64) {
	t.Helper()
	succeeded(t, heard.await(t, "final response", finalTo(transaction)))
	last := 0.0
	for _, r := range heard.each(onTopic("zigate-ota/device/"+kitchen, func(d map[string]any) bool { return at(d, "upgrade", "state") == "downloading" })) {
		now := number(r.object(), "upgrade", "offset")
		if now < last {
			t.Errorf("the download, which was at %v, fell back: %s", last, r)
		}
		last = now
	}
	if last > 0 && last < offset { // 0: nothing was told while it lasted
		t.Errorf("the download, which was at %v, was told of at %v in the end", offset, last)
	}
	for _, name := range []string{"downloadFinished", "upgradeApplying", "upgradeSucceeded"} {
		if len(heard.each(onTopic("zigate-ota/event/"+name, nil))) == 0 {
			t.Errorf("no event %s", name)
		}
	}
}

// The broker is stopped as a system does it and comes back knowing nothing.
func TestMosquittoBrokerStopped(t *testing.T) {
	t.Parallel()
	m := newMosquitto(t)
	heard := m.sub("zigate-ota/#")
	service := m.service(t.TempDir(), simulation(t, "--tcp", "127.0.0.1:0", "--speed", slow))
	settled(t, heard, "zigate-ota")
	offset := upgradeWith(t, m, heard, "stopped")
	if err := m.process.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-m.process.done
	service.stderr.await(t, "the loss is told", func(line string) bool { return strings.Contains(line, "no connection to the MQTT broker") })
	m.start()
	after := m.sub("zigate-ota/#")
	after.await(t, "online", func(m published) bool { return m.Topic == "zigate-ota/status" && m.Payload == "online" })
	checkGoesOn(t, after, "stopped", offset)
}

// The broker stands still: it holds its connections and does nothing. Blocks are served all the same, and
// what happened meanwhile is told when it goes on.
func TestMosquittoBrokerHangs(t *testing.T) {
	t.Parallel()
	m := newMosquitto(t)
	heard := m.sub("zigate-ota/#")
	addr := freePort(t)
	m.service(t.TempDir(), simulation(t, "--tcp", "127.0.0.1:0", "--speed", slow), "ZIGATE_OTA_HTTP_ADDR="+addr)
	settled(t, heard, "zigate-ota")
	offset := upgradeWith(t, m, heard, "hangs")
	if err := m.process.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	goOn := sync.OnceFunc(func() { _ = m.process.cmd.Process.Signal(syscall.SIGCONT) })
	defer goOn()
	before := scrape(t, addr)
	for scrape(t, addr).blocks < before.blocks+100 { // it is the same download, or its end
		awaitTick(t)
	}
	goOn()
	checkGoesOn(t, heard, "hangs", offset)
}

// throttle passes bytes to a broker and back, no more than rate a second towards it, and returns its address.
func throttle(t *testing.T, to string, rate int) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	done := make(chan struct{})
	pass := func(from, to net.Conn, rate int) {
		defer from.Close()
		defer to.Close()
		buffer := make([]byte, max(1, rate/20))
		for {
			n, err := from.Read(buffer)
			if _, werr := to.Write(buffer[:n]); err != nil || werr != nil {
				return
			}
			if rate > 0 {
				select {
				case <-time.After(time.Duration(n) * time.Second / time.Duration(rate)):
				case <-done:
					return
				}
			}
		}
	}
	running.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			_ = near.(*net.TCPConn).SetReadBuffer(4096) // or the kernel takes it all at once
			running.Go(func() { pass(near, far, rate) })
			running.Go(func() { _, _ = io.Copy(near, far); near.Close() })
			go func() { <-done; near.Close(); far.Close() }()
		}
	})
	t.Cleanup(func() { close(done); listener.Close(); running.Wait() })
	return listener.Addr().String()
}

// The way to the broker is slow: much slower than what there is to say. Retained topics skip what is old,
// events stay complete and in order, and blocks do not wait.
func TestMosquittoBrokerSlow(t *testing.T) {
	t.Parallel()
	m := newMosquitto(t)
	heard := m.sub("zigate-ota/#")
	dongle := simulation(t, "--tcp", "127.0.0.1:0", "--speed", slow)
	start(t, environ(t.TempDir(), "ZIGATE_OTA_DONGLE="+dongle, "ZIGATE_OTA_HOMEASSISTANT_DISCOVERY=false",
		"ZIGATE_OTA_MQTT_URL=tcp://"+throttle(t, "127.0.0.1:"+m.port, 6000)), programPath(t), "serve")
	settled(t, heard, "zigate-ota")
	url := serveFiles(t, map[string][]byte{"bulb.ota": bulbImage(newerVersion, slowImage)}) + "/bulb.ota"
	m.pub("zigate-ota/request/upgrade", `{"deviceId":"`+kitchen+`","url":"`+url+`","transaction":"slow"}`, "-q", "1")
	checkGoesOn(t, heard, "slow", 0)
	var order []string
	for _, e := range heard.each(func(m published) bool { return strings.HasPrefix(m.Topic, "zigate-ota/event/") }) {
		if name := strings.TrimPrefix(e.Topic, "zigate-ota/event/"); strings.HasPrefix(name, "download") && name != "downloadProgress" || strings.HasPrefix(name, "upgrade") {
			order = append(order, name)
		}
	}
	if got, want := strings.Join(order, " "), "downloadStarted downloadFinished upgradeApplying upgradeSucceeded"; got != want {
		t.Errorf("events %s, want %s", got, want)
	}
}
