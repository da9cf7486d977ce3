package sim_test

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// TestBehaviour lets one device download from a host that answers every request, and looks at how it ends.
func TestBehaviour(t *testing.T) {
	const tries = 3
	low, high := uint16(1), uint16(9)
	type end struct {
		version   uint32
		state     sim.State
		endStatus uint8
		installs  int
		givenUp   int
		ends      int // upgrade end requests
		complete  bool
	}
	installed := end{version: newVersion, installs: 1, ends: 1, complete: true}
	tests := []struct {
		name    string
		device  func(*sim.DeviceConfig)
		cfg     func(*sim.Config)
		host    func(*host)
		notices int // notifications, ten minutes apart; 0 = 1
		want    end
		check   func(*testing.T, sim.DeviceSnapshot, sim.Stats)
	}{
		{name: "plain", want: installed},
		{name: "small blocks", device: func(c *sim.DeviceConfig) { c.MaxDataSize = 12 }, want: installed},
		{name: "unhurried", device: func(c *sim.DeviceConfig) { c.BlockInterval = time.Second }, want: installed},
		{
			name: "sleepy", want: installed,
			device: func(c *sim.DeviceConfig) { c.Sleepy, c.PollInterval = true, 6*time.Second },
		},
		{
			name: "fields in requests", want: installed,
			device: func(c *sim.DeviceConfig) { c.NodeAddressInRequests, c.MinimumBlockPeriod = true, true },
		},
		{name: "header first", device: func(c *sim.DeviceConfig) { c.HeaderFirst = true }, want: installed},
		{
			name: "silent for a while", want: installed,
			device: func(c *sim.DeviceConfig) { c.SilentAt, c.SilentFor = 1000, 5*time.Minute },
		},
		{
			name: "loses large blocks", want: end{version: oldVersion, givenUp: 1},
			device: func(c *sim.DeviceConfig) { c.MaxDataSize, c.LosesBlocksOver = 50, 49 },
		},
		{
			name: "loses larger blocks", want: installed,
			device: func(c *sim.DeviceConfig) { c.MaxDataSize, c.LosesBlocksOver = 50, 50 },
		},
		{
			name: "asks again", device: func(c *sim.DeviceConfig) { c.AsksAgain = 3 }, want: installed,
			check: func(t *testing.T, d sim.DeviceSnapshot, s sim.Stats) {
				if d.BlocksDropped < 20 {
					t.Errorf("only %d blocks were asked for again", d.BlocksDropped)
				}
			},
		},
		{
			name: "pages on firmware without them", want: installed,
			device: func(c *sim.DeviceConfig) { c.PageRequests = true },
			cfg:    func(c *sim.Config) { c.Firmware = sim.V131C },
			check: func(t *testing.T, d sim.DeviceSnapshot, s sim.Stats) {
				if n := s.DefaultResponses[sim.DefaultResponse{Command: 4, Status: 0x81}]; n != 1 {
					t.Errorf("%d page requests refused", n)
				}
			},
		},
		{
			name: "pages, one block each", want: installed,
			device: func(c *sim.DeviceConfig) { c.PageRequests, c.PageSize = true, 50 },
			host:   pageHost,
		},
		{
			// The device asks for the rest after a while.
			name: "pages answered with a block each", want: installed,
			device: func(c *sim.DeviceConfig) { c.PageRequests, c.PageSize, c.RetryInterval = true, 630, time.Second },
			host:   pageHost,
		},
		{
			name: "pages served whole", want: installed,
			device: func(c *sim.DeviceConfig) { c.PageRequests, c.PageSize, c.RetryInterval = true, 1000, time.Hour },
			host: func(h *host) {
				h.onRequest = func(r message.ImageBlockRequest) message.Message {
					end := min(int(r.Offset)+int(r.ImageType), len(h.image))
					r.ImageType, r.ManufacturerCode, r.MaxDataSize = imageType, manufacturer, 50
					for ; int(r.Offset) < end; r.Offset += 50 {
						r.Sequence++
						h.send(h.block(r))
						time.Sleep(200 * time.Millisecond)
					}
					return nil
				}
			},
			check: func(t *testing.T, d sim.DeviceSnapshot, s sim.Stats) {
				if d.BlocksAsked != size/1000 {
					t.Errorf("%d pages asked for", d.BlocksAsked)
				}
			},
		},
		{
			name: "offered what it runs", notices: 3, want: installed,
		},
		{
			name: "offered what it runs, v2", notices: 3, cfg: func(c *sim.Config) { c.Firmware = sim.V2324 },
			want: end{version: newVersion, installs: 3, ends: 3, complete: true}, // over and over
		},
		{
			name: "aborts", device: func(c *sim.DeviceConfig) { c.AbortAt = 500 },
			want: end{version: oldVersion, endStatus: message.OTAAbort, ends: 1},
		},
		{
			name: "aborts once", device: func(c *sim.DeviceConfig) { c.AbortAt, c.FailFirst = 500, 1 }, notices: 2,
			want: end{version: newVersion, installs: 1, ends: 2, complete: true},
		},
		{
			name: "invalid at the end", device: func(c *sim.DeviceConfig) { c.InvalidAtEnd = true },
			want: end{version: oldVersion, endStatus: message.OTAInvalidImage, ends: 1, complete: true},
		},
		{
			name: "requires more", device: func(c *sim.DeviceConfig) { c.RequireMore = true },
			want: end{
				version: oldVersion, state: sim.WaitingForMore, endStatus: message.OTARequireMoreImage, ends: 1, complete: true,
			},
		},
		{
			name: "hardware too old", device: func(c *sim.DeviceConfig) { c.HardwareVersion = &low },
			host: func(h *host) { h.image = withHardware(h.image, 5, 10) },
			want: end{version: oldVersion, endStatus: message.OTAInvalidImage, ends: 1, complete: true},
		},
		{
			name: "hardware fits", device: func(c *sim.DeviceConfig) { c.HardwareVersion = &high }, want: installed,
			host: func(h *host) { h.image = withHardware(h.image, 5, 10) },
		},
		{
			name: "version in the file differs from the offer", want: end{
				version: oldVersion, endStatus: message.OTAInvalidImage, ends: 1, complete: true,
			},
			host: func(h *host) {
				h.image = bytes.Clone(h.image)
				h.image[14]++
			},
		},
		{name: "stops", device: func(c *sim.DeviceConfig) { c.StopsAt = 1000 }, want: end{version: oldVersion}},
		{
			name: "keeps the old version", device: func(c *sim.DeviceConfig) { c.KeepsOldVersion = true },
			want: end{version: oldVersion, ends: 1, complete: true},
		},
		{
			name: "tells another version", device: func(c *sim.DeviceConfig) { c.ReportsVersion = 0x77 },
			want: end{version: 0x77, installs: 1, ends: 1, complete: true},
		},
		{
			name: "never returns", device: func(c *sim.DeviceConfig) { c.NeverReturns = true },
			want: end{version: oldVersion, state: sim.Gone, ends: 1, complete: true},
		},
		{name: "loses the announce", device: func(c *sim.DeviceConfig) { c.LosesAnnounce = true }, want: installed},
		{name: "silent", device: func(c *sim.DeviceConfig) { c.SilentToNotify = true }, want: end{version: oldVersion}},
		{
			name: "asks by itself", want: installed,
			device: func(c *sim.DeviceConfig) { c.SilentToNotify, c.QueryInterval = true, 5*time.Minute },
		},
		{
			name: "wants full blocks and gets them", want: installed,
			device: func(c *sim.DeviceConfig) { c.FullBlocksOnly, c.MaxDataSize = true, 48 },
		},
		{
			name:   "wants full blocks", // the host sends 64 at most
			device: func(c *sim.DeviceConfig) { c.FullBlocksOnly, c.MaxDataSize = true, 80 },
			want:   end{version: oldVersion, endStatus: message.OTAAbort, ends: 1},
		},
		{
			name: "only newer, and older is loaded", notices: 1,
			device: func(c *sim.DeviceConfig) { c.OnlyNewer, c.FileVersion = true, newVersion+1 },
			cfg:    func(c *sim.Config) { c.Firmware = sim.V2324 },
			want:   end{version: newVersion + 1},
		},
		{
			name: "gives up without answers", notices: 1,
			host: func(h *host) { h.onRequest = func(message.ImageBlockRequest) message.Message { return nil } },
			want: end{version: oldVersion, givenUp: 1},
			check: func(t *testing.T, d sim.DeviceSnapshot, s sim.Stats) {
				if d.BlocksAsked != tries+1 {
					t.Errorf("%d requests", d.BlocksAsked)
				}
			},
		},
		{
			name: "drops wrong answers",
			host: func(h *host) {
				n := 0
				h.onRequest = func(r message.ImageBlockRequest) message.Message {
					m := h.block(r).(message.ImageBlockResponse)
					wrong := []func(*message.ImageBlockResponse){
						func(m *message.ImageBlockResponse) { m.Sequence++ },
						func(m *message.ImageBlockResponse) { m.Offset++ },
						func(m *message.ImageBlockResponse) { m.FileVersion++ },
						func(m *message.ImageBlockResponse) { m.ImageType++ },
						func(m *message.ImageBlockResponse) { m.ManufacturerCode++ },
						func(m *message.ImageBlockResponse) { m.Data = nil },
						func(m *message.ImageBlockResponse) { m.Data = append(bytes.Clone(m.Data), 0) },
					}
					if n < len(wrong) {
						wrong[n](&m)
						h.send(m)
						m = h.block(r).(message.ImageBlockResponse)
						n++
					}
					return m
				}
			},
			want: installed,
			check: func(t *testing.T, d sim.DeviceSnapshot, s sim.Stats) {
				if d.BlocksDropped != 7 {
					t.Errorf("%d blocks dropped", d.BlocksDropped)
				}
			},
		},
		{
			name: "obeys a wait",
			host: func(h *host) {
				waits := 0
				h.onRequest = func(r message.ImageBlockRequest) message.Message {
					if waits < 10 {
						waits++
						return message.WaitForData{
							Target: target(r.Addr), Sequence: r.Sequence, Status: message.OTAWaitForData,
							CurrentTime: 100, RequestTime: 120,
						}
					}
					return h.block(r)
				}
			},
			want: installed,
		},
		{
			name: "obeys a minimum block period", device: func(c *sim.DeviceConfig) { c.MinimumBlockPeriod = true },
			host: func(h *host) {
				first := true
				h.onRequest = func(r message.ImageBlockRequest) message.Message {
					if first {
						first = false
						return message.WaitForData{
							Target: target(r.Addr), Sequence: r.Sequence, Status: message.OTAWaitForData, BlockRequestDelay: 300,
						}
					}
					if r.BlockRequestDelay != 300 || r.FieldControl != message.BlockHasDelay {
						h.t.Errorf("%+v", r)
					}
					return h.block(r)
				}
			},
			want: installed,
		},
		{
			name: "ends with an abort",
			host: func(h *host) {
				h.onRequest = func(r message.ImageBlockRequest) message.Message {
					return message.ImageBlockResponse{Target: target(r.Addr), Sequence: r.Sequence, Status: message.OTAAbort}
				}
			},
			want: end{version: oldVersion},
		},
		{
			name:    "goes on where it was",
			device:  func(c *sim.DeviceConfig) { c.StopsAt, c.FailFirst, c.ResumesDownload = 2000, 1, true },
			notices: 2, want: installed,
			check: func(t *testing.T, d sim.DeviceSnapshot, s sim.Stats) {
				if want := uint64((size + 62) / 63); d.BlocksReceived != want {
					t.Errorf("%d blocks received, not %d", d.BlocksReceived, want)
				}
			},
		},
		{
			name: "far away", device: func(c *sim.DeviceConfig) { c.Relays, c.MaxDataSize = 5, 53 }, want: installed,
		},
		{
			name: "bad radio", cfg: func(c *sim.Config) { c.Faults = sim.Faults{LoseAir: 0.1, LoseAck: 0.1} }, want: installed,
			check: func(t *testing.T, d sim.DeviceSnapshot, s sim.Stats) {
				if s.AirLost < 10 {
					t.Errorf("%d frames lost", s.AirLost)
				}
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				device := lampConfig()
				device.Retries = tries
				if test.device != nil {
					test.device(&device)
				}
				cfg := sim.Config{Speed: 1, Devices: []sim.DeviceConfig{device}}
				if test.cfg != nil {
					test.cfg(&cfg)
				}
				file := image(newVersion, size)
				header := loadImage(file)
				l := newLab(t, cfg, file)
				defer l.stop()
				if test.host != nil {
					test.host(l.host)
				}
				if f := l.host.image; f[8] != 0 {
					header.FieldControl, header.HeaderLength = 4, 60
					header.TotalSize = uint32(len(f))
				}
				l.send(header)
				for range max(test.notices, 1) {
					l.send(notify(lampAddr))
					time.Sleep(10 * time.Minute)
					synctest.Wait()
				}
				d := l.dongle.Device(lamp).Snapshot()
				got := end{
					version: d.FileVersion, state: d.State, endStatus: d.LastEndStatus, installs: d.Installs, givenUp: d.GivenUp,
					ends: len(of[message.UpgradeEndRequest](l.take())), complete: bytes.Equal(d.Downloaded, l.host.image),
				}
				if got != test.want {
					t.Errorf("\n got %+v\nwant %+v", got, test.want)
				}
				if test.check != nil {
					test.check(t, d, l.dongle.Stats())
				}
			})
		})
	}
}

