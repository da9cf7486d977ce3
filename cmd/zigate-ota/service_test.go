package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/config"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// testService is the service in this process, with a simulated home and its own broker, and a user who sees
// everything and knows it only over MQTT.
type testService struct {
	t       *testing.T
	app     *app
	heard   *journal[published]
	client  mqtt.Client
	counter int
}

// serveHere runs a service until the test ends. speed is that of the simulated home.
func serveHere(t *testing.T, speed float64, more ...string) *testService {
	t.Helper()
	return serveHome(t, newSimulation(simulatedDevices(), speed), more...)
}

// serveHome is serveHere with a home of the test's own.
func serveHome(t *testing.T, home *sim.Dongle, more ...string) *testService {
	t.Helper()
	if !slices.ContainsFunc(more, func(m string) bool { return strings.HasPrefix(m, "ZIGATE_OTA_DONGLE=") }) {
		more = append(more, "ZIGATE_OTA_DONGLE=sim")
	}
	cfg, err := config.Load(environ(t.TempDir(), more...))
	if err != nil {
		t.Fatal(err)
	}
	log := newLines()
	a, err := newApp(cfg, newLogger(log, cfg.Log), home)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	s := &testService{t: t, app: a, heard: newHeard(t)}
	t.Cleanup(func() {
		if s.client != nil {
			s.client.Disconnect(0)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the service ended with %v", err)
		}
		if t.Failed() {
			t.Logf("the service wrote:\n%s", log)
		}
	})
	select {
	case <-a.Ready():
	case err := <-ended:
		t.Fatalf("the service did not start: %v", err)
	}
	s.listen(cfg.MQTT.BaseTopic)
	return s
}

// listen subscribes to everything below the base topic.
func (s *testService) listen(base string) {
	s.t.Helper()
	s.client = connected(s.t, s.app.brokerURLs()[0])
	token := s.client.Subscribe(base+"/#", 1, func(_ mqtt.Client, m mqtt.Message) {
		s.heard.add(published{m.Topic(), string(m.Payload()), m.Retained()})
	})
	if token.Wait() && token.Error() != nil {
		s.t.Fatal(token.Error())
	}
	s.heard.await(s.t, "online", func(m published) bool { return m.Topic == base+"/status" && m.Payload == "online" })
}

// connected is a client at a broker.
func connected(t *testing.T, url string) mqtt.Client {
	t.Helper()
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(url).SetClientID("test").SetAutoReconnect(false))
	if token := client.Connect(); token.Wait() && token.Error() != nil {
		t.Fatal(token.Error())
	}
	return client
}

// settle waits until the four devices of the simulated home have told everything about themselves.
func (s *testService) settle() {
	s.t.Helper()
	for _, euid := range []string{kitchen, hall, plug, sensor} {
		s.heard.await(s.t, "record of "+euid, onTopic("zigate-ota/device/"+euid, func(d map[string]any) bool {
			return number(d, "currentFileVersion") >= 0 && number(d, "imageTypeId") >= 0 && at(d, "modelId") != nil && number(d, "endpoint") > 0 &&
				at(d, "softwareBuild") != nil
		}))
	}
}

// send publishes a request with a transaction of its own and returns that. The request is a JSON object
// without its closing brace where it is not empty: {"deviceId":1
func (s *testService) send(operation, request string) (transaction string) {
	s.t.Helper()
	s.counter++
	transaction = fmt.Sprintf("%s %d", operation, s.counter)
	s.publish(operation, withTransaction(request, transaction))
	return transaction
}

// withTransaction adds a transaction to a JSON object.
func withTransaction(request, transaction string) string {
	body := strings.TrimSuffix(strings.TrimPrefix(request, "{"), "}")
	if body != "" {
		body += ","
	}
	return fmt.Sprintf(`{%s"transaction":%q}`, body, transaction)
}

func (s *testService) publish(operation, payload string) {
	s.t.Helper()
	if token := s.client.Publish("zigate-ota/request/"+operation, 1, false, payload); token.Wait() && token.Error() != nil {
		s.t.Fatal(token.Error())
	}
}

// ask sends a request and returns the final response.
func (s *testService) ask(operation, request string) published {
	s.t.Helper()
	transaction := s.send(operation, request)
	return s.heard.await(s.t, "final response to "+operation+" "+request, finalTo(transaction))
}

// fence returns when everything that was asked for before has been answered as far as it will be at once.
func (s *testService) fence() {
	s.t.Helper()
	s.ask("service_status", "{}")
}
