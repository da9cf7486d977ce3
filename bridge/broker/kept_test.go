package broker_test

import (
	"bytes"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/zigate-ota/zigate-ota/bridge/broker"
)

// kept subscribes to everything and returns what the broker had kept, by topic. Before it returns, a message
// of its own has come back.
func kept(t *testing.T, open mqtt.OpenConnectionFunc) []string {
	t.Helper()
	c := mustConnect(t, open, "who looks")
	defer c.Disconnect(1000)
	var mu sync.Mutex
	var got []string
	wait(t, c.Subscribe("#", 1, func(_ mqtt.Client, m mqtt.Message) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, m.Topic()+"="+string(m.Payload()))
	}))
	for {
		mu.Lock()
		if slices.Contains(got, "marker=") {
			defer mu.Unlock()
			return slices.DeleteFunc(got, func(s string) bool { return s == "marker=" })
		}
		mu.Unlock()
		wait(t, c.Publish("marker", 1, false, ""))
	}
}

// Retained messages outlive a clean stop: everybody's, with what was cleared gone.
func TestKeptOverRestart(t *testing.T) {
	defer goleak.VerifyNone(t)
	path := filepath.Join(t.TempDir(), "retained.json")
	options := broker.Options{Addr: "127.0.0.1:0", RetainedFile: path}
	b, stop := start(t, options)
	service, other := mustConnect(t, inside(b), "service"), mustConnect(t, overTCP(b), "other")
	wait(t, service.Publish("a/service", 1, true, "1"))
	wait(t, service.Publish("a/gone", 1, true, "1"))
	wait(t, service.Publish("a/gone", 1, true, ""))
	wait(t, other.Publish("a/other", 2, true, "\x00\xff"))
	wait(t, other.Publish("a/said", 1, false, "1"))
	service.Disconnect(1000)
	other.Disconnect(1000)
	stop()

	for range 2 {
		b, stop = start(t, options)
		if diff := cmp.Diff([]string{"a/other=\x00\xff", "a/service=1"}, kept(t, inside(b))); diff != "" {
			t.Errorf("after the restart (-want +got):\n%s", diff)
		}
		stop()
	}
	if left, _ := filepath.Glob(path + "*"); len(left) != 1 {
		t.Errorf("files: %v", left)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read it: %v, %v", info.Mode(), err)
	}
}

// What others retain is on the disk a moment later; what the service itself does is not
// worth a write a second.
func TestKeptAfterKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "retained.json")
	holds := func(text string) bool {
		data, _ := os.ReadFile(path)
		return bytes.Contains(data, []byte(text))
	}
	synctest.Test(t, func(t *testing.T) {
		b, stop := start(t, broker.Options{RetainedFile: path})
		service := mustConnect(t, inside(b), "service")
		wait(t, service.Publish("a/1", 1, true, "1"))
		time.Sleep(time.Minute)
		if _, err := os.Stat(path); err == nil {
			t.Error("written for the service alone")
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if !holds(`"a/1"`) {
			t.Error("not written after minutes")
		}
		wait(t, service.Publish("a/1", 1, true, ""))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if holds(`"a/1"`) {
			t.Error("what was cleared is still there")
		}
		service.Disconnect(1000)
		stop()
	})
	// A client that is none of the service's own comes over the network.
	b, stop := start(t, broker.Options{Addr: "127.0.0.1:0", RetainedFile: path})
	other := mustConnect(t, overTCP(b), "other")
	wait(t, other.Publish("a/other", 1, true, "1"))
	for deadline := time.Now().Add(30 * time.Second); !holds(`"a/other"`); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what another client retained is not written")
		}
	}
	other.Disconnect(1000)
	stop()
}

// A file that cannot be read is set aside and told of; one that cannot be written is told of once, and
// nothing else suffers.
func TestKeptFileBroken(t *testing.T) {
	for name, content := range map[string]string{
		"cut off": `{"version":1,"messages":[{"topic":"a`, "newer": `{"version":2,"messages":[]}`, "empty": ``, "other": `[]`,
		"payload": `{"version":1,"messages":[{"topic":"a/1","payload":"%"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "retained.json")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			b, stop := start(t, broker.Options{RetainedFile: path, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if got := kept(t, inside(b)); len(got) > 0 {
				t.Errorf("kept %v", got)
			}
			stop()
			if aside, _ := os.ReadFile(path + ".unreadable"); string(aside) != content {
				t.Errorf("set aside: %q", aside)
			}
			if !strings.Contains(log.String(), "retained messages cannot be read") {
				t.Errorf("told:\n%s", log.String())
			}
		})
	}
	t.Run("bad entries", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "retained.json")
		content := `{"version":1,"messages":[{"topic":"a/#","payload":"MQ=="},{"topic":"","payload":"MQ=="},{"topic":"a/empty","payload":""},
			{"topic":"a/old","payload":"MQ==","expires":1000},{"topic":"a/qos","payload":"MQ==","qos":200}]}`
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		b, stop := start(t, broker.Options{RetainedFile: path})
		if diff := cmp.Diff([]string{"a/qos=1"}, kept(t, inside(b))); diff != "" {
			t.Errorf("kept (-want +got):\n%s", diff)
		}
		stop()
	})
	t.Run("no folder", func(t *testing.T) {
		var log bytes.Buffer
		b, stop := start(t, broker.Options{RetainedFile: filepath.Join(t.TempDir(), "none", "retained.json"), Logger: slog.New(slog.NewTextHandler(&log, nil))})
		c := mustConnect(t, inside(b), "client")
		wait(t, c.Publish("a", 1, true, "1"))
		c.Disconnect(1000)
		stop()
		if n := strings.Count(log.String(), "cannot keep its retained messages"); n != 1 {
			t.Errorf("told %d times:\n%s", n, log.String())
		}
	})
}

// A message of MQTT 5 that has an end keeps it.
func TestKeptExpiry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "retained.json")
	b, stop := start(t, broker.Options{RetainedFile: path})
	conn, err := b.Dial()
	if err != nil {
		t.Fatal(err)
	}
	publish(t, conn)
	stop()
	data, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(data, []byte(`"expires":`)) {
		t.Fatalf("%s, %v", data, err)
	}
	b, stop = start(t, broker.Options{RetainedFile: path})
	if diff := cmp.Diff([]string{"a=1"}, kept(t, inside(b))); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	stop()
}

// publish says in MQTT 5, which the client of the other tests does not speak, that "a" is 1 for an hour.
func publish(t *testing.T, conn net.Conn) {
	t.Helper()
	_, err := conn.Write([]byte{
		0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 60, 0, 0, 1, 'x', // CONNECT, clean, as "x"
		// PUBLISH at QoS 1, retained, expires in 3600 s.
		0x33, 12, 0, 1, 'a', 0, 1, 5, 0x02, 0, 0, 0x0e, 0x10, '1',
	})
	if err != nil {
		t.Fatal(err)
	}
	acknowledged := make([]byte, 4096)
	for n := 0; !bytes.Contains(acknowledged[:n], []byte{packets.Puback << 4, 2, 0, 1}); {
		more, err := conn.Read(acknowledged[n:])
		if err != nil {
			t.Fatalf("%v after % x", err, acknowledged[:n])
		}
		n += more
	}
}
