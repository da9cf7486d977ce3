package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
)

// serving is the metrics of image block requests and their answers.
type serving struct {
	requests *prometheus.CounterVec // result
	byResult closedSet[blocks.Result]
	bytes    prometheus.Counter
	response prometheus.Histogram
}

func newServing() *serving {
	s := &serving{
		requests: newCounterVec("block_requests_total",
			"Image block requests of devices, by how they were answered.", "result"),
		bytes: newCounter("block_bytes_total",
			"Bytes of image data sent to devices, repeated blocks included."),
		response: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "block_response_seconds",
			Help: "Time in seconds from the last byte of an image block request to its answer written to " +
				"the dongle.",
			Buckets: []float64{
				1e-6, 2e-6, 5e-6, 10e-6, 20e-6, 50e-6, 100e-6, 200e-6, 300e-6, 500e-6, 750e-6,
				1e-3, 2e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1,
			},
		}),
	}
	s.byResult = resolve(s.requests, func(r blocks.Result) string { return string(r) }, blockResults())
	return s
}

func (s *serving) collectors() []prometheus.Collector {
	return []prometheus.Collector{s.requests, s.bytes, s.response}
}
