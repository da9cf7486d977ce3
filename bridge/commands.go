package bridge

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/zigate-ota/zigate-ota/otasvc"
)

// operation is one thing that can be asked for.
type operation struct {
	response string // the operation's name in its answers
	keys     map[string]key
	required []string
	// ofDevice: the answers carry the operation record even where no device could be found.
	ofDevice bool
	run      func(s *otasvc.Service, r *request, respond otasvc.Respond)
}

// operations is everything that can be asked for, by its name in the topic.
var operations = map[string]operation{
	"service_status": {
		response: "serviceStatusResponse",
		keys:     map[string]key{"deviceId": keyDevice},
		run: func(s *otasvc.Service, r *request, respond otasvc.Respond) {
			if !r.hasDevice {
				s.ServiceStatus(nil, respond)
				return
			}
			s.ServiceStatus(&r.device, respond)
		},
	},
	"add_image": {
		response: "addImageResponse", ofDevice: true,
		keys: map[string]key{
			"deviceId": keyDevice, "url": keyURL, "mfgId": keyManufacturerCode, "imageTypeId": keyImageType,
			"driverTypeId": keyDriverType, "version": keyDriverVersion, "sha256": keySHA256,
			"sha512": keySHA512, "upgrade": keyUpgrade,
		},
		required: []string{"deviceId", "url"},
		run: func(s *otasvc.Service, r *request, respond otasvc.Respond) {
			s.AddImage(otasvc.AddImage{
				Device:           r.device,
				URL:              r.url,
				ManufacturerCode: r.manufacturerCode,
				ImageType:        r.imageType,
				DriverTypeID:     r.driverTypeID,
				DriverVersion:    r.driverVersion,
				SHA256:           r.sha256,
				SHA512:           r.sha512,
				Upgrade:          r.upgrade,
			}, respond)
		},
	},
	"remove_image": {
		response: "removeImageResponse", ofDevice: true,
		keys:     map[string]key{"deviceId": keyDevice, "imageTypeId": keyImageType},
		required: []string{"deviceId", "imageTypeId"},
		run: func(s *otasvc.Service, r *request, respond otasvc.Respond) {
			s.RemoveImage(r.device, *r.imageType, respond)
		},
	},
	"image_info": {
		response: "imageInfoResponse", ofDevice: true,
		keys:     map[string]key{"deviceId": keyDevice},
		required: []string{"deviceId"},
		run: func(s *otasvc.Service, r *request, respond otasvc.Respond) {
			s.ImageInfo(r.device, respond)
		},
	},
	"upgrade": {
		response: "upgradeResponse", ofDevice: true,
		keys: map[string]key{
			"deviceId": keyDeviceOrAll, "url": keyURL, "sha256": keySHA256, "sha512": keySHA512,
			"imageVersion": keyImageVersion, "allowDowngrade": keyAllowDowngrade, "force": keyForce,
			"when": keyWhen, "apply": keyApply,
		},
		required: []string{"deviceId"},
		run: func(s *otasvc.Service, r *request, respond otasvc.Respond) {
			if r.all && (r.url != "" || r.imageVersion != nil) {
				respond(otasvc.Answer{
					Status: otasvc.InvalidData,
					Error:  `url and imageVersion: are not allowed with deviceId "all"`,
				})
				return
			}
			s.Upgrade(otasvc.UpgradeRequest{
				Device:         r.device,
				All:            r.all,
				URL:            r.url,
				SHA256:         r.sha256,
				SHA512:         r.sha512,
				ImageVersion:   r.imageVersion,
				AllowDowngrade: r.allowDowngrade,
				Force:          r.force,
				At:             r.at,
				Window:         r.window,
				Install:        r.install,
				InstallAt:      r.installAt,
				Ticket:         marshal(ticket{Operation: "upgrade", Transaction: r.transaction, ID: r.id}),
			}, respond)
		},
	},
	"cancel": {
		response: "cancelResponse", ofDevice: true,
		keys:     map[string]key{"deviceId": keyDeviceOrAll},
		required: []string{"deviceId"},
		run: func(s *otasvc.Service, r *request, respond otasvc.Respond) {
			if r.all {
				s.CancelAll(respond)
				return
			}
			s.Cancel(r.device, respond)
		},
	},
	"pause": {
		response: "pauseResponse", ofDevice: true,
		keys:     map[string]key{"deviceId": keyDevice, "seconds": keySeconds},
		required: []string{"deviceId"},
		run: func(s *otasvc.Service, r *request, respond otasvc.Respond) {
			s.Pause(r.device, r.seconds, respond)
		},
	},
	"resume": {
		response: "resumeResponse", ofDevice: true,
		keys:     map[string]key{"deviceId": keyDevice},
		required: []string{"deviceId"},
		run:      func(s *otasvc.Service, r *request, respond otasvc.Respond) { s.Resume(r.device, respond) },
	},
	"check": {
		response: "checkResponse",
		keys:     map[string]key{"deviceId": keyDeviceOrAll},
		run: func(s *otasvc.Service, r *request, respond otasvc.Respond) {
			if !r.hasDevice || r.all {
				s.CheckAll(respond)
				return
			}
			s.Check(r.device, respond)
		},
	},
	"interview": {
		response: "interviewResponse", ofDevice: true,
		keys:     map[string]key{"deviceId": keyDevice},
		required: []string{"deviceId"},
		run: func(s *otasvc.Service, r *request, respond otasvc.Respond) {
			s.Interview(r.device, respond)
		},
	},
	"rename": {
		response: "renameResponse", ofDevice: true,
		keys:     map[string]key{"deviceId": keyDevice, "name": keyName},
		required: []string{"deviceId", "name"},
		run: func(s *otasvc.Service, r *request, respond otasvc.Respond) {
			s.Rename(r.device, r.name, respond)
		},
	},
	"forget": {
		response: "forgetResponse", ofDevice: true,
		keys:     map[string]key{"deviceId": keyDevice},
		required: []string{"deviceId"},
		run:      func(s *otasvc.Service, r *request, respond otasvc.Respond) { s.Forget(r.device, respond) },
	},

	// Frames by hand.
	"load_image": {
		response: "loadImageResponse", ofDevice: true,
		keys: map[string]key{"deviceId": keyDevice, "url": keyURL},
		run: func(s *otasvc.Service, r *request, respond otasvc.Respond) {
			switch {
			case r.hasDevice == (r.url != ""):
				respond(otasvc.Answer{
					Status:    otasvc.InvalidData,
					Operation: &otasvc.Operation{},
					Error:     "deviceId, url: one of the two is required, and only one is allowed",
				})
			case r.hasDevice:
				s.LoadImage(r.device, respond)
			default:
				s.LoadImageFrom(r.url, respond)
			}
		},
	},
	"image_notify": {
		response: "imageNotifyResponse", ofDevice: true,
		keys: map[string]key{
			"deviceId": keyDevice, "payloadType": keyPayloadType, "imageVersion": keyImageVersion,
			"imageTypeId": keyImageType, "mfgId": keyManufacturerCode, "queryJitter": keyQueryJitter,
		},
		required: []string{"deviceId"},
		run: func(s *otasvc.Service, r *request, respond otasvc.Respond) {
			s.ImageNotify(otasvc.ImageNotify{
				Device: r.device, PayloadType: r.payloadType, QueryJitter: r.queryJitter, Image: r.image(),
			}, respond)
		},
	},
	"upgrade_end": {
		response: "upgradeEndResponse", ofDevice: true,
		keys: map[string]key{
			"deviceId": keyDevice, "upgradeTime": keyUpgradeTime, "currentTime": keyCurrentTime,
			"imageVersion": keyImageVersion, "imageTypeId": keyImageType, "mfgId": keyManufacturerCode,
		},
		required: []string{"deviceId"},
		run: func(s *otasvc.Service, r *request, respond otasvc.Respond) {
			s.UpgradeEnd(otasvc.UpgradeEnd{
				Device: r.device, UpgradeTime: r.upgradeTime, CurrentTime: r.currentTime, Image: r.image(),
			}, respond)
		},
	},
	"wait_for_data": {
		response: "waitForDataResponse", ofDevice: true,
		keys: map[string]key{
			"deviceId": keyDevice, "currentTime": keyCurrentTime, "requestTime": keyRequestTime,
			"blockRequestDelay": keyBlockRequestDelay,
		},
		required: []string{"deviceId"},
		run: func(s *otasvc.Service, r *request, respond otasvc.Respond) {
			s.WaitForData(otasvc.WaitForData{
				Device:            r.device,
				CurrentTime:       r.currentTime,
				RequestTime:       r.requestTime,
				BlockRequestDelay: r.blockRequestDelay,
			}, respond)
		},
	},
}

