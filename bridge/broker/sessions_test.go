package broker_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/bridge/broker"
)

// resume connects a client that keeps its session, and returns what it gets as "topic=payload".
func resume(t *testing.T, open mqtt.OpenConnectionFunc, id string) (mqtt.Client, chan string) {
	t.Helper()
	got := make(chan string, 10_000)
	o := mqtt.NewClientOptions().AddBroker("tcp://test").SetClientID(id).SetProtocolVersion(4).SetAutoReconnect(false).
		SetCleanSession(false).SetCustomOpenConnectionFn(open).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { got <- m.Topic() + "=" + string(m.Payload()) })
	c := mqtt.NewClient(o)
	wait(t, c.Connect())
	return c, got
}

// take returns the next n values.
func take(from chan string, n int) []string {
	var got []string
	for range n {
		got = append(got, <-from)
	}
	return got
}

// A client that publishes and is published to with the same packet identifiers loses nothing.
func TestPacketIdentifiersOfBothDirections(t *testing.T) {
	b, stop := start(t, broker.Options{})
	c, got := resume(t, inside(b), "both")
	wait(t, c.Subscribe("#", 1, nil))
	const messages = 300
	for i := range messages {
		c.Publish("a", 1, false, fmt.Sprint(i))
	}
	for i, s := range take(got, messages) {
		if s != fmt.Sprint("a=", i) {
			t.Fatalf("message %d is %s", i, s)
		}
	}
	c.Disconnect(100)
	stop()
}

// What a consumer with a session misses over a restart comes afterwards: after a clean stop, and after a kill
// everything of which the publisher got the acknowledgement. What it has acknowledged does not come again.
func TestSessionOverRestart(t *testing.T) {
	for _, end := range []string{"stop", "kill"} {
		t.Run(end, func(t *testing.T) {
			dir := t.TempDir()
			options := broker.Options{Addr: "127.0.0.1:0", SessionsFile: filepath.Join(dir, "sessions.jsonl")}
			b, stop := start(t, options)
			consumer, got := resume(t, overTCP(b), "consumer")
			wait(t, consumer.Subscribe("a/+", 1, nil))
			publisher := mustConnect(t, inside(b), "service")
			wait(t, publisher.Publish("a/seen", 1, false, "1"))
			take(got, 1)
			consumer.Disconnect(100)
			want := []string{}
			for i := range 100 {
				token := publisher.Publish("a/missed", 1, false, fmt.Sprint(i))
				want = append(want, fmt.Sprint("a/missed=", i))
				if i == 99 {
					wait(t, token)
				}
			}
			wait(t, publisher.Publish("b/other", 1, false, "1"))
			after := options
			if end == "kill" {
				after.SessionsFile = filepath.Join(dir, "as-killed.jsonl")
				data, err := os.ReadFile(options.SessionsFile)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(after.SessionsFile, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			publisher.Disconnect(100)
			stop()

			b, stop = start(t, after)
			consumer, got = resume(t, overTCP(b), "consumer")
			if diff := cmp.Diff(want, take(got, len(want))); diff != "" {
				t.Errorf("after the restart (-want +got):\n%s", diff)
			}
			publisher = mustConnect(t, inside(b), "service")
			wait(t, publisher.Publish("a/new", 1, false, "1"))
			if s := take(got, 1); s[0] != "a/new=1" {
				t.Errorf("the subscription is gone: %s", s[0])
			}
			consumer.Disconnect(100)
			publisher.Disconnect(100)
			stop()

			b, stop = start(t, after)
			consumer, got = resume(t, overTCP(b), "consumer")
			wait(t, consumer.Publish("a/last", 1, false, "1"))
			if s := take(got, 1); s[0] != "a/last=1" {
				t.Errorf("comes again: %s", s[0])
			}
			consumer.Disconnect(100)
			stop()
		})
	}
}

// What is acknowledged to who publishes it comes after a kill of the next moment, at QoS 1 and at QoS 2.
func TestAcknowledgedOutlivesKill(t *testing.T) {
	for qos := byte(1); qos <= 2; qos++ {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			dir := t.TempDir()
			options := broker.Options{SessionsFile: filepath.Join(dir, "sessions.jsonl")}
			b, stop := start(t, options)
			consumer, _ := resume(t, inside(b), "consumer")
			wait(t, consumer.Subscribe("a", 2, nil))
			consumer.Disconnect(100)
			publisher := mustConnect(t, inside(b), "publisher")
			wait(t, publisher.Publish("a", 1, false, "before"))
			wait(t, publisher.Publish("a", qos, false, "acknowledged"))
			data, err := os.ReadFile(options.SessionsFile)
			if err != nil {
				t.Fatal(err)
			}
			killed := filepath.Join(dir, "as-killed.jsonl")
			if err := os.WriteFile(killed, data, 0o600); err != nil {
				t.Fatal(err)
			}
			publisher.Disconnect(100)
			stop()

			b, stop = start(t, broker.Options{SessionsFile: killed})
			consumer, got := resume(t, inside(b), "consumer")
			wait(t, consumer.Subscribe("last", 1, nil))
			wait(t, consumer.Publish("last", 1, false, ""))
			if diff := cmp.Diff([]string{"a=before", "a=acknowledged"}, take(got, 2)); diff != "" {
				t.Errorf("after the kill (-want +got):\n%s", diff)
			}
			consumer.Disconnect(100)
			stop()
		})
	}
}

