package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Scenario is a home and what happens in it, as a file describes it.
type Scenario struct {
	Config Config
	Events []ScenarioEvent
}

// ScenarioEvent is one thing that happens at a time after the start. The time is real, whatever the Speed.
type ScenarioEvent struct {
	After  time.Duration
	Do     string       // one of ScenarioActions
	Device message.IEEE // for what a device does
	Addr   uint16       // for changeAddress
	Status uint8        // for refuseBlocks
}

// Actions of the dongle, and of a device.
const (
	actionReset         = "reset"
	actionSilentReset   = "silentReset"
	actionDisconnect    = "disconnect"
	actionRefuseBlocks  = "refuseBlocks"
	actionPowerCycle    = "powerCycle"
	actionQuery         = "query"
	actionAnnounce      = "announce"
	actionLeave         = "leave"
	actionPowerOff      = "powerOff"
	actionPowerOn       = "powerOn"
	actionChangeAddress = "changeAddress"
)

// ScenarioActions lists what an event can do, as scenario files write it.
func ScenarioActions() []string {
	return []string{
		actionReset, actionSilentReset, actionDisconnect, actionRefuseBlocks, actionPowerCycle,
		actionQuery, actionAnnounce, actionLeave, actionPowerOff, actionPowerOn, actionChangeAddress,
	}
}

// ErrScenario is the error of a file that is not a scenario.
var ErrScenario = errors.New("not a scenario")

const (
	maxScenario = 1 << 20 // bytes
	maxDevices  = 10_000
	maxEvents   = 10_000
)

// ParseScenario reads a scenario: one JSON object with the keys of the scenarioFile type. Numbers may be
// written as strings, in hexadecimal too ("0x117c"); times are written as "1.5s". The error is ErrScenario
// for anything else, keys that are not known included.
func ParseScenario(r io.Reader) (Scenario, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxScenario+1))
	switch {
	case err != nil:
		return Scenario{}, fmt.Errorf("reading the scenario: %w", err)
	case len(b) > maxScenario:
		return Scenario{}, fmt.Errorf("%w: more than %d bytes", ErrScenario, maxScenario)
	}
	var f scenarioFile
	if err := decodeStrictly(b, &f); err != nil {
		return Scenario{}, err
	}
	return f.scenario()
}

// ParseDevice reads one device by itself, with the keys that it has in a scenario. The error is ErrScenario.
func ParseDevice(text string) (DeviceConfig, error) {
	var d scenarioDevice
	if err := decodeStrictly([]byte(text), &d); err != nil {
		return DeviceConfig{}, err
	}
	return d.config(), nil
}

// decodeStrictly reads one JSON object and nothing else. The error is ErrScenario.
func decodeStrictly(b []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", ErrScenario, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: there is more behind the object", ErrScenario)
	}
	return nil
}

// scenarioFile has the keys of a scenario; see the fields of Config for what they mean.
type scenarioFile struct {
	Firmware   string           `json:"firmware"`
	IEEE       number           `json:"ieee"`
	PANID      number           `json:"panId"`
	Channel    number           `json:"channel"`
	FactoryNew bool             `json:"factoryNew"`
	Seed       number           `json:"seed"`
	Speed      float64          `json:"speed"`    // 1 where it is left out
	LineRate   number           `json:"lineRate"` // bytes a second
	Devices    []scenarioDevice `json:"devices"`
	Faults     scenarioFaults   `json:"faults"`
	Events     []scenarioEvent  `json:"events"`
}

