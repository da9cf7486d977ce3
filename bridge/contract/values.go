package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// EUID is the IEEE address (EUI-64) of a device or of the dongle: 0x and 16 lower-case hexadecimal digits,
// the most significant byte first.
type EUID string

// Valid reports whether the address is written as it has to be.
func (e EUID) Valid() bool {
	digits, ok := strings.CutPrefix(string(e), "0x")
	return ok && len(digits) == 16 && strings.Trim(digits, "0123456789abcdef") == ""
}

// SHA256 is a SHA-256 digest: 64 lower-case hexadecimal digits.
type SHA256 string

// Percent is a share in percent, from 0 to 100, with at most one decimal.
type Percent float64

// Optional is the value of a key that may be absent, and that may be null where it is there.
type Optional[T any] struct {
	// Present says that the payload has the key.
	Present bool
	// Value is the key's value; nil stands for null.
	Value *T
}

// IsZero reports whether the key is absent; encoding/json asks for it where the tag says omitzero.
func (o Optional[T]) IsZero() bool { return !o.Present }

// MarshalJSON writes the value, or null.
func (o Optional[T]) MarshalJSON() ([]byte, error) { return encode(o.Value) }

// UnmarshalJSON reads the value of a key that is there. The error is that of reading a T.
func (o *Optional[T]) UnmarshalJSON(b []byte) error {
	o.Present = true
	return json.Unmarshal(b, &o.Value)
}

// Marshal writes a payload as it is published. It panics for a value that JSON cannot write, which no payload
// of this package is. URLs keep their & so that people can read them. The result has no spare capacity: what
// is retained is kept for long.
func Marshal(payload any) []byte {
	b, err := encode(payload)
	if err != nil {
		panic(fmt.Sprintf("contract: a payload of type %T cannot be written: %v", payload, err))
	}
	return bytes.Clone(b)
}

// encode writes a value as JSON without a newline, and with <, > and & as they are.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
