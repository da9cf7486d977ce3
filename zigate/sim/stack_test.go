package sim_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// deviceLog is what a device sends from some moment on, in words. A repeated frame is counted.
type deviceLog struct {
	mu    sync.Mutex
	began time.Time // zero until it begins
	at    uint32    // the offset at which the device was then
	until string    // the word after which enough was seen, besides the first block at another offset
	steps []step
	over  bool
}

type step struct {
	what  string
	after time.Duration // of the first of them, since the log began
	count int
}

// begin forgets what was sent so far.
func (l *deviceLog) begin(at uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.began = time.Now()
	l.at = at
	l.steps = nil
	l.over = false
}

func (l *deviceLog) see(f sim.AirFrame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.FromDongle || l.began.IsZero() || l.over {
		return
	}
	what := l.words(f)
	if what == "" {
		return
	}
	if n := len(l.steps); n > 0 && l.steps[n-1].what == what {
		l.steps[n-1].count++
		return
	}
	l.steps = append(l.steps, step{what, time.Since(l.began), 1})
	l.over = what == l.until || strings.HasPrefix(what, "block") && what != "block same"
}

// words describes a frame; nothing for those that do not matter.
func (l *deviceLog) words(f sim.AirFrame) string {
	const deviceAnnounce = 0x0013
	if f.Profile == 0 && f.Cluster == deviceAnnounce {
		return "announce"
	}
	if f.Cluster != message.ClusterOTA || len(f.Payload) < 4 {
		return ""
	}
	command, payload := f.Payload[2], f.Payload[3:]
	if f.Payload[0]&3 == 0 {
		if command == 0x0B {
			return fmt.Sprintf("DR %02x/%02x", payload[0], payload[1])
		}
		return ""
	}
	switch command {
	case 0x01:
		if payload[0] == 1 {
			return "query with hardware"
		}
		return "query"
	case 0x03:
		switch offset := binary.LittleEndian.Uint32(payload[9:]); {
		case offset == l.at:
			return "block same"
		case offset > l.at:
			return "block next"
		default:
			return fmt.Sprintf("block %d", offset)
		}
	case 0x06:
		return map[byte]string{0: "end success", message.OTAAbort: "end abort", message.OTAInvalidImage: "end invalid"}[payload[0]]
	}
	return ""
}

// compare finds what differs from the steps in a text, such as "3 x block same, 50s end abort, 5m..6m query":
// a count where there are several, and when the first came, to the second. Where no time stands, it does not
// matter.
func (l *deviceLog) compare(want string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var got []string
	for _, s := range l.steps {
		got = append(got, fmt.Sprintf("%v %d x %s", s.after.Round(time.Millisecond), s.count, s.what))
	}
	all := strings.Join(got, ", ")
	var wanted []string
	if want != "" {
		wanted = strings.Split(want, ", ")
	}
	if len(wanted) != len(l.steps) {
		return "got  " + all + "\nwant " + want
	}
	for i, text := range wanted {
		if !l.steps[i].fits(text) {
			return "got  " + all + "\nwant " + want
		}
	}
	return ""
}

func (s step) fits(text string) bool {
	count := 1
	if before, after, found := strings.Cut(text, " x "); found {
		fmt.Sscan(before, &count)
		text = after
	}
	if when, what, _ := strings.Cut(text, " "); what != "" {
		from, to, isRange := strings.Cut(when, "..")
		least, err := time.ParseDuration(from)
		if err == nil {
			most := least
			if isRange {
				most, _ = time.ParseDuration(to)
			}
			if s.after < least-time.Second || s.after > most+time.Second {
				return false
			}
			text = what
		}
	}
	return s.what == text && s.count == count
}

// stackLab has one device of a stack that downloads.
type stackLab struct {
	*lab
	log    *deviceLog
	device *sim.Device
	file   []byte
}