// A session that its client ends right after a start does not come back at the next one.
func TestEndedSessionStaysEnded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.jsonl")
	const lines = `{"version":1}` + "\n" +
		`{"session":{"clientId":"c","protocol":4,"subscriptions":[{"filter":"a","qos":1}]}}` + "\n" +
		`{"message":{"clientId":"c","number":1,"topic":"a","payload":"MQ==","qos":1}}` + "\n"
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	b, stop := start(t, broker.Options{SessionsFile: path})
	mustConnect(t, inside(b), "c").Disconnect(100) // with a clean session
	stop()
	b, stop = start(t, broker.Options{SessionsFile: path})
	if present(t, inside(b), "c") {
		t.Error("the session is there again")
	}
	stop()
}

// For clients that are there and read nothing is written, and nobody waits.
func TestSessionCostsNoWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.jsonl")
	synctest.Test(t, func(t *testing.T) {
		b, stop := start(t, broker.Options{SessionsFile: path})
		consumer, got := resume(t, inside(b), "consumer")
		wait(t, consumer.Subscribe("#", 1, nil))
		publisher := mustConnect(t, inside(b), "service")
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := os.Remove(path); err != nil {
			t.Errorf("the session itself is not on the disk: %v", err)
		}
		begun := time.Now()
		for i := range 1000 {
			wait(t, publisher.Publish("a", 1, false, fmt.Sprint(i)))
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("the publisher waited for %v", took)
		}
		take(got, 1000)
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, err := os.Stat(path); err == nil {
			t.Error("it was written")
		}
		consumer.Disconnect(100)
		publisher.Disconnect(100)
		stop()
	})
}

