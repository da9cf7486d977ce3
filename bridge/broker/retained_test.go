package broker_test

import (
	"fmt"
	"sync"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/zigate-ota/zigate-ota/bridge/broker"
)

// TestSubscribeWhileRetaining: subscribers come while new topics are kept; under -race this finds what the
// server does without a lock. Everybody ends up with everything, each message at the QoS it was kept with,
// and own topics of the broker stay out of wildcards.
func TestSubscribeWhileRetaining(t *testing.T) {
	b, stop := start(t, broker.Options{})
	defer stop()
	const topics, subscribers = 200, 10
	publisher := mustConnect(t, inside(b), "publisher")
	defer publisher.Disconnect(100)

	type seen struct {
		mu   sync.Mutex
		qos  map[string]byte
		full chan struct{}
	}
	var all []*seen
	var published sync.WaitGroup
	published.Go(func() {
		for i := range topics {
			wait(t, publisher.Publish(fmt.Sprintf("base/device/%d", i), 1, true, "kept"))
		}
	})
	for i := range subscribers {
		s := &seen{qos: map[string]byte{}, full: make(chan struct{})}
		all = append(all, s)
		c := mustConnect(t, inside(b), fmt.Sprint("subscriber ", i))
		defer c.Disconnect(100)
		wait(t, c.Subscribe("#", 1, func(_ mqtt.Client, m mqtt.Message) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if _, twice := s.qos[m.Topic()]; !twice || m.Qos() > 0 {
				s.qos[m.Topic()] = m.Qos()
			}
			if len(s.qos) == topics {
				select {
				case <-s.full:
				default:
					close(s.full)
				}
			}
		}))
	}
	published.Wait()
	for i, s := range all {
		<-s.full
		s.mu.Lock()
		for topic, qos := range s.qos {
			if qos != 1 || topic[0] == '$' {
				t.Errorf("subscriber %d got %s at QoS %d", i, topic, qos)
			}
		}
		s.mu.Unlock()
	}
}
