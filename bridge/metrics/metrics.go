// Package metrics counts what the service does, for Prometheus. The other parts call it through the observer
// interfaces that they declare. It does not know how its registry is served.
package metrics

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/zigate-ota/zigate-ota/bridge/broker"
	"github.com/zigate-ota/zigate-ota/bridge/mqttclient"
	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/share"
)

// namespace begins the name of every metric of the service.
const namespace = "zigate_ota"

// Metrics holds all metrics. It satisfies zigate.Observer, share.Observer, otasvc.Observer, bridge.Observer,
// broker.Observer and mqttclient.Observer. Its methods may be called from any goroutine. Those of the block path take no lock
// and allocate nothing.
type Metrics struct {
	registry *prometheus.Registry

	// These are used on the block path. The maps do not change after New, so they need no lock.
	received      map[message.MsgType]prometheus.Counter
	receivedOther prometheus.Counter
	sent          map[message.MsgType]prometheus.Counter
	sentOther     prometheus.Counter
	blocks        map[blocks.Result]prometheus.Counter
	blocksOther   prometheus.Counter
	blockBytes    prometheus.Counter
	blockResponse prometheus.Histogram

	frameErrors *prometheus.CounterVec // reason
	reconnects  prometheus.Counter
	dongleUp    prometheus.Gauge
	buffers     buffers

	concurrency      prometheus.Gauge
	finished         *prometheus.CounterVec   // outcome, reason
	duration         *prometheus.HistogramVec // outcome
	deliveryFailures prometheus.Counter
	fetches          *prometheus.CounterVec // outcome
	images           prometheus.Gauge

	mqttConnected  prometheus.Gauge
	outboxMessages prometheus.Gauge
	outboxDropped  *prometheus.CounterVec // reason
	commands       *prometheus.CounterVec // operation, status

	brokerCut     prometheus.Counter
	brokerDropped *prometheus.CounterVec // reason

	shareClients prometheus.Gauge
	fromClients  prometheus.Counter
	toClients    prometheus.Counter
	shareReports *prometheus.CounterVec // what

	devices devices
}

