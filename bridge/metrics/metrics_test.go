package metrics_test

import (
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/zigate-ota/zigate-ota/bridge/metrics"
	"github.com/zigate-ota/zigate-ota/bridge/mqttclient"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

const prefix = "zigate_ota_"

var lamp = message.IEEE(0x00158d0001020304)

// full is Metrics that has been told everything once, so that every series there can be exists.
func full() *metrics.Metrics {
	m := metrics.New("1.2.3", "abcdef0")
	m.FrameSent(message.ImageBlockResponse{}.Type())
	m.FrameReceived(message.TypeImageBlockRequest)
	m.FrameError(zigate.ReasonChecksum)
	m.Connected(true)
	m.Reconnected()
	m.Buffers(3, 2)
	m.BlockAnswered(80 * time.Microsecond)
	m.BlockRequest(blocks.Served, 64)
	m.UpgradeFinished(upgrade.Succeeded, upgrade.NoReason, time.Hour)
	m.DownloadsAllowed(4)
	m.DongleRefuses(true)
	m.DeliveryFailed()
	m.ImageFetched(otasvc.Success)
	m.Command("upgrade", string(otasvc.Success))
	m.DeviceChanged(record(upgrade.Downloading))
	m.InfoChanged(otasvc.InfoRecord{Images: 4, Devices: 7})
	m.BrokerConnected(true)
	m.OutboxMessages(5)
	m.OutboxDropped(string(mqttclient.DropOverflow), 2)
	return m
}

// record is a device with an upgrade in the given state; none where that is empty.
func record(state upgrade.State) otasvc.DeviceRecord {
	d := otasvc.DeviceRecord{EUID: lamp, Name: "lamp", CurrentVersion: new(uint32(0x00000104))}
	if state != "" {
		d.Upgrade = &upgrade.Record{State: state, Offset: 250, Size: 1000, Progress: 25, BytesPerSecond: 120}
	}
	return d
}

// gather is what a scrape sees of the series, like name{label="value"}, that begin with the prefix: their
// values, and of histograms the number of observations.
func gather(t *testing.T, m *metrics.Metrics, prefix string) map[string]float64 {
	t.Helper()
	series := make(map[string]float64)
	for _, f := range families(t, m) {
		for _, s := range f.GetMetric() {
			var labels []string
			for _, l := range s.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			name := f.GetName() + "{" + strings.Join(labels, ",") + "}"
			if !strings.HasPrefix(name, prefix) {
				continue
			}
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				series[name] = s.GetCounter().GetValue()
			case dto.MetricType_GAUGE:
				series[name] = s.GetGauge().GetValue()
			case dto.MetricType_HISTOGRAM:
				series[name] = float64(s.GetHistogram().GetSampleCount())
			default:
				t.Errorf("%s is a %s", f.GetName(), f.GetType())
			}
		}
	}
	return series
}

func families(t *testing.T, m *metrics.Metrics) []*dto.MetricFamily {
	t.Helper()
	list, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// nonzero drops what has not happened.
func nonzero(series map[string]float64) map[string]float64 {
	maps.DeleteFunc(series, func(_ string, v float64) bool { return v == 0 })
	return series
}

func diff(t *testing.T, got, want map[string]float64) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("series (-want +got):\n%s", d)
	}
}

// TestNames: dashboards and alerts are written against names, kinds and labels.
func TestNames(t *testing.T) {
	want := []string{
		"block_bytes_total COUNTER",
		"block_requests_total COUNTER result",
		"block_response_seconds HISTOGRAM",
		"broker_clients_cut_total COUNTER",
		"broker_dropped_total COUNTER reason",
		"build_info GAUGE commit goversion version",
		"commands_total COUNTER operation status",
		"delivery_failures_total COUNTER",
		"device_bytes_per_second GAUGE euid name",
		"device_current_version GAUGE euid name version",
		"device_progress_ratio GAUGE euid name",
		"dongle_buffers_in_use GAUGE kind",
		"dongle_refuses_blocks GAUGE",
		"dongle_up GAUGE",
		"image_fetches_total COUNTER outcome",
		"images GAUGE",
		"mqtt_connected GAUGE",
		"mqtt_outbox_dropped_total COUNTER reason",
		"mqtt_outbox_messages GAUGE",
		"serial_frame_errors_total COUNTER reason",
		"serial_frames_total COUNTER direction type",
		"serial_reconnects_total COUNTER",
		"share_clients GAUGE",
		"share_frames_total COUNTER direction",
		"share_reports_total COUNTER what",
		"upgrade_concurrency GAUGE",
		"upgrade_duration_seconds HISTOGRAM outcome",
		"upgrades GAUGE state",
		"upgrades_finished_total COUNTER outcome reason",
	}
	var got []string
	others := make(map[string]bool)
	for _, f := range families(t, full()) {
		name, own := strings.CutPrefix(f.GetName(), prefix)
		if !own {
			first, _, _ := strings.Cut(f.GetName(), "_")
			others[first] = true
			continue
		}
		line := name + " " + f.GetType().String()
		for _, l := range f.GetMetric()[0].GetLabel() {
			line += " " + l.GetName()
		}
		got = append(got, line)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("metrics (-want +got):\n%s", d)
	}
	wantOthers := map[string]bool{"go": true}
	if runtime.GOOS == "linux" {
		wantOthers["process"] = true
	}
	if d := cmp.Diff(wantOthers, others); d != "" {
		t.Errorf("other metrics (-want +got):\n%s", d)
	}
}

