package shell_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"go.uber.org/goleak"

	"github.com/zigate-ota/zigate-ota/bridge/broker"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/commandline"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/shell"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what it expects. It is never reached where all is well.
const patience = 60 * time.Second

// request is one that came in.
type request struct {
	operation string
	keys      map[string]any
	payload   string
}

// service is a broker and a client at it that says what a test has it say.
type service struct {
	t      *testing.T
	broker *broker.Broker
	client mqtt.Client
	stop   func()
	came   chan request // every request but service_status, which is answered
	asked  atomic.Int32 // how often service_status was
}

// newService starts a broker with a service that is online and says nothing more.
func newService(t *testing.T, options broker.Options) *service {
	t.Helper()
	if options.Addr == "" {
		options.Addr = "127.0.0.1:0"
	}
	s := &service{t: t, broker: broker.New(options), came: make(chan request, 100)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.broker.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		if s.client != nil {
			s.client.Disconnect(100)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.stop)
	select {
	case <-s.broker.Ready():
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	o := mqtt.NewClientOptions().AddBroker(s.url()).SetClientID("service").SetUsername(options.Username).SetPassword(options.Password)
	s.client = mqtt.NewClient(o)
	if token := s.client.Connect(); token.Wait() && token.Error() != nil {
		t.Fatal(token.Error())
	}
	token := s.client.Subscribe("zigate-ota/request/+", 1, func(_ mqtt.Client, m mqtt.Message) {
		r := request{operation: strings.TrimPrefix(m.Topic(), "zigate-ota/request/"), payload: string(m.Payload())}
		if err := json.Unmarshal(m.Payload(), &r.keys); err != nil {
			t.Errorf("%s: %v", m.Payload(), err)
		}
		if r.operation != "service_status" {
			s.came <- r
		} else {
			s.asked.Add(1)
			s.say("response/service_status", fmt.Sprintf(`{"operation":"serviceStatusResponse","status":"serviceAvailable","transaction":%q}`, r.keys["transaction"]), false)
		}
	})
	if token.Wait() && token.Error() != nil {
		t.Fatal(token.Error())
	}
	s.say("status", "online", true)
	return s
}

func (s *service) url() string { return "tcp://" + s.broker.Addr().String() }

// say publishes below the base topic. It does not wait for the broker, so that it may be called while a
// message is handled.
func (s *service) say(topic, payload string, retained bool) {
	s.client.Publish("zigate-ota/"+topic, 1, retained, payload)
}

// retain publishes a device's record.
func (s *service) device(euid, record string) { s.say("device/"+euid, record, true) }

// request waits for the next request and holds it against what is wanted, the transaction left out.
func (s *service) request(operation, want string) request {
	s.t.Helper()
	select {
	case r := <-s.came:
		transaction := r.keys["transaction"]
		delete(r.keys, "transaction")
		got, _ := json.Marshal(r.keys)
		r.keys["transaction"] = transaction
		if r.operation != operation || string(got) != want {
			s.t.Errorf("asked for %s %s, want %s %s", r.operation, got, operation, want)
		}
		return r
	case <-time.After(patience):
		s.t.Fatalf("nobody asks for %s", operation)
		return request{}
	}
}

// answer answers a request; fields stand behind the transaction.
func (s *service) answer(r request, status, fields string) {
	s.say("response/"+r.operation, fmt.Sprintf(`{"operation":"%sResponse","status":%q,"transaction":%q%s}`, r.operation, status, r.keys["transaction"], fields), false)
}

// output is what a command writes; it may be read while the command runs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// running is a command that runs.
type running struct {
	t              *testing.T
	stdout, stderr output
	stop           func()
	ended          chan error
}

// start starts a command against the broker at url.
func start(t *testing.T, b shell.Broker, environ []string, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{t: t, stop: cancel, ended: make(chan error, 1)}
	if b.Base == "" {
		b.Base = "zigate-ota"
	}
	program := commandline.Program{
		Stdout: &r.stdout,
		Stderr: &r.stderr,
		Shell: shell.Call{
			Environ:   environ,
			Stdout:    &r.stdout,
			Stderr:    &r.stderr,
			Configure: func(string, string) (shell.Broker, error) { return b, nil },
		},
	}
	go func() {
		_, err := commandline.Execute(ctx, program, args)
		r.ended <- err
	}()
	t.Cleanup(cancel)
	return r
}

// code waits until the command has ended and returns its exit code and what it says is wrong.
func (r *running) code() (int, string) {
	r.t.Helper()
	select {
	case err := <-r.ended:
		if err == nil {
			return 0, ""
		}
		return commandline.ExitCode(err), err.Error()
	case <-time.After(patience):
		r.t.Fatalf("the command does not end; it wrote\n%s\n%s", &r.stdout, &r.stderr)
		return 0, ""
	}
}

// succeeds waits for the end, and returns what was written.
func (r *running) succeeds() string {
	r.t.Helper()
	if code, problem := r.code(); code != 0 {
		r.t.Errorf("exit code %d: %s", code, problem)
	}
	return r.stdout.String()
}

// awaits waits until something is so.
func awaits(t *testing.T, what string, so func() bool) {
	t.Helper()
	for range int(patience / (10 * time.Millisecond)) {
		if so() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("waited in vain for %s", what)
}

// shows waits until the output has a text.
func (r *running) shows(what string, o *output) {
	r.t.Helper()
	awaits(r.t, fmt.Sprintf("%q in the output", what), func() bool {
		select {
		case err := <-r.ended: // so nothing more comes
			if strings.Contains(o.String(), what) {
				r.ended <- err
				return true
			}
			r.t.Fatalf("the command has ended with %v; it wrote\n%s\n%s", err, &r.stdout, &r.stderr)
		default:
		}
		return strings.Contains(o.String(), what)
	})
}

// start starts a command against the service.
func (s *service) start(args ...string) *running {
	s.t.Helper()
	return start(s.t, shell.Broker{URLs: []string{s.url()}}, nil, args...)
}
