package bridge

import (
	"encoding/json"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/needs"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
)

// call is one request for an operation: the values that its keys are read into belong to it alone.
type call struct {
	// keys has a reader for each key that the contract gives the operation.
	keys map[string]reader
	// run carries the request out, once all of its keys have been read.
	run func(*otasvc.Service, otasvc.Respond)
}

// operation is one thing that can be asked for: what the contract says of it, and how a request for it is
// begun.
type operation struct {
	contract.Operation
	// acts says that carrying it out once more may have another outcome, and lasts that it may take longer
	// than a moment, too.
	acts, lasts bool
	// begin makes the call of one request. Who asks may not be known completely before the call is run.
	begin func(who *asker) call
}

// operations is everything that can be asked for, by its name in the topic.
var operations = func() map[string]operation {
	all := map[string]operation{}
	for _, o := range contract.Operations() {
		if begin, ok := calls[o.Name]; ok {
			all[o.Name] = operation{
				Operation: o,
				acts:      !asking[o.Name],
				lasts:     lasting[o.Name],
				begin:     begin,
			}
		}
	}
	return all
}()

// asking are the operations that change nothing, lasting those that may last.
var (
	asking  = map[string]bool{"service_status": true, "image_info": true}
	lasting = map[string]bool{"add_image": true, "upgrade": true, "check": true, "interview": true}
)

// calls says how a request for each operation is begun, by the operation's name.
var calls = map[string]func(who *asker) call{
	"service_status": serviceStatus,
	"add_image":      addImage,
	"remove_image":   removeImage,
	"image_info":     imageInfo,
	"upgrade":        upgradeDevices,
	"cancel":         cancel,
	"pause":          pause,
	"resume":         ofDevice((*otasvc.Service).Resume),
	"check":          check,
	"interview":      ofDevice((*otasvc.Service).Interview),
	"rename":         rename,
	"configure":      configure,
	"forget":         ofDevice((*otasvc.Service).Forget),

	// Each of these sends one frame to the dongle.
	"load_image":    loadImage,
	"image_notify":  imageNotify,
	"upgrade_end":   upgradeEnd,
	"wait_for_data": waitForData,
}

// ofDevice begins requests that name a device and nothing else.
func ofDevice(do func(*otasvc.Service, registry.Ref, otasvc.Respond)) func(*asker) call {
	return func(*asker) call {
		var device registry.Ref
		return call{
			keys: map[string]reader{"deviceId": deviceRef(&device)},
			run:  func(s *otasvc.Service, respond otasvc.Respond) { do(s, device, respond) },
		}
	}
}

func serviceStatus(*asker) call {
	var device choice
	return call{
		keys: map[string]reader{"deviceId": device.read},
		run: func(s *otasvc.Service, respond otasvc.Respond) {
			if !device.given {
				s.ServiceStatus(nil, respond)
				return
			}
			s.ServiceStatus(&device.ref, respond)
		},
	}
}

func addImage(*asker) call {
	var req otasvc.AddImage
	return call{
		keys: map[string]reader{
			"deviceId":     deviceRef(&req.Device),
			"url":          imageURL(&req.URL),
			"mfgId":        knownNumber(&req.ManufacturerCode),
			"imageTypeId":  knownNumber(&req.ImageType),
			"driverTypeId": text(&req.DriverTypeID),
			"version":      number(&req.DriverVersion),
			"sha256":       digest(&req.SHA256),
			"sha512":       digest(&req.SHA512),
			"upgrade":      boolean(&req.Upgrade),
		},
		run: func(s *otasvc.Service, respond otasvc.Respond) { s.AddImage(req, respond) },
	}
}

func removeImage(*asker) call {
	var device registry.Ref
	var imageType uint16
	return call{
		keys: map[string]reader{"deviceId": deviceRef(&device), "imageTypeId": number(&imageType)},
		run:  func(s *otasvc.Service, respond otasvc.Respond) { s.RemoveImage(device, imageType, respond) },
	}
}

func imageInfo(*asker) call {
	var device registry.Ref
	var imageType *uint16
	return call{
		keys: map[string]reader{"deviceId": deviceRef(&device), "imageTypeId": knownNumber(&imageType)},
		run:  func(s *otasvc.Service, respond otasvc.Respond) { s.ImageInfo(device, imageType, respond) },
	}
}

// upgradeDevices begins an upgrade of one device, or of all.
func upgradeDevices(who *asker) call {
	var device choice
	var req otasvc.UpgradeRequest
	return call{
		keys: map[string]reader{
			"deviceId":       device.read,
			"imageTypeId":    knownNumber(&req.ImageType),
			"url":            imageURL(&req.URL),
			"sha256":         digest(&req.SHA256),
			"sha512":         digest(&req.SHA512),
			"imageVersion":   knownNumber(&req.ImageVersion),
			"allowDowngrade": boolean(&req.AllowDowngrade),
			"force":          boolean(&req.Force),
			"when":           start(&req.At, &req.Window),
			"apply":          installation(&req.Install, &req.InstallAt),
		},
		run: func(s *otasvc.Service, respond otasvc.Respond) {
			req.Device = device.ref
			req.All = device.all
			if req.All && (req.URL != "" || req.ImageVersion != nil || req.ImageType != nil) {
				respond(otasvc.Answer{
					Status: otasvc.InvalidData,
					Error:  `imageTypeId, url and imageVersion: are not allowed with deviceId "all"`,
				})
				return
			}
			req.Ticket = contract.Marshal(ticket{
				Operation: "upgrade", Transaction: who.transaction, ID: who.id, Promise: who.promise,
			})
			s.Upgrade(req, respond)
		},
	}
}

