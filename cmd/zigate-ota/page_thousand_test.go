package main

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	promclient "github.com/prometheus/client_golang/prometheus"

	"github.com/zigate-ota/zigate-ota/bridge"
	"github.com/zigate-ota/zigate-ota/bridge/httpapi"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// thousand is a page with a thousand devices that need no radio, so that the page alone is looked at.
type thousand struct {
	url    string
	bridge *bridge.Bridge
}

// nobody hears what the bridge of a thousand says besides the page.
type nobody struct{}

func (nobody) Retain(string, []byte)                               {}
func (nobody) Clear(string)                                        {}
func (nobody) Publish(string, []byte)                              {}
func (nobody) PublishOwed(_ string, _ []byte, acknowledged func()) { acknowledged() }
func (nobody) Command(string, string)                              {}
func (nobody) DeviceChanged(otasvc.DeviceRecord)                   {}
func (nobody) DeviceGone(message.IEEE)                             {}
func (nobody) InfoChanged(otasvc.InfoRecord)                       {}

func newThousand(t *testing.T) *thousand {
	t.Helper()
	feed := bridge.NewFeed()
	h := &thousand{bridge: bridge.New(bridge.Options{
		Topics: "zigate-ota", Out: nobody{}, Observer: nobody{}, Logger: slog.New(slog.DiscardHandler), Feed: feed,
	})}
	h.bridge.InfoChanged(otasvc.InfoRecord{StartedAt: time.Now(), Devices: 1000})
	for i := range 1000 {
		h.change(i, 0)
	}
	server := httpapi.New(httpapi.Options{Addr: "127.0.0.1:0", Registry: promclient.NewRegistry(), Feed: feed, Asker: h.bridge, Images: noImages{}})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-server.Ready()
	h.url = "http://" + server.Addr().String() + "/"
	return h
}

// noImages are none.
type noImages struct{ httpapi.Images }

func (noImages) Folder() *library.FolderState   { return &library.FolderState{} }
func (noImages) Indexes() []library.IndexStatus { return nil }

func (h *thousand) euid(i int) string { return message.IEEE(0x00158d0000000000 + uint64(i)).String() }

// change tells a device anew, with a download that is so far. Nine of ten have none.
func (h *thousand) change(i int, percent float64) {
	lqi, version := uint8(i*37%256), uint32(i)
	d := otasvc.DeviceRecord{
		EUID: message.IEEE(0x00158d0000000000 + uint64(i)), Name: fmt.Sprintf("Lamp number %d", i), ModelID: "TRADFRI bulb E27", ManufacturerName: "IKEA of Sweden",
		Heard: otasvc.Heard{LQI: &lqi, LastSeen: time.Now()}, CurrentVersion: &version,
	}
	if i%10 == 7 {
		d.Upgrade = &upgrade.Record{
			State: upgrade.Downloading, ImageVersion: 2, Size: 100_000, Offset: uint32(percent * 1000), Progress: percent, BytesPerSecond: 500, Attempt: 1,
			QueuedAt: time.Now(), StartedAt: time.Now(),
		}
	}
	h.bridge.DeviceChanged(d)
}

// stir changes a hundred devices ten times a second until it is stopped.
func (h *thousand) stir() (stop func()) {
	ending, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for percent := 0.0; ; percent += 0.5 {
			for i := 7; i < 1000; i += 10 {
				h.change(i, min(percent, 98))
			}
			select {
			case <-tick.C:
			case <-ending:
				return
			}
		}
	}()
	return func() {
		close(ending)
		<-ended
	}
}
