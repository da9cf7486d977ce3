package main

import (
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// simulatedDevices is the home that ZIGATE_OTA_DONGLE=sim and the demo show: two bulbs of one kind, a plug,
// and a motion sensor that sleeps.
func simulatedDevices() []sim.DeviceConfig {
	bulb := sim.DeviceConfig{
		ManufacturerCode: 0x117C,
		ImageType:        0x2201,
		FileVersion:      0x22010631,
		ManufacturerName: "IKEA of Sweden",
		ModelID:          "TRADFRI bulb E27",
		MaxDataSize:      63,
		BlockInterval:    100 * time.Millisecond,
		RebootTime:       8 * time.Second,
	}

	kitchen := bulb
	hall := bulb
	kitchen.IEEE = 0x000b57fffec6a5b2
	kitchen.Addr = 0x4f4f
	kitchen.LQI = 132
	hall.IEEE = 0x000b57fffec6a5c7
	hall.Addr = 0x1a2b
	hall.LQI = 98
	hall.BlockInterval = 140 * time.Millisecond
	plug := sim.DeviceConfig{
		IEEE:             0x001788010b2c3d4e,
		Addr:             0x7c01,
		Endpoint:         11,
		ManufacturerCode: 0x100B,
		ImageType:        0x0112,
		FileVersion:      0x01020500,
		ManufacturerName: "Signify Netherlands B.V.",
		ModelID:          "LOM001",
		MaxDataSize:      50,
		BlockInterval:    90 * time.Millisecond,
		RebootTime:       12 * time.Second,
		LQI:              201,
	}

	battery := uint8(87)
	sensor := sim.DeviceConfig{
		IEEE:             0x00124b0022334455,
		Addr:             0x90de,
		ManufacturerCode: 0x1286,
		ImageType:        0x0203,
		FileVersion:      16,
		ManufacturerName: "eWeLink",
		ModelID:          "SNZB-03P",
		MaxDataSize:      48,
		BlockInterval:    60 * time.Millisecond,
		RebootTime:       10 * time.Second,
		LQI:              77,
		Sleepy:           true,
		PollInterval:     4 * time.Second,
		BatteryPercent:   &battery,
	}
	return []sim.DeviceConfig{kitchen, hall, plug, sensor}
}

// manyDevices returns n devices: those of simulatedDevices, and bulbs where those are not enough.
func manyDevices(n int) []sim.DeviceConfig {
	devices := simulatedDevices()
	for i := len(devices); i < n; i++ {
		bulb := devices[0]
		// The simulation derives the network address from the IEEE address.
		bulb.IEEE = message.IEEE(0x000b57fffe000000 + uint64(i))
		bulb.Addr = 0
		devices = append(devices, bulb)
	}
	return devices[:n]
}

// makersStacks are the Zigbee stacks that the devices of a manufacturer code certainly have.
var makersStacks = map[uint16]sim.Stack{
	0x1021: sim.NXP,    // Legrand
	0x1037: sim.NXP,    // NXP, which LiXee uses
	0x1141: sim.Telink, // Telink
	0x117C: sim.Ember,  // IKEA
}

// homeOfStacks returns the usual home of n devices with the Zigbee stacks of their makers, where those are
// certain. Where stacks are named it leaves the choice to them, and block sizes, too.
func homeOfStacks(n int, named []sim.Stack) []sim.DeviceConfig {
	devices := manyDevices(n)
	for i := range devices {
		d := &devices[i]
		if len(named) > 0 {
			d.MaxDataSize = 0
			continue
		}
		d.Stack = makersStacks[d.ManufacturerCode]
	}
	return devices
}

// newSimulation returns a simulated dongle with these devices; speed 1 is the pace of a real radio.
func newSimulation(devices []sim.DeviceConfig, speed float64) *sim.Dongle {
	return sim.New(simulationConfig(devices, speed))
}

// simulationConfig returns the configuration of newSimulation's dongle.
func simulationConfig(devices []sim.DeviceConfig, speed float64) sim.Config {
	return sim.Config{
		Firmware: sim.V1323,
		IEEE:     message.IEEE(0x00158d0001020304),
		PANID:    0x1234,
		Channel:  15,
		Seed:     1,
		Speed:    speed,
		Devices:  devices,
	}
}
