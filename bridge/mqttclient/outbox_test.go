package mqttclient_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/bridge/mqttclient"
)

// takeAll takes everything that is due, as "topic=payload", retained ones marked.
func takeAll(o *mqttclient.Outbox) (taken []string, ids []uint64) {
	for {
		m, ok := o.Next()
		if !ok {
			return taken, ids
		}
		mark := ""
		if m.Retained {
			mark = " (retained)"
		}
		taken = append(taken, fmt.Sprintf("%s=%s%s", m.Topic, m.Payload, mark))
		ids = append(ids, m.ID)
	}
}

func acknowledge(o *mqttclient.Outbox, ids []uint64) {
	for _, id := range ids {
		o.Done(id)
	}
}

func TestOutboxOrder(t *testing.T) {
	type step func(o *mqttclient.Outbox)
	retain := func(topic, payload string) step {
		return func(o *mqttclient.Outbox) { o.Retain(topic, []byte(payload)) }
	}
	event := func(payload string) step {
		return func(o *mqttclient.Outbox) { o.Publish("event", []byte(payload)) }
	}
	sent := func(o *mqttclient.Outbox) { takeAll(o) }
	acked := func(o *mqttclient.Outbox) { _, ids := takeAll(o); acknowledge(o, ids) }
	reconnect := func(o *mqttclient.Outbox) { o.Restart() }
	republish := func(o *mqttclient.Outbox) { o.RepublishAll() }
	clearTopic := func(topic string) step { return func(o *mqttclient.Outbox) { o.Clear(topic) } }

	tests := []struct {
		name  string
		steps []step
		want  []string
	}{
		{name: "empty"},
		{
			name:  "events in order",
			steps: []step{event("1"), event("2"), event("3")},
			want:  []string{"event=1", "event=2", "event=3"},
		},
		{
			name:  "only the newest value of a retained topic",
			steps: []step{retain("a", "1"), retain("b", "1"), retain("a", "2")},
			want:  []string{"a=2 (retained)", "b=1 (retained)"},
		},
		{
			name:  "a retained topic keeps its place in the line",
			steps: []step{event("1"), retain("a", "1"), event("2"), retain("a", "2")},
			want:  []string{"event=1", "a=2 (retained)", "event=2"},
		},
		{
			name:  "unchanged is not published again",
			steps: []step{retain("a", "1"), acked, retain("a", "1")},
		},
		{
			name:  "unchanged is not published again while in flight",
			steps: []step{retain("a", "1"), sent, retain("a", "1")},
		},
		{
			name:  "changed and changed back",
			steps: []step{retain("a", "1"), acked, retain("a", "2"), retain("a", "1")},
		},
		{
			name:  "changed, sent and changed back",
			steps: []step{retain("a", "1"), acked, retain("a", "2"), sent, retain("a", "1")},
			want:  []string{"a=1 (retained)"},
		},
		{
			name:  "republish all: unchanged ones too, in the order of creation",
			steps: []step{retain("b", "1"), retain("a", "1"), acked, retain("a", "2"), acked, republish},
			want:  []string{"b=1 (retained)", "a=2 (retained)"},
		},
		{
			name:  "republish all keeps each topic once",
			steps: []step{retain("a", "1"), republish, republish},
			want:  []string{"a=1 (retained)"},
		},
		{
			name:  "reconnect: retained first, then the events, those in flight ahead",
			steps: []step{retain("b", "1"), event("1"), event("2"), sent, event("3"), retain("a", "1"), reconnect},
			want:  []string{"b=1 (retained)", "a=1 (retained)", "event=1", "event=2", "event=3"},
		},
		{
			name:  "reconnect: what was acknowledged is not repeated, but retained values are",
			steps: []step{retain("a", "1"), event("1"), acked, reconnect},
			want:  []string{"a=1 (retained)"},
		},
		{
			name:  "reconnect: a value in flight is replaced by the newest",
			steps: []step{retain("a", "1"), sent, retain("a", "2"), sent, reconnect},
			want:  []string{"a=2 (retained)"},
		},
		{
			name:  "reconnect twice",
			steps: []step{event("1"), sent, reconnect, sent, event("2"), reconnect},
			want:  []string{"event=1", "event=2"},
		},
		{
			name:  "clear publishes an empty value",
			steps: []step{retain("a", "1"), acked, clearTopic("a")},
			want:  []string{"a= (retained)"},
		},
		{
			name:  "clear of a topic that an earlier run may have left",
			steps: []step{clearTopic("a")},
			want:  []string{"a= (retained)"},
		},
		{
			name:  "a cleared topic is forgotten once it was acknowledged",
			steps: []step{retain("a", "1"), acked, clearTopic("a"), acked, reconnect, republish},
		},
		{
			name:  "a cleared topic is cleared again where that was not acknowledged",
			steps: []step{retain("a", "1"), acked, clearTopic("a"), sent, reconnect},
			want:  []string{"a= (retained)"},
		},
		{
			name:  "clear before the value went out",
			steps: []step{retain("a", "1"), clearTopic("a")},
			want:  []string{"a= (retained)"},
		},
		{
			name:  "set again after clear",
			steps: []step{retain("a", "1"), acked, clearTopic("a"), sent, retain("a", "1")},
			want:  []string{"a=1 (retained)"},
		},
		{
			name:  "set again after clear was acknowledged",
			steps: []step{retain("a", "1"), acked, clearTopic("a"), acked, retain("a", "1")},
			want:  []string{"a=1 (retained)"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := mqttclient.NewOutbox(mqttclient.OutboxLimit)
			for _, step := range tt.steps {
				step(o)
			}
			got, ids := takeAll(o)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("published (-want +got):\n%s", diff)
			}
			acknowledge(o, ids)
		})
	}
}

