package metrics

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// device is what is told of one device, ready to be read often.
type device struct {
	euid    string
	name    string
	version string       // empty: not known
	state   otasvc.State // empty: never had an upgrade
	ratio   float64      // of the image that the device has, 0 to 1
	rate    float64      // bytes a second
}

// devices makes the series of the devices from their newest records at each scrape. A series whose device,
// name, version or upgrade is not there any more is not made again, so none has to be taken back.
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

// all is copied, so that a slow scrape never holds up who tells of a change.
func (c *devices) all() []device {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]device, 0, len(c.byEUID))
	for _, d := range c.byEUID {
		list = append(list, d)
	}
	return list
}

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

// Describe is part of prometheus.Collector.
func (c *devices) Describe(ch chan<- *prometheus.Desc) {
	ch <- upgradesDesc()
	ch <- progressDesc()
	ch <- rateDesc()
	ch <- versionDesc()
}

// Collect is part of prometheus.Collector.
func (c *devices) Collect(ch chan<- prometheus.Metric) {
	progress := progressDesc()
	rate := rateDesc()
	version := versionDesc()
	inState := make(map[otasvc.State]int)
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

// buffers is what the dongle last said of its buffers. Not every firmware says anything: there is no series
// then, as there is none while the dongle is away.
type buffers struct {
	said atomic.Uint32 // 0: nothing; else buffersSaid, NPDUs in the second byte, APDUs in the lowest
}

const buffersSaid = 1 << 16

func (c *buffers) set(npdu, apdu uint8) { c.said.Store(buffersSaid | uint32(npdu)<<8 | uint32(apdu)) }
func (c *buffers) forget()              { c.said.Store(0) }

func buffersDesc() *prometheus.Desc {
	return describe("dongle_buffers_in_use", "Buffers that the dongle uses: "+
		"npdu for packets of the network layer, apdu for those of the application layer.", "kind")
}

// Describe is part of prometheus.Collector.
func (c *buffers) Describe(ch chan<- *prometheus.Desc) { ch <- buffersDesc() }

// Collect is part of prometheus.Collector.
func (c *buffers) Collect(ch chan<- prometheus.Metric) {
	said := c.said.Load()
	if said&buffersSaid == 0 {
		return
	}
	desc := buffersDesc()
	ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(uint8(said>>8)), "npdu")
	ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(uint8(said)), "apdu")
}

// utf8 is s as a label value, which must be valid UTF-8: what a device says of itself need not be.
func utf8(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
