package message_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

func TestAnswerOf(t *testing.T) {
	inOrder := func(t message.MsgType) message.Answer {
		return message.Answer{Type: t, Numbering: message.InOrder}
	}
	atOnce := func(t message.MsgType) message.Answer {
		return message.Answer{Type: t, Numbering: message.InOrder, AtOnce: true}
	}
	byZDP := func(t message.MsgType) message.Answer {
		return message.Answer{Type: t, Numbering: message.ByZDP}
	}
	byZCL := func(t message.MsgType) message.Answer {
		return message.Answer{Type: t, Numbering: message.ByZCL}
	}
	tests := []struct {
		name    string
		command message.MsgType
		want    message.Answer
	}{
		{"version", message.TypeGetVersion, atOnce(message.TypeVersion)},
		{"transmission power", 0x0806, atOnce(0x8806)},
		{"network state", message.GetNetworkState{}.Type(), inOrder(message.NetworkState{}.Type())},
		{"start", message.TypeStartNetwork, inOrder(message.TypeNetworkJoined)},
		{"network key", 0x0054, inOrder(0x8054)},
		{"discovery of attributes", 0x0140, message.Answer{Type: 0x8140, Numbering: message.InOrder, Several: true}},
		{"bind", message.TypeBind, byZDP(message.BindResponse{}.Type())},
		{"node descriptor", message.NodeDescriptorRequest{}.Type(), byZDP(message.TypeNodeDescriptor)},
		{"management LQI", 0x004E, byZDP(message.TypeManagementLQI)},
		{"read attributes", message.ReadAttributes{}.Type(), byZCL(message.TypeReadAttribute)},
		{"last of ZCL", 0x04FF, byZCL(0x84FF)},
		{"view of a group", 0x0061, message.Answer{Type: 0x8061, Numbering: message.ByZCL, ClusterCommand: true}},
		{"permit join, whose state is asked for by itself", message.PermitJoin{}.Type(), message.Answer{}},
		{"of the number of a leave, which answers nothing", 0x0048, message.Answer{}},
		{"image notify", message.TypeImageNotify, message.Answer{}},
		{"image block request, which is no answer", 0x0501, message.Answer{}},
		{"raw APS data", message.TypeRawAPS, message.Answer{}},
		{"set raw mode", message.TypeSetRawMode, message.Answer{}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got := message.AnswerOf(tc.command)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("AnswerOf, -want +got:\n%s", diff)
			}
			if diff := cmp.Diff(tc.want, message.AsAnswer(tc.command|0x8000)); diff != "" {
				t.Errorf("AsAnswer, -want +got:\n%s", diff)
			}
			if diff := cmp.Diff(message.Answer{}, message.AsAnswer(tc.command)); diff != "" {
				t.Errorf("AsAnswer of the command, -want +got:\n%s", diff)
			}
		})
	}
}

// TestAnswersInTheTable: where the table has a message with the number that an answer to a command has, it is
// known to be that answer. Without that, nobody who has sent the command gets it.
func TestAnswersInTheTable(t *testing.T) {
	byChance := []message.Message{ // each is of the number of something that answers nothing
		message.SetLogLevel{}, message.SetRawMode{}, message.SetHeartbeat{}, message.Reset{},
		message.ErasePersistentData{},
	}
	expected := map[message.MsgType]bool{}
	for _, m := range byChance {
		expected[m.Type()] = true
	}
	for n := range 0x8000 {
		command := message.MsgType(n)
		answer := command | 0x8000
		if !command.Known() || command.FromDongle() || !answer.Known() || expected[command] {
			continue
		}
		if got := message.AnswerOf(command); got.Type != answer {
			t.Errorf("%s (%s) is not known to answer %s (%s): add it to AnswerOf, or to the list of this test",
				answer, answer.Name(), command, command.Name())
		}
	}
}

func TestOrigin(t *testing.T) {
	tests := []struct {
		typ  message.MsgType
		want message.Origin
	}{
		{message.TypeStatus, message.OriginDongle},
		{message.TypeDataIndication, message.OriginIndication},
		{message.TypeDeviceAnnounce, message.OriginZDP},
		{message.BindResponse{}.Type(), message.OriginZDP},
		{message.PDMEvent{}.Type(), message.OriginDongle},
		{message.Leave{}.Type(), message.OriginDongle},
		{message.TypeManagementLQI, message.OriginZDP},
		{0x8060, message.OriginZCL},
		{message.TypeReportAttribute, message.OriginZCL},
		{message.TypeImageBlockRequest, message.OriginZCL},
		{message.RouteDiscovery{}.Type(), message.OriginDongle},
	}
	for _, tc := range tests {
		if got := tc.typ.Origin(); got != tc.want {
			t.Errorf("%s (%s): %d, want %d", tc.typ, tc.typ.Name(), got, tc.want)
		}
	}
}

// TestMadeOfFrames holds the types of messages against the messages that are read from the same frames.
func TestMadeOfFrames(t *testing.T) {
	for _, tc := range indicationCases() {
		if len(tc.want) == 0 {
			continue
		}
		made := message.MadeOfZCL
		key := uint8(0)
		if tc.in.Profile == message.ProfileHomeAutomation {
			key = tc.in.Payload[2]
		} else {
			made = func(uint8) (message.MsgType, bool) { return message.MadeOfZDP(tc.in.Cluster) }
		}
		for _, m := range tc.want {
			if got, ok := made(key); !ok || got != m.Type() {
				t.Errorf("%s: %s, %t; want %s", tc.name, got, ok, m.Type())
			}
		}
	}
	if typ, ok := message.MadeOfZDP(0x0002); ok {
		t.Errorf("a request gives %s", typ)
	}
	if typ, ok := message.MadeOfZCL(0x00); ok {
		t.Errorf("a read gives %s", typ)
	}
}

func TestSender(t *testing.T) {
	read := message.Attribute{Kind: message.TypeReadAttribute, Addr: 0x9021, Endpoint: 1, Cluster: message.ClusterOTA}
	payload := message.AppendPayload(nil, read)
	if addr, cluster, ok := message.Sender(read.Type(), payload); !ok || addr != read.Addr || cluster != read.Cluster {
		t.Errorf("Sender = %#04x, %#04x, %t", addr, cluster, ok)
	}
	if _, _, ok := message.Sender(read.Type(), payload[:5]); ok {
		t.Error("a payload that ends within the cluster has a sender")
	}
	if _, _, ok := message.Sender(message.TypeDefaultResponse, payload); ok {
		t.Error("a default response, which names nobody, has a sender")
	}
}

// TestRanges looks at the ends of the ranges that firmware treats alike.
func TestRanges(t *testing.T) {
	tests := []struct {
		name        string
		in          func(message.MsgType) bool
		first, last message.MsgType
	}{
		{"ZCL", message.MsgType.IsZCL, 0x0060, 0x04FF},
		{"OTA", message.MsgType.IsOTA, message.TypeLoadImage, message.WaitForData{}.Type()},
		{"I/O", message.MsgType.IsIO, 0x0800, 0x0A00},
		{"storage answers", message.MsgType.IsStorageAnswer, 0x8200, 0x8300},
	}
	for _, tc := range tests {
		if tc.in(tc.first-1) || !tc.in(tc.first) || !tc.in(tc.last) || tc.in(tc.last+1) {
			t.Errorf("%s is not %s to %s", tc.name, tc.first, tc.last)
		}
	}
}
