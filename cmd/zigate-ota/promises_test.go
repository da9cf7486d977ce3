package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// kills is how often the service is ended; ZIGATE_OTA_TEST_KILLS sets another number.
func kills(t *testing.T) int {
	t.Helper()
	if text := os.Getenv("ZIGATE_OTA_TEST_KILLS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return 6
}

// TestPromisesAreKept ends the service at random moments of upgrades, fetches and other requests, sometimes
// while the broker is away. Whoever was told that a request is being carried out gets its final answer, the
// same each time where it comes more than once. It comes once where the service was stopped and not killed, and
// the broker was there: one that goes in the instant in which it gets an answer cannot acknowledge it.
func TestPromisesAreKept(t *testing.T) {
	for _, how := range []struct {
		name       string
		signal     syscall.Signal
		brokerAway bool
		embedded   bool // the broker is the service's own, and ends with it
	}{
		{"killed", syscall.SIGKILL, true, false},
		{"stopped", syscall.SIGTERM, false, false},
		{"stopped, without a broker", syscall.SIGTERM, true, false},
		{"killed, with the embedded broker", syscall.SIGKILL, false, true},
		{"stopped, with the embedded broker", syscall.SIGTERM, false, true},
	} {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			p := newPromiseTest(t, how.embedded)
			for round := range kills(t) {
				p.round(round, how.signal, how.brokerAway && round%3 == 2)
			}
			p.start()
			p.check(how.signal == syscall.SIGTERM, !how.brokerAway && !how.embedded)
		})
	}
}

// promiseTest is a service that is ended again and again, and everything that it was asked and has answered.
type promiseTest struct {
	t           *testing.T
	r           *rand.Rand
	broker      *mosquitto // nil for the embedded one
	addr        string     // of the embedded broker
	consumer    mqtt.Client
	heard       *journal[published]
	images      string // the URL below which images are fetched slowly
	dongle, dir string
	service     *process
	asked       []string // transactions
}

func newPromiseTest(t *testing.T, embedded bool) *promiseTest {
	t.Helper()
	images := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var version uint32
		fmt.Sscanf(r.URL.Path, "/%d.ota", &version)
		b := bulbImage(bulbVersion+version, 20_000)
		for half := range slices.Chunk(b, len(b)/2+1) {
			w.Write(half)
			w.(http.Flusher).Flush()
			time.Sleep(200 * time.Millisecond)
		}
	}))
	t.Cleanup(images.Close)
	p := &promiseTest{
		t: t, r: rand.New(rand.NewPCG(uint64(len(t.Name())), 7)), heard: newHeard(t), images: images.URL, dir: t.TempDir(),
		dongle: simulation(t, "--tcp", "127.0.0.1:0", "--speed", "40"),
	}
	var url string
	if embedded {
		p.addr = freePort(t)
		url = "tcp://" + p.addr
		p.start()
	} else {
		p.broker = newMosquitto(t, "allow_anonymous true", "persistence true", "persistence_location "+t.TempDir()+"/")
		url = p.broker.url()
	}
	p.consumer = mqtt.NewClient(mqtt.NewClientOptions().AddBroker(url).SetClientID("consumer").SetCleanSession(false).
		SetConnectRetry(true).SetConnectRetryInterval(100 * time.Millisecond).SetMaxReconnectInterval(200 * time.Millisecond).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
			p.heard.add(published{m.Topic(), string(m.Payload()), m.Retained()})
		}))
	for _, token := range []func() mqtt.Token{
		p.consumer.Connect,
		func() mqtt.Token { return p.consumer.Subscribe("zigate-ota/response/#", 1, nil) },
		func() mqtt.Token { return p.consumer.Subscribe("zigate-ota/status", 1, nil) },
	} {
		if token := token(); !token.WaitTimeout(patience) || token.Error() != nil {
			t.Fatal(token.Error())
		}
	}
	t.Cleanup(func() { p.consumer.Disconnect(0) })
	if embedded {
		p.end(p.service, syscall.SIGTERM)
	}
	return p
}

