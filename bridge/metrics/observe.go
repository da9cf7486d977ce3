package metrics

import (
	"time"

	"github.com/zigate-ota/zigate-ota/bridge"
	"github.com/zigate-ota/zigate-ota/bridge/mqttclient"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/share"
)

var (
	_ zigate.Observer     = (*Metrics)(nil)
	_ share.Observer      = (*Metrics)(nil)
	_ otasvc.Observer     = (*Metrics)(nil)
	_ bridge.Observer     = (*Metrics)(nil)
	_ mqttclient.Observer = (*Metrics)(nil)
)

// FrameSent counts a frame to the dongle. A type that is no command of the dongle counts as "other".
func (m *Metrics) FrameSent(t message.MsgType) { m.line.sent.of(t).Inc() }

// FrameReceived counts a good frame from the dongle. A type that the dongle is not known to send
// counts as "other".
func (m *Metrics) FrameReceived(t message.MsgType) { m.line.received.of(t).Inc() }

// FrameError counts received bytes that are no valid frame; reason is one of zigate.FrameErrorReasons.
func (m *Metrics) FrameError(reason string) {
	m.line.frameErrors.WithLabelValues(among(zigate.FrameErrorReasons(), reason)).Inc()
}

// Connected sets whether the dongle is connected and has completed its handshake.
func (m *Metrics) Connected(up bool) {
	m.line.dongleUp.Set(flag(up))
	if !up {
		m.line.buffers.forget()
	}
}

// Reconnected counts connections to the dongle after the first.
func (m *Metrics) Reconnected() { m.line.reconnects.Inc() }

// Buffers sets how many network (NPDU) and application (APDU) buffers the dongle uses.
func (m *Metrics) Buffers(npdu, apdu uint8) { m.line.buffers.set(npdu, apdu) }

// BlockAnswered counts the time from an image block request to its answer.
func (m *Metrics) BlockAnswered(d time.Duration) { m.serving.response.Observe(d.Seconds()) }

// ShareClients sets how many programs are connected to share the dongle.
func (m *Metrics) ShareClients(n int) { m.sharing.clients.Set(float64(n)) }

// FrameFromClient counts a command of a program that shares the dongle.
func (m *Metrics) FrameFromClient() { m.sharing.fromClients.Inc() }

// FrameToClient counts a frame for a program that shares the dongle.
func (m *Metrics) FrameToClient() { m.sharing.toClients.Inc() }

// ShareReport counts a report about a program that shares the dongle.
func (m *Metrics) ShareReport(r share.Report) {
	m.sharing.reports.WithLabelValues(among(share.Reports(), r)).Inc()
}

// BlockRequest counts an image block request by its answer, and the bytes of image in it.
func (m *Metrics) BlockRequest(result blocks.Result, bytes int) {
	m.serving.byResult.of(result).Inc()
	m.serving.bytes.Add(float64(max(bytes, 0)))
}

// UpgradeFinished counts an upgrade that reached a final state, d after it was queued. A clock that was set
// back in the meantime makes d 0, not negative.
func (m *Metrics) UpgradeFinished(state upgrade.State, reason upgrade.Reason, d time.Duration) {
	outcome := other
	if state.Ended() {
		outcome = string(state)
	}
	m.upgrading.finished.WithLabelValues(outcome, among(reasons(), reason)).Inc()
	m.upgrading.duration.WithLabelValues(outcome).Observe(max(d, 0).Seconds())
}

// DownloadsAllowed sets how many devices may download at once.
func (m *Metrics) DownloadsAllowed(n int) { m.upgrading.concurrency.Set(float64(n)) }

// DongleRefuses sets whether the dongle refuses every block.
func (m *Metrics) DongleRefuses(refuses bool) { m.line.dongleRefuses.Set(flag(refuses)) }

// DeliveryFailed counts a frame that did not reach its device.
func (m *Metrics) DeliveryFailed() { m.upgrading.deliveryFailures.Inc() }

// ImageFetched counts a fetch by its outcome.
func (m *Metrics) ImageFetched(outcome otasvc.Status) {
	m.upgrading.fetches.WithLabelValues(among(fetchOutcomes(), outcome)).Inc()
}

// Command counts the final answer to a request. operation must come from a closed set: the operations of the
// bridge, and "unknown" for everything else that people send.
func (m *Metrics) Command(operation, status string) {
	m.broker.commands.WithLabelValues(utf8(operation), among(statuses(), otasvc.Status(status))).Inc()
}

// DeviceChanged replaces what the series of a device are made of.
func (m *Metrics) DeviceChanged(d otasvc.DeviceRecord) { m.devices.set(d) }

// DeviceGone ends all series of a device.
func (m *Metrics) DeviceGone(euid message.IEEE) { m.devices.remove(euid) }

// InfoChanged sets the number of images.
func (m *Metrics) InfoChanged(r otasvc.InfoRecord) { m.upgrading.images.Set(float64(r.Images)) }

// BrokerConnected sets whether the MQTT broker is connected.
func (m *Metrics) BrokerConnected(up bool) { m.broker.connected.Set(flag(up)) }

// OutboxMessages sets how many messages the MQTT broker has not acknowledged.
func (m *Metrics) OutboxMessages(n int) { m.broker.outboxMessages.Set(float64(n)) }

// OutboxDropped counts n messages that will never reach the MQTT broker; reason is one of
// mqttclient.DropReasons.
func (m *Metrics) OutboxDropped(reason string, n int) {
	label := among(mqttclient.DropReasons(), mqttclient.DropReason(reason))
	m.broker.outboxDropped.WithLabelValues(label).Add(float64(max(n, 0)))
}

// flag returns 1 for true and 0 for false.
func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}
