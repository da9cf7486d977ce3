package bridge_test

import (
	"testing"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

func goldenOperation() *otasvc.Operation {
	return &otasvc.Operation{
		EUID: bulb, ManufacturerCode: ptr(uint16(4476)), ImageType: ptr(uint16(8705)), URL: ptr(imageURL),
		DriverTypeID: ptr("bulb.c4z"), DriverVersion: ptr(uint32(7)), ImageVersion: ptr(uint32(587814449)),
		OldImageVersion: ptr(uint32(570492465)),
	}
}

// TestResponseGolden: one of each kind of answer.
func TestResponseGolden(t *testing.T) {
	g := newGolden(t, "response")
	whole := goldenOperation()
	bare := &otasvc.Operation{EUID: bulb, ManufacturerCode: ptr(uint16(4476)), ImageType: ptr(uint16(8705)), OldImageVersion: ptr(uint32(570492465))}
	ended := withUpgrade(upgrade.Succeeded, func(u *upgrade.Record) {
		u.Offset, u.Progress, u.StartedAt = 205488, 100, at("15:51:00")
	}).Upgrade
	failed := withUpgrade(upgrade.Failed, func(u *upgrade.Record) { u.Reason, u.Attempt = upgrade.ReasonNoResponse, 3 }).Upgrade
	for _, c := range []struct {
		name, operation, transaction string
		answer                       otasvc.Answer
	}{
		{"of the service", "service_status", `"t-1"`, otasvc.Answer{Status: otasvc.ServiceAvailable}},
		{"of the service, for a device", "service_status", `17`, otasvc.Answer{Status: otasvc.ServiceAvailable, Operation: bare}},
		{"not available", "service_status", `-1.5e3`, otasvc.Answer{Status: otasvc.ServiceNotAvailable, Error: "the dongle is not connected"}},
		{"in progress", "add_image", `"<&>"`, otasvc.Answer{Status: otasvc.InProgress, Operation: bare}},
		{"image added", "add_image", "", otasvc.Answer{Status: otasvc.Success, Operation: whole}},
		{"image not had", "add_image", `""`, otasvc.Answer{Status: otasvc.ImageAccessFailed, Operation: whole, Error: "GET https://fw.example.com: 404"}},
		{"image not valid", "add_image", "", otasvc.Answer{Status: otasvc.ImageValidationFailed, Operation: whole, Error: "it is no OTA file"}},
		{"older driver", "add_image", "", otasvc.Answer{Status: otasvc.IncompatibleDriverVersion, Operation: whole, Error: "version 8 is registered"}},
		{"device not found", "remove_image", "", otasvc.Answer{Status: otasvc.DeviceNotFound, Operation: &otasvc.Operation{}, Error: `no device is known as "Cellar"`}},
		{"invalid", "remove_image", "", otasvc.Answer{Status: otasvc.InvalidData, Operation: &otasvc.Operation{}, Error: "imageTypeId: is required"}},
		{"image and no upgrade", "image_info", "", otasvc.Answer{
			Status: otasvc.Success, Operation: whole, UpdateAvailable: ptr(true), Source: otasvc.SourceFolder, HasUpgrade: true,
		}},
		{"image and upgrade", "image_info", "", otasvc.Answer{
			Status: otasvc.Success, Operation: whole, UpdateAvailable: ptr(false), Source: otasvc.SourceIndex, HasUpgrade: true, Upgrade: ended,
		}},
		{"no image", "image_info", "", otasvc.Answer{Status: otasvc.ImageInfoNotFound, Operation: bare, HasUpgrade: true, Error: "no image is registered"}},
		{"queued, with a warning", "upgrade", "", otasvc.Answer{Status: otasvc.InProgress, Operation: whole, Error: "the outcome is uncertain"}},
		{"upgraded", "upgrade", "", otasvc.Answer{Status: otasvc.Success, Operation: whole, HasUpgrade: true, Upgrade: ended}},
		{"upgraded, and it tells another version", "upgrade", "", otasvc.Answer{
			Status: otasvc.Success, Operation: whole, RunningVersion: ptr(uint32(587814450)),
		}},
		{"not upgraded", "upgrade", "", otasvc.Answer{
			Status: otasvc.Failure, Operation: whole, Reason: upgrade.ReasonNoResponse, HasUpgrade: true, Upgrade: failed,
			Error: upgrade.ReasonNoResponse.Explain(),
		}},
		{"refused", "upgrade", "", otasvc.Answer{Status: otasvc.Failure, Operation: whole, Reason: upgrade.ReasonUpToDate, Error: upgrade.ReasonUpToDate.Explain()}},
		{"all upgraded", "upgrade", "", otasvc.Answer{Status: otasvc.Success, UpgradeResults: []otasvc.UpgradeResult{}}},
		{"not all upgraded", "upgrade", "", otasvc.Answer{Status: otasvc.Failure, Error: "not every device was upgraded; see results", UpgradeResults: []otasvc.UpgradeResult{
			{EUID: bulb, State: upgrade.Succeeded}, {EUID: bulb, ImageType: ptr(uint16(8706)), State: upgrade.Succeeded},
			{EUID: 0x00178801aabbccdd, State: upgrade.Failed, Reason: upgrade.ReasonCanaryFailed},
		}}},
		{"checked", "check", "", otasvc.Answer{Status: otasvc.Success, Operation: whole, UpdateAvailable: ptr(true)}},
		{"all checked", "check", "", otasvc.Answer{Status: otasvc.Success, CheckResults: []otasvc.CheckResult{
			{EUID: bulb, Status: otasvc.Success, UpdateAvailable: true}, {EUID: 0x00178801aabbccdd, Status: otasvc.Failure},
		}}},
		{"frame taken", "image_notify", "", otasvc.Answer{Status: otasvc.Success, Operation: whole}},
		{"frame refused", "wait_for_data", "", otasvc.Answer{Status: otasvc.Failure, Operation: bare, DongleStatus: ptr(uint8(0)), Error: "status 0x00"}},
		{"header from a url", "load_image", "", otasvc.Answer{Status: otasvc.Success, Operation: &otasvc.Operation{
			ManufacturerCode: ptr(uint16(4476)), ImageType: ptr(uint16(8705)), URL: ptr(imageURL), ImageVersion: ptr(uint32(587814449)),
		}}},
	} {
		ticket := `{"operation":"` + c.operation + `"}`
		if c.transaction != "" {
			ticket = `{"operation":"` + c.operation + `","transaction":` + c.transaction + `}`
		}
		g.b.UpgradeEnded([]byte(ticket), c.answer, func() {}) // the way of every answer, here without a request
		g.said(c.name, "zigate-ota/response/"+c.operation)
	}
	g.b.HandleRequest(command("zigate-ota/request/upgrad", []byte(`{"transaction":"typo"}`), false))
	g.said("unknown operation", "zigate-ota/response/upgrad")
	g.b.HandleRequest(command("zigate-ota/request/a/b", nil, false))
	g.said("no operation", "zigate-ota/response/unknown")
	g.compare()
}

// TestEventGolden: every event as the service makes it.
func TestEventGolden(t *testing.T) {
	g := newGolden(t, "event")
	ofUpgrade := func(name otasvc.EventName, change func(*otasvc.Event)) otasvc.Event {
		e := otasvc.Event{
			Name: name, EUID: bulb, ManufacturerCode: ptr(uint16(4476)), ImageType: ptr(uint16(8705)), ImageVersion: ptr(uint32(587814449)),
			OldImageVersion: ptr(uint32(570492465)),
		}
		if change != nil {
			change(&e)
		}
		return e
	}
	moving := func(offset uint32, progress float64) func(*otasvc.Event) {
		return func(e *otasvc.Event) { e.Offset, e.Size, e.Progress = &offset, ptr(uint32(205488)), &progress }
	}
	for _, c := range []struct {
		name  string
		event otasvc.Event
	}{
		{"", otasvc.Event{Name: otasvc.EventDongleConnected}},
		{"", otasvc.Event{Name: otasvc.EventDongleDisconnected, Error: "the dongle does not answer"}},
		{"", otasvc.Event{Name: otasvc.EventDeviceAnnounced, EUID: bulb, NetworkAddress: ptr(uint16(20303))}},
		{"", otasvc.Event{Name: otasvc.EventDeviceLeft, EUID: bulb}},
		{"", ofUpgrade(otasvc.EventImageAdded, func(e *otasvc.Event) { e.Size = ptr(uint32(205488)) })},
		{"of a device whose version is not known", ofUpgrade(otasvc.EventImageRemoved, func(e *otasvc.Event) { e.OldImageVersion = nil })},
		{"", otasvc.Event{
			Name: otasvc.EventImageLoaded, ManufacturerCode: ptr(uint16(4476)), ImageType: ptr(uint16(8705)),
			ImageVersion: ptr(uint32(587814449)), Size: ptr(uint32(205488)),
		}},
		{"", ofUpgrade(otasvc.EventImageNotified, nil)},
		{"", ofUpgrade(otasvc.EventDownloadStarted, moving(0, 0))},
		{"", ofUpgrade(otasvc.EventDownloadProgress, moving(36224, 17.6))},
		{"", ofUpgrade(otasvc.EventDownloadPaused, moving(36224, 17.6))},
		{"", ofUpgrade(otasvc.EventDownloadResumed, moving(36224, 17.6))},
		{"", ofUpgrade(otasvc.EventDownloadFinished, func(e *otasvc.Event) { moving(205488, 100)(e); e.ZCLStatus = ptr(uint8(0)) })},
		{"", ofUpgrade(otasvc.EventUpgradeApplying, func(e *otasvc.Event) { e.ZCLStatus = ptr(uint8(0)) })},
		{"", ofUpgrade(otasvc.EventUpgradeSucceeded, func(e *otasvc.Event) { e.ZCLStatus = ptr(uint8(0)) })},
		{"", ofUpgrade(otasvc.EventUpgradeFailed, func(e *otasvc.Event) {
			moving(205488, 100)(e)
			e.Reason, e.ZCLStatus = upgrade.ReasonInvalidImage, ptr(uint8(0x96))
		})},
		{"", ofUpgrade(otasvc.EventUpgradeCancelled, func(e *otasvc.Event) { moving(36224, 17.6)(e); e.Reason = upgrade.ReasonCancelled })},
		{"", otasvc.Event{Name: otasvc.EventDeliveryFailed, EUID: bulb, Error: "no acknowledgement"}},
		{"", ofUpgrade(otasvc.EventUnsolicitedRequest, func(e *otasvc.Event) { e.Offset = ptr(uint32(0)) })},
	} {
		c.event.Time = at("16:02:11.987654321")
		g.b.Happened(c.event)
		name := string(c.event.Name)
		if c.name != "" {
			name += ", " + c.name
		}
		g.said(name, "zigate-ota/event/"+string(c.event.Name))
	}
	g.compare()
}

// TestRetainedExamples: the three records as they stand in the contract that consumers are written
// against, key for key.
func TestRetainedExamples(t *testing.T) {
	const (
		info = `{"version":"1.2.0","startedAt":"2026-11-21T16:00:00Z",` +
			`"dongle":{"connected":true,"port":"/dev/ttyUSB0","firmware":"3.23","euid":"0x00158d0001020304","panId":4660,"channel":15,"error":null},` +
			`"slot":{"mfgId":4476,"imageTypeId":8705,"imageVersion":587814449},` +
			`"devices":12,"images":3,"upgrades":{"queued":2,"active":1,"expectedEnd":null}}`
		device = `{"euid":"0x000b57fffec6a5b2","networkAddress":20303,"name":"Kitchen bulb","manufacturerName":"IKEA of Sweden",` +
			`"modelId":"TRADFRI bulb E27","mfgId":4476,"imageTypeId":8705,"hardwareVersion":1,"endpoint":1,"sleepy":false,` +
			`"currentFileVersion":570492465,"softwareBuild":null,"dateCode":null,"lqi":132,"lastSeen":"2026-11-21T16:02:11Z","updateAvailable":true,` +
			`"image":{"imageVersion":587814449,"size":205488,"sha256":"` + sha256Hex + `","url":"` + imageURL + `","source":"registered","driverTypeId":"","driverVersion":0,"releaseNotes":null,"title":"TRADFRI lamp","fileName":"10005777-TRADFRI-lamp.ota"},` +
			`"upgrade":{"state":"downloading","imageVersion":587814449,"oldImageVersion":570492465,"offset":36224,"size":205488,` +
			`"progress":17.6,"bytesPerSecond":412,"remainingSeconds":411,"queuedAt":"2026-11-21T15:50:00Z","startedAt":"2026-11-21T15:51:00Z","attempt":1,"reason":null,"error":null,"queue":null},"settings":{}}`
		update = `{"installed_version":"0x22010631","latest_version":"0x23095631","title":"TRADFRI bulb E27 firmware","release_summary":"",` +
			`"release_url":"` + imageURL + `","in_progress":true,"update_percentage":17.6}`
	)
	g := newGolden(t, "")
	g.b.InfoChanged(goldenInfo())
	g.b.DeviceChanged(withUpgrade(upgrade.Downloading, func(u *upgrade.Record) {
		u.Offset, u.Progress, u.StartedAt = 36224, 17.6, at("15:51:00")
		u.BytesPerSecond, u.RemainingSeconds = 412, ptr(411)
	}))
	for topic, want := range map[string]string{
		"zigate-ota/info":                             info,
		"zigate-ota/device/0x000b57fffec6a5b2":        device,
		"zigate-ota/device/0x000b57fffec6a5b2/update": update,
	} {
		if got := g.out.value(topic); got != want {
			t.Errorf("%s\n got %s\nwant %s", topic, got, want)
		}
	}
}