type scenarioDevice struct {
	IEEE number `json:"ieee"`
	Addr number `json:"addr"`
	// Count is how many of them there are, with IEEE addresses that follow one another; it is 1
	// where it is left out.
	Count          number   `json:"count"`
	Endpoint       number   `json:"endpoint"`
	OtherEndpoints []number `json:"otherEndpoints"`

	OtherClients []scenarioClient `json:"otherClients"`

	ServerEndpoint   number  `json:"serverEndpoint"`
	Unjoined         bool    `json:"unjoined"`
	ManufacturerCode number  `json:"manufacturerCode"`
	ImageType        number  `json:"imageType"`
	FileVersion      number  `json:"fileVersion"`
	HardwareVersion  *number `json:"hardwareVersion"`
	ManufacturerName string  `json:"manufacturerName"`
	ModelID          string  `json:"modelId"`
	SoftwareBuild    string  `json:"softwareBuild"`
	DateCode         string  `json:"dateCode"`
	NoSoftwareBuild  bool    `json:"noSoftwareBuild"`
	// UpgradeServer is all ones where the device has found no server yet; left out, it is the dongle.
	UpgradeServer number  `json:"upgradeServer"`
	Battery       *number `json:"battery"` // percent
	Sleepy        bool    `json:"sleepy"`
	PollInterval  period  `json:"pollInterval"`
	Relays        number  `json:"relays"`
	LQI           number  `json:"lqi"`

	Stack                  stack    `json:"stack"`
	MaxDataSize            number   `json:"maxDataSize"`
	BlockInterval          period   `json:"blockInterval"`
	RetryInterval          period   `json:"retryInterval"`
	Retries                int      `json:"retries"`
	RebootTime             period   `json:"rebootTime"`
	QueryInterval          period   `json:"queryInterval"`
	MinimumBlockPeriod     bool     `json:"minimumBlockPeriod"`
	NodeAddressInRequests  bool     `json:"nodeAddressInRequests"`
	PageRequests           bool     `json:"pageRequests"`
	PageSize               number   `json:"pageSize"`
	ResponseSpacing        period   `json:"responseSpacing"`
	HeaderFirst            bool     `json:"headerFirst"`
	AsksAgain              number   `json:"asksAgain"`
	LosesBlocksOver        number   `json:"losesBlocksOver"`
	SilentAt               number   `json:"silentAt"`
	SilentFor              period   `json:"silentFor"`
	FullBlocksOnly         bool     `json:"fullBlocksOnly"`
	ResumesDownload        bool     `json:"resumesDownload"`
	OnlyNewer              bool     `json:"onlyNewer"`
	InstallsOnlyNewer      bool     `json:"installsOnlyNewer"`
	DisableDefaultResponse bool     `json:"disableDefaultResponse"`
	UnsupportedAttributes  []number `json:"unsupportedAttributes"`

	FailFirst            number `json:"failFirst"`
	AbortAt              number `json:"abortAt"`
	SucceedsAt           number `json:"succeedsAt"`
	InvalidAtEnd         bool   `json:"invalidAtEnd"`
	RequireMore          bool   `json:"requireMore"`
	StopsAt              number `json:"stopsAt"`
	KeepsOldVersion      bool   `json:"keepsOldVersion"`
	ReportsVersion       number `json:"reportsVersion"`
	NewManufacturerName  string `json:"newManufacturerName"`
	NewModelID           string `json:"newModelId"`
	NewManufacturerCode  number `json:"newManufacturerCode"`
	NewImageType         number `json:"newImageType"`
	SilentToNotify       bool   `json:"silentToNotify"`
	NeverReturns         bool   `json:"neverReturns"`
	LosesAnnounce        bool   `json:"losesAnnounce"`
	InstallsWithoutReply bool   `json:"installsWithoutReply"`
}

type scenarioClient struct {
	Endpoint         number  `json:"endpoint"`
	ManufacturerCode number  `json:"manufacturerCode"`
	ImageType        number  `json:"imageType"`
	FileVersion      number  `json:"fileVersion"`
	HardwareVersion  *number `json:"hardwareVersion"`
	AfterFirst       bool    `json:"afterFirst"`
}

// config is the OTA client as Config has it.
func (c scenarioClient) config() ClientConfig {
	return ClientConfig{
		Endpoint:         narrow[uint8](c.Endpoint),
		ManufacturerCode: narrow[uint16](c.ManufacturerCode),
		ImageType:        narrow[uint16](c.ImageType),
		FileVersion:      narrow[uint32](c.FileVersion),
		HardwareVersion:  c.HardwareVersion.narrow16(),
		AfterFirst:       c.AfterFirst,
	}
}