// What makes no sense in a file with sessions is left out and costs nothing else; a newer file is set aside;
// one that cannot be written stops nobody.
func TestSessionsFileBroken(t *testing.T) {
	const (
		version  = `{"version":1}` + "\n"
		consumer = `{"session":{"clientId":"consumer","protocol":4,"subscriptions":[{"filter":"a","qos":1}]}}` + "\n"
		one      = `{"message":{"clientId":"consumer","number":1,"topic":"a","payload":"MQ==","qos":1}}` + "\n"
		two      = `{"message":{"clientId":"consumer","number":2,"topic":"b","payload":"Mg==","qos":1}}` + "\n"
		left     = "make no sense"
	)
	tests := []struct {
		name, content, told string
		want                []string // what the consumer gets first
	}{
		{name: "good", content: version + consumer + one + two, want: []string{"a=1", "b=2"}},
		{name: "empty"},
		{name: "newer", content: `{"version":2}` + "\n" + consumer + one, told: "version 2"},
		{name: "no version", content: consumer + one, want: []string{"a=1"}},
		{name: "killed while it was written", content: version + consumer + one + two[:40], want: []string{"a=1"}},
		{name: "a bad line", content: version + consumer + "{{{\n" + two, told: left, want: []string{"b=2"}},
		{name: "a bad number", content: version + consumer + strings.Replace(one, "1", "x", 1) + two, told: left, want: []string{"b=2"}},
		{name: "no identifier", content: version + `{"session":{"protocol":4}}` + "\n" + consumer + one, told: left, want: []string{"a=1"}},
		{name: "messages of nobody", content: version + one},
		{name: "taken", content: version + consumer + one + two + `{"taken":[1]}` + "\n", want: []string{"b=2"}},
		{name: "over", content: version + consumer + one + two + `{"over":"consumer"}` + "\n"},
		{name: "over, and again", content: version + consumer + one + `{"over":"consumer"}` + "\n" + consumer + two, want: []string{"b=2"}},
		{
			name: "what no client could send",
			content: version + strings.ReplaceAll(consumer, `{"filter":"a","qos":1}`, `{"filter":"a/#/b","qos":1},{"filter":"b","qos":9}`) +
				strings.ReplaceAll(one, `"a"`, `"#"`) + strings.ReplaceAll(one, `"qos":1`, `"qos":1,"expires":1000`) + two,
			want: []string{"b=2"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "sessions.jsonl")
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			options := broker.Options{SessionsFile: path, Logger: slog.New(slog.NewTextHandler(&log, nil))}
			for range 2 { // the second time from what the first one wrote
				_, stop := start(t, options)
				stop()
				if told := log.String(); !strings.Contains(told, tt.told) || tt.told == "" && strings.Contains(told, "sessions") {
					t.Errorf("told:\n%s", told)
				}
				tt.told = ""
				log.Reset()
			}
			b, stop := start(t, options)
			c, got := resume(t, inside(b), "consumer")
			wait(t, c.Subscribe("last", 1, nil))
			wait(t, c.Publish("last", 1, false, ""))
			if diff := cmp.Diff(append(tt.want, "last="), take(got, len(tt.want)+1)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			c.Disconnect(100)
			stop()
		})
	}
	t.Run("no folder", func(t *testing.T) {
		var log bytes.Buffer
		path := filepath.Join(t.TempDir(), "none", "sessions.jsonl")
		b, stop := start(t, broker.Options{SessionsFile: path, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		c, _ := resume(t, inside(b), "consumer")
		wait(t, c.Subscribe("#", 1, nil))
		c.Disconnect(100)
		publisher := mustConnect(t, inside(b), "publisher")
		for range 3 {
			wait(t, publisher.Publish("a", 1, false, "1"))
		}
		publisher.Disconnect(100)
		stop()
		if n := strings.Count(log.String(), "cannot keep its sessions"); n != 1 {
			t.Errorf("told %d times:\n%s", n, log.String())
		}
	})
}

// A client whose older connection ends at the same moment as it comes back is not forgotten: it gets what is
// published afterwards.
func TestTakeover(t *testing.T) {
	b, stop := start(t, broker.Options{Addr: "127.0.0.1:0"})
	publisher := mustConnect(t, overTCP(b), "publisher")
	for i := range 300 {
		older := mustConnect(t, overTCP(b), "client")
		var ended sync.WaitGroup
		ended.Go(func() { older.Disconnect(0) })
		newer := mustConnect(t, overTCP(b), "client")
		got := make(chan string, 1)
		wait(t, newer.Subscribe("a", 1, func(_ mqtt.Client, m mqtt.Message) { got <- string(m.Payload()) }))
		wait(t, publisher.Publish("a", 1, false, fmt.Sprint(i)))
		if s := take(got, 1); s[0] != fmt.Sprint(i) {
			t.Fatalf("got %s, want %d", s[0], i)
		}
		newer.Disconnect(0)
		ended.Wait()
	}
	publisher.Disconnect(100)
	stop()
}

// Of many connections with one client identifier one stays, and gets what is published.
func TestManyTakeovers(t *testing.T) {
	b, stop := start(t, broker.Options{Addr: "127.0.0.1:0"})
	publisher := mustConnect(t, overTCP(b), "publisher")
	got := make(chan string, 100)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			o := mqtt.NewClientOptions().AddBroker("tcp://test").SetClientID("client").SetProtocolVersion(4).SetAutoReconnect(false).
				SetCleanSession(false).SetCustomOpenConnectionFn(overTCP(b)).
				SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { got <- string(m.Payload()) })
			c := mqtt.NewClient(o)
			if token := c.Connect(); token.Wait() && token.Error() == nil {
				c.Subscribe("a", 1, nil).Wait()
			}
		})
	}
	all.Wait()
	wait(t, publisher.Publish("a", 1, false, "1"))
	take(got, 1)
	publisher.Disconnect(100)
	stop()
}