// New makes the metrics and a registry that holds them and those of the process and of the Go runtime.
// version and commit are those of the build.
func New(version, commit string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),

		blockBytes: newCounter("block_bytes_total",
			"Bytes of image data sent to devices, repeated blocks included."),
		blockResponse: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "block_response_seconds",
			Help: "Time in seconds from the last byte of an image block request to its answer written to " +
				"the dongle.",
			Buckets: []float64{
				1e-6, 2e-6, 5e-6, 10e-6, 20e-6, 50e-6, 100e-6, 200e-6, 300e-6, 500e-6, 750e-6,
				1e-3, 2e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1,
			},
		}),

		frameErrors: newCounterVec("serial_frame_errors_total",
			"Received bytes that are no valid frame, by reason.", "reason"),
		reconnects: newCounter("serial_reconnects_total", "Connections to the dongle after the first one."),
		dongleUp: newGauge("dongle_up",
			"1 while the dongle is connected and has completed its handshake, else 0."),

		concurrency: newGauge("upgrade_concurrency", "Devices that may download at once now."),
		finished: newCounterVec("upgrades_finished_total",
			"Upgrades that reached a final state, by state and by why they did not succeed.", "outcome",
			"reason"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "upgrade_duration_seconds",
			Help: "Time in seconds from the queueing of an upgrade to its final state, by that state.",
			Buckets: []float64{
				60, 120, 300, 600, 900, 1200, 1800, 2700, 3600, 5400, 7200, 10800, 14400, 21600, 28800, 43200,
			},
		}, []string{"outcome"}),
		deliveryFailures: newCounter("delivery_failures_total",
			"Frames that the dongle could not deliver to their device."),
		fetches: newCounterVec("image_fetches_total", "Images fetched, by outcome.", "outcome"),
		images:  newGauge("images", "Registered images."),

		mqttConnected: newGauge("mqtt_connected",
			"1 while the MQTT broker is connected and has granted the subscriptions, else 0."),
		outboxMessages: newGauge("mqtt_outbox_messages",
			"Messages that the MQTT broker has not acknowledged yet."),
		outboxDropped: newCounterVec("mqtt_outbox_dropped_total",
			"Events and responses that never reached the MQTT broker, by reason.", "reason"),
		brokerCut: newCounter("broker_clients_cut_total",
			"Clients of the embedded MQTT broker that were cut off because they did not read."),
		brokerDropped: newCounterVec("broker_dropped_total",
			"Messages that the embedded MQTT broker dropped for want of room, by reason.", "reason"),
		shareClients: newGauge("share_clients",
			"Programs that are connected to share the dongle, the pseudo-terminal not among them."),
		shareReports: newCounterVec("share_reports_total",
			"What programs that share the dongle did and their user should know, by what it was.", "what"),
		commands: newCounterVec("commands_total",
			"Requests that got their final answer, by operation and status.", "operation", "status"),
	}

	frames := newCounterVec("serial_frames_total",
		"Good frames exchanged with the dongle, by direction (rx: from the dongle, tx: "+
			"to it) and message type.", "direction", "type")
	fromDongle, toDongle := frameTypes()
	m.received, m.receivedOther = resolve(frames.MustCurryWith(prometheus.Labels{"direction": received}),
		message.MsgType.String, fromDongle)
	m.sent, m.sentOther = resolve(frames.MustCurryWith(prometheus.Labels{"direction": sent}),
		message.MsgType.String, toDongle)

	clientFrames := newCounterVec("share_frames_total",
		"Frames of programs that share the dongle, by direction (rx: from a program, tx: to one).",
		"direction")
	m.fromClients = clientFrames.WithLabelValues(received)
	m.toClients = clientFrames.WithLabelValues(sent)

	requests := newCounterVec("block_requests_total",
		"Image block requests of devices, by how they were answered.", "result")
	m.blocks, m.blocksOther = resolve(requests, func(r blocks.Result) string {
		return string(r)
	}, blockResults())

	m.beginAtZero()

	info := newGaugeVec("build_info", "Always 1; the labels say which build this is.", "version", "commit",
		"goversion")
	info.WithLabelValues(utf8(version), utf8(commit), runtime.Version()).Set(1)

	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		info, frames, requests, m.blockBytes, m.blockResponse, m.frameErrors, m.reconnects, m.dongleUp,
		&m.buffers,
		m.concurrency, m.finished, m.duration, m.deliveryFailures, m.fetches, m.images,
		m.mqttConnected, m.outboxMessages, m.outboxDropped, m.commands, m.brokerCut, m.brokerDropped,
		m.shareClients, clientFrames,
		m.shareReports, &m.devices,
	)
	return m
}

// Registry returns the registry that is served to Prometheus.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// resolve returns the counter of each member of a closed set, and the one for everything else.
func resolve[K comparable](
	vec *prometheus.CounterVec, label func(K) string, set []K,
) (map[K]prometheus.Counter, prometheus.Counter) {
	counters := make(map[K]prometheus.Counter, len(set))
	for _, key := range set {
		counters[key] = vec.WithLabelValues(label(key))
	}
	return counters, vec.WithLabelValues(other)
}

// beginAtZero makes the series of rare events, so that the first event counts as an increase.
func (m *Metrics) beginAtZero() {
	for _, reason := range zigate.FrameErrorReasons() {
		m.frameErrors.WithLabelValues(reason)
	}
	for state, reasons := range endings() {
		m.duration.WithLabelValues(string(state))
		for _, reason := range reasons {
			m.finished.WithLabelValues(string(state), string(reason))
		}
	}
	for _, outcome := range fetchOutcomes() {
		m.fetches.WithLabelValues(string(outcome))
	}
	for _, what := range share.Reports() {
		m.shareReports.WithLabelValues(string(what))
	}
	for _, reason := range mqttclient.DropReasons() {
		m.outboxDropped.WithLabelValues(string(reason))
	}
	for _, reason := range broker.DropReasons() {
		m.brokerDropped.WithLabelValues(string(reason))
	}
}

func newCounter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
}

func newCounterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: name, Help: help,
	}, labels)
}

func newGauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
}

func newGaugeVec(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
}
