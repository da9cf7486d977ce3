package metrics

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// device holds what the series of one device are made of.
type device struct {
	euid    string
	name    string
	version string        // empty while it is not known
	state   upgrade.State // empty before the first upgrade
	ratio   float64       // part of the image that the device has, 0 to 1
	rate    float64       // bytes per second
}

// devices makes the series of the devices from their newest records at each scrape. So a series ends by
// itself when its device, name, version or upgrade is gone.
type devices struct {
	mu     sync.Mutex
	byEUID map[message.IEEE]device
}

func (c *devices) set(r otasvc.DeviceRecord) {
	d := device{euid: r.EUID.String(), name: utf8(r.Name)}
	if r.CurrentVersion != nil {
		d.version = fmt.Sprintf("0x%08x", *r.CurrentVersion)
	}
	if u := r.Upgrade; u != nil {
		d.state = u.State
		d.rate = float64(u.BytesPerSecond)
		if u.Size > 0 {
			d.ratio = min(float64(u.Offset)/float64(u.Size), 1)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byEUID == nil {
		c.byEUID = make(map[message.IEEE]device)
	}
	c.byEUID[r.EUID] = d
}

func (c *devices) remove(euid message.IEEE) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byEUID, euid)
}

// all returns a copy, so that a slow scrape does not block the service.
func (c *devices) all() []device {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]device, 0, len(c.byEUID))
	for _, d := range c.byEUID {
		list = append(list, d)
	}
	return list
}

// describe makes the description of a metric of the service.
func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

func upgradesDesc() *prometheus.Desc {
	return describe("upgrades",
		"Devices by the state of their latest upgrade; final states are told until the next one.", "state")
}

func progressDesc() *prometheus.Desc {
	return describe("device_progress_ratio",
		"Part of the image that the device has, 0 to 1, while its upgrade runs.", "euid", "name")
}

func rateDesc() *prometheus.Desc {
	return describe("device_bytes_per_second", "Bytes a second that the device has downloaded since this "+
		"attempt began; 0 while it does not download.", "euid", "name")
}

func versionDesc() *prometheus.Desc {
	return describe("device_current_version", "Always 1; the label version is the ZCL file version that "+
		"the device runs.", "euid", "name", "version")
}

// Describe sends the descriptions of the series; it is part of prometheus.Collector.
func (c *devices) Describe(ch chan<- *prometheus.Desc) {
	ch <- upgradesDesc()
	ch <- progressDesc()
	ch <- rateDesc()
	ch <- versionDesc()
}

// Collect sends the series as they are now; it is part of prometheus.Collector.
func (c *devices) Collect(ch chan<- prometheus.Metric) {
	progress := progressDesc()
	rate := rateDesc()
	version := versionDesc()
	inState := make(map[upgrade.State]int)
	for _, d := range c.all() {
		inState[d.state]++
		if running(d.state) {
			ch <- prometheus.MustNewConstMetric(progress, prometheus.GaugeValue, d.ratio, d.euid, d.name)
			ch <- prometheus.MustNewConstMetric(rate, prometheus.GaugeValue, d.rate, d.euid, d.name)
		}
		if d.version != "" {
			ch <- prometheus.MustNewConstMetric(version, prometheus.GaugeValue, 1, d.euid, d.name, d.version)
		}
	}
	upgrades := upgradesDesc()
	for _, s := range states() {
		ch <- prometheus.MustNewConstMetric(upgrades, prometheus.GaugeValue, float64(inState[s]), string(s))
	}
}

// buffers holds the dongle's last report of its buffers. Not every firmware reports them. There is no series
// without a report, and none while the dongle is disconnected.
type buffers struct {
	// report is 0 without a report. Else it has the bit buffersReported, the number of NPDUs in the second
	// lowest byte and that of APDUs in the lowest.
	report atomic.Uint32
}

const buffersReported = 1 << 16

func (c *buffers) set(npdu, apdu uint8) {
	c.report.Store(buffersReported | uint32(npdu)<<8 | uint32(apdu))
}
func (c *buffers) forget() { c.report.Store(0) }

func buffersDesc() *prometheus.Desc {
	return describe("dongle_buffers_in_use", "Buffers that the dongle uses: "+
		"npdu for packets of the network layer, apdu for those of the application layer.", "kind")
}

// Describe sends the description of the series; it is part of prometheus.Collector.
func (c *buffers) Describe(ch chan<- *prometheus.Desc) { ch <- buffersDesc() }

// Collect sends the series, where there are any; it is part of prometheus.Collector.
func (c *buffers) Collect(ch chan<- prometheus.Metric) {
	report := c.report.Load()
	if report&buffersReported == 0 {
		return
	}
	desc := buffersDesc()
	ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(uint8(report>>8)), "npdu")
	ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(uint8(report)), "apdu")
}

// utf8 makes a label value of s. Label values must be valid UTF-8, which texts of devices need not be.
func utf8(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