// withHardware makes room for the hardware versions in the header.
func withHardware(file []byte, lowest, highest uint8) []byte {
	b := append(bytes.Clone(file[:56]), lowest, 0, highest, 0)
	b = append(b, file[56:]...)
	b[6], b[8] = 60, 4
	n := len(b)
	b[52], b[53], b[54] = byte(n), byte(n>>8), byte(n>>16)
	return b
}

// pageHost answers garbled page requests with the first block of the page.
func pageHost(h *host) {
	h.onRequest = func(r message.ImageBlockRequest) message.Message {
		if r.BlockRequestDelay == imageType { // a page
			r.ImageType, r.ManufacturerCode, r.MaxDataSize = imageType, manufacturer, 50
		}
		return h.block(r)
	}
}

// A device waits as long as it is told, and installs when it is told.
func TestUpgradeEndTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := image(newVersion, 500)
		l := newLab(t, sim.Config{Speed: 1, Devices: []sim.DeviceConfig{lampConfig()}}, file)
		defer l.stop()
		expect := func(when string, state sim.State) {
			t.Helper()
			synctest.Wait()
			if s := l.dongle.Device(lamp).Snapshot(); s.State != state {
				t.Fatalf("%s: %s instead of %s", when, s.State, state)
			}
		}
		end := message.UpgradeEndResponse{
			Target: target(lampAddr), FileVersion: newVersion, ImageType: imageType, ManufacturerCode: manufacturer,
		}
		l.send(loadImage(file))
		l.send(notify(lampAddr))
		time.Sleep(100 * time.Millisecond)
		other := loadImage(image(newVersion+1, 500)) // the dongle no longer answers by itself
		l.send(other)
		time.Sleep(time.Second)
		expect("the slot differs", sim.Idle) // its block requests were refused

		l.host.answerWith(func(r message.ImageBlockRequest) message.Message {
			m := l.host.block(r).(message.ImageBlockResponse)
			if int(m.Offset)+len(m.Data) == len(file) {
				l.host.send(other) // in time for the upgrade end request
			}
			return m
		})
		l.send(loadImage(file))
		l.send(notify(lampAddr))
		time.Sleep(2 * time.Second)
		expect("complete, and nobody answers", sim.Ending)
		end.Sequence = of[message.UpgradeEndRequest](l.take())[0].Sequence
		end.UpgradeTime = message.UpgradeTimeWait
		wrong := end
		wrong.Sequence++
		l.send(wrong)
		time.Sleep(time.Second)
		expect("another sequence number", sim.Ending)
		l.send(end)
		time.Sleep(time.Second)
		expect("told to wait", sim.WaitingToUpgrade)
		time.Sleep(59 * time.Minute)
		if n := len(of[message.UpgradeEndRequest](l.take())); n != 0 {
			t.Errorf("%d requests within the hour", n)
		}
		time.Sleep(2 * time.Minute)
		if n := len(of[message.UpgradeEndRequest](l.take())); n != 1 {
			t.Errorf("%d requests after an hour", n)
		}
		expect("nobody answered that", sim.WaitingToUpgrade)
		end.CurrentTime, end.UpgradeTime = 1000, 1060
		l.send(end)
		time.Sleep(59 * time.Second)
		expect("a minute to go", sim.CountingDown)
		time.Sleep(2 * time.Second)
		expect("now", sim.Rebooting)
		if !l.dongle.Device(lamp).Snapshot().Away {
			t.Error("a device that reboots can hear")
		}
		time.Sleep(10 * time.Second)
		expect("back", sim.Idle)
		if v := l.dongle.Device(lamp).Snapshot().FileVersion; v != newVersion {
			t.Errorf("it runs %#x", v)
		}
	})
}

