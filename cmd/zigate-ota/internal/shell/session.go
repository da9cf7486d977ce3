package shell

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/terminal"
)

const (
	onlineTimeout = 2 * time.Second  // for the retained status of the service
	firstAnswer   = 30 * time.Second // for the first answer to a request, which the service gives at once
	recordsExtra  = time.Second      // for records that come late, behind the answer
)

// Filters of what a command needs besides the service's status and its answers. Records are retained and
// come at once; with quality of service 0 a broker has no limit for how many of them may be under way.
var (
	wantsDevices = map[string]byte{"device/+": 0}
	wantsImages  = map[string]byte{"images": 0}
	wantsEvents  = map[string]byte{"event/+": 1}
)

// session is a conversation with a running service. One goroutine uses it.
type session struct {
	*connection
	term   *terminal.Terminal // takes the results
	notes  io.Writer          // takes everything else
	ticker *time.Ticker

	waiting []update // updates that next has not returned yet

	online  bool
	devices directory
	images  json.RawMessage // nil until the record has come
	info    *infoRecord
	count   int // number of transactions so far
	prefix  string
}

// open connects and returns when the service is online.
func (c *Shell) open(ctx context.Context, wants ...map[string]byte) (*session, error) {
	broker, err := c.configure(c.options.Broker, c.options.Topic)
	if err != nil {
		return nil, &Error{Code: ExitUsage, Err: err}
	}
	filters := map[string]byte{"status": 1, "info": 0, "response/+": 1}
	for _, want := range wants {
		for filter, qos := range want {
			filters[filter] = qos
		}
	}
	conn, err := connect(ctx, broker, filters)
	if err != nil {
		return nil, err
	}
	s := &session{
		connection: conn,
		term:       c.term,
		notes:      c.stderr,
		ticker:     time.NewTicker(time.Second),
		devices:    directory{},
		prefix:     "zigate-ota-" + randomHex(8),
	}
	if err := s.awaitOnline(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *session) close() {
	s.ticker.Stop()
	s.connection.close()
}

func (s *session) awaitOnline(ctx context.Context) error {
	var timeout <-chan time.Time
	offline := false
	for !s.online {
		u, err := s.next(ctx, timeout)
		switch {
		case errors.Is(err, errTimeout):
			if offline {
				return failed(ExitUnreachable, "the service on %s at %s is offline; "+
					"start it (zigate-ota serve)", s.broker.Base, s.broker.name())
			}
			return failed(ExitUnreachable,
				"no service on %s at %s; is it running (zigate-ota serve)? Another base topic is named "+
					"with --topic or ZIGATE_OTA_MQTT_BASE_TOPIC, another broker with --broker or "+
					"ZIGATE_OTA_MQTT_URL",
				s.broker.Base, s.broker.name())
		case err != nil:
			return err
		case u.kind == isSubscribed:
			timeout = time.After(onlineTimeout)
		case u.kind == isMessage && u.topic == "status":
			offline = !s.online
		}
	}
	return nil
}

// errTimeout says that nothing came in time.
var errTimeout = errors.New("nothing came in time")

// next returns the next update, after the session has noted what it says.
func (s *session) next(ctx context.Context, timeout <-chan time.Time) (update, error) {
	for {
		if len(s.waiting) == 0 {
			s.waiting = s.inbox.Take()
		}
		if len(s.waiting) > 0 {
			u := s.waiting[0]
			s.waiting = s.waiting[1:]
			return u, s.note(u)
		}
		select {
		case <-s.inbox.Wake():
		case <-s.ticker.C:
			return update{kind: isTick}, nil
		case <-timeout:
			return update{}, errTimeout
		case <-ctx.Done():
			return update{}, ended(ctx, "")
		}
	}
}

// note stores what an update says.
func (s *session) note(u update) error {
	switch {
	case u.kind == isDenied:
		return failed(ExitUnreachable,
			"the broker at %s: %w: let this user read below %s/ and publish below %s/request/",
			s.broker.name(), u.err, s.broker.Base, s.broker.Base)
	case u.kind != isMessage:
		return nil
	}
	name, rest, _ := strings.Cut(u.topic, "/")
	switch name {
	case "status":
		s.online = string(u.payload) == contract.Online
	case "info":
		if info, ok := decode[infoRecord](u.payload); ok {
			info.raw = u.payload
			s.info = &info
		}
	case "images":
		s.images = u.payload
	case "device":
		s.devices.note(contract.EUID(rest), u.payload)
	}
	return nil
}

// question is a request and its answers.
type question struct {
	operation   string
	subject     string // the device as it was named; empty where there is none
	transaction string
	sent        time.Time
	heard       bool      // there was an answer; it may have been inProgress
	final       *response // nil until it has come
	ended       time.Time // when final came
}

// send asks for an operation with a transaction of its own.
func (s *session) send(ctx context.Context, operation string, request map[string]any) (*question, error) {
	s.count++
	q := &question{
		operation: operation, transaction: fmt.Sprintf("%s-%d", s.prefix, s.count), sent: time.Now(),
	}
	q.subject, _ = request["deviceId"].(string)
	full := map[string]any{"transaction": q.transaction}
	for key, value := range request {
		full[key] = value
	}
	payload, err := json.Marshal(full)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	return q, s.publish(ctx, "request/"+operation, payload)
}

// answers returns the answer in an update, and stores a final one. It returns nil where the update is no
// answer to the question.
func (q *question) answers(u update) *response {
	if u.kind != isMessage || u.topic != "response/"+q.operation || q.final != nil {
		return nil
	}
	r, ok := decodeResponse(u.payload)
	if !ok {
		return nil
	}
	var transaction string
	if json.Unmarshal(r.Transaction, &transaction) != nil || transaction != q.transaction {
		return nil
	}
	q.heard = true
	if r.Status != contract.StatusInProgress {
		q.settle(r)
	}
	return r
}

// settle stores the final answer.
func (q *question) settle(r *response) {
	q.final = r
	q.ended = time.Now()
}

// await waits until every question has its final answer. each, which may be nil, is called with every
// update, and with the question and the answer where the update is an answer; it may settle questions.
// doing says what goes on when the wait is interrupted.
func (s *session) await(
	ctx context.Context, questions []*question, doing string, each func(u update, q *question, r *response),
) error {
	if each == nil {
		each = func(update, *question, *response) {}
	}

	for {
		open := false
		for _, q := range questions {
			open = open || q.final == nil
		}
		if !open {
			return nil
		}
		u, err := s.next(ctx, nil)
		if ctx.Err() != nil {
			return ended(ctx, doing)
		}
		if err != nil {
			return err
		}
		var of *question
		var answer *response
		for _, q := range questions {
			if r := q.answers(u); r != nil {
				of = q
				answer = r
			}
		}
		each(u, of, answer)
		for _, q := range questions {
			if u.kind != isTick || q.heard || q.final != nil || time.Since(q.sent) < firstAnswer {
				continue
			}
			return failed(ExitUnreachable, "the service on %s at %s has not answered for %s: is it still "+
				"running, and does the broker's access list let this user publish on %s/request/%s?",
				s.broker.Base, s.broker.name(), firstAnswer, s.broker.Base, q.operation)
		}
	}
}

// ask asks for an operation and waits for its final answer.
func (s *session) ask(
	ctx context.Context, operation string, request map[string]any, doing string,
) (*response, error) {
	q, err := s.send(ctx, operation, request)
	if err != nil {
		return nil, err
	}
	if err := s.await(ctx, []*question{q}, doing, nil); err != nil {
		return nil, err
	}
	return q.final, nil
}

// gather returns when the retained records have come. The broker keeps the order, so they have come before
// the answer to a request that was published after the subscription.
func (s *session) gather(ctx context.Context) error {
	if _, err := s.ask(ctx, "service_status", nil, ""); err != nil {
		return err
	}
	timeout := time.After(recordsExtra)
	for s.info != nil && len(s.devices) < s.info.Devices {
		if _, err := s.next(ctx, timeout); errors.Is(err, errTimeout) {
			return nil // a device that was only just found has no record yet
		} else if err != nil {
			return err
		}
	}
	return nil
}

// resolve returns the EUID of a device that was named on the command line.
func (s *session) resolve(ctx context.Context, name string) (contract.EUID, error) {
	if euid := euidOf(name); euid != "" {
		return euid, nil
	}
	if err := s.gather(ctx); err != nil {
		return "", err
	}
	if d := s.devices.find(name); d != nil {
		return d.EUID, nil
	}
	return "", failed(ExitFailed, "there is no device %q; \"zigate-ota devices\" lists them", name)
}

// dongleNote says that the dongle is away, or what is wrong with it, where that is so: no upgrade goes on.
func (s *session) dongleNote() {
	if s.info == nil || s.info.Dongle.Connected && s.info.Dongle.Error == nil {
		return
	}
	why := ""
	if s.info.Dongle.Error != nil {
		why = terminal.Clean(*s.info.Dongle.Error)
	}
	switch {
	case s.info.Dongle.Connected:
		fmt.Fprintf(s.notes, "%s\n", why)
	case why == "":
		fmt.Fprintln(s.notes, "the dongle is not connected")
	default:
		fmt.Fprintf(s.notes, "the dongle is not connected: %s\n", why)
	}
}