func TestOutboxClearedWhileOlderValueInFlight(t *testing.T) {
	o := mqttclient.NewOutbox(10)
	o.Retain("a", []byte("1"))
	_, first := takeAll(o)
	o.Clear("a")
	_, second := takeAll(o)
	acknowledge(o, first) // only the older value: the clear may still be lost
	o.Restart()
	got, ids := takeAll(o)
	if diff := cmp.Diff([]string{"a= (retained)"}, got); diff != "" {
		t.Errorf("published (-want +got):\n%s", diff)
	}
	acknowledge(o, second) // ids of the connection before: ignored
	if n := o.Len(); n != 1 {
		t.Errorf("Len = %d, want 1", n)
	}
	acknowledge(o, ids)
	if n := o.Len(); n != 0 {
		t.Errorf("Len = %d, want 0", n)
	}
}

// A topic that is set to what it had keeps one of the two in memory, not both.
func TestOutboxKeepsOneOfEqualValues(t *testing.T) {
	o := mqttclient.NewOutbox(1)
	first := []byte("value")
	o.Retain("topic", first)
	takeAll(o)
	o.Retain("topic", []byte("value"))
	if got, ok := o.Value("topic"); !ok || &got[0] != &first[0] {
		t.Errorf("%q, %v, and not the one that was sent", got, ok)
	}
}

func TestOutboxOverflow(t *testing.T) {
	const limit = 5
	t.Run("the oldest that waits goes", func(t *testing.T) {
		o := mqttclient.NewOutbox(limit)
		o.Retain("a", []byte("1"))
		for i := range 8 {
			if dropped, want := o.Publish("event", fmt.Append(nil, i)), i >= limit; dropped != want {
				t.Errorf("Publish %d: dropped = %v, want %v", i, dropped, want)
			}
		}
		got, _ := takeAll(o)
		want := []string{"a=1 (retained)", "event=3", "event=4", "event=5", "event=6", "event=7"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("published (-want +got):\n%s", diff)
		}
	})
	t.Run("those in flight do not count until they are taken back", func(t *testing.T) {
		o := mqttclient.NewOutbox(limit)
		for i := range limit {
			o.Publish("event", fmt.Append(nil, i))
		}
		o.Next()
		o.Next()
		for i := range 3 {
			if dropped, want := o.Publish("event", fmt.Append(nil, limit+i)), i == 2; dropped != want {
				t.Errorf("Publish %d: dropped = %v, want %v", limit+i, dropped, want)
			}
		}
		if n := o.Restart(); n != 2 {
			t.Errorf("Restart = %d, want 2", n)
		}
		got, _ := takeAll(o)
		want := []string{"event=3", "event=4", "event=5", "event=6", "event=7"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("published (-want +got):\n%s", diff)
		}
	})
	t.Run("dropped at the stop", func(t *testing.T) {
		o := mqttclient.NewOutbox(limit)
		o.Publish("event", []byte("0"))
		o.Publish("event", []byte("1"))
		o.Next()
		if n := o.DropAll(); n != 2 {
			t.Errorf("DropAll = %d, want 2", n)
		}
		if n := o.Len(); n != 0 {
			t.Errorf("Len = %d, want 0", n)
		}
	})
}

func TestOutboxWake(t *testing.T) {
	awake := func(o *mqttclient.Outbox) bool {
		select {
		case <-o.Wake():
			return true
		default:
			return false
		}
	}
	o := mqttclient.NewOutbox(10)
	if awake(o) {
		t.Error("awake with nothing to do")
	}
	o.Publish("event", nil)
	if !awake(o) {
		t.Error("asleep after Publish")
	}
	o.Retain("a", []byte("1"))
	if !awake(o) {
		t.Error("asleep after Retain")
	}
	takeAll(o)
	o.Retain("a", []byte("1"))
	if awake(o) {
		t.Error("awake after an unchanged value")
	}
	o.RepublishAll()
	if !awake(o) {
		t.Error("asleep after RepublishAll")
	}
	o.Restart()
	if !awake(o) {
		t.Error("asleep after Restart")
	}
}

