package httpapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zigate-ota/zigate-ota/bridge"
	"github.com/zigate-ota/zigate-ota/otasvc"
)

// silent is the queue of a service that has stopped.
type silent struct{}

func (silent) Queue(func([]otasvc.QueuedUpgrade)) {}

// TestQueueOfAStoppedService: who asks for it gets an answer, and in bounded time.
func TestQueueOfAStoppedService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Queue: silent{}, Feed: bridge.NewFeed(), Registry: prometheus.NewRegistry()})
		r := httptest.NewRequest("GET", "http://127.0.0.1/api/v1/queue", nil)
		r.RemoteAddr = "127.0.0.1:1"
		w, begun := httptest.NewRecorder(), time.Now()
		s.handler.ServeHTTP(w, r)
		if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), `"error":"the service has not told its queue`) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if took := time.Since(begun); took != queueTimeout {
			t.Errorf("after %v", took)
		}
	})
}
