package registry_test

import (
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// post keeps what is sent, until a test says how it ended.
type post struct {
	sent []message.Message
	done []func(error)
}

func (p *post) Send(cmd message.Message, done func(error)) {
	p.sent = append(p.sent, cmd)
	p.done = append(p.done, done)
}

// outcome is how a question ended.
type outcome struct {
	answers []message.Message
	err     error
	times   int
}

func (o *outcome) done(answers []message.Message, err error) {
	o.answers, o.err = answers, err
	o.times++
}

var errGone = errors.New("the dongle is gone")

// version is the question for a version, and the answer to it.
func version(t *testing.T, addr uint16) (registry.Question, message.Attribute) {
	q, err := registry.AskVersion(registry.Facts{EUID: bulb, NetworkAddress: &addr, Client: registry.Client{Endpoint: 3}})
	if err != nil {
		t.Fatal(err)
	}
	answer := attribute(message.ClusterOTA, message.AttrOTAFileVersion, uint32(7))
	answer.Addr = addr
	return q, answer
}

func TestQuestions(t *testing.T) {
	question, answer := version(t, 1)
	_, stranger := version(t, 2)
	tests := map[string]struct {
		happens func(*registry.Questions, *post)
		answers int
		err     error
		open    bool
	}{
		"answered": {func(q *registry.Questions, p *post) { q.Take(answer) }, 1, nil, false},
		"answered before its status came": {func(q *registry.Questions, p *post) {
			q.Take(answer)
			p.done[0](nil)
			q.Expire(now.Add(time.Hour))
		}, 1, nil, false},
		"answered though its status was lost": {func(q *registry.Questions, p *post) {
			p.done[0](nil)
			q.Take(answer)
		}, 1, nil, false},
		"answered twice":      {func(q *registry.Questions, p *post) { q.Take(answer); q.Take(answer) }, 1, nil, false},
		"answered by another": {func(q *registry.Questions, p *post) { q.Take(stranger) }, 0, nil, true},
		"another message":     {func(q *registry.Questions, p *post) { q.Take(message.DeviceAnnounce{}) }, 0, nil, true},
		"at its deadline":     {func(q *registry.Questions, p *post) { q.Expire(now.Add(question.Timeout)) }, 0, nil, true},
		"not answered": {func(q *registry.Questions, p *post) {
			q.Expire(now.Add(question.Timeout + 1))
			q.Take(answer)
		}, 0, registry.ErrNoReply, false},
		"not sent": {func(q *registry.Questions, p *post) { p.done[0](errGone); q.Take(answer) }, 0, errGone, false},
		"dropped":  {func(q *registry.Questions, p *post) { q.Drop(errGone); p.done[0](errGone) }, 0, errGone, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			p := &post{}
			q := registry.NewQuestions(p)
			o := &outcome{}
			q.Ask(question, now, o.done)
			tc.happens(q, p)
			if q.Any() != tc.open || o.times != 1 && !tc.open || o.times != 0 && tc.open {
				t.Errorf("open %v, ended %d times", q.Any(), o.times)
			}
			if !errors.Is(o.err, tc.err) || len(o.answers) != tc.answers {
				t.Errorf("ended with %v, %v", o.answers, o.err)
			}
		})
	}
}

// The attributes that are asked for may come in any order, doubled, and between others. What came counts,
// also where one is missing.
func TestQuestionOfSeveralParts(t *testing.T) {
	manufacturer := attribute(message.ClusterOTA, message.AttrOTAManufacturer, uint16(1))
	imageType := unsupported(message.ClusterOTA, message.AttrOTAImageType)
	file := attribute(message.ClusterOTA, message.AttrOTAFileVersion, uint32(7))
	other := attribute(message.ClusterBasic, message.AttrModel, "E1")
	for name, tc := range map[string]struct {
		come    []message.Message
		answers int
		err     error
	}{
		"all":            {[]message.Message{imageType, manufacturer, manufacturer, other, file}, 4, nil},
		"one is missing": {[]message.Message{imageType, manufacturer, manufacturer, other}, 3, registry.ErrNoReply},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAsker()
			a.answer = func(message.Message) []message.Message { return tc.come }
			if err := registry.ReadIdentity(t.Context(), a); !errors.Is(err, tc.err) {
				t.Error(err)
			}
			if len(a.got) != tc.answers {
				t.Errorf("%d answers: %v", len(a.got), a.got)
			}
		})
	}
}

