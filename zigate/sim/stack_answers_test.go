package sim_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// raw sends a frame of the OTA cluster to the device, whatever the dongle's OTA server does.
func (l *stackLab) raw(zcl []byte) {
	l.send(message.RawAPS{
		AddrMode: message.AddrModeNetwork, Addr: lampAddr, SrcEndpoint: 1, DstEndpoint: 1,
		Cluster: message.ClusterOTA, Profile: message.ProfileHomeAutomation, Security: 2, Radius: 30, Data: zcl,
	})
}

// Every stack gets the whole image, and asks for it in its own way: the first request for a block and the last.
func TestStackRequests(t *testing.T) {
	type asked struct {
		Offset       uint32
		Size         uint8
		FieldControl uint8
		Length       int // bytes of the request behind its ZCL header
	}
	const (
		plain, period, address = 14, 2, 8 // bytes of the fields that are always there, and of the others
	)
	tests := map[sim.Stack]struct{ first, last asked }{
		sim.Ember:       {asked{0, 63, 2, plain + period}, asked{9954, 63, 2, plain + period}},
		sim.NXP:         {asked{0, 48, 0, plain}, asked{9984, 48, 0, plain}},
		sim.Telink:      {asked{0, 48, 2, plain + period}, asked{9984, 16, 2, plain + period}},
		sim.TI:          {asked{0, 32, 2, plain + period}, asked{9984, 16, 2, plain + period}},
		sim.BitCloud:    {asked{62, 8, 2, plain}, asked{9958, 48, 2, plain}},
		sim.Exegin:      {asked{0, 49, 2, plain + period}, asked{9996, 49, 2, plain + period}},
		sim.ZBOSS:       {asked{0, 64, 3, plain + address + period}, asked{9984, 64, 3, plain + address + period}},
		sim.Trident:     {asked{0, 64, 3, plain + address + period}, asked{9984, 64, 3, plain + address + period}},
		sim.EspressifV2: {asked{0, 64, 0, plain}, asked{9984, 64, 0, plain}},
	}
	for _, stack := range sim.Stacks() {
		t.Run(stack.String(), func(t *testing.T) {
			inStackLab(t, stack, nil, func(l *stackLab) {
				l.download()
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				var requests []asked
				for _, f := range l.air.fromDevice() {
					if f.Cluster != message.ClusterOTA || f.Payload[0]&3 != 1 || f.Payload[2] != 0x03 {
						continue
					}
					b := f.Payload[3:]
					offset := uint32(b[9]) | uint32(b[10])<<8 | uint32(b[11])<<16 | uint32(b[12])<<24
					requests = append(requests, asked{offset, b[13], b[0], len(b)})
				}
				got := [2]asked{requests[0], requests[len(requests)-1]}
				want := [2]asked{tests[stack].first, tests[stack].last}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("first and last request, -want +got:\n%s", diff)
				}
				d := l.device.Snapshot()
				if d.FileVersion != newVersion || !bytes.Equal(d.Installed[d.Skipped:], l.file[d.Skipped:]) {
					t.Errorf("it runs %#x and has installed %d bytes", d.FileVersion, len(d.Installed))
				}
			})
		})
	}
}

// fromDevice returns the frames that devices sent since frames were taken last.
func (a *air) fromDevice() []sim.AirFrame {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []sim.AirFrame
	for _, f := range a.frames {
		if !f.FromDongle {
			list = append(list, f)
		}
	}
	a.frames = nil
	return list
}

// A device whose request does not fit the header hears of that from the dongle before it gets the host's block.
func TestRefusalComesFirst(t *testing.T) {
	for _, firmware := range sim.Firmwares() {
		t.Run(firmware.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				file := image(newVersion, size)
				l := newLab(t, sim.Config{Speed: 1, LineRate: 11520, Firmware: firmware, Devices: []sim.DeviceConfig{lampConfig()}}, file)
				defer l.stop()
				l.transmit(blockRequest(newVersion, 63))
				time.Sleep(time.Second)
				synctest.Wait()
				want := frames(defaultResponse(0x03, message.OTANoImageAvailable),
					append(answer(0x05, uint8(0), identity(newVersion), uint32(63), uint8(63)), file[63:126]...))
				if diff := cmp.Diff(want, l.air.fromDongle()); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		})
	}
}

