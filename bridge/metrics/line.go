package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// line is the metrics of the serial line and of the dongle at its end.
type line struct {
	frames      *prometheus.CounterVec // direction, type
	received    closedSet[message.MsgType]
	sent        closedSet[message.MsgType]
	frameErrors *prometheus.CounterVec // reason
	reconnects  prometheus.Counter
	dongleUp    prometheus.Gauge
	// dongleRefuses is 1 while the dongle is connected and takes no blocks.
	dongleRefuses prometheus.Gauge
	buffers       buffers
}

func newLine() *line {
	l := &line{
		frames: newCounterVec("serial_frames_total",
			"Good frames exchanged with the dongle, by direction (rx: from the dongle, tx: "+
				"to it) and message type.", "direction", "type"),
		frameErrors: newCounterVec("serial_frame_errors_total",
			"Received bytes that are no valid frame, by reason.", "reason"),
		reconnects: newCounter("serial_reconnects_total", "Connections to the dongle after the first one."),
		dongleUp: newGauge("dongle_up",
			"1 while the dongle is connected and has completed its handshake, else 0."),
		dongleRefuses: newGauge("dongle_refuses_blocks",
			"1 while the dongle is connected and refuses every block, so that nothing can be downloaded, "+
				"else 0."),
	}
	fromDongle, toDongle := frameTypes()
	l.received = resolve(l.frames.MustCurryWith(prometheus.Labels{"direction": received}),
		message.MsgType.String, fromDongle)
	l.sent = resolve(l.frames.MustCurryWith(prometheus.Labels{"direction": sent}),
		message.MsgType.String, toDongle)
	for _, reason := range zigate.FrameErrorReasons() {
		l.frameErrors.WithLabelValues(reason)
	}
	return l
}

func (l *line) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		l.frames, l.frameErrors, l.reconnects, l.dongleUp, l.dongleRefuses, &l.buffers,
	}
}