type scenarioFaults struct {
	LoseFromDongle float64 `json:"loseFromDongle"`
	LoseToDongle   float64 `json:"loseToDongle"`
	Corrupt        float64 `json:"corrupt"`
	Duplicate      float64 `json:"duplicate"`
	Late           float64 `json:"late"`
	LateBy         period  `json:"lateBy"`
	LoseAir        float64 `json:"loseAir"`
	LoseAck        float64 `json:"loseAck"`
	Refuse         float64 `json:"refuse"`
	ResetEvery     period  `json:"resetEvery"`
	SilentResets   bool    `json:"silentResets"`

	RefuseBlocks         number `json:"refuseBlocks"`
	RefusalOutlastsReset bool   `json:"refusalOutlastsReset"`
}

type scenarioEvent struct {
	After  period `json:"after"`
	Do     string `json:"do"`
	Device number `json:"device"`
	Addr   number `json:"addr"`
	// Status is left out for StatusNoBuffer.
	Status number `json:"status"`
}

// number is a whole number, written as such or as a string in decimal or hexadecimal.
type number uint64

// UnmarshalJSON reads a number in any of these forms.
func (n *number) UnmarshalJSON(b []byte) error {
	text := string(b)
	if len(b) > 0 && b[0] == '"' {
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
	}
	v, err := strconv.ParseUint(text, 0, 64)
	if err != nil {
		return fmt.Errorf("%s is no whole number", text)
	}
	*n = number(v)
	return nil
}

// period is a time, written as "1.5s".
type period time.Duration

// UnmarshalJSON reads a time that is not negative.
func (p *period) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return fmt.Errorf(`%s is no time such as "1.5s"`, b)
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return fmt.Errorf(`%q is no time such as "1.5s"`, text)
	}
	*p = period(d)
	return nil
}

// stack is a Stack, written as its name.
type stack Stack

// UnmarshalJSON reads the name of a stack.
func (s *stack) UnmarshalJSON(b []byte) error {
	var name string
	if err := json.Unmarshal(b, &name); err != nil {
		return fmt.Errorf("%s is no name of a stack", b)
	}
	named, err := ParseStack(name)
	*s = stack(named)
	return err
}

// narrow is a number as a smaller type; one that is too large becomes the largest value of that type, so that
// the mistake shows.
func narrow[T uint8 | uint16 | uint32](n number) T { return T(min(n, number(^T(0)))) }

// narrow16 is narrow for a number that may be left out.
func (n *number) narrow16() *uint16 {
	if n == nil {
		return nil
	}
	v := narrow[uint16](*n)
	return &v
}

func (f scenarioFile) scenario() (Scenario, error) {
	firmware, err := ParseFirmware(f.Firmware)
	if err != nil {
		return Scenario{}, fmt.Errorf("%w: %w", ErrScenario, err)
	}
	if f.Speed < 0 || math.IsNaN(f.Speed) {
		return Scenario{}, fmt.Errorf("%w: speed %v", ErrScenario, f.Speed)
	}
	if f.Speed == 0 {
		f.Speed = 1
	}
	s := Scenario{Config: Config{
		Firmware:   firmware,
		IEEE:       message.IEEE(f.IEEE),
		PANID:      narrow[uint16](f.PANID),
		Channel:    narrow[uint8](f.Channel),
		FactoryNew: f.FactoryNew,
		Seed:       uint64(f.Seed),
		Speed:      f.Speed,
		LineRate:   int(min(f.LineRate, math.MaxInt32)),
	}}
	if s.Config.Faults, err = f.Faults.faults(); err != nil {
		return Scenario{}, err
	}
	for _, d := range f.Devices {
		if uint64(d.Count)+uint64(len(s.Config.Devices)) > maxDevices {
			return Scenario{}, fmt.Errorf("%w: more than %d devices", ErrScenario, maxDevices)
		}
		cfg := d.config()
		for range max(d.Count, 1) {
			if err := cfg.validate(); err != nil {
				return Scenario{}, fmt.Errorf("%w: %w", ErrScenario, err)
			}
			s.Config.Devices = append(s.Config.Devices, cfg)
			cfg.IEEE++
			if cfg.Addr != 0 {
				cfg.Addr++
			}
		}
	}
	if len(f.Events) > maxEvents {
		return Scenario{}, fmt.Errorf("%w: more than %d events", ErrScenario, maxEvents)
	}
	for _, e := range f.Events {
		event := ScenarioEvent{
			After:  time.Duration(e.After),
			Do:     e.Do,
			Device: message.IEEE(e.Device),
			Addr:   narrow[uint16](e.Addr),
			Status: narrow[uint8](e.Status),
		}
		if event.Do == actionRefuseBlocks && event.Status == message.StatusOK {
			event.Status = message.StatusNoBuffer
		}
		if err := event.check(s.Config.Devices); err != nil {
			return Scenario{}, err
		}
		s.Events = append(s.Events, event)
	}
	slices.SortStableFunc(s.Events, func(a, b ScenarioEvent) int { return int(a.After - b.After) })
	return s, nil
}

