package metrics

import "github.com/prometheus/client_golang/prometheus"

// upgrading is the metrics of upgrades and of the images that they need.
type upgrading struct {
	concurrency      prometheus.Gauge
	finished         *prometheus.CounterVec   // outcome, reason
	duration         *prometheus.HistogramVec // outcome
	deliveryFailures prometheus.Counter
	fetches          *prometheus.CounterVec // outcome
	images           prometheus.Gauge
}

func newUpgrading() *upgrading {
	u := &upgrading{
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
	}
	for state, reasons := range endings() {
		u.duration.WithLabelValues(string(state))
		for _, reason := range reasons {
			u.finished.WithLabelValues(string(state), string(reason))
		}
	}
	for _, outcome := range fetchOutcomes() {
		u.fetches.WithLabelValues(string(outcome))
	}
	return u
}

func (u *upgrading) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		u.concurrency, u.finished, u.duration, u.deliveryFailures, u.fetches, u.images,
	}
}