// What a client misses is appended to the file: a memory card takes no more than twice what there is to say.
func TestMissedIsAppended(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.jsonl")
	synctest.Test(t, func(t *testing.T) {
		b, stop := start(t, broker.Options{SessionsFile: path})
		consumer, _ := resume(t, inside(b), "consumer")
		wait(t, consumer.Subscribe("#", 1, nil))
		consumer.Disconnect(100)
		publisher := mustConnect(t, inside(b), "service")
		file := func() os.FileInfo {
			time.Sleep(time.Second)
			synctest.Wait()
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			return info
		}
		publish := func() { wait(t, publisher.Publish("a", 1, false, strings.Repeat("x", 400))) }
		publish()
		before, written, times := file(), int64(0), 0
		for range 1000 {
			publish()
			after := file()
			written += after.Size() - before.Size()
			if !os.SameFile(before, after) {
				written += before.Size()
				times++
			}
			before = after
		}
		if times > 2 || written > 2*before.Size() {
			t.Errorf("%d bytes were written, and the file %d times anew, for one of %d bytes", written, times, before.Size())
		}
		// Once the consumer has taken it, little is left after a restart.
		consumer, got := resume(t, inside(b), "consumer")
		take(got, 1001)
		time.Sleep(time.Second) // the acknowledgements come after it
		consumer.Disconnect(100)
		publisher.Disconnect(100)
		stop()
		_, stop = start(t, broker.Options{SessionsFile: path})
		if after := file(); after.Size() > 2000 {
			t.Errorf("%d bytes are left of %d", after.Size(), before.Size())
		}
		stop()
	})
}

// Who publishes more than may wait for an acknowledgement does not keep the broker from stopping.
func TestStopWhilePublisherWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.jsonl")
	synctest.Test(t, func(t *testing.T) {
		b, stop := start(t, broker.Options{SessionsFile: path})
		consumer, _ := resume(t, inside(b), "consumer")
		wait(t, consumer.Subscribe("#", 1, nil))
		consumer.Disconnect(100)
		conn, err := b.Dial()
		if err != nil {
			t.Fatal(err)
		}
		deaf(t, conn, "publisher", 0, true)
		for i := range 1500 {
			m := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
			m.TopicName, m.Qos, m.MessageID, m.Payload = "a", 1, uint16(i+1), []byte("1")
			if err := m.Write(conn); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		stop()
		conn.Close()
	})
}