func (e ScenarioEvent) check(devices []DeviceConfig) error {
	if !slices.Contains(ScenarioActions(), e.Do) {
		return fmt.Errorf("%w: nothing is called %q; there are %q", ErrScenario, e.Do, ScenarioActions())
	}
	switch e.Do {
	case actionReset, actionSilentReset, actionDisconnect, actionRefuseBlocks, actionPowerCycle:
		return nil
	}
	if !slices.ContainsFunc(devices, func(d DeviceConfig) bool { return d.IEEE == e.Device }) {
		return fmt.Errorf("%w: %s of device %s, which is not there", ErrScenario, e.Do, e.Device)
	}
	return nil
}

func (f scenarioFaults) faults() (Faults, error) {
	for _, p := range []float64{
		f.LoseFromDongle, f.LoseToDongle, f.Corrupt, f.Duplicate, f.Late, f.LoseAir, f.LoseAck, f.Refuse,
	} {
		if !(p >= 0 && p <= 1) {
			return Faults{}, fmt.Errorf("%w: the probability of a fault is from 0 to 1, not %v",
				ErrScenario, p)
		}
	}
	return Faults{
		LoseFromDongle: f.LoseFromDongle,
		LoseToDongle:   f.LoseToDongle,
		Corrupt:        f.Corrupt,
		Duplicate:      f.Duplicate,
		Late:           f.Late,
		LateBy:         time.Duration(f.LateBy),
		LoseAir:        f.LoseAir,
		LoseAck:        f.LoseAck,
		Refuse:         f.Refuse,
		ResetEvery:     time.Duration(f.ResetEvery),
		SilentResets:   f.SilentResets,

		RefuseBlocks:         narrow[uint8](f.RefuseBlocks),
		RefusalOutlastsReset: f.RefusalOutlastsReset,
	}, nil
}

