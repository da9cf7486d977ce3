package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// What the service has to stand, and within what.
const (
	scaleDevices  = 1000
	scaleUpgrades = 100
	scaleMemory   = 128 << 20       // bytes, of the whole process, at its highest
	scaleComplete = 5 * time.Second // from the reconnect to a complete retained state
)

// TestThousandDevices measures a service with many devices, and many downloads at once, whose broker dies and
// comes back knowing nothing. It takes a minute, so it is run by hand, where its figures mean something:
//
//	ZIGATE_OTA_TEST_SCALE=1 go test -run TestThousandDevices -v ./cmd/zigate-ota
func TestThousandDevices(t *testing.T) {
	if os.Getenv("ZIGATE_OTA_TEST_SCALE") == "" {
		t.Skip("a measurement of a minute: set ZIGATE_OTA_TEST_SCALE=1")
	}
	m := newMosquitto(t)
	home, dongle := scaleHome(t)
	state, addr := t.TempDir(), freePort(t)
	images := filepath.Join(state, "state", "images")
	if err := os.MkdirAll(images, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(images, "bulb.ota"), bulbImage(newerVersion, 200_000), 0o600); err != nil {
		t.Fatal(err)
	}
	service := m.service(state, dongle, "ZIGATE_OTA_HTTP_ADDR="+addr, "ZIGATE_OTA_UPGRADE_CANARY=false", fmt.Sprintf("ZIGATE_OTA_UPGRADE_CONCURRENCY=%d", scaleUpgrades))
	client, seen := scaleWatch(t, m.url())
	began := time.Now()
	service.stderr.await(t, "dongle", func(line string) bool { return strings.Contains(line, "the dongle is connected") })
	for _, d := range home.Devices() {
		d.Announce()
		time.Sleep(2 * time.Millisecond)
	}
	seen.until(t, "all devices with their update", func() bool { return seen.updates == scaleDevices })
	t.Logf("%d devices announced, interviewed and found an update for in %.1f s; the process has %d MB", scaleDevices, time.Since(began).Seconds(), resident(t, service)>>20)

	for _, d := range home.Devices()[:scaleUpgrades] {
		if token := client.Publish("zigate-ota/request/upgrade", 1, false, fmt.Sprintf(`{"deviceId":"%v"}`, d.IEEE())); token.Wait() && token.Error() != nil {
			t.Fatal(token.Error())
		}
	}
	seen.until(t, "all downloads under way", func() bool { return len(seen.downloading) == scaleUpgrades })
	undisturbed := scrape(t, addr)
	time.Sleep(5 * time.Second)
	before := scrape(t, addr)
	client.Disconnect(0)
	m.process.stop() // with SIGKILL
	down := time.Now()
	time.Sleep(5 * time.Second)
	away := scrape(t, addr)
	m.start() // knowing nothing
	_, again := scaleWatch(t, m.url())
	again.until(t, "the service is back", func() bool { return !again.online.IsZero() })
	again.until(t, "everything retained", func() bool { return len(again.topics) >= 3*scaleDevices+4 })
	complete := again.complete.Sub(again.online)
	after := scrape(t, addr)
	t.Logf("the broker was away for %.1f s; %d retained messages, %d KB, were complete %d ms after \"online\"",
		again.online.Sub(down).Seconds(), len(again.topics), again.bytes>>10, complete.Milliseconds())
	t.Logf("blocks served a second: %.0f with the broker, %.0f without it, %.0f around its return",
		before.rate(undisturbed), away.rate(before), after.rate(away))
	t.Logf("slower than 1 ms from request to answer: %.3f %% with the broker, %.3f %% without it, %.3f %% around its return",
		before.slow(undisturbed), away.slow(before), after.slow(away))
	t.Logf("the process has %d MB, and had %d MB at most", resident(t, service)>>20, memory(t, service, "VmHWM:")>>20)
	if complete > scaleComplete {
		t.Errorf("the retained state took %v", complete)
	}
	if most := memory(t, service, "VmHWM:"); most > scaleMemory {
		t.Errorf("the process had %d MB", most>>20)
	}
	if away.blocks == before.blocks {
		t.Error("no block was served without the broker")
	}
}