// The question that was asked first gets the answer that fits two.
func TestQuestionsInOrder(t *testing.T) {
	question, answer := version(t, 1)
	again, _ := version(t, 1)
	q := registry.NewQuestions(&post{})
	first, second := &outcome{}, &outcome{}
	q.Ask(question, now, first.done)
	q.Ask(again, now, second.done)
	q.Take(answer)
	if first.times != 1 || second.times != 0 {
		t.Errorf("the first ended %d times, the second %d times", first.times, second.times)
	}
	q.Take(answer)
	if second.times != 1 {
		t.Error("the second got no answer")
	}
}

func TestQuestionToNowhere(t *testing.T) {
	if _, err := registry.AskVersion(registry.Facts{EUID: bulb}); !errors.Is(err, registry.ErrNoAddress) {
		t.Errorf("asking a device without an address: %v", err)
	}
}

// What no message answers ends by its deadline, by hand, or with all others.
func TestWait(t *testing.T) {
	q := registry.NewQuestions(&post{})
	var ends []error
	wait := func() *registry.Pending {
		return q.Wait(now.Add(time.Minute), func(err error) { ends = append(ends, err) })
	}
	wait()
	q.Take(message.DeviceAnnounce{})
	q.Expire(now.Add(time.Minute + 1))
	if p := wait(); !q.End(p) || q.End(p) {
		t.Error("a question is ended by hand once")
	}
	wait()
	q.Drop(errGone)
	if want := []error{registry.ErrNoReply, errGone}; !slices.Equal(ends, want) {
		t.Errorf("ended with %v", ends)
	}
}

// searching is searches in a network that answers nothing by itself.
type searching struct {
	*registry.Searches
	post      *post
	questions *registry.Questions
	devices   *registry.Devices
	possible  bool
	now       time.Time
}

func newSearching() *searching {
	s := &searching{post: &post{}, devices: registry.NewDevices(), possible: true, now: now}
	s.questions = registry.NewQuestions(s.post)
	s.Searches = registry.NewSearches(
		s.questions, s.devices, func() bool { return s.possible }, func() time.Time { return s.now },
		slog.New(slog.DiscardHandler),
	)
	return s
}

// answer is what a device says that is looked for.
func (s *searching) answer(euid message.IEEE) {
	s.devices.Meet(euid)
	s.questions.Take(message.NwkAddrResponse{IEEE: euid, Addr: 1})
}

func (s *searching) pass(d time.Duration) {
	s.now = s.now.Add(d)
	s.questions.Expire(s.now)
}

func TestSearch(t *testing.T) {
	s := newSearching()
	var found []*registry.Device
	find := func(euid message.IEEE) {
		s.Find(euid, func(d *registry.Device) { found = append(found, d) })
	}
	find(bulb)
	s.questions.Take(message.NwkAddrResponse{IEEE: bulb, Status: 0x81})
	s.questions.Take(message.NwkAddrResponse{IEEE: socket})
	s.pass(3 * time.Second)
	if len(s.post.sent) != 2 || len(found) != 0 {
		t.Fatalf("asked %d times, found %v", len(s.post.sent), found)
	}
	s.answer(bulb)
	if len(found) != 1 || found[0] != s.devices.Get(bulb) {
		t.Fatalf("found %v", found)
	}
	find(bulb)
	if len(found) != 2 || len(s.post.sent) != 2 {
		t.Error("a device that is known was looked for")
	}

	find(socket)
	s.pass(3 * time.Second)
	s.pass(3 * time.Second)
	if len(found) != 3 || found[2] != nil || len(s.post.sent) != 4 {
		t.Errorf("one that is not there: asked %d times, found %v", len(s.post.sent)-2, found[2:])
	}
}

// Three are looked for at a time. When nothing can be sent any more, those that stand in line find nothing.
func TestSearchesStandInLine(t *testing.T) {
	s := newSearching()
	ended := 0
	for i := range 10 {
		s.Find(bulb+message.IEEE(i), func(*registry.Device) { ended++ })
	}
	if len(s.post.sent) != 3 {
		t.Errorf("%d are looked for", len(s.post.sent))
	}
	s.answer(bulb)
	if len(s.post.sent) != 4 || ended != 1 {
		t.Errorf("%d were looked for, %d ended", len(s.post.sent), ended)
	}
	s.possible = false
	s.questions.Drop(errGone)
	s.Next()
	if ended != 10 || s.questions.Any() {
		t.Errorf("%d ended", ended)
	}
}

