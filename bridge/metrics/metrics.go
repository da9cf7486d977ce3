// Package metrics counts what the service does, for Prometheus. The other parts call it through the observer
// interfaces that they declare. It does not know how its registry is served.
package metrics

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// namespace begins the name of every metric of the service.
const namespace = "zigate_ota"

// Metrics holds all metrics, by their subjects. It satisfies zigate.Observer, share.Observer,
// otasvc.Observer, bridge.Observer, mqttclient.Observer and the Observer of the embedded broker. Its methods
// may be called from any goroutine. Those of the block path take no lock and allocate nothing.
type Metrics struct {
	registry *prometheus.Registry

	line      *line
	sharing   *sharing
	serving   *serving
	upgrading *upgrading
	broker    *broker
	embedded  *embedded
	devices   devices
}

// New makes the metrics and a registry that holds them and those of the process and of the Go runtime.
// version and commit are those of the build.
func New(version, commit string) *Metrics {
	m := &Metrics{
		registry:  prometheus.NewRegistry(),
		line:      newLine(),
		sharing:   newSharing(),
		serving:   newServing(),
		upgrading: newUpgrading(),
		broker:    newBroker(),
		embedded:  newEmbedded(),
	}
	info := newGaugeVec("build_info", "Always 1; the labels say which build this is.", "version", "commit",
		"goversion")
	info.WithLabelValues(utf8(version), utf8(commit), runtime.Version()).Set(1)

	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		info, &m.devices,
	)
	m.registry.MustRegister(m.line.collectors()...)
	m.registry.MustRegister(m.sharing.collectors()...)
	m.registry.MustRegister(m.serving.collectors()...)
	m.registry.MustRegister(m.upgrading.collectors()...)
	m.registry.MustRegister(m.broker.collectors()...)
	m.registry.MustRegister(m.embedded.collectors()...)
	return m
}

// Registry returns the registry that is served to Prometheus.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// closedSet has the counter of each member of a closed set, and one for everything else. It does not change,
// so it needs no lock on the block path.
type closedSet[K comparable] struct {
	known map[K]prometheus.Counter
	other prometheus.Counter
}

// resolve makes the counters of a closed set from those of a label.
func resolve[K comparable](vec *prometheus.CounterVec, label func(K) string, set []K) closedSet[K] {
	counters := make(map[K]prometheus.Counter, len(set))
	for _, key := range set {
		counters[key] = vec.WithLabelValues(label(key))
	}
	return closedSet[K]{known: counters, other: vec.WithLabelValues(other)}
}

// of returns the counter of a key.
func (s closedSet[K]) of(key K) prometheus.Counter {
	if c, ok := s.known[key]; ok {
		return c
	}
	return s.other
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
