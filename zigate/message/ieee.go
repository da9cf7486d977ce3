package message

import (
	"errors"
	"fmt"
)

// ErrInvalidIEEE says that a text is not an IEEE address.
var ErrInvalidIEEE = errors.New("not an IEEE address: 16 hexadecimal digits expected, " +
	"optionally with 0x in front and colons or dashes between")

// IEEE is the 64-bit address of a device, which, unlike its network address, never changes.
type IEEE uint64

const ieeeDigits = 16

// String returns the address as 0x and 16 lower-case hexadecimal digits.
func (a IEEE) String() string {
	return fmt.Sprintf("0x%016x", uint64(a))
}

// MarshalText returns the form of String.
func (a IEEE) MarshalText() ([]byte, error) {
	return []byte(a.String()), nil
}

// UnmarshalText reads every form that ParseIEEE reads.
func (a *IEEE) UnmarshalText(text []byte) error {
	parsed, err := ParseIEEE(string(text))
	if err != nil {
		return err
	}
	*a = parsed
	return nil
}

// ParseIEEE reads an address of exactly 16 hexadecimal digits in any case. A leading 0x is optional, and so
// are colons or dashes between digits. The error is ErrInvalidIEEE, with the text.
func ParseIEEE(s string) (IEEE, error) {
	rest := s
	if len(rest) >= 2 && rest[0] == '0' && (rest[1] == 'x' || rest[1] == 'X') {
		rest = rest[2:]
	}
	var value uint64
	digits := 0
	separated := true // no separator before the first digit and none twice
	for i := range len(rest) {
		c := rest[i]
		if c == ':' || c == '-' {
			if separated {
				return 0, fmt.Errorf("%q: %w", s, ErrInvalidIEEE)
			}
			separated = true
			continue
		}
		nibble, ok := hexDigit(c)
		if !ok || digits == ieeeDigits {
			return 0, fmt.Errorf("%q: %w", s, ErrInvalidIEEE)
		}
		value = value<<4 | uint64(nibble)
		digits++
		separated = false
	}
	if digits != ieeeDigits || separated {
		return 0, fmt.Errorf("%q: %w", s, ErrInvalidIEEE)
	}
	return IEEE(value), nil
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