// image is the image that a frame by hand names.
func (r *request) image() otasvc.ImageKey {
	return otasvc.ImageKey{
		ManufacturerCode: r.manufacturerCode, ImageType: r.imageType, ImageVersion: r.imageVersion,
	}
}

// ticket is what an upgrade carries to its end, over restarts: what is needed for its final answer.
type ticket struct {
	Operation   string          `json:"operation"`
	Transaction json.RawMessage `json:"transaction,omitempty"`
	ID          string          `json:"id,omitempty"` // see asker
}

// HandleRequest takes one message of a request topic. It does not block. retained says that the
// broker had kept it.
func (b *Bridge) HandleRequest(topic string, payload []byte, retained bool) {
	var refusal error
	if retained {
		refusal = fmt.Errorf(
			"retain: the request was retained by the broker and would run again at every reconnect; "+
				"publish it without the retain flag, and clear it with an empty retained message on %s",
			topic,
		)
	}
	b.request(asker{name: b.topics.Operation(topic)}, payload, refusal)
}

// Ask carries out what would have come on <base>/request/<operation>. The answers go into the feed, as the
// response with this id, and not to MQTT. It does not block.
func (b *Bridge) Ask(id, operation string, payload []byte) {
	b.request(asker{name: b.topics.Operation(b.topics.Request(operation)), id: id}, payload, nil)
}

