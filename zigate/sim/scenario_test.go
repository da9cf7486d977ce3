package sim_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

const scenario = `{
	"firmware": "v2", "ieee": "0x00158d0000000001", "panId": 4660, "channel": 20, "seed": 7, "speed": 10, "lineRate": 11520,
	"faults": {"loseFromDongle": 0.01, "late": 0.5, "lateBy": "300ms", "resetEvery": "10m", "silentResets": true,
		"refuseBlocks": "0x14", "refusalOutlastsReset": true},
	"devices": [
		{"ieee": "0x000b57fffe000001", "addr": "0x1001", "count": 2, "manufacturerCode": "0x117c", "imageType": 8705,
		 "fileVersion": "0x22010631", "hardwareVersion": 3, "modelId": "bulb", "pageRequests": true, "responseSpacing": "50ms"},
		{"ieee": "0x000b57fffe000010", "sleepy": true, "battery": 80, "pollInterval": "4s", "otherEndpoints": [2], "endpoint": 11, "stopsAt": 5000,
		 "otherClients": [{"endpoint": 12, "imageType": "0x2202", "fileVersion": 5, "hardwareVersion": 2, "manufacturerCode": 1, "afterFirst": true}]}
	],
	"events": [
		{"after": "2m", "do": "reset"},
		{"after": "3m", "do": "refuseBlocks"}, {"after": "4m", "do": "refuseBlocks", "status": "0x15"}, {"after": "5m", "do": "powerCycle"},
		{"after": "10s", "do": "changeAddress", "device": "0x000b57fffe000002", "addr": "0x2002"}
	]
}`

func TestScenario(t *testing.T) {
	got, err := sim.ParseScenario(strings.NewReader(scenario))
	if err != nil {
		t.Fatal(err)
	}
	hw, otherHW, battery := uint16(3), uint16(2), uint8(80)
	bulb := sim.DeviceConfig{
		IEEE: 0x000b57fffe000001, Addr: 0x1001, ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: 0x22010631,
		HardwareVersion: &hw, ModelID: "bulb", PageRequests: true, ResponseSpacing: 50 * time.Millisecond,
	}
	second := bulb
	second.IEEE, second.Addr = 0x000b57fffe000002, 0x1002
	want := sim.Scenario{
		Config: sim.Config{
			Firmware: sim.V2324, IEEE: 0x00158d0000000001, PANID: 0x1234, Channel: 20, Seed: 7, Speed: 10, LineRate: 11520,
			Faults: sim.Faults{LoseFromDongle: 0.01, Late: 0.5, LateBy: 300 * time.Millisecond, ResetEvery: 10 * time.Minute, SilentResets: true, RefuseBlocks: 0x14, RefusalOutlastsReset: true},
			Devices: []sim.DeviceConfig{bulb, second, {
				IEEE: 0x000b57fffe000010, Sleepy: true, BatteryPercent: &battery, PollInterval: 4 * time.Second,
				OtherEndpoints: []uint8{2}, Endpoint: 11, StopsAt: 5000,
				OtherClients: []sim.ClientConfig{{
					Endpoint: 12, ManufacturerCode: 1, ImageType: 0x2202, FileVersion: 5, HardwareVersion: &otherHW, AfterFirst: true,
				}},
			}},
		},
		Events: []sim.ScenarioEvent{
			{After: 10 * time.Second, Do: "changeAddress", Device: 0x000b57fffe000002, Addr: 0x2002},
			{After: 2 * time.Minute, Do: "reset"},
			{After: 3 * time.Minute, Do: "refuseBlocks", Status: 0x14},
			{After: 4 * time.Minute, Do: "refuseBlocks", Status: 0x15},
			{After: 5 * time.Minute, Do: "powerCycle"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestScenarioMistakes(t *testing.T) {
	for name, tc := range map[string]struct{ text, says string }{
		"no JSON":               {`devices: 3`, "invalid character"},
		"unknown key":           {`{"device": []}`, `"device"`},
		"unknown firmware":      {`{"firmware": "9"}`, `"9"`},
		"no IEEE address":       {`{"devices": [{}]}`, "IEEE"},
		"endpoint":              {`{"devices": [{"ieee": 1, "endpoint": 300}]}`, "endpoint 255"},
		"endpoint of a client":  {`{"devices": [{"ieee": 1, "otherClients": [{"endpoint": 241}]}]}`, "endpoint 241"},
		"no number":             {`{"channel": "eleven"}`, "eleven is no whole number"},
		"negative":              {`{"channel": -1}`, "-1 is no whole number"},
		"no time":               {`{"devices": [{"ieee": 1, "pollInterval": 5}]}`, `5 is no time such as "1.5s"`},
		"probability":           {`{"faults": {"corrupt": 2}}`, "not 2"},
		"unknown event":         {`{"events": [{"do": "explode"}]}`, `"explode"`},
		"event without device":  {`{"events": [{"do": "query"}]}`, "not there"},
		"too many devices":      {`{"devices": [{"ieee": 1, "count": 99999999999}]}`, "more than 10000 devices"},
		"more behind the first": {`{} {}`, "more behind"},
		"too long":              {"{" + strings.Repeat(" ", 1<<20) + "}", "more than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := sim.ParseScenario(strings.NewReader(tc.text))
			if !errors.Is(err, sim.ErrScenario) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v, want it to say %s", err, tc.says)
			}
		})
	}
}

// TestScenarioHappens plays each action once.
func TestScenarioHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := sim.ParseScenario(strings.NewReader(`{
			"devices": [{"ieee": 1, "addr": 17}],
			"events": [
				{"after": "1s", "do": "query", "device": 1}, {"after": "2s", "do": "announce", "device": 1},
				{"after": "3s", "do": "changeAddress", "device": 1, "addr": 18},
				{"after": "4s", "do": "powerOff", "device": 1}, {"after": "6s", "do": "powerOn", "device": 1},
				{"after": "7s", "do": "leave", "device": 1},
				{"after": "8s", "do": "reset"}, {"after": "10s", "do": "silentReset"}, {"after": "11s", "do": "refuseBlocks"},
				{"after": "12s", "do": "disconnect"}, {"after": "13s", "do": "powerCycle"}
			]}`))
		if err != nil {
			t.Fatal(err)
		}
		d := start(t, s.Config)
		port, err := d.Dialer("sim").Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- s.Play(t.Context(), d) }()
		time.Sleep(5 * time.Second)
		if v := d.Device(1).Snapshot(); v.Addr != 18 || !v.Away {
			t.Errorf("after 5 s: %+v", v)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		st := d.Stats()
		if st.QueriesRefused != 1 || st.Sent[message.TypeDeviceAnnounce] < 3 || st.Sent[message.Leave{}.Type()] != 1 || st.Resets != 3 || st.Sent[message.TypeRestart] != 2 {
			t.Errorf("happened: %+v", st)
		}
		buf := make([]byte, 4096)
		for err == nil {
			_, err = port.Read(buf)
		}
		port.Close()
	})
}

func FuzzParseScenario(f *testing.F) {
	f.Add(scenario)
	f.Add(`{"devices":[{"ieee":1,"count":3}],"events":[{"after":"1s","do":"query","device":2}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := sim.ParseScenario(strings.NewReader(text))
		if err != nil {
			return
		}
		if len(s.Config.Devices) > 10_000 || len(s.Events) > len(text) {
			t.Errorf("%d devices and %d events in %d bytes", len(s.Config.Devices), len(s.Events), len(text))
		}
	})
}
