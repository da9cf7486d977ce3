package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/zigate-ota/zigate-ota/zigate/share"
)

// sharing is the metrics of the programs that share the dongle.
type sharing struct {
	clients     prometheus.Gauge
	frames      *prometheus.CounterVec // direction
	fromClients prometheus.Counter
	toClients   prometheus.Counter
	reports     *prometheus.CounterVec // what
}

func newSharing() *sharing {
	s := &sharing{
		clients: newGauge("share_clients",
			"Programs that are connected to share the dongle, the pseudo-terminal not among them."),
		frames: newCounterVec("share_frames_total",
			"Frames of programs that share the dongle, by direction (rx: from a program, tx: to one).",
			"direction"),
		reports: newCounterVec("share_reports_total",
			"What programs that share the dongle did and their user should know, by what it was.", "what"),
	}
	s.fromClients = s.frames.WithLabelValues(received)
	s.toClients = s.frames.WithLabelValues(sent)
	for _, what := range share.Reports() {
		s.reports.WithLabelValues(string(what))
	}
	return s
}

func (s *sharing) collectors() []prometheus.Collector {
	return []prometheus.Collector{s.clients, s.frames, s.reports}
}