// Whoever asks for the same device waits for the same search, and no more devices stand in line than may.
func TestSearchesAreBounded(t *testing.T) {
	s := newSearching()
	found := 0
	for range 1000 {
		if !s.Find(bulb, func(*registry.Device) { found++ }) {
			t.Fatal("who looks for a device that is looked for is turned away")
		}
	}
	if len(s.post.sent) != 1 {
		t.Errorf("%d searches for one device", len(s.post.sent))
	}
	s.answer(bulb)
	if found != 1000 {
		t.Errorf("%d of 1000 were told", found)
	}
	let, ended := 0, 0
	for i := range 1000 {
		if s.Find(socket+message.IEEE(i), func(*registry.Device) { ended++ }) {
			let++
		}
	}
	if let != 3+64 || ended != 0 {
		t.Errorf("%d were let in, %d ended", let, ended)
	}
	for range 1000 {
		s.pass(3 * time.Second)
	}
	if ended != let || s.questions.Any() {
		t.Errorf("%d of %d ended", ended, let)
	}
	if !s.Find(bulb-1, func(*registry.Device) {}) {
		t.Error("there is no room again")
	}
}

// Devices that nobody waits for are looked for a few at a time, and each once a minute.
func TestSearchesAtLeisure(t *testing.T) {
	s := newSearching()
	for i := range 1000 {
		s.Heard(bulb + message.IEEE(i))
		s.Heard(bulb)
	}
	found := false
	if !s.Find(bulb+1, func(d *registry.Device) { found = true }) {
		t.Error("who waits for one of them is turned away")
	}
	for range 20 {
		s.pass(3 * time.Second)
	}
	if n := len(s.post.sent); n != 2*8 || !found {
		t.Errorf("%d searches; who waited for one was told: %v", n, found)
	}
	before := len(s.post.sent)
	s.now = now.Add(59 * time.Second)
	s.Heard(bulb)
	if len(s.post.sent) != before {
		t.Error("it was looked for again at once")
	}
	s.now = now.Add(time.Minute)
	s.Heard(bulb)
	if len(s.post.sent) != before+1 {
		t.Error("it was not looked for again after a minute")
	}
	for i := range 2000 { // new ones all the time
		s.Heard(socket + message.IEEE(i))
		s.pass(10 * time.Millisecond)
	}
	if n := len(s.post.sent) - before; n > 3*8 {
		t.Errorf("%d searches in 20 s", n)
	}
}

// A call does not stand in line, and is not repeated.
func TestCall(t *testing.T) {
	s := newSearching()
	for i := range 3 {
		s.Find(bulb+message.IEEE(i), func(*registry.Device) {})
	}
	s.Call(socket)
	if n := len(s.post.sent); n != 4 || s.post.sent[3].(message.NwkAddrRequest).IEEE != socket {
		t.Fatalf("sent %v", s.post.sent)
	}
	s.pass(3 * time.Second)
	if n := len(s.post.sent); n != 4+3 {
		t.Errorf("%d were sent", n)
	}
}

// sized is a question to an address whose answer takes so many bytes.
func sized(addr uint16, size int) registry.Question {
	return registry.Question{
		Command: message.NodeDescriptorRequest{Addr: addr},
		To:      addr,
		Timeout: 8 * time.Second,
		Again:   2 * time.Second,
		Size:    size,
		Match: func(m message.Message) (part, whole bool) {
			node, ok := m.(message.NodeDescriptor)
			ok = ok && node.Addr == addr
			return ok, ok
		},
	}
}

// Answers that may come at the same moment fit the room that there is.
func TestQuestionsWaitForRoom(t *testing.T) {
	tests := map[string]struct {
		room    int
		sizes   []int
		happens func(*registry.Questions)
		sent    int
	}{
		"any room":               {sizes: []int{100, 100, 100}, sent: 3},
		"room for two":           {room: 200, sizes: []int{100, 100, 100}, sent: 2},
		"too large, and alone":   {room: 200, sizes: []int{300}, sent: 1},
		"too large, behind one":  {room: 200, sizes: []int{10, 300}, sent: 1},
		"a small one waits, too": {room: 200, sizes: []int{100, 150, 10}, sent: 1},
		"one without an answer that counts": {
			room: 200, sizes: []int{200, 100, 0}, sent: 2,
		},
		"one is answered": {room: 200, sizes: []int{100, 100, 100}, sent: 3, happens: func(q *registry.Questions) {
			q.Take(message.NodeDescriptor{Addr: 2})
			q.Pace(200, now)
		}},
		"one has ended": {room: 200, sizes: []int{200, 200}, sent: 2, happens: func(q *registry.Questions) {
			q.Expire(now.Add(9 * time.Second))
			q.Pace(200, now.Add(9*time.Second))
		}},
		"the answer is late": {room: 200, sizes: []int{200, 200}, sent: 2, happens: func(q *registry.Questions) {
			q.Pace(200, now.Add(time.Second))
		}},
		"the answer is not late": {room: 200, sizes: []int{200, 200}, sent: 1, happens: func(q *registry.Questions) {
			q.Pace(200, now.Add(time.Second-1))
		}},
		"the room grows": {room: 200, sizes: []int{100, 100, 100}, sent: 3, happens: func(q *registry.Questions) {
			q.Pace(0, now)
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			p := &post{}
			q := registry.NewQuestions(p)
			q.Pace(tc.room, now)
			ended := 0
			for i, size := range tc.sizes {
				q.Ask(sized(uint16(i+1), size), now, func([]message.Message, error) { ended++ })
			}
			if tc.happens != nil {
				tc.happens(q)
			}
			if len(p.sent) != tc.sent {
				t.Errorf("%d were sent, want %d", len(p.sent), tc.sent)
			}
			q.Drop(errGone)
			if ended != len(tc.sizes) || q.Any() {
				t.Errorf("%d of %d have ended", ended, len(tc.sizes))
			}
		})
	}
}