// Broadcasts are answered by those who are meant and whom the dice choose.
func TestNotifyReactions(t *testing.T) {
	broadcast := func(kind, jitter uint8, manufacturerCode uint16, version uint32) message.ImageNotify {
		m := notify(0x0100)
		m.AddrMode, m.PayloadType, m.QueryJitter = message.AddrModeBroadcast, kind, jitter
		m.ManufacturerCode, m.ImageType, m.FileVersion = manufacturerCode, imageType, version
		return m
	}
	unicast := func(kind uint8, manufacturerCode uint16, version uint32) message.ImageNotify {
		m := broadcast(kind, 100, manufacturerCode, version)
		m.Target = target(1)
		return m
	}
	tests := []struct {
		name         string
		send         message.ImageNotify
		least, most  uint64
		disagreement bool
	}{
		{"everybody", broadcast(0, 100, 0, 0), 100, 100, false},
		{"some", broadcast(0, 30, 0, 0), 10, 60, false},
		{"another manufacturer", broadcast(1, 100, manufacturer+1, 0), 0, 0, false},
		{"another version", broadcast(3, 100, manufacturer, newVersion), 100, 100, false},
		{"the same version", broadcast(3, 100, manufacturer, oldVersion), 0, 0, false},
		{"one", unicast(0, 0, 0), 1, 1, false},
		{"one with the same version", unicast(3, manufacturer, oldVersion), 0, 0, true},
		{"one of another manufacturer", unicast(1, manufacturer+1, oldVersion), 0, 0, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := sim.Config{Seed: 7}
				for i := range 100 {
					device := lampConfig()
					device.IEEE, device.Addr = lamp+message.IEEE(i), uint16(i+1)
					cfg.Devices = append(cfg.Devices, device)
				}
				l := newLab(t, cfg, nil)
				defer l.stop()
				l.send(test.send)
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if n := l.dongle.Stats().QueriesRefused; n < test.least || n > test.most {
					t.Errorf("%d queries, want %d to %d", n, test.least, test.most)
				}
				if n := len(of[message.DefaultResponse](l.take())); (n == 1) != test.disagreement {
					t.Errorf("%d default responses", n)
				}
			})
		})
	}
}