// TestStackAnswers sends an answer that does not help to a device in mid-download, in the place of its block.
func TestStackAnswers(t *testing.T) {
	status := func(s byte) func(*stackLab, message.ImageBlockRequest) {
		return func(l *stackLab, r message.ImageBlockRequest) {
			l.send(message.ImageBlockResponse{Target: target(r.Addr), Sequence: r.Sequence, Status: s})
		}
	}
	changed := func(change func(*message.ImageBlockResponse)) func(*stackLab, message.ImageBlockRequest) {
		return func(l *stackLab, r message.ImageBlockRequest) {
			m := l.block(r).(message.ImageBlockResponse)
			change(&m)
			l.send(m)
		}
	}
	refusal := func(s byte) func(*stackLab, message.ImageBlockRequest) {
		return func(l *stackLab, r message.ImageBlockRequest) { l.raw([]byte{0x18, r.Sequence, 0x0B, 0x03, s}) }
	}
	tests := []struct {
		name string
		send func(*stackLab, message.ImageBlockRequest)
		want map[sim.Stack]string
	}{
		{
			name: "refusal ABORT", send: refusal(message.OTAAbort),
			want: map[sim.Stack]string{
				sim.NoStack: "", sim.Ember: "5m query", sim.NXP: "10m..30m query",
				sim.Telink: "5s block same, block next", sim.TI: "5s block same, block next",
				sim.BitCloud: "1m query", sim.Exegin: "0s block same, block next",
				sim.ZBOSS: "50s..1m query", sim.Trident: "50s..1m query", sim.EspressifV2: "50s..1m query",
			},
		},
		{
			name: "refusal MALFORMED", send: refusal(0x80),
			want: map[sim.Stack]string{
				sim.NoStack: "", sim.Ember: "DR 0b/87, 5s block same, block next", sim.NXP: "10m..30m query",
				sim.Telink: "5s block same, block next", sim.TI: "5s block same, block next",
				sim.BitCloud: "1m query", sim.Exegin: "0s block same, block next",
				sim.ZBOSS: "45s block same, block next", sim.Trident: "45s block same, block next",
				sim.EspressifV2: "50s..1m query",
			},
		},
		{
			name: "status ABORT", send: status(message.OTAAbort),
			want: map[sim.Stack]string{
				sim.NoStack: "", sim.Ember: "5m query", sim.NXP: "10m..30m query", sim.Telink: "5m query",
				sim.TI: "0s..30s query", sim.BitCloud: "end invalid, 1m query", sim.Exegin: "",
				sim.ZBOSS: "50s..1m query", sim.Trident: "50s..1m query", sim.EspressifV2: "50s..1m query",
			},
		},
		{
			name: "status NO_IMAGE_AVAILABLE", send: status(message.OTANoImageAvailable),
			want: map[sim.Stack]string{
				sim.NoStack: "", sim.Ember: "5m query", sim.NXP: "end abort, 10m..30m query",
				sim.Telink: "DR 05/80, 5s block same, block next", sim.TI: "DR 05/80, 5s block same, block next",
				sim.BitCloud: "DR 05/80, 0s block same, block next", sim.Exegin: "",
				sim.ZBOSS: "45s block same, block next", sim.Trident: "45s block same, block next",
				sim.EspressifV2: "50s..1m query",
			},
		},
		{
			name: "a block of another version", send: changed(func(m *message.ImageBlockResponse) { m.FileVersion++ }),
			want: everyStack("5s block same, block next",
				sim.NXP, "6s block same, block next", sim.Telink, "end invalid, 5m query",
				sim.TI, "DR 05/80, 5s block same, block next", sim.BitCloud, "3s block same, block next",
				sim.Exegin, "", sim.ZBOSS, "45s block same, block next", sim.Trident, "45s block same, block next",
				sim.EspressifV2, "50s..1m query"),
		},
		{
			name: "a block of another offset", send: changed(func(m *message.ImageBlockResponse) { m.Offset -= 40 }),
			want: everyStack("5s block same, block next",
				sim.NXP, "6s block same, block next", sim.BitCloud, "3s block same, block next",
				sim.Exegin, "", sim.ZBOSS, "45s block same, block next", sim.Trident, "45s block same, block next",
				sim.EspressifV2, "50s..1m query"),
		},
		{
			name: "a block behind the end", send: changed(func(m *message.ImageBlockResponse) { m.Offset = 1 << 20 }),
			want: everyStack("5s block same, block next",
				sim.NXP, "end abort, 10m..30m query", sim.BitCloud, "3s block same, block next",
				sim.Exegin, "", sim.ZBOSS, "45s block same, block next", sim.Trident, "45s block same, block next",
				sim.EspressifV2, "50s..1m query"),
		},
		{
			name: "a block that is too large",
			send: changed(func(m *message.ImageBlockResponse) { m.Data = bytes.Repeat([]byte{1}, 65) }),
			want: everyStack("5s block same, block next",
				sim.NXP, "end abort, 10m..30m query", sim.BitCloud, "3s block same, block next",
				sim.ZBOSS, "45s block same, block next", sim.Trident, "45s block same, block next",
				sim.EspressifV2, "50s..1m query"),
		},
		{
			name: "a block with another sequence number", send: changed(func(m *message.ImageBlockResponse) { m.Sequence++ }),
			want: everyStack("5s block same, block next",
				sim.Ember, "block next", sim.NXP, "block next", sim.Telink, "block next",
				sim.BitCloud, "3s block same, block next",
				sim.ZBOSS, "45s block same, block next", sim.Trident, "45s block same, block next",
				sim.EspressifV2, "50s..1m query"),
		},
		{
			name: "a wait without a period",
			send: func(l *stackLab, r message.ImageBlockRequest) {
				b := answer(0x05, message.OTAWaitForData, uint32(0), uint32(20))
				b[1] = r.Sequence
				l.raw(b)
			},
			want: everyStack("5s block same, block next",
				sim.Ember, "20s block same, block next", sim.NXP, "20s block same, block next",
				sim.Telink, "20s block same, block next", sim.TI, "DR 05/80, 5s block same, block next",
				sim.BitCloud, "3s block same, block next",
				sim.ZBOSS, "45s block same, block next", sim.Trident, "45s block same, block next",
				sim.EspressifV2, "50s..1m query"),
		},
	}
	for _, test := range tests {
		for stack, want := range test.want {
			t.Run(test.name+"/"+stack.String(), func(t *testing.T) {
				inStackLab(t, stack, nil, func(l *stackLab) {
					l.log.until = "query"
					l.meanwhile(func(r message.ImageBlockRequest) message.Message {
						test.send(l, r)
						return nil
					})
					l.download()
					time.Sleep(40 * time.Minute)
					synctest.Wait()
					if diff := l.log.compare(want); diff != "" {
						t.Error(diff)
					}
				})
			})
		}
	}
}

