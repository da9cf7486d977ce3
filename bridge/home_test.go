package bridge_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge"
	"github.com/zigate-ota/zigate-ota/bridge/homeassistant"
	"github.com/zigate-ota/zigate-ota/bridge/homeassistant/schema"
	"github.com/zigate-ota/zigate-ota/bridge/mqttclient"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// paper is a Publisher that keeps what it is given.
type paper struct {
	mu       sync.Mutex
	retained map[string]string
	messages []published // not retained, until taken off
	log      []published // everything, in order
	bad      []string    // what Home Assistant would not take
}

// published is one that was published; an empty payload clears a retained topic.
type published struct {
	topic, payload string
	retained       bool
	at             time.Time
}

// command is a request as it comes from the broker, at QoS 0.
func command(topic string, payload []byte, retained bool) mqttclient.Command {
	return mqttclient.Command{Topic: topic, Payload: payload, Retained: retained, Acknowledge: func(then func()) { then() }}
}

func newPaper() *paper { return &paper{retained: map[string]string{}} }

func (p *paper) Retain(topic string, payload []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retained[topic] = string(payload)
	p.bad = append(p.bad, schema.Message(topic, payload)...)
	p.log = append(p.log, published{topic, string(payload), true, time.Now()})
}

func (p *paper) Clear(topic string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.retained, topic)
	p.log = append(p.log, published{topic, "", true, time.Now()})
}

func (p *paper) PublishOwed(topic string, payload []byte, acknowledged func()) {
	p.Publish(topic, payload)
	acknowledged()
}

func (p *paper) Publish(topic string, payload []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := published{topic, string(payload), false, time.Now()}
	p.messages = append(p.messages, m)
	p.log = append(p.log, m)
}

// Connected and Waiting make it a FrameSink whose broker is quick.
func (p *paper) Connected() bool { return true }
func (p *paper) Waiting() int    { return 0 }

// on takes the messages of a topic off the paper.
func (p *paper) on(topic string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var on []string
	kept := p.messages[:0]
	for _, m := range p.messages {
		if m.topic == topic {
			on = append(on, m.payload)
		} else {
			kept = append(kept, m)
		}
	}
	p.messages = kept
	return on
}

func (p *paper) value(topic string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.retained[topic]
}

// topics lists the retained topics that name contains.
func (p *paper) topics(name string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var topics []string
	for topic := range p.retained {
		if strings.Contains(topic, name) {
			topics = append(topics, topic)
		}
	}
	return topics
}

// all is everything that was published so far below a prefix, in order.
func (p *paper) all(prefix string) []published {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []published
	for _, m := range p.log {
		if strings.HasPrefix(m.topic, prefix) {
			all = append(all, m)
		}
	}
	return all
}

type noObserver struct{}

func (noObserver) BlockRequest(blocks.Result, int)                              {}
func (noObserver) UpgradeFinished(upgrade.State, upgrade.Reason, time.Duration) {}
func (noObserver) DeliveryFailed()                                              {}
func (noObserver) DongleRefuses(bool)                                           {}
func (noObserver) DownloadsAllowed(int)                                         {}
func (noObserver) ImageFetched(otasvc.Status)                                   {}
func (noObserver) Command(string, string)                                       {}
func (noObserver) DeviceChanged(otasvc.DeviceRecord)                            {}
func (noObserver) DeviceGone(message.IEEE)                                      {}
func (noObserver) InfoChanged(otasvc.InfoRecord)                                {}

const (
	bulb   message.IEEE = 0x000b57fffec6a5b2
	cellar message.IEEE = 0x000b57fffec6a5c7 // another bulb of that kind
)

func bulbConfig(euid message.IEEE, addr uint16) sim.DeviceConfig {
	return sim.DeviceConfig{
		IEEE: euid, Addr: addr, ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: 0x22010631,
		ManufacturerName: "IKEA of Sweden", ModelID: "TRADFRI bulb E27", LQI: 132, BlockInterval: 100 * time.Millisecond,
	}
}

// home is a bridge with its service, a simulated dongle and devices, in fake time.
type home struct {
	t       *testing.T
	dir     string // of images
	b       *bridge.Bridge
	out     *paper
	sim     *sim.Dongle
	service *otasvc.Service
	dongle  *zigate.Dongle
	said    lockedText // the log
	// unplug takes the simulated dongle away for good, stop stops the service.
	unplug, stop func()
}

// inHome runs a test in a home.
func inHome(t *testing.T, cfg sim.Config, f func(h *home)) {
	t.Helper()
	inHomeOf(t, cfg, surroundings{}, f)
}