// inStackLab runs a test with a device of a stack, in fake time, until a download is to begin.
func inStackLab(t *testing.T, stack sim.Stack, change func(*sim.DeviceConfig), test func(*stackLab)) {
	synctest.Test(t, func(t *testing.T) {
		cfg := lampConfig()
		cfg.MaxDataSize = 0
		cfg.Stack = stack
		if change != nil {
			change(&cfg)
		}
		l := &stackLab{log: &deviceLog{}, file: image(newVersion, size)}
		l.lab = newLab(t, sim.Config{Speed: 1, Devices: []sim.DeviceConfig{cfg}, OnAir: l.log.see}, l.file)
		defer l.stop()
		l.device = l.dongle.Device(lamp)
		l.send(loadImage(l.file))
		test(l)
	})
}

// download begins a download. A BitCloud device queries by itself.
func (l *stackLab) download() {
	time.Sleep(100 * time.Millisecond)
	l.device.Query()
}

// meanwhile calls f, once, with the first request for a block behind 5000 bytes, in the place of the answer.
func (l *stackLab) meanwhile(f func(message.ImageBlockRequest) message.Message) {
	done := false
	l.answerWith(func(r message.ImageBlockRequest) message.Message {
		if done || r.Offset < 5000 {
			return l.block(r)
		}
		done = true
		l.log.begin(r.Offset)
		return f(r)
	})
}

// other is the header of another image, for devices of another type.
func other() message.LoadImage {
	m := loadImage(image(newVersion, size))
	m.ImageType++
	return m
}

func wait(r message.ImageBlockRequest, current, request uint32, period uint16) message.Message {
	return message.WaitForData{
		Target: target(r.Addr), Sequence: r.Sequence, Status: message.OTAWaitForData,
		CurrentTime: current, RequestTime: request, BlockRequestDelay: period,
	}
}

