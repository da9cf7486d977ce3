package bridge

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/otasvc"
)

// run carries a request out.
type run func(s *otasvc.Service, r *request, respond otasvc.Respond)

// operation is one thing that can be asked for: what the contract says of it, and how it is carried out.
type operation struct {
	contract.Operation
	run run
}

// operations is everything that can be asked for, by its name in the topic.
var operations = func() map[string]operation {
	all := map[string]operation{}
	for _, o := range contract.Operations() {
		if run, ok := runs[o.Name]; ok {
			all[o.Name] = operation{Operation: o, run: run}
		}
	}
	return all
}()

// runs says how each operation is carried out, by its name.
var runs = map[string]run{
	"service_status": func(s *otasvc.Service, r *request, respond otasvc.Respond) {
		if !r.hasDevice {
			s.ServiceStatus(nil, respond)
			return
		}
		s.ServiceStatus(&r.device, respond)
	},
	"add_image": func(s *otasvc.Service, r *request, respond otasvc.Respond) {
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
	"remove_image": func(s *otasvc.Service, r *request, respond otasvc.Respond) {
		s.RemoveImage(r.device, *r.imageType, respond)
	},
	"image_info": func(s *otasvc.Service, r *request, respond otasvc.Respond) {
		s.ImageInfo(r.device, respond)
	},
	"upgrade": func(s *otasvc.Service, r *request, respond otasvc.Respond) {
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
			Ticket: contract.Marshal(ticket{
				Operation: "upgrade", Transaction: r.transaction, ID: r.id,
			}),
		}, respond)
	},
	"cancel": func(s *otasvc.Service, r *request, respond otasvc.Respond) {
		if r.all {
			s.CancelAll(respond)
			return
		}
		s.Cancel(r.device, respond)
	},
	"pause": func(s *otasvc.Service, r *request, respond otasvc.Respond) {
		s.Pause(r.device, r.seconds, respond)
	},
	"resume": func(s *otasvc.Service, r *request, respond otasvc.Respond) {
		s.Resume(r.device, respond)
	},
	"check": func(s *otasvc.Service, r *request, respond otasvc.Respond) {
		if !r.hasDevice || r.all {
			s.CheckAll(respond)
			return
		}
		s.Check(r.device, respond)
	},
	"interview": func(s *otasvc.Service, r *request, respond otasvc.Respond) {
		s.Interview(r.device, respond)
	},
	"rename": func(s *otasvc.Service, r *request, respond otasvc.Respond) {
		s.Rename(r.device, r.name, respond)
	},
	"forget": func(s *otasvc.Service, r *request, respond otasvc.Respond) {
		s.Forget(r.device, respond)
	},

	// Each of these sends one frame to the dongle.
	"load_image": func(s *otasvc.Service, r *request, respond otasvc.Respond) {
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
	"image_notify": func(s *otasvc.Service, r *request, respond otasvc.Respond) {
		s.ImageNotify(otasvc.ImageNotify{
			Device: r.device, PayloadType: r.payloadType, QueryJitter: r.queryJitter, Image: r.image(),
		}, respond)
	},
	"upgrade_end": func(s *otasvc.Service, r *request, respond otasvc.Respond) {
		s.UpgradeEnd(otasvc.UpgradeEnd{
			Device: r.device, UpgradeTime: r.upgradeTime, CurrentTime: r.currentTime, Image: r.image(),
		}, respond)
	},
	"wait_for_data": func(s *otasvc.Service, r *request, respond otasvc.Respond) {
		s.WaitForData(otasvc.WaitForData{
			Device:            r.device,
			CurrentTime:       r.currentTime,
			RequestTime:       r.requestTime,
			BlockRequestDelay: r.blockRequestDelay,
		}, respond)
	},
}

// image is the image that a request for a single frame names.
func (r *request) image() otasvc.ImageKey {
	return otasvc.ImageKey{
		ManufacturerCode: r.manufacturerCode, ImageType: r.imageType, ImageVersion: r.imageVersion,
	}
}

// ticket is stored with an upgrade, so that its final answer can be given after a restart.
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

// asker says who gets the answers to a request.
type asker struct {
	name, response string // the operation's names in topics and in responses
	transaction    json.RawMessage
	id             string // in the feed; empty where the request came over MQTT
}

// request reads a request and carries it out, unless there is a reason to refuse it.
func (b *Bridge) request(who asker, payload []byte, refusal error) {
	op, known := operations[who.name]
	if !known {
		var r request
		_ = decode(payload, contract.Operation{}, &r) // only the transaction is needed
		who.response = contract.UnknownOperation
		who.transaction = r.transaction
		b.respondTo(who)(otasvc.Answer{
			Status: otasvc.InvalidData,
			Error: fmt.Sprintf("there is no operation of that name; there are %s",
				strings.Join(Operations(), ", ")),
		})
		return
	}

	r := request{id: who.id}
	err := decode(payload, op.Operation, &r)
	who.response = op.Response
	who.transaction = r.transaction
	respond := b.respondTo(who)
	if refusal != nil {
		err = refusal
	}

	if err != nil {
		answer := otasvc.Answer{Status: otasvc.InvalidData, Error: err.Error()}
		if op.OfDevice {
			answer.Operation = &otasvc.Operation{}
		}
		respond(answer)
		return
	}
	op.run(b.service, &r, respond)
}

// respondTo returns the function that answers one request. It drops every final answer after the first.
func (b *Bridge) respondTo(who asker) otasvc.Respond {
	var done atomic.Bool
	return func(a otasvc.Answer) {
		if a.Status.Final() && done.Swap(true) {
			b.log.Error("a second final answer was dropped", "operation", who.name, "status", a.Status)
			return
		}
		b.answer(who, a)
	}
}

func (b *Bridge) answer(who asker, a otasvc.Answer) {
	if a.Status.Final() {
		label := who.name
		if who.response == contract.UnknownOperation {
			label = contract.UnknownOperation
		}
		b.observer.Command(label, string(a.Status))
	}
	response := newResponse(who.response, who.transaction, a)
	if who.id != "" {
		b.feed.response(who.id, response)
		return
	}
	b.out.Publish(b.topics.Response(who.name), contract.Marshal(response))
}
