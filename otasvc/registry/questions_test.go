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
	q, err := registry.AskVersion(registry.Facts{EUID: bulb, NetworkAddress: &addr, Endpoint: 3})
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