// Operations names everything that can be asked for, in order.
func Operations() []string { return slices.Sorted(maps.Keys(operations)) }

// asker is who gets the answers to a request, and as what.
type asker struct {
	name, response string // of the operation
	transaction    json.RawMessage
	id             string // in the feed; empty: the request came over MQTT
}

// request reads a request and carries it out, unless there is a reason to refuse it.
func (b *Bridge) request(who asker, payload []byte, refusal error) {
	op, known := operations[who.name]
	if !known {
		var r request
		_ = decode(payload, nil, nil, &r) // for its transaction
		who.response = unknownOperation
		who.transaction = r.transaction
		b.respondTo(who)(otasvc.Answer{
			Status: otasvc.InvalidData,
			Error: fmt.Sprintf("there is no operation of that name; there are %s",
				strings.Join(Operations(), ", ")),
		})
		return
	}
	r := request{id: who.id}
	err := decode(payload, op.keys, op.required, &r)
	who.response = op.response
	who.transaction = r.transaction
	respond := b.respondTo(who)
	if refusal != nil {
		err = refusal
	}
	if err != nil {
		answer := otasvc.Answer{Status: otasvc.InvalidData, Error: err.Error()}
		if op.ofDevice {
			answer.Operation = &otasvc.Operation{}
		}
		respond(answer)
		return
	}
	op.run(b.service, &r, respond)
}

// respondTo gives the answers to one request, and sees to it that there is one final answer only.
func (b *Bridge) respondTo(who asker) otasvc.Respond {
	var done atomic.Bool
	return func(a otasvc.Answer) {
		if a.Status.Final() && done.Swap(true) {
			b.log.Error("a second final answer was held back", "operation", who.name, "status", a.Status)
			return
		}
		b.answer(who, a)
	}
}

func (b *Bridge) answer(who asker, a otasvc.Answer) {
	if a.Status.Final() {
		label := who.name
		if who.response == unknownOperation {
			label = unknownOperation
		}
		b.observer.Command(label, string(a.Status))
	}
	payload := marshal(newResponsePayload(who.response, who.transaction, a))
	if who.id != "" {
		b.feed.response(who.id, a.Status, payload)
		return
	}
	b.out.Publish(b.topics.Response(who.name), payload)
}
