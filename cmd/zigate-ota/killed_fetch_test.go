package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// The service is killed while it fetches, stores and registers an image: each time it starts again, has the
// images that it said it had, whole, and nothing of the others; in the end the image that it was killed over
// is added as if nothing had been.
func TestKilledWhileFetching(t *testing.T) {
	t.Parallel()
	dir, addr := t.TempDir(), freePort(t)
	image := func(n int) []byte { return bulbImage(uint32(0x30000000+n), 300_000) }
	var mu sync.Mutex
	var at func(n, sent int) // what happens when so many bytes of image n were sent
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n int
		fmt.Sscanf(r.URL.Path, "/%d", &n)
		mu.Lock()
		hook := at
		mu.Unlock()
		b := image(n)
		hook(n, 0)
		w.Write(b[:len(b)/2])
		w.(http.Flusher).Flush()
		hook(n, len(b)/2)
		w.Write(b[len(b)/2:])
		w.(http.Flusher).Flush()
		hook(n, len(b))
	}))
	defer server.Close()
	moments := []string{"before the first byte", "half way", "at the last byte", "a moment later", "a little later", "once it is registered", ""}
	said := map[string]bool{} // SHA-256 of the images that were a success
	for n, moment := range moments {
		service := start(t, environ(dir, "ZIGATE_OTA_BROKER_ADDR="+addr, "ZIGATE_OTA_DONGLE=sim"), programPath(t), "serve")
		service.stderr.await(t, "ready", func(line string) bool { return strings.Contains(line, "msg=ready") })
		if log := service.stderr.String(); strings.Contains(log, "set aside") {
			t.Errorf("before it was killed %s:\n%s", moment, log)
		}
		killed := make(chan struct{})
		kill := sync.OnceFunc(func() { service.stop(); close(killed) })
		mu.Lock()
		at = func(m, sent int) {
			half := len(image(m)) / 2
			switch {
			case m != n:
			case moment == moments[0] && sent == 0, moment == moments[1] && sent == half, moment == moments[2] && sent > half:
				kill()
			case moment == moments[3] && sent > half:
				time.AfterFunc(time.Millisecond, kill)
			case moment == moments[4] && sent > half:
				time.AfterFunc(6*time.Millisecond, kill)
			}
		}
		mu.Unlock()
		c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + addr).SetAutoReconnect(false))
		if token := c.Connect(); token.Wait() && token.Error() != nil {
			t.Fatal(token.Error())
		}
		defer c.Disconnect(0)
		heard := newHeard(t)
		token := c.Subscribe("zigate-ota/#", 1, func(_ mqtt.Client, m mqtt.Message) {
			heard.add(published{m.Topic(), string(m.Payload()), m.Retained()})
		})
		if token.Wait(); token.Error() != nil {
			t.Fatal(token.Error())
		}
		images := heard.await(t, "list of images", func(m published) bool { return m.Topic == "zigate-ota/images" }).object()
		for sha := range said {
			if !strings.Contains(fmt.Sprint(images), sha) {
				t.Errorf("an image that was a success is gone after a kill: %v", images)
			}
		}
		checkStore(t, filepath.Join(dir, "state", "images", "store"))
		c.Publish("zigate-ota/request/add_image", 1, false, fmt.Sprintf(`{"deviceId":%q,"url":"%s/%d.ota","driverTypeId":"d%d","transaction":"%d"}`, kitchen, server.URL, n, n, n))
		if moment == moments[5] || moment == "" {
			answer := heard.await(t, "final response", finalTo(fmt.Sprint(n)))
			if answer.object()["status"] != "success" {
				t.Fatal(answer)
			}
			sum := sha256.Sum256(image(n))
			said[hex.EncodeToString(sum[:])] = true
			if moment == "" {
				break
			}
			kill()
		}
		<-killed
	}
	if checkStore(t, filepath.Join(dir, "state", "images", "store")); len(said) != 2 {
		t.Errorf("%d images were a success", len(said))
	}
}

// checkStore fails the test unless there are only whole images in a store, with their reports. It is called
// when the service has started, and has tidied up.
func checkStore(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		name := strings.TrimSuffix(strings.TrimSuffix(entry.Name(), ".ota"), ".json")
		b, err := os.ReadFile(filepath.Join(dir, name+".ota"))
		sum := sha256.Sum256(b)
		if err != nil || hex.EncodeToString(sum[:]) != name {
			t.Errorf("%s is left in the store: %v", entry.Name(), err)
		}
		if _, err := os.Stat(filepath.Join(dir, name+".json")); err != nil {
			t.Error(err)
		}
	}
}