// situations are those in which the stacks differ, each with what the devices do then. Each happens in
// mid-download, but for the last ones.
var situations = []struct {
	name   string
	device func(*sim.DeviceConfig)
	happen func(*stackLab)
	lasts  time.Duration
	want   map[sim.Stack]string
}{
	{
		// The dongle has another header for a moment. Its refusal is there before the host's block.
		name: "a refused block", lasts: 40 * time.Minute,
		happen: func(l *stackLab) {
			refused := false
			l.answerWith(func(r message.ImageBlockRequest) message.Message {
				switch {
				case r.Offset < 5000 || refused:
				case l.dongle.Stats().BlocksRefused() == 0:
					l.send(other())
				default:
					refused = true
					l.log.begin(r.Offset)
					l.send(loadImage(l.file))
				}
				return l.block(r)
			})
		},
		want: map[sim.Stack]string{
			sim.NoStack:     "",
			sim.Ember:       "5m query, block 0",
			sim.NXP:         "14m..30m query, block 0",
			sim.Telink:      "block next",
			sim.TI:          "block next",
			sim.BitCloud:    "1m query, block same, block next",
			sim.Exegin:      "block same, block next",
			sim.ZBOSS:       "block next",
			sim.Trident:     "50s..1m query, block 0",
			sim.EspressifV2: "50s..1m query, block 0",
		},
	},
	{
		// The block reached the device before the refusal: the request after it is ended by that.
		name: "a refusal behind the block", lasts: 40 * time.Minute,
		device: func(c *sim.DeviceConfig) { c.BlockInterval = time.Second },
		happen: func(l *stackLab) {
			l.meanwhile(func(r message.ImageBlockRequest) message.Message {
				go func() {
					time.Sleep(500 * time.Millisecond)
					l.send(message.RawAPS{
						AddrMode: message.AddrModeNetwork, Addr: lampAddr, SrcEndpoint: 1, DstEndpoint: 1,
						Cluster: message.ClusterOTA, Profile: message.ProfileHomeAutomation, Security: 2, Radius: 30,
						Data: []byte{0x18, r.Sequence, 0x0B, 0x03, message.OTANoImageAvailable},
					})
				}()
				return l.block(r)
			})
		},
		want: map[sim.Stack]string{
			sim.NoStack:     "",
			sim.Ember:       "5m query, block 0",
			sim.NXP:         "12m..30m query, block 0",
			sim.Telink:      "block next",
			sim.TI:          "block next",
			sim.BitCloud:    "1m query, block next",
			sim.Exegin:      "block next",
			sim.ZBOSS:       "block next",
			sim.Trident:     "4m..5m query, block 0",
			sim.EspressifV2: "",
		},
	},
	{
		name: "silence", lasts: 25 * time.Hour,
		happen: func(l *stackLab) {
			var began uint32
			l.answerWith(func(r message.ImageBlockRequest) message.Message {
				if r.Offset < 5000 || began > 0 && l.device.Snapshot().Sessions > 1 {
					return l.block(r)
				}
				if began == 0 {
					began = r.Offset
					l.log.begin(r.Offset)
				}
				return nil
			})
		},
		want: map[sim.Stack]string{
			sim.NoStack:     "5 x block same",
			sim.Ember:       "9 x 5s block same, 52s end abort, 5m52s query, block 0",
			sim.NXP:         "3 x 6s block same, 12m..30m query, block 0",
			sim.Telink:      "9 x 5s block same, 50s end abort, 5m50s..5m55s query, block same, block next",
			sim.TI:          "10 x 5s block same, 55s end abort, 55s..1m25s query, block 0",
			sim.BitCloud:    "3 x 3s block same, 1m30s query, block same, block next",
			sim.Exegin:      "10 x 5s block same",
			sim.ZBOSS:       "2 x 45s block same, 2m15s end abort, 24h..24h1m query, block 0",
			sim.Trident:     "2 x 45s block same, 2m15s end abort, 3m..7m query, block 0",
			sim.EspressifV2: "50s..1m query, block 0",
		},
	},
	{
		name: "a wait of an hour", lasts: 2 * time.Hour,
		happen: func(l *stackLab) {
			l.meanwhile(func(r message.ImageBlockRequest) message.Message { return wait(r, 0, 3600, 0) })
		},
		want: everyStack("1h block same, block next"),
	},
	{
		name: "a wait of 4000 s", lasts: 2 * time.Hour,
		happen: func(l *stackLab) {
			l.meanwhile(func(r message.ImageBlockRequest) message.Message { return wait(r, 0, 4000, 0) })
		},
		want: everyStack("4000s block same, block next", sim.Ember, "1h block same, block next"),
	},
	{
		name: "a wait until a moment that has passed", lasts: 2 * time.Hour,
		happen: func(l *stackLab) {
			l.meanwhile(func(r message.ImageBlockRequest) message.Message { return wait(r, 100, 90, 0) })
		},
		want: everyStack("0s block same, block next",
			sim.Ember, "5m block same, block next",
			sim.NXP, "DR 05/80, 6s block same, block next",
			sim.Telink, "",
			sim.BitCloud, "DR 05/80",
		),
	},
	{
		name: "a wait without a difference", lasts: 2 * time.Hour,
		happen: func(l *stackLab) {
			l.meanwhile(func(r message.ImageBlockRequest) message.Message { return wait(r, 7, 7, 2000) })
		},
		want: everyStack("2s block same, block next",
			sim.NoStack, "0s block same, block next",
			sim.Ember, "5s block same, block next",
			sim.NXP, "0s block same, block next",
			sim.EspressifV2, "0s block same, block next",
		),
	},
	{
		name: "the answer to the request behind a wait is lost", lasts: 40 * time.Hour,
		happen: func(l *stackLab) {
			waits := 0
			l.answerWith(func(r message.ImageBlockRequest) message.Message {
				if r.Offset < 5000 {
					return l.block(r)
				}
				waits++
				switch waits {
				case 1:
					return wait(r, 0, 60, 0)
				case 2:
					l.log.begin(r.Offset)
					return nil
				}
				return l.block(r)
			})
		},
		want: everyStack("5s block same, block next",
			sim.NXP, "6s block same, block next",
			sim.BitCloud, "3s block same, block next",
			sim.ZBOSS, "", // it hangs
			sim.Trident, "",
			sim.EspressifV2, "23h..24h query, block 0",
		),
	},
	{
		name: "a second offer", lasts: 2 * time.Minute,
		device: func(c *sim.DeviceConfig) { c.BlockInterval = time.Second },
		happen: func(l *stackLab) {
			l.meanwhile(func(r message.ImageBlockRequest) message.Message {
				go func() {
					time.Sleep(500 * time.Millisecond)
					l.send(message.RawAPS{
						AddrMode: message.AddrModeNetwork, Addr: lampAddr, SrcEndpoint: 1, DstEndpoint: 1,
						Cluster: message.ClusterOTA, Profile: message.ProfileHomeAutomation, Security: 2, Radius: 30,
						Data: answer(0x02, uint8(0), identity(newVersion), uint32(size)),
					})
				}()
				return l.block(r)
			})
		},
		want: everyStack("1s block next", sim.ZBOSS, "block 0", sim.Trident, "block 0"),
	},
	{
		name: "a notify", lasts: 5 * time.Minute,
		device: func(c *sim.DeviceConfig) { c.BlockInterval = time.Second },
		happen: func(l *stackLab) {
			l.meanwhile(func(r message.ImageBlockRequest) message.Message {
				go func() {
					time.Sleep(500 * time.Millisecond)
					m := notify(lampAddr)
					l.send(m)
				}()
				return l.block(r)
			})
		},
		want: everyStack("1s block next",
			sim.Ember, "DR 00/01, 1s block next",
			sim.Telink, "DR 00/01, 1s block next",
			sim.TI, "DR 00/01, 1s block next",
			sim.BitCloud, "0s query, block next",
		),
	},
	{
		name: "a power cut", lasts: 30 * time.Minute,
		happen: func(l *stackLab) {
			l.meanwhile(func(r message.ImageBlockRequest) message.Message {
				l.device.PowerOff()
				time.AfterFunc(time.Minute, l.device.PowerOn)
				return nil
			})
		},
		want: map[sim.Stack]string{
			sim.NoStack:     "1m announce",
			sim.Ember:       "1m announce, 61s..315s block 4096",
			sim.NXP:         "1m announce, 70s block 4096",
			sim.Telink:      "1m announce, 6m..6m5s query, block 5005",
			sim.TI:          "1m announce, 65s query, block 0",
			sim.BitCloud:    "1m announce, 65s query, block 62",
			sim.Exegin:      "1m announce",
			sim.ZBOSS:       "1m announce, 2m query, block 0",
			sim.Trident:     "1m announce, 2m query, block 4096",
			sim.EspressifV2: "1m announce, 2m query, block 0",
		},
	},
	{
		// The dongle has another header, the host says nothing.
		name: "the end is not answered", lasts: 25 * time.Hour,
		happen: func(l *stackLab) {
			l.log.until = "query"
			l.answerWith(func(r message.ImageBlockRequest) message.Message {
				m := l.block(r).(message.ImageBlockResponse)
				if int(m.Offset)+len(m.Data) == size {
					l.send(other())
					l.log.begin(r.Offset)
				}
				return m
			})
		},
		want: map[sim.Stack]string{
			sim.NoStack:     "6 x end success",
			sim.Ember:       "10 x end success, 40s announce, 41s..5m query",
			sim.NXP:         "4 x end success, 12m..30m query",
			sim.Telink:      "2 x end success, 20s announce, 5m20s..5m25s query",
			sim.TI:          "end success",
			sim.BitCloud:    "4 x end success, 40s announce, 45s query",
			sim.Exegin:      "end success",
			sim.ZBOSS:       "end success",
			sim.Trident:     "end success",
			sim.EspressifV2: "end success, 50s..60s query",
		},
	},
}

// everyStack has one text for all stacks but those that are named with another one.
func everyStack(text string, others ...any) map[sim.Stack]string {
	want := map[sim.Stack]string{sim.NoStack: text}
	for _, s := range sim.Stacks() {
		want[s] = text
	}
	for i := 0; i < len(others); i += 2 {
		want[others[i].(sim.Stack)] = others[i+1].(string)
	}
	return want
}

// TestStacks has a device of each stack in each situation.
func TestStacks(t *testing.T) {
	for _, s := range situations {
		for stack, want := range s.want {
			t.Run(s.name+"/"+stack.String(), func(t *testing.T) {
				inStackLab(t, stack, s.device, func(l *stackLab) {
					s.happen(l)
					l.download()
					time.Sleep(s.lasts + 10*time.Minute)
					synctest.Wait()
					if diff := l.log.compare(want); diff != "" {
						t.Error(diff)
					}
				})
			})
		}
	}
}