// surroundings are what is around a home; the zero value is nothing out of the ordinary.
type surroundings struct {
	web     http.RoundTripper // where there is something on the web
	policy  func(*otasvc.Policy)
	catalog func(*library.Library) otasvc.Catalog // of images that nobody has registered
	bridge  func(h *home, o *bridge.Options)
}

// inHomeOf is inHome in other surroundings.
func inHomeOf(t *testing.T, cfg sim.Config, around surroundings, f func(h *home)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		cfg.Speed = 1
		h := &home{t: t, dir: dir, out: newPaper(), sim: sim.New(cfg)}
		log := slog.New(slog.NewTextHandler(&h.said, nil))
		images, err := library.Open(library.Options{Dir: dir, Transport: around.web})
		if err != nil {
			t.Fatal(err)
		}
		policy := otasvc.Policy{
			Concurrency: 4, BlockSize: 64, NotifyInterval: 15 * time.Second, NotifyAttempts: 20, StallTimeout: 5 * time.Minute,
			RejoinTimeout: 15 * time.Minute, Slice: 15 * time.Minute, Retries: 2, Canary: true,
		}
		if around.policy != nil {
			around.policy(&policy)
		}
		var catalog otasvc.Catalog
		if around.catalog != nil {
			catalog = around.catalog(images)
		}
		h.service, err = otasvc.New(otasvc.Options{
			Images: images, Catalog: catalog, Observer: noObserver{}, Logger: log, Policy: policy,
		})
		if err != nil {
			t.Fatal(err)
		}
		options := bridge.Options{
			Topics: "zigate-ota", Version: "1.2.0", Service: h.service, Out: h.out, Observer: noObserver{}, Logger: log,
			Discovery: &homeassistant.Options{Prefix: "homeassistant", Base: "zigate-ota", Version: "1.2.0"},
		}
		if around.bridge != nil {
			around.bridge(h, &options)
		}
		h.b = bridge.New(options)
		h.dongle = zigate.NewDongle(zigate.Options{Dialer: h.sim.Dialer("sim"), Handler: h.service, Logger: log})
		ctx, cancel := context.WithCancel(t.Context())
		ofSim, unplug := context.WithCancel(ctx)
		var running, simRuns sync.WaitGroup
		running.Go(func() { _ = h.b.Run(ctx) })
		simRuns.Go(func() { _ = h.sim.Run(ofSim) })
		running.Go(func() { _ = h.dongle.Run(ctx) })
		running.Go(func() { _ = h.service.Run(ctx, h.dongle, h.b) })
		h.unplug = func() { unplug(); simRuns.Wait() }
		h.stop = func() { cancel(); running.Wait(); simRuns.Wait() }
		defer func() {
			h.stop()
			for _, complaint := range h.out.bad {
				t.Errorf("Home Assistant: %s", complaint)
			}
		}()
		time.Sleep(10 * time.Second) // the devices are known and interviewed
		synctest.Wait()
		f(h)
	})
}

// lockedText is a text that several goroutines write.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// forget is a new beginning.
func (l *lockedText) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Reset()
}

// lines are those that have all these words.
func (l *lockedText) lines(words ...string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
			found = append(found, line)
		}
	}
	return found
}

// withBridge runs a test in a home with one bulb.
func withBridge(t *testing.T, f func(b *bridge.Bridge, out *paper, home *sim.Dongle)) {
	t.Helper()
	inHome(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f)}}, func(h *home) { f(h.b, h.out, h.sim) })
}

// image writes an image for the bulbs into the image folder and gives its URL.
func (h *home) image(version uint32, size int) string {
	h.t.Helper()
	return h.imageOf(0x2201, version, size)
}

// imageOf is image for another image type of theirs.
func (h *home) imageOf(imageType uint16, version uint32, size int) string {
	h.t.Helper()
	data := otafile.Build(otafile.Header{ManufacturerCode: 0x117C, ImageType: imageType, FileVersion: version}, make([]byte, size))
	name := fmt.Sprintf("%04x-%08x-%d.ota", imageType, version, size)
	if err := os.WriteFile(filepath.Join(h.dir, name), data, 0o600); err != nil {
		h.t.Fatal(err)
	}
	return "file://" + filepath.Join(h.dir, name)
}

// within waits until cond holds, in fake time.
func (h *home) within(d time.Duration, what string, cond func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(d); ; {
		synctest.Wait()
		if cond() {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("not within %v: %s", d, what)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