// A sleepy device misses what comes while it sleeps, and downloads all the same once it has begun.
func TestSleepyNotify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := lampConfig()
		cfg.Sleepy, cfg.PollInterval = true, time.Hour
		l := newLab(t, sim.Config{Speed: 1, Devices: []sim.DeviceConfig{cfg}}, image(newVersion, 1000))
		defer l.stop()
		device := l.dongle.Device(lamp)
		l.send(loadImage(l.host.image))
		l.send(notify(lampAddr))
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := device.Snapshot(); s.Sessions != 0 {
			t.Error("it heard a notify in its sleep")
		}
		device.SetPoll(4 * time.Second)
		time.Sleep(time.Second)
		l.send(notify(lampAddr))
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := device.Snapshot(); s.FileVersion != newVersion {
			t.Errorf("%+v", s)
		}
	})
}

// A device that was off, or did not come back, announces itself when it gets power.
func TestPower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := lampConfig()
		cfg.NeverReturns = true
		l := newLab(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, image(newVersion, 1000))
		defer l.stop()
		device := l.dongle.Device(lamp)
		l.send(loadImage(l.host.image))
		for range 2 {
			l.send(notify(lampAddr))
			time.Sleep(time.Second)
			synctest.Wait()
			if s := device.Snapshot(); s.State != sim.Gone || !s.Away || s.FileVersion != oldVersion {
				t.Errorf("%s, version %#x", s.State, s.FileVersion)
			}
			l.take()
			device.PowerOn()
			device.PowerOn() // has it already
			synctest.Wait()
			if n := len(of[message.DeviceAnnounce](l.take())); n != 1 {
				t.Errorf("%d announces", n)
			}
		}
		device.PowerOff()
		device.Query()
		device.Announce()
		synctest.Wait()
		if got := l.take(); len(got) > 0 {
			t.Errorf("a device without power sends %v", typesOf(got))
		}
	})
}