func cancel(*asker) call {
	var device choice
	return call{
		keys: map[string]reader{"deviceId": device.read},
		run: func(s *otasvc.Service, respond otasvc.Respond) {
			if device.all {
				s.CancelAll(respond)
				return
			}
			s.Cancel(device.ref, respond)
		},
	}
}

func pause(*asker) call {
	var device registry.Ref
	var length time.Duration
	return call{
		keys: map[string]reader{"deviceId": deviceRef(&device), "seconds": seconds(&length)},
		run:  func(s *otasvc.Service, respond otasvc.Respond) { s.Pause(device, length, respond) },
	}
}

func check(*asker) call {
	var device choice
	var imageType *uint16
	return call{
		keys: map[string]reader{"deviceId": device.read, "imageTypeId": knownNumber(&imageType)},
		run: func(s *otasvc.Service, respond otasvc.Respond) {
			switch all := !device.given || device.all; {
			case all && imageType != nil:
				respond(otasvc.Answer{
					Status: otasvc.InvalidData,
					Error:  `imageTypeId: is allowed with the deviceId of one device only`,
				})
			case all:
				s.CheckAll(respond)
			default:
				s.Check(device.ref, imageType, respond)
			}
		},
	}
}

func rename(*asker) call {
	var device registry.Ref
	var name string
	return call{
		keys: map[string]reader{"deviceId": deviceRef(&device), "name": deviceName(&name)},
		run:  func(s *otasvc.Service, respond otasvc.Respond) { s.Rename(device, name, respond) },
	}
}

func configure(*asker) call {
	var device registry.Ref
	var changes settings
	return call{
		keys: map[string]reader{
			"deviceId":            deviceRef(&device),
			"excluded":            changes.excluded.reader(boolean),
			"blockSize":           changes.blockSize.reader(number[uint8]),
			"blockIntervalMs":     changes.blockInterval.reader(milliseconds),
			"stallTimeoutSeconds": changes.stallTimeout.reader(seconds),
			"notifyAttempts":      changes.notifyAttempts.reader(number[uint32]),
		},
		run: func(s *otasvc.Service, respond otasvc.Respond) {
			s.Configure(device, changes.made, respond)
		},
	}
}

// settings are the changes that a request makes to what is set for a device.
type settings struct {
	excluded       setting[bool]
	blockSize      setting[uint8]
	blockInterval  setting[time.Duration]
	stallTimeout   setting[time.Duration]
	notifyAttempts setting[uint32]
}

// made is what is set once the changes are made.
func (c *settings) made(before needs.Settings) needs.Settings {
	after := before
	c.excluded.made(&after.Excluded)
	c.blockSize.made(&after.BlockSize)
	c.blockInterval.made(&after.BlockInterval)
	c.stallTimeout.made(&after.StallTimeout)
	c.notifyAttempts.made(&after.NotifyAttempts)
	return after
}

func loadImage(*asker) call {
	var device choice
	var url string
	return call{
		keys: map[string]reader{"deviceId": device.read, "url": imageURL(&url)},
		run: func(s *otasvc.Service, respond otasvc.Respond) {
			switch {
			case device.given == (url != ""):
				respond(otasvc.Answer{
					Status:    otasvc.InvalidData,
					Operation: &otasvc.Operation{},
					Error:     "deviceId, url: one of the two is required, and only one is allowed",
				})
			case device.given:
				s.LoadImage(device.ref, respond)
			default:
				s.LoadImageFrom(url, respond)
			}
		},
	}
}

func imageNotify(*asker) call {
	var req otasvc.ImageNotify
	return call{
		keys: withImage(&req.Image, map[string]reader{
			"deviceId":    deviceRef(&req.Device),
			"payloadType": number(&req.PayloadType),
			"queryJitter": number(&req.QueryJitter),
		}),
		run: func(s *otasvc.Service, respond otasvc.Respond) { s.ImageNotify(req, respond) },
	}
}

func upgradeEnd(*asker) call {
	var req otasvc.UpgradeEnd
	return call{
		keys: withImage(&req.Image, map[string]reader{
			"deviceId":    deviceRef(&req.Device),
			"upgradeTime": knownNumber(&req.UpgradeTime),
			"currentTime": number(&req.CurrentTime),
		}),
		run: func(s *otasvc.Service, respond otasvc.Respond) { s.UpgradeEnd(req, respond) },
	}
}

func waitForData(*asker) call {
	var req otasvc.WaitForData
	return call{
		keys: map[string]reader{
			"deviceId":          deviceRef(&req.Device),
			"currentTime":       number(&req.CurrentTime),
			"requestTime":       knownNumber(&req.RequestTime),
			"blockRequestDelay": number(&req.BlockRequestDelay),
		},
		run: func(s *otasvc.Service, respond otasvc.Respond) { s.WaitForData(req, respond) },
	}
}

// withImage adds the keys by which a request for a single frame names an image.
func withImage(image *otasvc.ImageKey, keys map[string]reader) map[string]reader {
	keys["mfgId"] = knownNumber(&image.ManufacturerCode)
	keys["imageTypeId"] = knownNumber(&image.ImageType)
	keys["imageVersion"] = knownNumber(&image.ImageVersion)
	return keys
}

// ticket is stored with an upgrade, so that its final answer can be given after a restart.
type ticket struct {
	Operation   string          `json:"operation"`
	Transaction json.RawMessage `json:"transaction,omitempty"`
	ID          string          `json:"id,omitempty"`      // see asker
	Promise     string          `json:"promise,omitempty"` // tells requests apart
}
