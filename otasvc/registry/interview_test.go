package registry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

const bulbAddr uint16 = 0x4f4f

// asker is a device that answers at once what a test has it answer, and takes in what it told as the service
// does.
type asker struct {
	device *registry.Device
	answer func(message.Message) []message.Message
	asked  []string
	got    []message.Message
	onAsk  func(registry.Question) // may be nil
}

func newAsker() *asker {
	devices := registry.NewDevices()
	d, _ := devices.Meet(bulb)
	devices.Move(d, bulbAddr)
	return &asker{device: d}
}

// put is a question as tests name it.
func put(cmd message.Message) string {
	switch m := cmd.(type) {
	case message.NodeDescriptorRequest:
		return "node"
	case message.ActiveEndpointsRequest:
		return "endpoints"
	case message.SimpleDescriptorRequest:
		return fmt.Sprintf("endpoint %d", m.Endpoint)
	case message.PowerDescriptorRequest:
		return "power"
	case message.ReadAttributes:
		if slices.Contains(m.IDs, message.AttrSoftwareBuild) {
			return fmt.Sprintf("build at %d", m.DstEndpoint)
		}
		if m.Cluster == message.ClusterOTA && slices.Contains(m.IDs, message.AttrOTAServer) {
			return fmt.Sprintf("server at %d", m.DstEndpoint)
		}
		return fmt.Sprintf("cluster %d at %d", m.Cluster, m.DstEndpoint)
	}
	return fmt.Sprintf("%T", cmd)
}

func (a *asker) Ask(ctx context.Context, q registry.Question) ([]message.Message, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if s := put(q.Command); len(a.asked) == 0 || a.asked[len(a.asked)-1] != s { // attributes are read three at a time
		a.asked = append(a.asked, s)
	}
	if a.onAsk != nil {
		a.onAsk(q)
	}
	a.got = nil
	for _, m := range a.answer(q.Command) {
		if at, ok := m.(message.Attribute); ok {
			at.Addr = bulbAddr
			a.device.Learn(at)
			m = at
		}
		part, whole := q.Match(m)
		if part {
			a.got = append(a.got, m)
		}
		if whole {
			return a.got, nil
		}
	}
	return a.got, registry.ErrNoReply
}

func (a *asker) Send(q registry.Question)             { a.asked = append(a.asked, put(q.Command)+", not awaited") }
func (a *asker) Facts() registry.Facts                { return a.device.Facts() }
func (a *asker) Change(change func(*registry.Device)) { change(a.device) }

// home is a device with endpoints 1 and 11, the second with the OTA client. It does not answer what lost
// names.
func home(power any, lost ...string) func(message.Message) []message.Message {
	return func(cmd message.Message) []message.Message {
		if slices.Contains(lost, put(cmd)) {
			return nil
		}
		switch m := cmd.(type) {
		case message.NodeDescriptorRequest:
			return []message.Message{message.NodeDescriptor{Addr: 1}, message.NodeDescriptor{Addr: bulbAddr}}
		case message.ActiveEndpointsRequest:
			return []message.Message{message.ActiveEndpoints{Addr: bulbAddr, Endpoints: []uint8{1, 11, 12}}}
		case message.SimpleDescriptorRequest:
			d := message.SimpleDescriptor{Addr: bulbAddr, Endpoint: m.Endpoint, InClusters: []uint16{message.ClusterBasic}}
			if m.Endpoint == 11 {
				d.OutClusters = []uint16{message.ClusterOTA}
			}
			return []message.Message{message.SimpleDescriptor{Addr: bulbAddr, Endpoint: 99}, d}
		case message.PowerDescriptorRequest:
			return []message.Message{message.PowerDescriptor{BitFields: uint16(message.PowerDisposable) << 8}}
		case message.ReadAttributes:
			return values(m, power)
		}
		return nil
	}
}