// start starts the service.
func (p *promiseTest) start() {
	if p.broker != nil {
		p.service = p.broker.service(p.dir, p.dongle)
		return
	}
	env := environ(p.dir, "ZIGATE_OTA_BROKER_ADDR="+p.addr, "ZIGATE_OTA_DONGLE="+p.dongle)
	p.service = start(p.t, env, programPath(p.t), "serve")
}

// ask makes a request. It waits for the broker to have it.
func (p *promiseTest) ask(operation string, request map[string]any) {
	p.t.Helper()
	transaction := fmt.Sprintf("%d %s", len(p.asked), operation)
	request["transaction"] = transaction
	payload, err := json.Marshal(request)
	if err != nil {
		p.t.Fatal(err)
	}
	if token := p.consumer.Publish("zigate-ota/request/"+operation, 1, false, payload); !token.WaitTimeout(patience) || token.Error() != nil {
		p.t.Fatal(token.Error())
	}
	p.asked = append(p.asked, transaction)
}

// round starts the service, asks it for something, and ends it at some moment.
func (p *promiseTest) round(n int, signal syscall.Signal, brokerAway bool) {
	p.t.Helper()
	p.start()
	if n == 0 { // from then on its session at the broker keeps requests
		p.heard.await(p.t, "the service", func(m published) bool { return m.Topic == "zigate-ota/status" && m.Payload == "online" })
	}
	bulb := []string{kitchen, hall}[n%2]
	requests := []func(){
		func() { p.ask("upgrade", map[string]any{"deviceId": bulb, "url": p.image(n)}) },
		func() { p.ask("add_image", map[string]any{"deviceId": bulb, "url": p.image(n)}) },
		func() { p.ask("upgrade", map[string]any{"deviceId": "all"}) },
		func() { p.ask("check", map[string]any{"deviceId": bulb}) },
		func() { p.ask("interview", map[string]any{"deviceId": plug}) },
	}
	for _, at := range p.r.Perm(len(requests))[:3] {
		requests[at]()
		p.pause(300)
	}
	p.pause(1500)
	if brokerAway {
		p.end(p.broker.process, syscall.SIGTERM) // so that it keeps its state
		p.pause(1000)
	}
	p.end(p.service, signal)
	if brokerAway {
		p.broker.start()
	}
}

func (p *promiseTest) image(n int) string { return fmt.Sprintf("%s/%d.ota", p.images, n+1) }

// pause waits for up to so many milliseconds.
func (p *promiseTest) pause(most int) {
	select {
	case <-time.After(time.Duration(p.r.IntN(most)) * time.Millisecond):
	case <-p.t.Context().Done():
	}
}

// end ends a process with a signal.
func (p *promiseTest) end(process *process, signal syscall.Signal) {
	p.t.Helper()
	if err := process.cmd.Process.Signal(signal); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-process.done:
	case <-time.After(patience):
		p.t.Fatalf("%s does not end", process.name)
	}
}

// check waits until every request that was promised one, or every one at all, has its final answer, and compares
// those that came more than once, if that may be.
func (p *promiseTest) check(all, once bool) {
	p.t.Helper()
	promised, again := 0, 0
	for _, transaction := range p.asked {
		was := p.wasPromised(transaction)
		if was {
			promised++
		}
		if was || all { // a request that a kill met before it was answered at all is said again by who asked
			p.heard.await(p.t, "the final answer of "+transaction, finalTo(transaction))
		}
	}
	for _, transaction := range p.asked {
		finals := p.heard.each(finalTo(transaction))
		if len(finals) == 0 {
			continue
		}
		again += len(finals) - 1
		if once && len(finals) > 1 {
			p.t.Errorf("%s has %d final answers: %v", transaction, len(finals), finals)
		}
		for _, f := range finals[1:] {
			if !maps.EqualFunc(f.object(), finals[0].object(), func(a, b any) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
				p.t.Errorf("%s has final answers that are not the same: %v", transaction, finals)
			}
		}
	}
	p.t.Logf("%d requests, %d of them promised; %d answers came once more", len(p.asked), promised, again)
}

// wasPromised reports whether somebody was told that a request is being carried out.
func (p *promiseTest) wasPromised(transaction string) bool {
	said := p.heard.each(responseTo(transaction))
	return slices.ContainsFunc(said, func(m published) bool { return strings.Contains(m.Payload, `"inProgress"`) })
}