// scaleHome is a simulated dongle with many bulbs, and where it is reached.
func scaleHome(t *testing.T) (home *sim.Dongle, address string) {
	t.Helper()
	devices := manyDevices(scaleDevices + 4)[4:]
	for i := range devices {
		devices[i].BlockInterval = time.Second
	}
	home = newSimulation(devices, 10)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = home.Run(ctx) })
	running.Go(func() { _ = home.ServeTCP(ctx, listener) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return home, "tcp://" + listener.Addr().String()
}

// scaleSeen is what a subscriber of everything saw.
type scaleSeen struct {
	mu          sync.Mutex
	changed     chan struct{}
	topics      map[string]bool
	bytes       int
	updates     int // devices that have an update
	available   map[string]bool
	downloading map[string]bool
	online      time.Time
	complete    time.Time // of the last new topic
}

func scaleWatch(t *testing.T, url string) (mqtt.Client, *scaleSeen) {
	t.Helper()
	s := &scaleSeen{changed: make(chan struct{}, 1), topics: map[string]bool{}, available: map[string]bool{}, downloading: map[string]bool{}}
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(url).SetClientID("watcher").SetAutoReconnect(false))
	if token := c.Connect(); token.Wait() && token.Error() != nil {
		t.Fatal(token.Error())
	}
	t.Cleanup(func() { c.Disconnect(0) })
	token := c.SubscribeMultiple(map[string]byte{"zigate-ota/#": 1, "homeassistant/#": 1}, func(_ mqtt.Client, m mqtt.Message) { s.take(m) })
	if token.Wait(); token.Error() != nil {
		t.Fatal(token.Error())
	}
	return c, s
}

func (s *scaleSeen) take(m mqtt.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	topic, payload := m.Topic(), string(m.Payload())
	if topic == "zigate-ota/status" && payload == "online" && s.online.IsZero() {
		s.online = time.Now()
	}
	if !strings.Contains(topic, "/event/") && !strings.Contains(topic, "/response/") && !s.topics[topic] {
		s.topics[topic] = true
		s.bytes += len(topic) + len(payload)
		s.complete = time.Now()
	}
	if strings.HasPrefix(topic, "zigate-ota/device/") && !strings.HasSuffix(topic, "/update") {
		if strings.Contains(payload, `"updateAvailable":true`) && !s.available[topic] {
			s.available[topic] = true
			s.updates++
		}
		if strings.Contains(payload, `"state":"downloading"`) {
			s.downloading[topic] = true
		}
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *scaleSeen) until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	late := time.NewTimer(10 * patience)
	defer late.Stop()
	for {
		s.mu.Lock()
		done := reached()
		s.mu.Unlock()
		if done {
			return
		}
		select {
		case <-s.changed:
		case <-late.C:
			t.Fatalf("not reached: %s; %d topics, %d updates, %d downloads", what, len(s.topics), s.updates, len(s.downloading))
		}
	}
}

// scraped is what the service's metrics say of its blocks.
type scraped struct {
	at             time.Time
	blocks, within float64 // answered; within a millisecond
}

func scrape(t *testing.T, addr string) scraped {
	t.Helper()
	return scraped{
		at: time.Now(), blocks: scrapeValue(t, addr, "zigate_ota_block_response_seconds_count"),
		within: scrapeValue(t, addr, `zigate_ota_block_response_seconds_bucket{le="0.001"}`),
	}
}

// scrapeValue is one series of the service's metrics.
func scrapeValue(t *testing.T, addr, series string) float64 {
	t.Helper()
	res, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindSubmatch(body)
	if found == nil {
		t.Fatalf("there is no %s", series)
	}
	v, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (s scraped) rate(since scraped) float64 {
	return (s.blocks - since.blocks) / s.at.Sub(since.at).Seconds()
}

// slow is how many of the blocks, in percent, took longer than a millisecond.
func (s scraped) slow(since scraped) float64 {
	return 100 * (1 - (s.within-since.within)/max(1, s.blocks-since.blocks))
}
