package shell

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
)

// Configure says what is to be set for one device alone. What is not given stays as it is.
type Configure struct {
	Device         string
	Excluded       Choice
	BlockSize      Number // bytes
	BlockInterval  Millis
	StallTimeout   Seconds
	NotifyAttempts Number
}

// request has the keys of what is given.
func (c *Configure) request() map[string]any {
	request := map[string]any{}
	for key, value := range map[string]given{
		"excluded":            given(c.Excluded),
		"blockSize":           given(c.BlockSize),
		"blockIntervalMs":     given(c.BlockInterval),
		"stallTimeoutSeconds": given(c.StallTimeout),
		"notifyAttempts":      given(c.NotifyAttempts),
	} {
		if value.text != "" {
			request[key] = value.value
		}
	}
	return request
}

// Configure sets what holds for a device alone. Where nothing is given, it shows the device.
func (c *Shell) Configure(ctx context.Context, what Configure) error {
	request := what.request()
	if len(request) == 0 {
		return c.Devices(ctx, []string{what.Device})
	}
	request["deviceId"] = what.Device
	return c.one(ctx, "configure", request, func(s *session, q *question) string {
		return s.called(q) + ": configured"
	})
}

// takeBack is the value of a flag that takes a setting back.
const takeBack = "default"

// given is the value of a setting's flag: what was written, and the value in the request, which is nil where
// the setting is to be taken back.
type given struct {
	text  string
	value any
}

// set reads the text of a flag.
func (g *given) set(text string, parse func(string) (any, error)) error {
	if text == takeBack {
		*g = given{text: text}
		return nil
	}
	value, err := parse(text)
	if err != nil {
		return fmt.Errorf("%w, or %q", err, takeBack)
	}
	*g = given{text: text, value: value}
	return nil
}

// The kinds of values that settings have. Each is a value of a flag.
type (
	// Choice is true or false.
	Choice given
	// Number is a whole number.
	Number given
	// Millis is a duration, told in milliseconds.
	Millis given
	// Seconds is a duration, told in seconds.
	Seconds given
)

// String is what was given.
func (c *Choice) String() string { return c.text }

// Set reads the text of the flag.
func (c *Choice) Set(text string) error {
	return (*given)(c).set(text, func(text string) (any, error) {
		if text != "true" && text != "false" {
			return nil, errors.New("not true or false")
		}
		return text == "true", nil
	})
}

// Type names the kind of value.
func (c *Choice) Type() string { return "choice" }

// String is what was given.
func (n *Number) String() string { return n.text }

// Set reads the text of the flag.
func (n *Number) Set(text string) error {
	return (*given)(n).set(text, func(text string) (any, error) {
		number, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil, errors.New("not a whole number")
		}
		return number, nil
	})
}

// Type names the kind of value.
func (n *Number) Type() string { return "number" }

// String is what was given.
func (m *Millis) String() string { return m.text }

// Set reads the text of the flag.
func (m *Millis) Set(text string) error { return (*given)(m).set(text, inUnits(time.Millisecond)) }

// Type names the kind of value.
func (m *Millis) Type() string { return "duration" }

// String is what was given.
func (s *Seconds) String() string { return s.text }

// Set reads the text of the flag.
func (s *Seconds) Set(text string) error { return (*given)(s).set(text, inUnits(time.Second)) }

// Type names the kind of value.
func (s *Seconds) Type() string { return "duration" }

// inUnits reads a duration as a whole number of units.
func inUnits(unit time.Duration) func(string) (any, error) {
	return func(text string) (any, error) {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			return nil, errors.New("not a duration such as 200ms or 10m")
		}
		return int64(d / unit), nil
	}
}

// settingsWords says what was set for a device alone; it is empty where nothing was.
func settingsWords(s contract.Settings) string {
	var parts []string
	if s.Excluded != nil && *s.Excluded {
		parts = append(parts, "excluded from upgrades")
	}
	if s.BlockSize != nil {
		parts = append(parts, fmt.Sprintf("blocks of %d bytes at most", *s.BlockSize))
	}
	if s.BlockIntervalMS != nil {
		parts = append(parts, fmt.Sprintf("%d ms between blocks", *s.BlockIntervalMS))
	}
	if s.StallTimeoutSeconds != nil {
		stalled := time.Duration(*s.StallTimeoutSeconds) * time.Second
		parts = append(parts, fmt.Sprintf("stalled after %s", span(stalled)))
	}
	if s.NotifyAttempts != nil {
		parts = append(parts, fmt.Sprintf("%d offers", *s.NotifyAttempts))
	}
	return strings.Join(parts, ", ")
}