// Answers with a status that a client complains of are no misses, however many there are.
func TestComplaintsDoNotCount(t *testing.T) {
	for _, stack := range []sim.Stack{sim.Telink, sim.TI} {
		inStackLab(t, stack, nil, func(l *stackLab) {
			l.answerWith(func(r message.ImageBlockRequest) message.Message {
				return message.ImageBlockResponse{Target: target(r.Addr), Sequence: r.Sequence, Status: message.OTANoImageAvailable}
			})
			l.download()
			time.Sleep(time.Hour)
			if d := l.device.Snapshot(); d.State != sim.Downloading || d.BlocksAsked < 700 || d.GivenUp > 0 {
				t.Errorf("%v: %s after %d requests", stack, d.State, d.BlocksAsked)
			}
		})
	}
}

// TestStackUpgradeTimes answers the Upgrade End Request and looks at when the device reboots.
func TestStackUpgradeTimes(t *testing.T) {
	const never = "end success"
	hold := message.UpgradeTimeWait
	tests := []struct {
		name             string
		current, upgrade uint32
		change           func(*message.UpgradeEndResponse)
		want             map[sim.Stack]string
	}{
		{
			name: "at once", want: everyStack("end success, 10s announce", sim.Ember, "end success, 13s announce"),
		},
		{
			name: "two hours", upgrade: 7200,
			want: everyStack("end success, 7210s announce", sim.Ember, "end success, 3610s announce"),
		},
		{
			name: "two hours by a clock", current: 1000, upgrade: 8200,
			want: everyStack("end success, 7210s announce", sim.Ember, "end success, 3610s announce", sim.NXP, never),
		},
		{
			name: "a moment that has passed", current: 1000, upgrade: 900,
			want: everyStack("end success, 10s announce", sim.Ember, "end success, 3610s announce", sim.NXP, never,
				sim.Exegin, never, sim.ZBOSS, never, sim.Trident, never, sim.EspressifV2, never),
		},
		{
			name: "wait, each time", upgrade: hold,
			want: map[sim.Stack]string{
				sim.NoStack: "5 x end success", sim.Ember: "5 x end success", sim.NXP: "5 x end success",
				sim.Telink: "2 x end success, 7210s announce", sim.TI: "3 x end success, 10810s announce",
				sim.BitCloud: "5 x end success", sim.Exegin: never, sim.ZBOSS: never, sim.Trident: never,
				sim.EspressifV2: "5 x end success",
			},
		},
		{
			name: "any manufacturer, image type and version", upgrade: 5,
			change: func(m *message.UpgradeEndResponse) {
				m.ManufacturerCode, m.ImageType, m.FileVersion = 0xFFFF, 0xFFFF, 0xFFFFFFFF
			},
			want: everyStack("end success, 15s announce", sim.TI, never, sim.ZBOSS, never, sim.Trident, never,
				sim.EspressifV2, never),
		},
		{
			name: "any version", upgrade: 5, change: func(m *message.UpgradeEndResponse) { m.FileVersion = 0xFFFFFFFF },
			want: everyStack("end success, 15s announce", sim.ZBOSS, never, sim.Trident, never, sim.EspressifV2, never),
		},
		{
			name: "another sequence number", upgrade: 5, change: func(m *message.UpgradeEndResponse) { m.Sequence++ },
			want: everyStack("end success, 15s announce", sim.NoStack, never, sim.EspressifV2, never,
				sim.BitCloud, "4 x end success, 40s announce"),
		},
	}
	for _, test := range tests {
		for stack, want := range test.want {
			t.Run(test.name+"/"+stack.String(), func(t *testing.T) {
				quiet := func(c *sim.DeviceConfig) {
					c.QueryInterval = -1
					if want == never { // one request, and what comes of it
						c.Retries = -1
					}
				}
				inStackLab(t, stack, quiet, func(l *stackLab) {
					l.log.until = "announce"
					answered := 0
					l.answerWith(func(r message.ImageBlockRequest) message.Message {
						l.send(other())
						m := l.block(r).(message.ImageBlockResponse)
						if int(m.Offset)+len(m.Data) == size {
							l.log.begin(r.Offset)
						} else {
							l.send(loadImage(l.file))
						}
						return m
					})
					l.download()
					for range 5 * 3600 {
						time.Sleep(time.Second)
						for _, r := range of[message.UpgradeEndRequest](l.take()) {
							if answered++; want == never && answered > 1 {
								continue
							}
							m := message.UpgradeEndResponse{
								Target: target(lampAddr), Sequence: r.Sequence, FileVersion: newVersion, ImageType: imageType,
								ManufacturerCode: manufacturer, CurrentTime: test.current, UpgradeTime: test.upgrade,
							}
							if test.change != nil {
								test.change(&m)
							}
							l.send(m)
						}
					}
					synctest.Wait()
					if diff := l.log.compare(want); diff != "" {
						t.Error(diff)
					}
				})
			})
		}
	}
}