func TestConfigErrors(t *testing.T) {
	good := lampConfig()
	tests := map[string]func(*sim.DeviceConfig){
		"no address":         func(c *sim.DeviceConfig) { c.IEEE = 0 },
		"address used twice": func(c *sim.DeviceConfig) { c.Addr = 5 },
		"short address used": func(c *sim.DeviceConfig) { c.IEEE++ },
		"broadcast address":  func(c *sim.DeviceConfig) { c.IEEE++; c.Addr = 0xFFFD },
		"endpoint too high":  func(c *sim.DeviceConfig) { c.IEEE++; c.Addr = 5; c.Endpoint = 242 },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			bad := good
			change(&bad)
			dongle := sim.New(sim.Config{Devices: []sim.DeviceConfig{good, bad}})
			if err := dongle.Run(t.Context()); !errors.Is(err, sim.ErrConfig) {
				t.Errorf("error %v", err)
			}
			if _, err := sim.New(sim.Config{Devices: []sim.DeviceConfig{good}}).AddDevice(bad); !errors.Is(err, sim.ErrConfig) {
				t.Errorf("error %v when added", err)
			}
		})
	}
}

func TestAddDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, sim.Config{}, image(newVersion, 1000))
		defer l.stop()
		l.send(loadImage(l.host.image))
		synctest.Wait()
		cfg := lampConfig()
		cfg.QueryInterval = time.Minute
		device, err := l.dongle.AddDevice(cfg)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if s := device.Snapshot(); s.FileVersion != newVersion {
			t.Errorf("%+v", s)
		}
	})
}

