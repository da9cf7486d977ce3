package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	embeddedbroker "github.com/zigate-ota/zigate-ota/bridge/broker"
)

var _ embeddedbroker.Observer = (*Metrics)(nil)

// embedded is the metrics of the embedded MQTT broker.
type embedded struct {
	cut     prometheus.Counter
	dropped *prometheus.CounterVec // reason
}

func newEmbedded() *embedded {
	e := &embedded{
		cut: newCounter("broker_clients_cut_total",
			"Clients of the embedded MQTT broker that were cut off because they did not read."),
		dropped: newCounterVec("broker_dropped_total",
			"Messages that the embedded MQTT broker dropped for want of room, by reason.", "reason"),
	}
	for _, reason := range embeddedbroker.DropReasons() {
		e.dropped.WithLabelValues(string(reason))
	}
	return e
}

func (e *embedded) collectors() []prometheus.Collector {
	return []prometheus.Collector{e.cut, e.dropped}
}

// BrokerClientCut counts a client of the embedded MQTT broker that was cut off because it did not read.
func (m *Metrics) BrokerClientCut() { m.embedded.cut.Inc() }

// BrokerDropped counts n messages that the embedded MQTT broker dropped; reason is one of its DropReasons.
func (m *Metrics) BrokerDropped(reason embeddedbroker.DropReason, n int) {
	m.embedded.dropped.WithLabelValues(among(embeddedbroker.DropReasons(), reason)).Add(float64(max(n, 0)))
}