// TestStackQueries looks at what a device does that is offered the version that it runs, or an older one.
func TestStackQueries(t *testing.T) {
	const declines, takes = "query", "query, block 0"
	tests := []struct {
		name    string
		version uint32
		change  func(*sim.DeviceConfig)
		want    map[sim.Stack]string
	}{
		{
			name: "the same version", version: newVersion,
			want: everyStack(declines, sim.NoStack, takes, sim.TI, takes, sim.BitCloud, "query, block 62"),
		},
		{
			name: "an older version", version: newVersion + 1,
			want: everyStack(takes, sim.BitCloud, "query, block 62"),
		},
		{
			name: "an older version, and it only takes newer ones", version: newVersion + 1,
			change: func(c *sim.DeviceConfig) { c.OnlyNewer = true }, want: everyStack(declines),
		},
	}
	for _, test := range tests {
		for stack, want := range test.want {
			t.Run(test.name+"/"+stack.String(), func(t *testing.T) {
				device := func(c *sim.DeviceConfig) {
					unserved(c)
					c.FileVersion = test.version
					if test.change != nil {
						test.change(c)
					}
				}
				inStackLab(t, stack, device, func(l *stackLab) {
					time.Sleep(time.Second)
					l.log.begin(1 << 30)
					l.device.Query()
					time.Sleep(20 * time.Millisecond)
					offer := answer(0x02, uint8(0), identity(newVersion), uint32(size))
					offer[1] = l.querySequence()
					l.raw(offer)
					time.Sleep(time.Second)
					synctest.Wait()
					if diff := l.log.compare(want); diff != "" {
						t.Error(diff)
					}
				})
			})
		}
	}
}