// values are the attributes that the device has. A power source of nil is unsupported.
func values(m message.ReadAttributes, power any) []message.Message {
	known := map[[2]uint16]any{
		{message.ClusterBasic, message.AttrManufacturerName}: "IKEA",
		{message.ClusterBasic, message.AttrModel}:            "E1",
		{message.ClusterBasic, 7}:                            power,
		{message.ClusterBasic, message.AttrSoftwareBuild}:    "2.3.093",
		{message.ClusterBasic, message.AttrDateCode}:         "20240131",
		{message.ClusterOTA, message.AttrOTAFileVersion}:     uint32(7),
		{message.ClusterOTA, message.AttrOTAManufacturer}:    uint16(0x117c),
		{message.ClusterOTA, message.AttrOTAImageType}:       uint16(0x2201),
	}
	var list []message.Message
	for _, id := range m.IDs {
		if value := known[[2]uint16{m.Cluster, id}]; value != nil {
			list = append(list, attribute(m.Cluster, id, value))
		} else {
			list = append(list, unsupported(m.Cluster, id))
		}
	}
	return list
}

const (
	mains   = uint8(1)
	battery = uint8(3)
)

func TestInterview(t *testing.T) {
	unbuilt := []string{"node", "endpoints", "endpoint 1", "endpoint 11", "endpoint 12", "cluster 0 at 1", "cluster 25 at 11"}
	whole := append(slices.Clone(unbuilt), "build at 1", "server at 11")
	tests := map[string]struct {
		answer func(message.Message) []message.Message
		before func(*registry.Device)
		asked  []string
		err    error
	}{
		"mains": {answer: home(mains), asked: whole},
		"battery": {
			answer: home(battery),
			asked: []string{
				"node", "endpoints", "endpoint 1", "endpoint 11", "endpoint 12", "cluster 0 at 1", "cluster 1 at 1, not awaited",
				"cluster 25 at 11", "build at 1", "server at 11",
			},
		},
		"no power source": {
			answer: home(nil),
			asked: []string{
				"node", "endpoints", "endpoint 1", "endpoint 11", "endpoint 12", "cluster 0 at 1", "power",
				"cluster 1 at 1, not awaited", "cluster 25 at 11", "build at 1", "server at 11",
			},
		},
		"it does not hear": {
			answer: home(mains, "node", "endpoints"),
			asked:  []string{"node", "endpoints"},
			err:    registry.ErrNoReply,
		},
		"the node descriptor is lost": {answer: home(mains, "node"), asked: whole},
		"the endpoints are lost": {
			answer: home(mains, "endpoints"),
			asked:  []string{"node", "endpoints", "cluster 0 at 1", "cluster 25 at 1", "build at 1", "server at 1"},
			err:    registry.ErrNoReply,
		},
		"an endpoint without the OTA client is lost": {
			answer: home(mains, "endpoint 1"),
			asked:  []string{"node", "endpoints", "endpoint 1", "endpoint 11", "endpoint 12", "cluster 0 at 11", "cluster 25 at 11", "build at 11", "server at 11"},
			err:    registry.ErrNoReply,
		},
		"the endpoint with the OTA client is lost": {
			answer: home(mains, "endpoint 11"),
			asked:  []string{"node", "endpoints", "endpoint 1", "endpoint 11", "endpoint 12"},
			err:    registry.ErrNoReply,
		},
		"it is lost, and was known before": {
			answer: home(mains, "endpoint 11"),
			before: func(d *registry.Device) { d.SetEndpoint(11) },
			asked: []string{
				"node", "endpoints", "endpoint 1", "endpoint 11", "endpoint 12", "cluster 0 at 1", "cluster 25 at 11",
				"build at 1", "server at 11",
			},
			err: registry.ErrNoReply,
		},
		"the names are lost": {
			answer: home(mains, "cluster 0 at 1"),
			asked: []string{
				"node", "endpoints", "endpoint 1", "endpoint 11", "endpoint 12", "cluster 0 at 1", "power",
				"cluster 1 at 1, not awaited", "cluster 25 at 11",
			},
			err: registry.ErrNoReply,
		},
		"the names are lost, and were known before": {
			answer: home(mains, "cluster 0 at 1"),
			before: func(d *registry.Device) {
				d.Learn(attribute(message.ClusterBasic, message.AttrModel, "E1"))
				d.Learn(attribute(message.ClusterBasic, 7, mains))
			},
			asked: unbuilt,
		},
		"the identity is lost": {answer: home(mains, "cluster 25 at 11"), asked: unbuilt, err: registry.ErrNoReply},
		"the identity is lost, and the version was told": {
			answer: home(mains, "cluster 25 at 11"),
			before: func(d *registry.Device) { d.SetVersion(7) },
			asked:  whole,
		},
		"the identity is lost, and it never tells its version": {
			answer: home(mains, "cluster 25 at 11"),
			before: func(d *registry.Device) {
				d.Learn(unsupported(message.ClusterOTA, message.AttrOTAFileVersion))
			},
			asked: whole,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			a := newAsker()
			a.answer = tc.answer
			if tc.before != nil {
				tc.before(a.device)
			}
			if err := registry.Interview(t.Context(), a); !errors.Is(err, tc.err) {
				t.Errorf("ended with %v, want %v", err, tc.err)
			}
			if diff := cmp.Diff(tc.asked, a.asked); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// An interview tells everything that a device can say.
func TestInterviewLearns(t *testing.T) {
	a := newAsker()
	a.answer = home(nil)
	if err := registry.Interview(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	want := registry.Facts{
		EUID: bulb, NetworkAddress: ptr(bulbAddr), ManufacturerName: "IKEA", ModelID: "E1",
		Build: registry.Build{Software: "2.3.093", DateCode: "20240131", Of: ptr(uint32(7)), Asked: true},
		Client: registry.Client{
			ManufacturerCode: ptr(uint16(0x117c)), ImageType: ptr(uint16(0x2201)), Endpoint: 11,
			CurrentVersion: ptr(uint32(7)), VersionFresh: true,
		},
		PowerSource: registry.PowerBattery, Battery: ptr(uint8(0)),
	}
	if diff := cmp.Diff(want, a.Facts()); diff != "" {
		t.Error(diff)
	}
}

// An interview that is stopped asks nothing more.
func TestInterviewStops(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	a := newAsker()
	all := home(battery)
	a.answer = func(cmd message.Message) []message.Message {
		if put(cmd) == "endpoint 1" {
			stop()
			return nil
		}
		return all(cmd)
	}
	if err := registry.Interview(ctx, a); err == nil {
		t.Error("it ended well")
	}
	if want := []string{"node", "endpoints", "endpoint 1"}; !slices.Equal(a.asked, want) {
		t.Errorf("asked %v", a.asked)
	}
}

func TestInterviewOfNowhere(t *testing.T) {
	d, _ := registry.NewDevices().Meet(bulb)
	a := &asker{device: d}
	if err := registry.Interview(t.Context(), a); !errors.Is(err, registry.ErrNoAddress) {
		t.Errorf("a device without an address: %v", err)
	}
}

// A device with OTA clients on two endpoints is asked at each of them. What the second one does not answer is
// left to its own request.
func TestInterviewOfTwoClients(t *testing.T) {
	for name, lost := range map[string][]string{"both answer": nil, "the second does not": {"cluster 25 at 12"}} {
		t.Run(name, func(t *testing.T) {
			a := newAsker()
			one := home(mains, lost...)
			a.answer = func(cmd message.Message) []message.Message {
				answer := one(cmd)
				for i := range answer {
					switch m := answer[i].(type) {
					case message.SimpleDescriptor:
						if m.Endpoint == 12 {
							m.OutClusters = []uint16{message.ClusterOTA}
						}
						answer[i] = m
					case message.Attribute:
						m.Endpoint = cmd.(message.ReadAttributes).DstEndpoint
						if m.Endpoint == 12 && m.Cluster == message.ClusterOTA && len(m.Data) > 0 {
							m.Data[len(m.Data)-1]++
						}
						answer[i] = m
					}
				}
				return answer
			}
			if err := registry.Interview(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			want := []string{
				"node", "endpoints", "endpoint 1", "endpoint 11", "endpoint 12", "cluster 0 at 1", "cluster 25 at 11",
				"cluster 25 at 12", "build at 1", "server at 11",
			}
			if diff := cmp.Diff(want, a.asked); diff != "" {
				t.Error(diff)
			}
			clients := "11:8705 12:8706"
			if lost != nil {
				clients = "11:8705"
			}
			if got := shown(a.device.Clients()); got != clients {
				t.Errorf("known: %s, want %s", got, clients)
			}
			a.asked = nil
			if err := registry.ReadIdentity(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			if lost == nil && !slices.Equal(a.asked, want[6:8]) {
				t.Errorf("asked again: %v", a.asked)
			}
		})
	}
}

// Who was interviewed before is asked for its software build again only where that may be another one.
func TestReadAgain(t *testing.T) {
	a := newAsker()
	a.answer = home(mains)
	if err := registry.Interview(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	again := func(want ...string) {
		t.Helper()
		a.asked = nil
		if err := registry.ReadAgain(t.Context(), a); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, a.asked); diff != "" {
			t.Error(diff)
		}
	}
	again("cluster 25 at 11")

	version := uint32(8)
	answers := a.answer
	a.answer = func(cmd message.Message) []message.Message {
		list := answers(cmd)
		for i, m := range list {
			if at, ok := m.(message.Attribute); ok && at.ID == message.AttrOTAFileVersion && at.Cluster == message.ClusterOTA {
				list[i] = attribute(at.Cluster, at.ID, version)
			}
		}
		return list
	}
	a.device.SetVersion(version)
	if f := a.Facts(); f.Running().Software != "" || f.Running().DateCode != "" {
		t.Errorf("of another version: %+v", f.Running())
	}
	again("cluster 25 at 11", "build at 11", "server at 11")
	if f := a.Facts(); f.Running().Software != "2.3.093" || *f.Running().Of != 8 {
		t.Errorf("%+v", f.Running())
	}
	again("cluster 25 at 11")

	// It does not tell them any more.
	a.answer = home(mains, "build at 11")
	a.device.SetVersion(7)
	again("cluster 25 at 11", "build at 11", "server at 11")
	if f := a.Facts(); f.Running().Software != "" {
		t.Errorf("%+v", f.Running())
	}
}

// A device that has another OTA server as its own says so; the dongle itself, and none yet, are fine.
func TestLearnServer(t *testing.T) {
	const own, other = message.IEEE(0x00158d0001ed3395), message.IEEE(0x00212effff00aabb)
	tell := func(value uint64) message.Attribute {
		at := attribute(message.ClusterOTA, message.AttrOTAServer, value)
		at.DataType = 0xF0
		return at
	}
	d := newAsker().device
	for _, step := range []struct {
		at   message.Attribute
		own  message.IEEE
		news bool
		is   message.IEEE
	}{
		{tell(uint64(own)), own, false, 0},
		{tell(1<<64 - 1), own, false, 0},
		{tell(uint64(other)), 0, false, 0}, // nobody knows what the dongle is
		{tell(uint64(other)), own, true, other},
		{tell(uint64(other)), own, false, other},
		{unsupported(message.ClusterOTA, message.AttrOTAServer), own, false, other},
		{attribute(message.ClusterBasic, message.AttrOTAServer, uint64(own)), own, false, other},
		{tell(uint64(own)), own, false, 0},
	} {
		if news := registry.LearnServer(d, step.at, step.own); news != step.news || d.Facts().OtherServer != step.is {
			t.Errorf("%+v: %v, %v", step, news, d.Facts().OtherServer)
		}
	}
	if f := d.Facts(); f.AsksElsewhere() != "" {
		t.Errorf("it says %q", f.AsksElsewhere())
	}
	registry.LearnServer(d, tell(uint64(other)), own)
	if f := d.Facts(); !strings.Contains(f.AsksElsewhere(), other.String()) {
		t.Errorf("it says %q", f.AsksElsewhere())
	}
}

// A device that listens is asked again before long. For one that sleeps its parent keeps the question, and
// one that may be away is not asked over and over.
func TestWhoIsAskedAgain(t *testing.T) {
	tests := map[string]struct {
		before func(*registry.Device)
		lost   []string
		once   []string // questions that are not repeated
	}{
		"listens":     {},
		"sleeps":      {before: func(d *registry.Device) { d.SetSleepy(true) }, once: []string{"node", "endpoints", "endpoint 1", "endpoint 11", "endpoint 12", "cluster 0 at 1", "cluster 25 at 11", "build at 1", "server at 11"}},
		"may be away": {lost: []string{"node", "endpoints"}, once: []string{"endpoints"}},
		"comes late":  {lost: []string{"node"}, once: []string{"endpoints"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			a := newAsker()
			a.answer = home(mains, tc.lost...)
			if tc.before != nil {
				tc.before(a.device)
			}
			var once []string
			a.onAsk = func(q registry.Question) {
				if q.Again == 0 {
					once = append(once, put(q.Command))
				}
				if q.Size == 0 || q.To != bulbAddr {
					t.Errorf("%s: size %d, to 0x%04x", put(q.Command), q.Size, q.To)
				}
			}
			_ = registry.Interview(t.Context(), a) // its error is another test's
			if diff := cmp.Diff(tc.once, slices.Compact(once)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