func (d scenarioDevice) config() DeviceConfig {
	c := DeviceConfig{
		IEEE:                   message.IEEE(d.IEEE),
		Addr:                   narrow[uint16](d.Addr),
		Endpoint:               narrow[uint8](d.Endpoint),
		ServerEndpoint:         narrow[uint8](d.ServerEndpoint),
		Unjoined:               d.Unjoined,
		ManufacturerCode:       narrow[uint16](d.ManufacturerCode),
		ImageType:              narrow[uint16](d.ImageType),
		FileVersion:            narrow[uint32](d.FileVersion),
		ManufacturerName:       d.ManufacturerName,
		ModelID:                d.ModelID,
		SoftwareBuild:          d.SoftwareBuild,
		DateCode:               d.DateCode,
		NoSoftwareBuild:        d.NoSoftwareBuild,
		UpgradeServer:          message.IEEE(d.UpgradeServer),
		Sleepy:                 d.Sleepy,
		PollInterval:           time.Duration(d.PollInterval),
		Relays:                 int(min(d.Relays, 30)),
		LQI:                    narrow[uint8](d.LQI),
		Stack:                  Stack(d.Stack),
		MaxDataSize:            narrow[uint8](d.MaxDataSize),
		BlockInterval:          time.Duration(d.BlockInterval),
		RetryInterval:          time.Duration(d.RetryInterval),
		Retries:                d.Retries,
		RebootTime:             time.Duration(d.RebootTime),
		QueryInterval:          time.Duration(d.QueryInterval),
		MinimumBlockPeriod:     d.MinimumBlockPeriod,
		NodeAddressInRequests:  d.NodeAddressInRequests,
		PageRequests:           d.PageRequests,
		PageSize:               narrow[uint16](d.PageSize),
		ResponseSpacing:        time.Duration(d.ResponseSpacing),
		HeaderFirst:            d.HeaderFirst,
		AsksAgain:              int(min(d.AsksAgain, math.MaxInt32)),
		LosesBlocksOver:        narrow[uint8](d.LosesBlocksOver),
		SilentAt:               narrow[uint32](d.SilentAt),
		SilentFor:              time.Duration(d.SilentFor),
		FullBlocksOnly:         d.FullBlocksOnly,
		ResumesDownload:        d.ResumesDownload,
		OnlyNewer:              d.OnlyNewer,
		InstallsOnlyNewer:      d.InstallsOnlyNewer,
		DisableDefaultResponse: d.DisableDefaultResponse,
		FailFirst:              int(min(d.FailFirst, math.MaxInt32)),
		AbortAt:                narrow[uint32](d.AbortAt),
		SucceedsAt:             narrow[uint32](d.SucceedsAt),
		InvalidAtEnd:           d.InvalidAtEnd,
		RequireMore:            d.RequireMore,
		StopsAt:                narrow[uint32](d.StopsAt),
		KeepsOldVersion:        d.KeepsOldVersion,
		ReportsVersion:         narrow[uint32](d.ReportsVersion),
		Becomes: Identity{
			ManufacturerName: d.NewManufacturerName,
			ModelID:          d.NewModelID,
			ManufacturerCode: narrow[uint16](d.NewManufacturerCode),
			ImageType:        narrow[uint16](d.NewImageType),
		},
		SilentToNotify:       d.SilentToNotify,
		NeverReturns:         d.NeverReturns,
		LosesAnnounce:        d.LosesAnnounce,
		InstallsWithoutReply: d.InstallsWithoutReply,
	}
	for _, e := range d.OtherEndpoints {
		c.OtherEndpoints = append(c.OtherEndpoints, narrow[uint8](e))
	}
	for _, id := range d.UnsupportedAttributes {
		c.UnsupportedAttributes = append(c.UnsupportedAttributes, narrow[uint16](id))
	}
	for _, other := range d.OtherClients {
		c.OtherClients = append(c.OtherClients, other.config())
	}
	c.HardwareVersion = d.HardwareVersion.narrow16()
	if d.Battery != nil {
		v := uint8(min(*d.Battery, 100))
		c.BatteryPercent = &v
	}
	return c
}

// Play lets the events happen, from now on, until ctx is done or all have happened. It always returns nil.
func (s Scenario) Play(ctx context.Context, d *Dongle) error {
	began := time.Now()
	for _, e := range s.Events {
		timer := time.NewTimer(time.Until(began.Add(e.After)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
			e.happen(d)
		}
	}
	return nil
}

func (e ScenarioEvent) happen(d *Dongle) {
	d.log.Info("scenario", "do", e.Do, "device", e.Device)
	switch e.Do {
	case actionReset:
		d.Reset()
		return
	case actionSilentReset:
		d.SilentReset()
		return
	case actionDisconnect:
		d.Disconnect()
		return
	case actionRefuseBlocks:
		d.RefuseBlocks(e.Status)
		return
	case actionPowerCycle:
		d.PowerCycle()
		return
	}
	v := d.Device(e.Device)
	if v == nil {
		return
	}
	switch e.Do {
	case actionQuery:
		v.Query()
	case actionAnnounce:
		v.Announce()
	case actionLeave:
		v.Leave()
	case actionPowerOff:
		v.PowerOff()
	case actionPowerOn:
		v.PowerOn()
	case actionChangeAddress:
		v.ChangeAddress(e.Addr)
	}
}