// unserved devices query only when they are told to, at an endpoint where nobody answers.
func unserved(c *sim.DeviceConfig) {
	c.QueryInterval = -1
	c.ServerEndpoint = 200
}

// querySequence is the ZCL sequence number of the last query on air.
func (l *stackLab) querySequence() (sequence uint8) {
	for _, f := range l.air.fromDevice() {
		if f.Cluster == message.ClusterOTA && f.Payload[0]&3 == 1 && f.Payload[2] == 0x01 {
			sequence = f.Payload[1]
		}
	}
	return sequence
}

// An offer behind a refusal of the query, or behind a response without an image, is still taken by some.
func TestStackLateOffer(t *testing.T) {
	tests := []struct {
		name  string
		first func(sequence uint8) []byte
		takes []sim.Stack
	}{
		{
			name:  "default response",
			first: func(sequence uint8) []byte { return []byte{0x18, sequence, 0x0B, 0x01, message.OTANoImageAvailable} },
			takes: []sim.Stack{sim.Ember, sim.NXP, sim.Telink, sim.TI, sim.ZBOSS},
		},
		{
			name:  "no image",
			first: func(sequence uint8) []byte { return []byte{0x19, sequence, 0x02, message.OTANoImageAvailable} },
			takes: []sim.Stack{sim.Ember, sim.NXP, sim.Telink, sim.TI, sim.BitCloud, sim.ZBOSS, sim.Trident},
		},
	}
	for _, test := range tests {
		for _, stack := range append(sim.Stacks(), sim.NoStack) {
			t.Run(test.name+"/"+stack.String(), func(t *testing.T) {
				inStackLab(t, stack, unserved, func(l *stackLab) {
					time.Sleep(time.Second)
					l.device.Query()
					time.Sleep(4 * time.Millisecond)
					sequence := l.querySequence()
					l.raw(test.first(sequence))
					time.Sleep(time.Millisecond)
					offer := answer(0x02, uint8(0), identity(newVersion), uint32(size))
					offer[1] = sequence
					l.raw(offer)
					time.Sleep(100 * time.Millisecond)
					synctest.Wait()
					want := slices.Contains(test.takes, stack)
					if s := l.device.Snapshot(); want != (s.State == sim.Downloading) {
						t.Errorf("it is %s", s.State)
					}
				})
			})
		}
	}
}

