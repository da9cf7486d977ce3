package otasvc_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// script is a Radio that answers each command of a type as it is told, once.
type script struct {
	mu      sync.Mutex
	answers map[message.MsgType]func(func(message.Status, error))
	sent    map[message.MsgType]int
	mode    message.RawMode // set last
}

func (r *script) lastMode() message.RawMode {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mode
}

func (r *script) Submit(cmd message.Message, done func(message.Status, error)) {
	r.mu.Lock()
	r.sent[cmd.Type()]++
	if m, ok := cmd.(message.SetRawMode); ok {
		r.mode = m.Mode
	}
	answer := r.answers[cmd.Type()]
	r.mu.Unlock()
	if answer == nil {
		done(message.Status{Request: cmd.Type()}, nil)
		return
	}
	answer(done)
}

// withRadio runs a test with a service that knows the bulb and has no dongle but a script, in fake time.
func withRadio(t *testing.T, catalog otasvc.Catalog, f func(w *world, radio *script)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		lib, err := library.Open(library.Options{Dir: filepath.Join(dir, "images")})
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, dir: dir, sink: newRecorder()}
		policy := defaultPolicy()
		policy.Concurrency = 0
		options := otasvc.Options{Images: lib, Catalog: catalog, Observer: allowedObserver{allowed: &w.allowed}, Logger: slog.New(slog.NewTextHandler(&w.said, nil)), Policy: policy}
		if index, ok := catalog.(*oneImage); ok {
			index.library = lib
		}
		if w.service, err = otasvc.New(options); err != nil {
			t.Fatal(err)
		}
		radio := &script{answers: map[message.MsgType]func(func(message.Status, error)){}, sent: map[message.MsgType]int{}}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = w.service.Run(ctx, radio, w.sink) })
		w.stop = func() { cancel(); running.Wait() }
		defer w.stop()
		w.service.HandleMessage(message.DeviceAnnounce{Addr: 0x4f4f, IEEE: bulb, Capability: message.CapabilityRxOnWhenIdle}, 100)
		f(w, radio)
	})
}
