package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/zigate-ota/zigate-ota/bridge/mqttclient"
)

// broker is the metrics of the MQTT connection, and of the requests that come over it or over HTTP.
type broker struct {
	connected      prometheus.Gauge
	outboxMessages prometheus.Gauge
	outboxDropped  *prometheus.CounterVec // reason
	commands       *prometheus.CounterVec // operation, status
}

func newBroker() *broker {
	b := &broker{
		connected: newGauge("mqtt_connected",
			"1 while the MQTT broker is connected and has granted the subscriptions, else 0."),
		outboxMessages: newGauge("mqtt_outbox_messages",
			"Messages that the MQTT broker has not acknowledged yet."),
		outboxDropped: newCounterVec("mqtt_outbox_dropped_total",
			"Events and responses that never reached the MQTT broker, by reason.", "reason"),
		commands: newCounterVec("commands_total",
			"Requests that got their final answer, by operation and status.", "operation", "status"),
	}
	for _, reason := range mqttclient.DropReasons() {
		b.outboxDropped.WithLabelValues(string(reason))
	}
	return b
}

func (b *broker) collectors() []prometheus.Collector {
	return []prometheus.Collector{b.connected, b.outboxMessages, b.outboxDropped, b.commands}
}