// A client of MQTT 3 is not sent a DISCONNECT, which only clients send there, neither when the broker stops nor
// when another connection takes its place; one of MQTT 5 is, and told why.
func TestEndOfConnection(t *testing.T) {
	for version, want := range map[byte]byte{4: 0, 5: packets.Disconnect << 4} {
		for _, end := range []string{"stop", "takeover"} {
			t.Run(fmt.Sprintf("version %d, %s", version, end), func(t *testing.T) {
				b, stop := start(t, broker.Options{})
				conn, err := b.Dial()
				if err != nil {
					t.Fatal(err)
				}
				hello := []byte{0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', version, 2, 0, 0, 0, 1, 'x'}
				if version == 5 {
					hello = []byte{0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', version, 2, 0, 0, 0, 0, 1, 'x'}
				}
				if _, err := conn.Write(hello); err != nil {
					t.Fatal(err)
				}
				buffer := make([]byte, 4096)
				if _, err := conn.Read(buffer); err != nil { // CONNACK
					t.Fatal(err)
				}
				if end == "takeover" {
					mustConnect(t, inside(b), "x").Disconnect(100)
				}
				stop()
				n, _ := conn.Read(buffer)
				if n == 0 {
					buffer[0] = 0
				}
				if buffer[0] != want {
					t.Errorf("it was sent % x", buffer[:n])
				}
			})
		}
	}
}

// A session that nobody has come back to for a week ends, also where the broker was started meanwhile; and so
// does that of the service under an identifier that it has no more.
func TestSessionsEnd(t *testing.T) {
	today := time.Now().Unix() / (24 * 60 * 60)
	line := func(id string, near bool, seen int64) string {
		return fmt.Sprintf(`{"session":{"clientId":%q,"near":%v,"protocol":4,"seen":%d,"subscriptions":[{"filter":"a","qos":1}]}}`+"\n", id, near, seen)
	}
	tests := []struct {
		name, line, id string
		kept           bool
	}{
		{"lately", line("c", false, today-6), "c", true},
		{"long ago", line("c", false, today-9), "c", false},
		{"in the future", line("c", false, today+9), "c", true},
		{"the service", line("service", true, today), "service", true},
		{"the service before", line("c", true, today), "c", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "sessions.jsonl")
			if err := os.WriteFile(path, []byte("{\"version\":1}\n"+tt.line), 0o600); err != nil {
				t.Fatal(err)
			}
			b, stop := start(t, broker.Options{SessionsFile: path, ServiceID: "service"})
			if got := present(t, inside(b), tt.id); got != tt.kept {
				t.Errorf("session present: %v, want %v", got, tt.kept)
			}
			stop()
		})
	}
}

// present connects a client with a session and reports whether the broker had one for it.
func present(t *testing.T, open mqtt.OpenConnectionFunc, id string) bool {
	t.Helper()
	o := mqtt.NewClientOptions().AddBroker("tcp://test").SetClientID(id).SetProtocolVersion(4).SetAutoReconnect(false).
		SetCleanSession(false).SetCustomOpenConnectionFn(open)
	c := mqtt.NewClient(o)
	token := c.Connect().(*mqtt.ConnectToken)
	wait(t, token)
	c.Disconnect(0)
	return token.SessionPresent()
}

// There are so many sessions and no more: those that were left first make room. Who leaves at nearly the same
// time as another may come before it.
func TestManySessions(t *testing.T) {
	b, stop := start(t, broker.Options{Addr: "127.0.0.1:0"})
	const most, more = 1024, 200
	has := func(from, to int) (n int) {
		for i := from; i < to; i++ {
			if present(t, overTCP(b), fmt.Sprint("client", i)) {
				n++
			}
		}
		return n
	}
	if n := has(0, most); n > 0 {
		t.Fatalf("%d clients have a session already", n)
	}
	if n := has(0, most/2); n != most/2 { // these come later than the others now
		t.Errorf("%d of %d sessions are there, though there is room", n, most/2)
	}
	has(most, most+more)
	if n := has(0, most/2) + has(most/2+2*more, most+more); n != most/2+most/2-more {
		t.Errorf("%d sessions are left of those that were left last", n)
	}
	if n := has(most/2, most/2+100); n > 0 {
		t.Errorf("%d of the sessions that were left first are there", n)
	}
	stop()
}