// A question whose answer does not come is sent again, until it is known that it does not arrive.
func TestQuestionsAreSentAgain(t *testing.T) {
	tests := map[string]struct {
		again   time.Duration
		happens func(*registry.Questions)
		sent    int // within its time
	}{
		"not answered":       {again: 2 * time.Second, sent: 3},
		"never":              {sent: 1},
		"answered":           {again: 2 * time.Second, sent: 1, happens: func(q *registry.Questions) { q.Take(message.NodeDescriptor{Addr: 1}) }},
		"not delivered":      {again: 2 * time.Second, sent: 1, happens: func(q *registry.Questions) { q.Undelivered(1) }},
		"another one's":      {again: 2 * time.Second, sent: 3, happens: func(q *registry.Questions) { q.Undelivered(2) }},
		"the dongle is gone": {again: 2 * time.Second, sent: 1, happens: func(q *registry.Questions) { q.Drop(errGone) }},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			p := &post{}
			q := registry.NewQuestions(p)
			question := sized(1, 50)
			question.Again = tc.again
			ended := 0
			q.Ask(question, now, func([]message.Message, error) { ended++ })
			if tc.happens != nil {
				tc.happens(q)
			}
			for at := now; !at.After(now.Add(20 * time.Second)); at = at.Add(250 * time.Millisecond) {
				q.Expire(at)
				q.Pace(0, at)
			}
			if len(p.sent) != tc.sent || ended != 1 {
				t.Errorf("sent %d times, ended %d times", len(p.sent), ended)
			}
		})
	}
}

// What is missing of an answer is asked for soon after a part of it has come.
func TestMissingPartIsAskedForSoon(t *testing.T) {
	p := &post{}
	q := registry.NewQuestions(p)
	question := sized(1, 50)
	question.Rest = func() message.Message { return message.NodeDescriptorRequest{Addr: 9} }
	question.Match = func(message.Message) (part, whole bool) { return true, false }
	q.Ask(question, now, func([]message.Message, error) {})
	q.Pace(0, now.Add(100*time.Millisecond))
	q.Take(message.NodeDescriptor{})
	q.Pace(0, now.Add(200*time.Millisecond))
	q.Pace(0, now.Add(699*time.Millisecond))
	if len(p.sent) != 1 {
		t.Errorf("asked again too soon: %v", p.sent)
	}
	q.Pace(0, now.Add(700*time.Millisecond))
	if len(p.sent) != 2 || p.sent[1] != (message.NodeDescriptorRequest{Addr: 9}) {
		t.Errorf("asked for the rest with %v", p.sent)
	}
	q.Pace(0, now.Add(2600*time.Millisecond)) // no part has come since
	if len(p.sent) != 2 {
		t.Errorf("asked again: %v", p.sent)
	}
}

// Of several attributes only those are asked for again that were not told.
func TestRestIsAskedForAgain(t *testing.T) {
	a := newAsker()
	var rest message.Message
	a.answer = func(message.Message) []message.Message { return nil }
	a.onAsk = func(q registry.Question) {
		q.Match(unsupportedAt(message.ClusterOTA, message.AttrOTAManufacturer))
		if rest == nil { // else it is of the next attributes
			rest = q.Rest()
		}
	}
	_ = registry.ReadIdentity(t.Context(), a) // its error is another test's
	got, ok := rest.(message.ReadAttributes)
	want := []uint16{message.AttrOTAImageType, message.AttrOTAFileVersion}
	if !ok || !slices.Equal(got.IDs, want) || got.Addr != bulbAddr {
		t.Errorf("asks for %+v", rest)
	}
}

func unsupportedAt(cluster, id uint16) message.Attribute {
	at := unsupported(cluster, id)
	at.Addr = bulbAddr
	return at
}
