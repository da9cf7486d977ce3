package message

// Direction is the way that a frame goes.
type Direction uint8

const (
	// FromDongle is the direction to the host.
	FromDongle Direction = iota
	// ToDongle is the direction to the dongle.
	ToDongle
)

// String returns "received" or "sent".
func (d Direction) String() string {
	if d == ToDongle {
		return "sent"
	}
	return "received"
}
