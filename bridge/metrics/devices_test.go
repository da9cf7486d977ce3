package metrics_test

import (
	"testing"

	"github.com/zigate-ota/zigate-ota/bridge/metrics"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

const (
	progressOfLamp = prefix + `device_progress_ratio{euid="0x00158d0001020304",name="lamp"}`
	rateOfLamp     = prefix + `device_bytes_per_second{euid="0x00158d0001020304",name="lamp"}`
	versionOfLamp  = prefix + `device_current_version{euid="0x00158d0001020304",name="lamp",version="0x00000104"}`
)

// TestDeviceSeries: each step begins with a device whose download runs, and names all that
// is left afterwards.
func TestDeviceSeries(t *testing.T) {
	changed := func(state upgrade.State, change func(*otasvc.DeviceRecord)) func(*metrics.Metrics) {
		return func(m *metrics.Metrics) {
			d := record(state)
			if change != nil {
				change(&d)
			}
			m.DeviceChanged(d)
		}
	}
	idle := map[string]float64{versionOfLamp: 1}
	during := map[string]float64{versionOfLamp: 1, progressOfLamp: 0.25, rateOfLamp: 120}
	tests := []struct {
		name string
		step func(*metrics.Metrics)
		want map[string]float64
	}{
		{"nothing", func(*metrics.Metrics) {}, during},
		{"scheduled", changed(upgrade.Scheduled, nil), idle},
		{"queued", changed(upgrade.Queued, nil), idle},
		{"notified", changed(upgrade.Notified, nil), during},
		{"downloading", changed(upgrade.Downloading, nil), during},
		{"paused", changed(upgrade.Paused, nil), during},
		{"downloaded", changed(upgrade.Downloaded, nil), idle},
		{"applying", changed(upgrade.Applying, nil), during},
		{"succeeded", changed(upgrade.Succeeded, nil), idle},
		{"failed", changed(upgrade.Failed, nil), idle},
		{"cancelled", changed(upgrade.Cancelled, nil), idle},
		{"no upgrade any more", changed("", nil), idle},
		{"version not known any more", changed("", func(d *otasvc.DeviceRecord) { d.CurrentVersion = nil }), map[string]float64{}},
		{"another version", changed(upgrade.Succeeded, func(d *otasvc.DeviceRecord) { *d.CurrentVersion = 0xFFFFFFFE }), map[string]float64{
			prefix + `device_current_version{euid="0x00158d0001020304",name="lamp",version="0xfffffffe"}`: 1,
		}},
		{"another name", changed(upgrade.Downloading, func(d *otasvc.DeviceRecord) { d.Name = "lantern" }), map[string]float64{
			prefix + `device_progress_ratio{euid="0x00158d0001020304",name="lantern"}`:                       0.25,
			prefix + `device_bytes_per_second{euid="0x00158d0001020304",name="lantern"}`:                     120,
			prefix + `device_current_version{euid="0x00158d0001020304",name="lantern",version="0x00000104"}`: 1,
		}},
		{"a name that is no UTF-8", changed("", func(d *otasvc.DeviceRecord) { d.Name = "la\xffmp\n\"" }), map[string]float64{
			prefix + `device_current_version{euid="0x00158d0001020304",name="la�mp\n\"",version="0x00000104"}`: 1,
		}},
		{"whole image", changed(upgrade.Applying, func(d *otasvc.DeviceRecord) { d.Upgrade.Offset, d.Upgrade.BytesPerSecond = 1000, 0 }), map[string]float64{
			versionOfLamp: 1, progressOfLamp: 1, rateOfLamp: 0,
		}},
		{"more than the whole image", changed(upgrade.Applying, func(d *otasvc.DeviceRecord) { d.Upgrade.Offset = 1001 }), map[string]float64{
			versionOfLamp: 1, progressOfLamp: 1, rateOfLamp: 120,
		}},
		{"size not known", changed(upgrade.Notified, func(d *otasvc.DeviceRecord) { d.Upgrade.Size = 0 }), map[string]float64{
			versionOfLamp: 1, progressOfLamp: 0, rateOfLamp: 120,
		}},
		{"gone", func(m *metrics.Metrics) { m.DeviceGone(lamp) }, map[string]float64{}},
		{"another is gone", func(m *metrics.Metrics) { m.DeviceGone(lamp + 1) }, during},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := metrics.New("", "")
			m.DeviceChanged(record(upgrade.Downloading))
			tt.step(m)
			diff(t, gather(t, m, prefix+"device_"), tt.want)
		})
	}
}

// TestUpgradesByState counts each device once, in the state that it was last told in.
func TestUpgradesByState(t *testing.T) {
	m := metrics.New("", "")
	tell := func(euid message.IEEE, state upgrade.State) {
		d := record(state)
		d.EUID = euid
		m.DeviceChanged(d)
	}
	check := func(want map[string]float64) {
		t.Helper()
		diff(t, nonzero(gather(t, m, prefix+"upgrades{")), want)
	}
	for n, state := range []upgrade.State{upgrade.Queued, upgrade.Queued, upgrade.Downloading, upgrade.Downloaded, ""} {
		tell(message.IEEE(n+1), state)
	}
	check(map[string]float64{
		prefix + `upgrades{state="queued"}`: 2, prefix + `upgrades{state="downloading"}`: 1, prefix + `upgrades{state="downloaded"}`: 1,
	})
	tell(1, upgrade.Downloading)
	tell(3, upgrade.Succeeded)
	m.DeviceGone(2)
	check(map[string]float64{
		prefix + `upgrades{state="downloading"}`: 1, prefix + `upgrades{state="downloaded"}`: 1, prefix + `upgrades{state="succeeded"}`: 1,
	})
}

// TestBuffers: a number that nobody says any more is not told either.
func TestBuffers(t *testing.T) {
	m := metrics.New("", "")
	const npdu, apdu = prefix + `dongle_buffers_in_use{kind="npdu"}`, prefix + `dongle_buffers_in_use{kind="apdu"}`
	check := func(want map[string]float64) {
		t.Helper()
		diff(t, gather(t, m, prefix+"dongle_buffers_in_use"), want)
	}
	m.Connected(true)
	check(map[string]float64{})
	m.Buffers(0, 0)
	check(map[string]float64{npdu: 0, apdu: 0})
	m.Buffers(255, 9)
	check(map[string]float64{npdu: 255, apdu: 9})
	m.Connected(false)
	check(map[string]float64{})
}
