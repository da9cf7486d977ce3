package upgrade

import (
	"cmp"
	"slices"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// UsualRates is how fast devices took their images in earlier upgrades, in bytes a second. It is made of the
// devices' histories, so that it is known after a restart, too. It does not know what is under way. It must
// be made by NewUsualRates.
type UsualRates struct {
	byDevice map[message.IEEE]int
	byKind   map[Kind]int
}

// Kind is what devices have in common that take the same images: manufacturer code and image type of their
// OTA client.
type Kind struct {
	ManufacturerCode uint16 `json:"manufacturerCode"`
	ImageType        uint16 `json:"imageType"`
}

// leastForRate is how many bytes a download has to have moved for its rate to say something.
const leastForRate = 2048

// NewUsualRates knows of no upgrades.
func NewUsualRates() *UsualRates {
	return &UsualRates{byDevice: map[message.IEEE]int{}, byKind: map[Kind]int{}}
}

// Note takes in an upgrade that has ended. kind is that of an upgrade which does not say its own; it is nil
// where it is not known. The rate of a kind moves a quarter of the way towards a new one.
func (r *UsualRates) Note(device message.IEEE, kind *Kind, past Past) {
	kind = cmp.Or(past.Kind, kind)
	rate := cmp.Or(past.Pace, past.BytesPerSecond)
	if rate <= 0 || past.Bytes < leastForRate {
		return
	}
	r.byDevice[device] = rate
	if kind == nil {
		return
	}
	before := cmp.Or(r.byKind[*kind], rate)
	r.byKind[*kind] = (3*before + rate) / 4
}

// NoteAll takes in the history of a device, which has the newest upgrade first.
func (r *UsualRates) NoteAll(device message.IEEE, kind *Kind, history []Past) {
	for _, past := range slices.Backward(history) {
		r.Note(device, kind, past)
	}
}

// Forget drops what is known of a device.
func (r *UsualRates) Forget(device message.IEEE) { delete(r.byDevice, device) }

// Of is how many bytes a second a device took last, else what its kind takes; 0 where neither is known.
func (r *UsualRates) Of(device message.IEEE, kind *Kind) int {
	if rate := r.byDevice[device]; rate > 0 || kind == nil {
		return rate
	}
	return r.byKind[*kind]
}
