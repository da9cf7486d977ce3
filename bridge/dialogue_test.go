package bridge_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge"
	"github.com/zigate-ota/zigate-ota/bridge/mqttclient"
	"github.com/zigate-ota/zigate-ota/bridge/promises"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// slowPaper has owed answers acknowledged when the test says so.
type slowPaper struct {
	*paper
	mu   sync.Mutex
	owed []func()
}

func (p *slowPaper) PublishOwed(topic string, payload []byte, acknowledged func()) {
	p.Publish(topic, payload)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owed = append(p.owed, acknowledged)
}

// acknowledge has the broker acknowledge all answers.
func (p *slowPaper) acknowledge() {
	p.mu.Lock()
	owed := p.owed
	p.owed = nil
	p.mu.Unlock()
	for _, acknowledged := range owed {
		acknowledged()
	}
	synctest.Wait()
}

// diary is a home whose requests are kept on the disk.
type diary struct {
	*home
	out  *slowPaper
	path string // of the file

	mu           sync.Mutex
	acknowledged []string // the requests that the broker was told to forget
}

// withDiary runs a test in a home with one bulb whose requests are kept.
func withDiary(t *testing.T, f func(d *diary)) {
	t.Helper()
	withDiaryOf(t, "", f)
}

// withDiaryOf is withDiary after an earlier life of the service that has left a file; there is none where its
// content is empty.
func withDiaryOf(t *testing.T, content string, f func(d *diary)) {
	t.Helper()
	d := &diary{path: filepath.Join(t.TempDir(), "state", "requests.json")}
	if content != "" {
		if err := os.Mkdir(filepath.Dir(d.path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(d.path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f)}}
	withBook := func(h *home, o *bridge.Options) {
		d.home = h
		d.out = &slowPaper{paper: h.out}
		o.Out = d.out
		o.Promises = d.book(t)
	}
	inHomeOf(t, cfg, surroundings{bridge: withBook}, func(*home) { f(d) })
}

// book opens the file.
func (d *diary) book(t *testing.T) *promises.Book {
	t.Helper()
	book, err := promises.Open(d.path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return book
}

// asks has a request come from the broker. Its transaction is its name.
func (d *diary) asks(name, operation, payload string) {
	d.b.HandleRequest(mqttclient.Command{
		Topic:    "zigate-ota/request/" + operation,
		Payload:  []byte(strings.Replace(payload, "{", fmt.Sprintf(`{"transaction":%q,`, name), 1)),
		Delivery: name,
		Acknowledge: func(then func()) {
			d.mu.Lock()
			d.acknowledged = append(d.acknowledged, name)
			d.mu.Unlock()
			go then()
		},
	})
}

// answers are the statuses of the answers to a request so far.
func (d *diary) answers(name string) (statuses []string) {
	for _, m := range d.out.all("zigate-ota/response/") {
		var response struct{ Transaction, Status string }
		if json.Unmarshal([]byte(m.payload), &response) == nil && response.Transaction == name {
			statuses = append(statuses, response.Status)
		}
	}
	return statuses
}

// wantAnswers compares the answers to a request with those that it should have got.
func (d *diary) wantAnswers(name string, want ...string) {
	d.t.Helper()
	if got := d.answers(name); fmt.Sprint(got) != fmt.Sprint(want) {
		d.t.Errorf("answers to %s: %q, want %q", name, got, want)
	}
}

// isAcknowledged reports whether the broker was told to forget a request.
func (d *diary) isAcknowledged(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Contains(fmt.Sprint(d.acknowledged), name)
}

// content is what the file has.
func (d *diary) content() string {
	data, err := os.ReadFile(d.path)
	if err != nil {
		d.t.Error(err)
	}
	return string(data)
}

// A request is acknowledged when it is on the disk, or when the broker has its answer.
func TestRequestsAreAcknowledgedWhenTheyAreSafe(t *testing.T) {
	withDiary(t, func(d *diary) {
		d.asks("status", "service_status", `{"deviceId":20303}`)
		d.asks("wrong", "rename", `{"deviceId":20303}`)
		time.Sleep(time.Second)
		d.wantAnswers("status", "serviceAvailable")
		d.wantAnswers("wrong", "invalidData")
		if d.isAcknowledged("status") || d.isAcknowledged("wrong") {
			t.Error("acknowledged before the broker has the answer")
		}
		d.out.acknowledge()
		if !d.isAcknowledged("status") || !d.isAcknowledged("wrong") {
			t.Error("answered, and not acknowledged")
		}

		d.asks("check", "check", `{"deviceId":20303}`)
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if !d.isAcknowledged("check") || !strings.Contains(d.content(), `"delivery":"check"`) {
			t.Errorf("acknowledged %t, on the disk: %s", d.isAcknowledged("check"), d.content())
		}
		time.Sleep(time.Minute)
		d.wantAnswers("check", "inProgress", "success")
		// The final answer is on the disk until the broker has it, and nothing is asked for any more.
		content := d.content()
		answered := strings.Contains(content, `"delivery":"check"`) && strings.Contains(content, `"status":"success"`)
		if !answered || strings.Contains(content, `"payload"`) {
			t.Errorf("after the answer the file has: %s", content)
		}
		d.out.acknowledge()
		if content := d.content(); strings.Contains(content, `"delivery"`) {
			t.Errorf("the broker has the answer, and the file has it still: %s", content)
		}
	})
}

// Requests are carried out in the order in which they came, though some have to be on the disk first.
func TestRequestsKeepTheirOrder(t *testing.T) {
	withDiary(t, func(d *diary) {
		d.asks("add", "add_image", `{"deviceId":20303,"url":"`+d.image(0x22010731, 5000)+`"}`)
		time.Sleep(10 * time.Second)
		d.asks("upgrade", "upgrade", `{"deviceId":20303}`)
		d.asks("cancel", "cancel", `{"deviceId":20303}`)
		time.Sleep(time.Minute)
		d.wantAnswers("add", "inProgress", "success")
		d.wantAnswers("upgrade", "inProgress", "failure")
		d.wantAnswers("cancel", "success")
	})
}

// What cannot be written to the disk is not carried out where that may last, and all else is.
func TestFullDisk(t *testing.T) {
	withDiary(t, func(d *diary) {
		if err := os.RemoveAll(filepath.Dir(d.path)); err != nil {
			t.Fatal(err)
		}
		reads := d.sim.Stats().Received[message.ReadAttributes{}.Type()]
		for _, r := range []struct{ operation, payload string }{
			{"upgrade", `{"deviceId":20303,"url":"` + d.image(0x22010731, 5000) + `"}`},
			{"add_image", `{"deviceId":20303,"url":"` + d.image(0x22010731, 5000) + `"}`},
			{"check", `{"deviceId":20303}`},
			{"interview", `{"deviceId":20303}`},
		} {
			d.asks(r.operation, r.operation, r.payload)
			time.Sleep(time.Minute)
			d.wantAnswers(r.operation, "failure")
			if all := d.out.all("zigate-ota/response/" + r.operation); !strings.Contains(all[0].payload, "not carried out") {
				t.Errorf("%s", all[0].payload)
			}
			d.out.acknowledge()
			if !d.isAcknowledged(r.operation) {
				t.Errorf("%s is not acknowledged", r.operation)
			}
		}
		if now := d.sim.Stats().Received[message.ReadAttributes{}.Type()]; now != reads {
			t.Errorf("%d readings went out", now-reads)
		}
		if images := d.out.value("zigate-ota/images"); images != `{"images":[]}` {
			t.Errorf("registered: %s", images)
		}
		d.asks("status", "service_status", `{"deviceId":20303}`)
		time.Sleep(time.Second)
		d.wantAnswers("status", "serviceAvailable")
	})
}

// A request that is carried out before it is known whether it lasts is carried out on a full disk too. Only
// that it is in progress is not told, as that would be a promise.
func TestFullDiskAfterTheRequestIsBegun(t *testing.T) {
	withDiary(t, func(d *diary) {
		if err := os.RemoveAll(filepath.Dir(d.path)); err != nil {
			t.Fatal(err)
		}
		loads := d.sim.Stats().Received[message.LoadImage{}.Type()]
		d.asks("load", "load_image", `{"url":"`+d.image(0x22010731, 5000)+`"}`)
		d.asks("rename", "rename", `{"deviceId":"0x00124b0000000099","name":"Hall"}`)
		time.Sleep(time.Minute)
		d.wantAnswers("load", "success")
		d.wantAnswers("rename", "deviceNotFound")
		if now := d.sim.Stats().Received[message.LoadImage{}.Type()]; now == loads {
			t.Error("no header was loaded")
		}
		d.out.acknowledge()
		if !d.isAcknowledged("load") || !d.isAcknowledged("rename") {
			t.Error("answered, and not acknowledged")
		}
	})
}

// What is carried out again after a restart is remembered as the same message as long as its answer is: the
// broker may deliver it again.
func TestResumedRequestKeepsItsDelivery(t *testing.T) {
	const kept = `{"version":1,"promises":[{"id":"1","operation":"check","delivery":"message 7",` +
		`"payload":{"deviceId":20303,"transaction":"check"}}]}`
	withDiaryOf(t, kept, func(d *diary) {
		d.b.Resume()
		time.Sleep(time.Minute)
		d.wantAnswers("check", "inProgress", "success")
		content := d.content()
		if !strings.Contains(content, `"delivery":"message 7"`) || !strings.Contains(content, `"response"`) {
			t.Errorf("after the answer the file has: %s", content)
		}
		d.out.acknowledge()
		if content := d.content(); strings.Contains(content, `"delivery"`) {
			t.Errorf("the broker has the answer, and the file has it still: %s", content)
		}
	})
}

// An answer that the broker does not have at a clean stop is given by the next life of the service. The request, which
// the broker delivers again, is known there, and not answered a second time.
func TestOwedAnswerKnowsItsDelivery(t *testing.T) {
	for _, operation := range []string{"service_status", "rename"} {
		t.Run(operation, func(t *testing.T) {
			var path string
			withDiary(t, func(d *diary) {
				path = d.path
				d.asks("asked", operation, `{"deviceId":20303}`) // a rename without a name makes no sense
				time.Sleep(time.Second)
				if d.isAcknowledged("asked") || len(d.answers("asked")) != 1 {
					t.Errorf("acknowledged %v, answered %q", d.isAcknowledged("asked"), d.answers("asked"))
				}
			})
			book, err := promises.Open(path, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			if got := book.Deliveries(); len(book.Answers()) != 1 || len(got) != 1 || got[0] != "asked" {
				t.Errorf("%d answers are owed, and %q expected", len(book.Answers()), got)
			}
		})
	}
}