// TestStackTells has the stacks that tell the hardware version after a notify, and not by themselves.
func TestStackTells(t *testing.T) {
	seven := uint16(7)
	for stack, want := range map[sim.Stack][2]string{
		sim.Ember:  {"query", "query"},
		sim.Exegin: {"query with hardware", "query"},
		sim.ZBOSS:  {"query with hardware", "query"},
	} {
		t.Run(stack.String(), func(t *testing.T) {
			inStackLab(t, stack, func(c *sim.DeviceConfig) { c.QueryInterval = -1 }, func(l *stackLab) {
				for i, ask := range []func(){func() { l.send(notify(lampAddr)) }, l.device.Query} {
					l.send(other())
					time.Sleep(time.Second)
					l.log.begin(0)
					ask()
					time.Sleep(time.Second)
					synctest.Wait()
					if diff := l.log.compare(want[i]); diff != "" {
						t.Error(diff)
					}
				}
			})
		})
	}
	t.Run("ember that tells it", func(t *testing.T) {
		inStackLab(t, sim.Ember, func(c *sim.DeviceConfig) { c.HardwareVersion = &seven }, func(l *stackLab) {
			l.log.begin(1 << 30)
			l.device.Query()
			time.Sleep(time.Second)
			if diff := l.log.compare("query with hardware, block 0"); diff != "" {
				t.Error(diff)
			}
		})
	})
}

// NXP's client takes a dongle that did not answer three queries for gone: it hears no notify until it has looked
// for a server again.
func TestNXPForgetsServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := lampConfig()
		cfg.Stack, cfg.ServerEndpoint = sim.NXP, 200 // nobody answers there
		log := &deviceLog{}
		l := newLab(t, sim.Config{Speed: 1, Devices: []sim.DeviceConfig{cfg}, OnAir: log.see}, nil)
		defer l.stop()
		log.begin(0)
		for range 4 {
			l.send(notify(lampAddr))
			time.Sleep(30 * time.Second)
		}
		synctest.Wait()
		if diff := log.compare("3 x query"); diff != "" {
			t.Error(diff)
		}
		time.Sleep(30 * time.Minute)
		log.begin(0)
		l.send(notify(lampAddr))
		time.Sleep(time.Second)
		if diff := log.compare("query"); diff != "" {
			t.Error("after its own query: " + diff)
		}
	})
}

// An internal-flash build of NXP writes units of 16 bytes: what is more of a block is asked for again, a block of less
// fills its unit with what is no part of the image.
func TestNXPUnits(t *testing.T) {
	for _, test := range []struct {
		served int // bytes of a block
		size   uint8
		whole  bool
	}{{served: 48, whole: true}, {served: 40, whole: true}, {served: 16, whole: true}, {served: 12}, {served: 12, size: 64, whole: true}} {
		t.Run(fmt.Sprintf("%d of %d", test.served, test.size), func(t *testing.T) {
			inStackLab(t, sim.NXP, func(c *sim.DeviceConfig) { c.MaxDataSize = test.size }, func(l *stackLab) {
				l.answerWith(func(r message.ImageBlockRequest) message.Message {
					r.MaxDataSize = min(r.MaxDataSize, uint8(test.served))
					return l.block(r)
				})
				l.download()
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				d := l.device.Snapshot()
				if whole := bytes.Equal(d.Downloaded, l.file); whole != test.whole {
					t.Errorf("the image is whole: %t; it has %d bytes", whole, len(d.Downloaded))
				}
				if test.whole != (d.FileVersion == newVersion) {
					t.Errorf("it runs %#x", d.FileVersion)
				}
			})
		})
	}
}

