package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// shownHome is a home to be looked at: of several makers, some asleep, one that cannot be upgraded.
func shownHome() (devices []sim.DeviceConfig, names map[message.IEEE]string) {
	names = map[message.IEEE]string{}
	add := func(name string, d sim.DeviceConfig, i int, lqi uint8) {
		d.IEEE, d.Addr, d.LQI = message.IEEE(0x000b57fffe3a0000+uint64(i)*0x1357), uint16(0x1100+i*0x0123), lqi
		devices = append(devices, d)
		names[d.IEEE] = name
	}
	home := simulatedDevices()
	bulb, plug, sensor := home[0], home[2], home[3]
	bulb.BlockInterval, plug.BlockInterval = 60*time.Millisecond, 90*time.Millisecond
	bad := bulb
	bad.InvalidAtEnd, bad.BlockInterval = true, time.Millisecond
	slow := bulb
	slow.BlockInterval = 180 * time.Millisecond
	other := bulb
	other.ImageType, other.ModelID, other.FileVersion = 0x2103, "TRADFRI bulb GU10", 0x23086631
	for i, d := range []struct {
		name   string
		config sim.DeviceConfig
		lqi    uint8
	}{
		{"Kitchen ceiling", bulb, 172}, {"Kitchen counter", bad, 121}, {"Hall", slow, 98}, {"Bedroom", bulb, 64}, {"Reading lamp", other, 143},
		{"Desk", other, 201}, {"Office plug", plug, 188}, {"Washing machine", plug, 77}, {"Front door", sensor, 34}, {"Stairs", sensor, 112},
	} {
		add(d.name, d.config, i+1, d.lqi)
	}
	return devices, names
}

// TestPageScreenshots makes pictures of the page, to be looked at:
//
//	go test ./cmd/zigate-ota -run TestPageScreenshots -screenshots DIR
func TestPageScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("-screenshots says no folder")
	}
	if err := os.MkdirAll(*screenshots, 0o755); err != nil {
		t.Fatal(err)
	}
	devices, names := shownHome()
	s := serveHome(t, sim.New(sim.Config{Firmware: sim.V1323, IEEE: 0x00158d0001020304, PANID: 0x1234, Channel: 15, Seed: 1, Speed: 4, Devices: devices}))
	for _, d := range devices {
		euid := d.IEEE.String()
		s.heard.await(t, "record of "+euid, onTopic("zigate-ota/device/"+euid, func(r map[string]any) bool {
			return number(r, "currentFileVersion") >= 0 && number(r, "imageTypeId") >= 0 && at(r, "modelId") != nil
		}))
		s.ask("rename", fmt.Sprintf(`{"deviceId":%q,"name":%q}`, euid, names[d.IEEE]))
	}
	// The ones whose firmware is short have ended when the pictures are taken.
	plug := otafile.Header{ManufacturerCode: 0x100B, ImageType: 0x0112, FileVersion: 0x01020700, StackVersion: 2}
	copy(plug.HeaderString[:], "LOM001 firmware 1.2.7")
	files := map[string][]byte{"bulb.ota": bulbImage(newerVersion, 16_000), "plug.ota": otafile.Build(plug, firmware(60_000))}
	base := serveFiles(t, files)
	euid := func(i int) string { return devices[i].IEEE.String() }
	for _, i := range []int{0, 1, 2, 3} {
		s.ask("add_image", fmt.Sprintf(`{"deviceId":%q,"url":"%s/bulb.ota"}`, euid(i), base))
	}
	for _, i := range []int{6, 7} {
		s.ask("add_image", fmt.Sprintf(`{"deviceId":%q,"url":"%s/plug.ota"}`, euid(i), base))
	}
	b := startBrowser(t)
	p := b.open(t, s.url())
	shoot := func(name string, wide, high int, scale float64, dark, phone bool) {
		scheme := "light"
		if dark {
			scheme = "dark"
		}
		p.do("Emulation.setDeviceMetricsOverride", object{"width": wide, "height": high, "deviceScaleFactor": scale, "mobile": phone})
		p.do("Emulation.setEmulatedMedia", object{"features": []any{object{"name": "prefers-color-scheme", "value": scheme}}})
		p.run(`new Promise((done) => requestAnimationFrame(() => setTimeout(done, 400)))`)
		if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), p.screenshot(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	state := func(i int, state string) {
		p.await(names[devices[i].IEEE]+" "+state, shows(rowOf(euid(i), ".badge"), state))
	}
	p.drop(writeImage(t, "gu10.ota", lampImage()))
	for _, i := range []int{1, 0} {
		s.publish("upgrade", fmt.Sprintf(`{"deviceId":%q}`, euid(i)))
	}
	state(1, "Failed")
	for _, i := range []int{2, 4, 6} {
		s.publish("upgrade", fmt.Sprintf(`{"deviceId":%q}`, euid(i)))
	}
	state(0, "Upgraded")
	state(2, "Downloading")
	p.await("a good part of it", fmt.Sprintf(`Number(document.querySelector(%s).getAttribute("aria-valuenow")) > 45`, quote(rowOf(euid(2), ".bar"))))
	shoot("wide", 1280, 860, 1, false, false)
	shoot("wide-dark", 1280, 860, 1, true, false)
	p.run(`location.hash = "#device/` + euid(2) + `"`)
	shoot("device", 1280, 860, 1, false, false)
	shoot("device-phone-dark", 390, 844, 2, true, true)
	p.run(`document.getElementById("sheet").close()`)
	shoot("phone", 390, 844, 2, false, true)
	shoot("phone-dark", 390, 844, 2, true, true)
	p.run(`document.querySelector("#upgrade-all").click()`)
	p.await("the question", `document.getElementById("question").open`)
	shoot("question", 1280, 860, 1, false, false)
	p.run(`document.getElementById("question").close()`)
	p.drop(writeImage(t, "holiday.jpg", []byte("no image")))
	p.await("the refusal", someShow(`.toast[role="alert"]`, "holiday.jpg"))
	shoot("refusal", 1280, 860, 1, false, false)
	shoot("refusal-phone", 390, 844, 2, false, true)
	for _, view := range []string{"queue", "images", "log"} {
		p.run(`location.hash = "#` + view + `"`)
		p.await(view, `document.querySelectorAll(".entry, .card, .events li").length > 0`)
		shoot(view, 1280, 860, 1, false, false)
		shoot(view+"-phone-dark", 390, 844, 2, true, true)
	}
	if bad := p.complaints("the server responded with a status of 4"); len(bad) > 0 {
		t.Errorf("the page complains: %v", bad)
	}
}

// lampImage is a newer image for the lamps.
func lampImage() []byte {
	h := otafile.Header{ManufacturerCode: 0x117C, ImageType: 0x2103, FileVersion: 0x23094631, StackVersion: 2}
	copy(h.HeaderString[:], "TRADFRI bulb GU10")
	return otafile.Build(h, firmware(90_000), otafile.WithIntegrityCode())
}