// TestOutboxModel runs random operations, with a broker that takes some of what it is sent and loses
// the connection at random, and compares what the broker knows in the end.
func TestOutboxModel(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		o := mqttclient.NewOutbox(1000)
		broker := map[string]string{} // retained values
		want := map[string]string{}
		seen := -1 // newest event that the broker saw
		events := 0
		type flying struct {
			m mqttclient.OutgoingMessage
		}
		var wire []flying
		take := func() {
			f := wire[0]
			wire = wire[1:]
			if f.m.Retained {
				broker[f.m.Topic] = string(f.m.Payload)
				if len(f.m.Payload) == 0 {
					delete(broker, f.m.Topic)
				}
			} else {
				var n int
				if _, err := fmt.Sscan(string(f.m.Payload), &n); err != nil {
					t.Fatal(err)
				}
				if n > seen+1 {
					t.Fatalf("seed %d: event %d after %d", seed, n, seen)
				}
				seen = max(seen, n)
			}
			if random.IntN(10) > 0 { // else the acknowledgement is lost, and the connection with it
				o.Done(f.m.ID)
			} else {
				wire = nil
				o.Restart()
			}
		}
		for range 500 {
			topic := fmt.Sprint("topic", random.IntN(5))
			switch random.IntN(8) {
			case 0, 1:
				value := fmt.Sprint(random.IntN(3))
				want[topic] = value
				o.Retain(topic, []byte(value))
			case 2:
				delete(want, topic)
				o.Clear(topic)
			case 3:
				o.Publish("event", fmt.Append(nil, events))
				events++
			case 4, 5:
				if m, ok := o.Next(); ok {
					wire = append(wire, flying{m})
				}
			case 6:
				if len(wire) > 0 {
					take()
				}
			case 7:
				switch random.IntN(20) {
				case 0: // the connection is lost, and what is on the way with it
					wire = nil
					o.Restart()
				case 1: // so is the broker's memory
					wire = nil
					clear(broker)
					o.Restart()
				case 2:
					o.RepublishAll()
				}
			}
		}
		for len(wire) > 0 || o.Len() > 0 {
			if m, ok := o.Next(); ok {
				wire = append(wire, flying{m})
				continue
			}
			take()
		}
		if diff := cmp.Diff(want, broker); diff != "" {
			t.Fatalf("seed %d: retained at the broker (-want +got):\n%s", seed, diff)
		}
		if seen != events-1 {
			t.Fatalf("seed %d: newest event seen %d, want %d", seed, seen, events-1)
		}
	}
}

func BenchmarkOutbox(b *testing.B) {
	o := mqttclient.NewOutbox(mqttclient.OutboxLimit)
	payload := []byte("{}")
	b.ReportAllocs()
	for b.Loop() {
		o.Publish("event", payload)
		m, _ := o.Next()
		o.Done(m.ID)
	}
}

// What is owed is not dropped for others, and who owes it learns when the broker has it.
func TestOutboxOwed(t *testing.T) {
	type outbox = *mqttclient.Outbox
	var had []string
	owed := func(o outbox, text string) bool {
		return o.PublishOwed("answer", []byte(text), func() { had = append(had, text) })
	}
	tests := map[string]struct {
		steps func(o outbox)
		sent  []string // then
		had   []string
		lost  int // at the end
	}{
		"waits":    {steps: func(o outbox) { owed(o, "1") }, sent: []string{"answer=1"}},
		"has come": {steps: func(o outbox) { owed(o, "1"); _, ids := takeAll(o); acknowledge(o, ids); acknowledge(o, ids) }, had: []string{"1"}},
		"is sent again": {
			steps: func(o outbox) { owed(o, "1"); takeAll(o); o.Restart() }, sent: []string{"answer=1"},
		},
		"an event is dropped in its place": {
			steps: func(o outbox) {
				if owed(o, "1") {
					t.Error("dropped for the first message")
				}
				o.Publish("event", []byte("2"))
				if !o.Publish("event", []byte("3")) {
					t.Error("nothing was dropped")
				}
			},
			sent: []string{"answer=1", "event=3"}, lost: 1,
		},
		"more is owed than there is room": {
			steps: func(o outbox) { owed(o, "1"); owed(o, "2"); owed(o, "3") },
			sent:  []string{"answer=1", "answer=2", "answer=3"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			had = nil
			o := mqttclient.NewOutbox(2)
			tt.steps(o)
			got, _ := takeAll(o)
			wantMQTT(t, "sent", tt.sent, got)
			wantMQTT(t, "had", tt.had, had)
			if n := o.DropAll(); n != tt.lost {
				t.Errorf("%d are lost for good, want %d", n, tt.lost)
			}
		})
	}
}