// BitCloud's client takes a notify for a reason to start its query interval anew, and does not like every one.
func TestBitCloudNotify(t *testing.T) {
	for name, test := range map[string]struct {
		kind, jitter uint8
		want         string
	}{
		"type 0":             {0, 50, "60s query"},
		"type 1, jitter 100": {1, 100, "60s query"},
		"type 1, jitter 50":  {1, 50, "DR 00/80, 1s..60s query"},
	} {
		t.Run(name, func(t *testing.T) {
			inStackLab(t, sim.BitCloud, func(c *sim.DeviceConfig) { c.QueryInterval = time.Minute }, func(l *stackLab) {
				l.send(other())
				time.Sleep(time.Second)
				l.log.until = "query"
				l.log.begin(0)
				m := notify(lampAddr)
				m.PayloadType, m.QueryJitter = test.kind, test.jitter
				l.send(m)
				time.Sleep(2 * time.Minute)
				if diff := l.log.compare(test.want); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// A device whose bootloader compares versions takes the whole image, and says that it is none.
func TestInstallsOnlyNewer(t *testing.T) {
	for version, want := range map[uint32]string{
		newVersion - 1: "end success", newVersion: "end invalid", newVersion + 1: "end invalid",
	} {
		device := func(c *sim.DeviceConfig) { c.InstallsOnlyNewer, c.FileVersion = true, version }
		synctest.Test(t, func(t *testing.T) {
			cfg := lampConfig()
			device(&cfg)
			log := &deviceLog{until: "end success"}
			l := newLab(t, sim.Config{Firmware: sim.V2324, Speed: 1, Devices: []sim.DeviceConfig{cfg}, OnAir: log.see}, image(newVersion, size))
			defer l.stop()
			l.send(loadImage(l.image))
			l.answerWith(func(r message.ImageBlockRequest) message.Message {
				log.begin(r.Offset)
				return l.block(r)
			})
			l.send(notify(lampAddr))
			time.Sleep(time.Minute)
			if diff := log.compare(want); diff != "" {
				t.Errorf("from version %#x: %s", version, diff)
			}
		})
	}
}

func TestParseStack(t *testing.T) {
	names := "ember nxp telink ti bitcloud exegin zboss trident espressif2 none"
	for i, name := range strings.Fields(names) {
		for _, text := range []string{name, " " + strings.ToUpper(name) + " "} {
			if s, err := sim.ParseStack(text); err != nil || s != append(sim.Stacks(), sim.NoStack)[i] || s.String() != name {
				t.Errorf("%q is %v, %v", text, s, err)
			}
		}
	}
	for _, text := range []string{"", "zigbee"} {
		if s, err := sim.ParseStack(text); err == nil || s != sim.NoStack || !strings.Contains(err.Error(), "espressif2") {
			t.Errorf("%q is %v, %v", text, s, err)
		}
	}
	if name := sim.Stack(200).String(); name != "none" {
		t.Errorf("a stack that is not there is called %q", name)
	}
	d, err := sim.ParseDevice(`{"ieee": 1, "stack": "Telink", "installsOnlyNewer": true}`)
	if want := (sim.DeviceConfig{IEEE: 1, Stack: sim.Telink, InstallsOnlyNewer: true}); err != nil || !cmp.Equal(d, want) {
		t.Errorf("%+v, %v", d, err)
	}
	for _, text := range []string{`{"stack": "zigbee"}`, `{"stack": 1}`} {
		if _, err := sim.ParseDevice(text); !errors.Is(err, sim.ErrScenario) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