func TestLint(t *testing.T) {
	problems, err := testutil.GatherAndLint(full().Registry())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestSeries: what is told shows up where it belongs, and nowhere else.
func TestSeries(t *testing.T) {
	got := nonzero(gather(t, full(), prefix))
	diff(t, got, map[string]float64{
		prefix + `block_bytes_total{}`:                   64,
		prefix + `block_requests_total{result="served"}`: 1,
		prefix + `block_response_seconds{}`:              1,
		prefix + `build_info{commit="abcdef0",goversion="` + runtime.Version() + `",version="1.2.3"}`: 1,
		prefix + `commands_total{operation="upgrade",status="success"}`:                               1,
		prefix + `delivery_failures_total{}`:                                                          1,
		prefix + `device_bytes_per_second{euid="0x00158d0001020304",name="lamp"}`:                     120,
		prefix + `device_current_version{euid="0x00158d0001020304",name="lamp",version="0x00000104"}`: 1,
		prefix + `device_progress_ratio{euid="0x00158d0001020304",name="lamp"}`:                       0.25,
		prefix + `dongle_buffers_in_use{kind="apdu"}`:                                                 2,
		prefix + `dongle_buffers_in_use{kind="npdu"}`:                                                 3,
		prefix + `dongle_refuses_blocks{}`:                                                            1,
		prefix + `dongle_up{}`:                                                                        1,
		prefix + `image_fetches_total{outcome="success"}`:                                             1,
		prefix + `images{}`:                                               4,
		prefix + `mqtt_connected{}`:                                       1,
		prefix + `mqtt_outbox_dropped_total{reason="overflow"}`:           2,
		prefix + `mqtt_outbox_messages{}`:                                 5,
		prefix + `serial_frame_errors_total{reason="checksum"}`:           1,
		prefix + `serial_frames_total{direction="rx",type="0x8501"}`:      1,
		prefix + `serial_frames_total{direction="tx",type="0x0502"}`:      1,
		"zigate_ota_upgrade_concurrency{}":                                4,
		prefix + `serial_reconnects_total{}`:                              1,
		prefix + `upgrade_duration_seconds{outcome="succeeded"}`:          1,
		prefix + `upgrades_finished_total{outcome="succeeded",reason=""}`: 1,
		prefix + `upgrades{state="downloading"}`:                          1,
	})
}

// TestBeginsAtZero: an increase from nothing to 1 is none to Prometheus, so what is rare and
// matters is there at once.
func TestBeginsAtZero(t *testing.T) {
	got := gather(t, metrics.New("", ""), prefix)
	for _, series := range []string{
		`upgrades_finished_total{outcome="failed",reason="stalled"}`,
		`upgrades_finished_total{outcome="cancelled",reason="cancelled"}`,
		`upgrades_finished_total{outcome="succeeded",reason=""}`,
		`upgrade_duration_seconds{outcome="failed"}`,
		`image_fetches_total{outcome="imageAccessFailed"}`,
		`serial_frame_errors_total{reason="checksum"}`,
		`serial_frames_total{direction="rx",type="0x8501"}`,
		`serial_frames_total{direction="rx",type="other"}`,
		`serial_frames_total{direction="tx",type="0x0502"}`,
		`mqtt_outbox_dropped_total{reason="overflow"}`,
		`block_requests_total{result="wrongImage"}`,
		`upgrades{state="queued"}`,
		`dongle_up{}`, `dongle_refuses_blocks{}`, `mqtt_connected{}`, `images{}`,
	} {
		if v, there := got[prefix+series]; !there || v != 0 {
			t.Errorf("%s: %v, there: %v", series, v, there)
		}
	}
	for series := range got {
		for _, p := range []string{"device_", "dongle_buffers"} {
			if strings.HasPrefix(series, prefix+p) {
				t.Errorf("%s: nothing is known of it yet", series)
			}
		}
	}
}

func TestFrameTypes(t *testing.T) {
	m := metrics.New("", "")
	known := 0
	for n := range 1 << 16 {
		m.FrameReceived(message.MsgType(n))
		m.FrameSent(message.MsgType(n))
		if message.MsgType(n).Known() {
			known++
		}
	}
	got := gather(t, m, prefix+"serial_frames_total")
	if len(got) != known+2 {
		t.Errorf("%d series for %d known types", len(got), known)
	}
	sum := 0.0
	for series, n := range got {
		if n != 1 && !strings.Contains(series, `"other"`) {
			t.Errorf("%s = %v", series, n)
		}
		sum += n
	}
	if sum != 2<<16 {
		t.Errorf("%v frames counted", sum)
	}
	for _, series := range []string{
		`{direction="rx",type="0x004d"}`, `{direction="rx",type="0x0302"}`, `{direction="rx",type="0x9999"}`, `{direction="tx",type="0x0010"}`,
	} {
		if got[prefix+"serial_frames_total"+series] != 1 {
			t.Errorf("%s was not counted", series)
		}
	}
}

func TestBuckets(t *testing.T) {
	tests := []struct {
		name        string
		first, last float64
		observe     func(*metrics.Metrics)
		below       float64 // the smallest bound that holds the observation
	}{
		{"block_response_seconds", 1e-6, 1, func(m *metrics.Metrics) { m.BlockAnswered(85 * time.Microsecond) }, 100e-6},
		{"upgrade_duration_seconds", 60, 12 * 3600, func(m *metrics.Metrics) {
			m.UpgradeFinished(upgrade.Failed, upgrade.ReasonStalled, 50*time.Minute)
		}, 3600},
		{"upgrade_duration_seconds", 60, 12 * 3600, func(m *metrics.Metrics) {
			m.UpgradeFinished(upgrade.Failed, upgrade.ReasonStalled, -time.Hour)
		}, 60},
	}
	for _, tt := range tests {
		m := metrics.New("", "")
		tt.observe(m)
		for _, f := range families(t, m) {
			if f.GetName() != prefix+tt.name {
				continue
			}
			for _, s := range f.GetMetric() {
				buckets := s.GetHistogram().GetBucket()
				if first, last := buckets[0].GetUpperBound(), buckets[len(buckets)-1].GetUpperBound(); first != tt.first || last != tt.last {
					t.Errorf("%s: buckets from %v to %v", tt.name, first, last)
				}
				if s.GetHistogram().GetSampleCount() == 0 {
					continue
				}
				if sum := s.GetHistogram().GetSampleSum(); sum < 0 {
					t.Errorf("%s: sum %v", tt.name, sum)
				}
				below := math.Inf(1)
				for _, b := range slices.Backward(buckets) {
					if b.GetCumulativeCount() > 0 {
						below = b.GetUpperBound()
					}
				}
				if below != tt.below {
					t.Errorf("%s: falls below %v, want %v", tt.name, below, tt.below)
				}
			}
		}
	}
}

// TestBlockPathAllocatesNothing covers all that is called for each frame.
func TestBlockPathAllocatesNothing(t *testing.T) {
	m := metrics.New("", "")
	for name, f := range map[string]func(){
		"FrameReceived":         func() { m.FrameReceived(message.TypeImageBlockRequest) },
		"FrameReceived unknown": func() { m.FrameReceived(0x8999) },
		"FrameSent":             func() { m.FrameSent(message.ImageBlockResponse{}.Type()) },
		"FrameSent unknown":     func() { m.FrameSent(0x0999) },
		"BlockRequest":          func() { m.BlockRequest(blocks.Served, 64) },
		"BlockRequest unknown":  func() { m.BlockRequest("new", 0) },
		"BlockAnswered":         func() { m.BlockAnswered(50 * time.Microsecond) },
		"Buffers":               func() { m.Buffers(1, 2) },
	} {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

// TestWhileScraped: everything may be told while Prometheus reads; the race detector looks on.
func TestWhileScraped(t *testing.T) {
	m := full()
	var tellers sync.WaitGroup
	for i := range 4 {
		tellers.Go(func() {
			for n := range 100 {
				d := record(upgrade.Downloading)
				d.EUID += message.IEEE(n % 7)
				d.Name = fmt.Sprint("lamp ", i, n)
				m.DeviceChanged(d)
				m.FrameReceived(message.TypeImageBlockRequest)
				m.BlockRequest(blocks.Served, 64)
				m.BlockAnswered(time.Microsecond)
				m.Buffers(uint8(n), 1)
				m.Connected(n%2 == 0)
				m.DeviceGone(d.EUID + 1)
			}
		})
	}
	for range 20 {
		families(t, m)
	}
	tellers.Wait()
	if got := gather(t, m, prefix+"block_bytes_total")[prefix+"block_bytes_total{}"]; got != 401*64 {
		t.Errorf("%v bytes counted", got)
	}
}