// A device that somebody else has upgraded runs another version, and one that has installed an image may tell
// another manufacturer code and image type.
func TestDeviceTellsWhatItHasBecome(t *testing.T) {
	cfg := lampConfig()
	cfg.Becomes = sim.Identity{ManufacturerCode: 0x1234, ImageType: 0x4242}
	synctest.Test(t, func(t *testing.T) {
		file := image(newVersion, size)
		l := newLab(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, file)
		defer l.stop()
		said := func() (last message.QueryNextImage) {
			l.send(message.SetRawMode{Mode: message.RawModeHybrid})
			l.dongle.Device(lamp).Query()
			time.Sleep(time.Minute)
			synctest.Wait()
			for _, m := range of[message.DataIndication](l.take()) {
				if q, ok := message.ParseQueryNextImage(m.Payload); ok {
					last = q
				}
			}
			l.send(message.SetRawMode{Mode: message.RawModeOff})
			return last
		}
		l.dongle.Device(lamp).Reflash(oldVersion - 1)
		if q := said(); q.FileVersion != oldVersion-1 || q.ImageType != cfg.ImageType {
			t.Errorf("after another program's upgrade it says %+v", q)
		}
		l.send(loadImage(file))
		l.send(notify(lampAddr))
		time.Sleep(10 * time.Minute)
		if q := said(); q.FileVersion != newVersion || q.ManufacturerCode != cfg.Becomes.ManufacturerCode || q.ImageType != cfg.Becomes.ImageType {
			t.Errorf("after its upgrade it says %+v", q)
		}
	})
}
