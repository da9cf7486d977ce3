package bridge

import (
	"maps"
	"slices"

	"github.com/zigate-ota/zigate-ota/bridge/homeassistant"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// discovery describes the dongle and its devices to Home Assistant. Only the goroutine that reports to the
// Bridge uses it. A nil discovery does nothing.
type discovery struct {
	options homeassistant.Options
	out     Publisher
	dongle  message.IEEE // 0 while it is not known
	devices map[message.IEEE]otasvc.DeviceRecord
	// gone has, by device, the types of other images that it had since the start and has no more. Their
	// removal stays in its document: one that follows another at once can take the other's place.
	gone map[message.IEEE][]uint16
}

func newDiscovery(o homeassistant.Options, out Publisher) *discovery {
	return &discovery{
		options: o,
		out:     out,
		devices: map[message.IEEE]otasvc.DeviceRecord{},
		gone:    map[message.IEEE][]uint16{},
	}
}

func (h *discovery) deviceChanged(d otasvc.DeviceRecord) {
	if h == nil {
		return
	}
	h.gone[d.EUID] = without(append(h.gone[d.EUID], othersGone(h.devices[d.EUID], d)...), d)
	h.devices[d.EUID] = d
	h.publishDevice(d)
}

// publishDevice publishes the document of a device.
func (h *discovery) publishDevice(d otasvc.DeviceRecord) {
	h.publish(homeassistant.Device(h.options, d, h.gone[d.EUID]...))
}

// othersGone are the types of other images that a device had and has no more.
func othersGone(before, now otasvc.DeviceRecord) (gone []uint16) {
	for _, other := range before.OtherImages {
		gone = append(gone, other.ImageType)
	}
	return without(gone, now)
}

// without are the image types that a device has no other image of.
func without(types []uint16, d otasvc.DeviceRecord) []uint16 {
	return slices.DeleteFunc(types, func(imageType uint16) bool {
		return slices.ContainsFunc(d.OtherImages, func(o otasvc.OtherImage) bool {
			return o.ImageType == imageType
		})
	})
}

func (h *discovery) deviceGone(euid message.IEEE) {
	if h == nil {
		return
	}
	delete(h.devices, euid)
	delete(h.gone, euid)
	h.publish(homeassistant.Gone(h.options, euid))
}

// infoChanged publishes the dongle. When the dongle is another one than before, the devices' documents are
// published again, because they name it.
func (h *discovery) infoChanged(r otasvc.InfoRecord) {
	if h == nil || r.Dongle.EUID == 0 {
		return
	}
	if before := h.dongle; before != r.Dongle.EUID {
		if before != 0 {
			h.publish(homeassistant.Gone(h.options, before))
		}
		h.dongle = r.Dongle.EUID
		h.options.DongleID = homeassistant.ObjectID(h.dongle)
		for _, euid := range slices.Sorted(maps.Keys(h.devices)) {
			h.publishDevice(h.devices[euid])
		}
	}
	if d, ok := homeassistant.Dongle(h.options, r); ok {
		h.publish(d)
	}
}

func (h *discovery) publish(d homeassistant.Document) {
	if len(d.Payload) == 0 {
		h.out.Clear(d.Topic)
		return
	}
	h.out.Retain(d.Topic, d.Payload)
}
