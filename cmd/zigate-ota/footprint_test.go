package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What the service may take.
const (
	// Bytes resident with a thousand devices and a hundred downloads, with either broker.
	footprintEmbedded  = 56 << 20
	footprintMosquitto = 60 << 20
	footprintAddImages = 64 << 20 // while a hundred images are added
	footprintIdle      = 0.005    // of a core
	// From the start of the process, with a hundred images registered.
	footprintReady  = 200 * time.Millisecond
	footprintImages = 100
)

// TestFootprint measures what the real binary takes: its memory with a thousand known devices and a
// hundred downloads, its processor time while nothing happens, and how long it needs to start with a
// hundred images registered. Once with the embedded broker, and once with a Mosquitto. It takes two
// minutes, so it is run by hand:
//
//	ZIGATE_OTA_TEST_FOOTPRINT=1 go test -run TestFootprint -v ./cmd/zigate-ota
func TestFootprint(t *testing.T) {
	if os.Getenv("ZIGATE_OTA_TEST_FOOTPRINT") == "" {
		t.Skip("a measurement of two minutes: set ZIGATE_OTA_TEST_FOOTPRINT=1")
	}
	for _, broker := range []string{"embedded", "mosquitto"} {
		t.Run(broker, func(t *testing.T) {
			var url string
			allowed := footprintMosquitto
			more := []string{fmt.Sprintf("ZIGATE_OTA_UPGRADE_CONCURRENCY=%d", scaleUpgrades)}
			if broker == "embedded" {
				addr := freePort(t)
				url = "tcp://" + addr
				allowed = footprintEmbedded
				more = append(more, "ZIGATE_OTA_BROKER_ADDR="+addr)
			} else {
				m := newMosquitto(t)
				url = m.url()
				more = append(more, "ZIGATE_OTA_MQTT_URL="+url)
			}
			footprint(t, url, allowed, more)
		})
	}
}

func footprint(t *testing.T, url string, allowed int, more []string) {
	home, dongle := scaleHome(t)
	dir, addr := t.TempDir(), freePort(t)
	images := filepath.Join(dir, "state", "images")
	if err := os.MkdirAll(images, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range footprintImages {
		// The newest, and older ones: each is a file, and will be registered for a driver of its own.
		version := uint32(newerVersion)
		if i > 0 {
			version = bulbVersion - uint32(i)
		}
		file := filepath.Join(images, fmt.Sprintf("bulb%d.ota", i))
		if err := os.WriteFile(file, bulbImage(version, 200_000+64*i), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	more = append(more, "ZIGATE_OTA_DONGLE="+dongle, "ZIGATE_OTA_HTTP_ADDR="+addr, "ZIGATE_OTA_UPGRADE_CANARY=false")
	begin := func() (*process, time.Duration) {
		began := time.Now()
		p := start(t, environ(dir, more...), programPath(t), "serve")
		for {
			res, err := http.Get("http://" + addr + "/healthz")
			if err == nil {
				res.Body.Close()
				return p, time.Since(began)
			}
			if time.Since(began) > patience {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
	}
	programPath(t)
	service, _ := begin()
	service.stderr.await(t, "broker and dongle", func(line string) bool { return strings.Contains(line, "the dongle is connected") })
	client, seen := scaleWatch(t, url)
	for _, d := range home.Devices() {
		d.Announce()
		time.Sleep(2 * time.Millisecond)
	}
	seen.until(t, "all devices with their update", func() bool { return seen.updates == scaleDevices })
	checkFootprint(t, service, "devices known", allowed)
	first := home.Devices()[0].IEEE()
	for i := range footprintImages {
		request := fmt.Sprintf(`{"deviceId":"%v","url":"file://%s","driverTypeId":"driver%d","version":1}`, first, filepath.Join(images, fmt.Sprintf("bulb%d.ota", i)), i)
		if token := client.Publish("zigate-ota/request/add_image", 1, false, request); token.Wait() && token.Error() != nil {
			t.Fatal(token.Error())
		}
	}
	awaitInfo(t, addr, footprintImages)
	checkFootprint(t, service, "images registered", footprintAddImages)
	client.Disconnect(100)
	if err := service.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-service.done

	service, ready := begin()
	t.Logf("ready %d ms after its start, with %d images and %d devices", ready.Milliseconds(), footprintImages, scaleDevices)
	if ready > footprintReady {
		t.Errorf("it took %v to be ready, at most %v are allowed", ready, footprintReady)
	}
	service.stderr.await(t, "the dongle", func(line string) bool { return strings.Contains(line, "the dongle is connected") })
	time.Sleep(20 * time.Second) // whatever it does after a start
	const idle = 30 * time.Second
	before := processorTime(t, service)
	time.Sleep(idle)
	used := processorTime(t, service) - before
	share := used.Seconds() / idle.Seconds()
	t.Logf("idle: %.2f %% of a core; %d MB resident", 100*share, resident(t, service)>>20)
	if share > footprintIdle {
		t.Errorf("idle it takes %.2f %% of a core", 100*share)
	}

	client, seen = scaleWatch(t, url)
	for _, d := range home.Devices()[:scaleUpgrades] {
		if token := client.Publish("zigate-ota/request/upgrade", 1, false, fmt.Sprintf(`{"deviceId":"%v"}`, d.IEEE())); token.Wait() && token.Error() != nil {
			t.Fatal(token.Error())
		}
	}
	seen.until(t, "all downloads under way", func() bool { return len(seen.downloading) == scaleUpgrades })
	time.Sleep(10 * time.Second)
	checkFootprint(t, service, "downloads under way", allowed)
}

// checkFootprint measures the memory that a service takes, and compares it with the most that is allowed.
func checkFootprint(t *testing.T, service *process, when string, allowed int) {
	t.Helper()
	now, most := resident(t, service), memory(t, service, "VmHWM:")
	t.Logf("%s: %.1f MB resident, %.1f MB at most", when, float64(now)/(1<<20), float64(most)/(1<<20))
	if now > allowed {
		t.Errorf("%s: %d MB are resident, at most %d are allowed", when, now>>20, allowed>>20)
	}
}

// awaitInfo waits until so many images are registered.
func awaitInfo(t *testing.T, addr string, images int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		if scrapeValue(t, addr, "zigate_ota_images") >= float64(images) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d images are not registered in time", images)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// processorTime is what a process has used of all cores together.
func processorTime(t *testing.T, p *process) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		t.Skip("this system does not tell: ", err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	const user, system, ticks = 11, 12, 100 // fields behind the name; ticks a second
	var sum int
	for _, f := range []int{user, system} {
		n, err := strconv.Atoi(fields[f])
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return time.Duration(sum) * time.Second / ticks
}
