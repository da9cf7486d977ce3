package promises_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/bridge/promises"
)

func promise(id string) promises.Promise {
	return promises.Promise{ID: id, Operation: "check", Payload: json.RawMessage(`{"transaction":"` + id + `"}`)}
}

// kept has the book written for as long as f takes.
func kept(t *testing.T, path string, f func(*promises.Book)) string {
	t.Helper()
	var log bytes.Buffer
	b, err := promises.Open(path, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	f(b)
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	return log.String()
}

func has(t *testing.T, b *promises.Book, want ...promises.Promise) {
	t.Helper()
	if diff := cmp.Diff(append([]promises.Promise{}, want...), append([]promises.Promise{}, b.Open()...)); diff != "" {
		t.Errorf("open (-want +got):\n%s", diff)
	}
}

func TestPromisesOutliveTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "requests.json")
	kept(t, path, func(b *promises.Book) {
		has(t, b)
		for _, id := range []string{"1", "2", "3"} {
			durable := make(chan struct{})
			b.Keep(promise(id), func(error) { close(durable) })
			<-durable
			if content, err := os.ReadFile(path); err != nil || !bytes.Contains(content, []byte(`"id":"`+id+`"`)) {
				t.Errorf("%s is not on the disk: %s, %v", id, content, err)
			}
		}
		b.Drop("2")
		b.Drop("7")
	})
	kept(t, path, func(b *promises.Book) {
		has(t, b, promise("1"), promise("3"))
		b.Drop("1")
		b.Drop("3")
	})
	kept(t, path, func(b *promises.Book) { has(t, b) })
}

// One that makes no sense is left out, and told.
func TestDamagedPromise(t *testing.T) {
	path := filepath.Join(t.TempDir(), "requests.json")
	kept(t, path, func(b *promises.Book) {
		b.Keep(promise("1"), func(error) {})
		b.Keep(promise("2"), func(error) {})
	})
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"no operation": strings.Replace(string(content), `"operation":"check"`, `"operation":""`, 1),
		"no JSON":      strings.Replace(string(content), `"operation":"check"`, `"operation":`, 1),
	} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		log := kept(t, path, func(b *promises.Book) { has(t, b, promise("2")) })
		if !strings.Contains(log, "are damaged") {
			t.Errorf("%s: the log says %s", name, log)
		}
	}
}

// An answer that the broker does not have at a clean stop is given by the next life of the service.
func TestAnswersOnTheirWay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "requests.json")
	answer := func(id string) promises.Answer {
		return promises.Answer{ID: id, Topic: "zigate-ota/response/check", Response: json.RawMessage(`{"status":"success"}`)}
	}
	has := func(b *promises.Book, want ...promises.Answer) {
		t.Helper()
		if diff := cmp.Diff(append([]promises.Answer{}, want...), append([]promises.Answer{}, b.Answers()...)); diff != "" {
			t.Errorf("kept (-want +got):\n%s", diff)
		}
	}
	kept(t, path, func(b *promises.Book) {
		b.Given(answer("1"))
		b.Given(answer("2"))
		b.Had("1")
		has(b)
	})
	kept(t, path, func(b *promises.Book) {
		has(b, answer("2"))
		b.Given(answer("3"))
	})
	kept(t, path, func(b *promises.Book) {
		has(b, answer("2"), answer("3"))
		b.Had("2")
		b.Had("3")
	})
	kept(t, path, func(b *promises.Book) { has(b) })
}
