package httpapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge"
)

const (
	maxStreams  = 64              // open at once
	healthEvery = 3 * time.Second // time between two runs of the checks
	// heartbeatAfter is the number of runs of the checks without a change after which a heartbeat is sent,
	// so that both ends notice when the other one is gone.
	heartbeatAfter = 5
	batchEvery     = 100 * time.Millisecond // what comes in between is sent together
	sendTimeout    = 20 * time.Second       // for writing a batch to a reader that does not read
	startEvents    = 200                    // past events that a new reader gets
)

const streamType = "text/event-stream"

// getEvents serves the stream of server-sent events: the records as they are and each change of them,
// events and responses as they come. A reader that comes back with the identifier of the last event that it
// saw gets what it has missed. One that is new, or was away for too long, gets a "reset", then everything,
// then "ready".
func (s *Server) getEvents(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", streamType)
		return
	}
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		refuse(w, &refusal{
			status: http.StatusServiceUnavailable,
			text:   fmt.Sprintf("%d event streams are open, and no more are allowed", maxStreams),
			after:  10 * time.Second,
		})
		return
	}

	control := http.NewResponseController(w)
	// Without this the request would end at the read timeout.
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		refuse(w, &refusal{
			status: http.StatusInternalServerError,
			text:   "this connection cannot carry a stream: " + err.Error(),
		})
		return
	}

	w.Header().Set("Content-Type", streamType)
	w.Header().Set("X-Accel-Buffering", "no") // a proxy must not wait for the end
	w.WriteHeader(http.StatusOK)

	stream := &eventStream{server: s, seq: s.lastSeen(r)}
	look := time.NewTicker(healthEvery)
	defer look.Stop()
	pause := time.NewTimer(batchEvery)
	defer pause.Stop()
	for {
		changed := s.options.Feed.Changed()
		batch := stream.next()
		if stream.health == nil {
			batch = append(batch, stream.pulse()...)
		}
		if len(batch) > 0 {
			if !send(w, control, batch) {
				return
			}
			pause.Reset(batchEvery)
			select {
			case <-pause.C:
			case <-r.Context().Done():
				return
			}
			continue
		}
		select {
		case <-changed:
		case <-look.C:
			if batch := stream.pulse(); len(batch) > 0 && !send(w, control, batch) {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

// send writes a batch and reports whether the reader is still there.
func send(w http.ResponseWriter, control *http.ResponseController, batch []byte) bool {
	if control.SetWriteDeadline(time.Now().Add(sendTimeout)) != nil {
		return false
	}
	if _, err := w.Write(batch); err != nil {
		return false
	}
	return control.Flush() == nil
}

// eventID returns an event's identifier, which is valid as long as this server runs.
func (s *Server) eventID(seq uint64) string { return s.epoch + "-" + strconv.FormatUint(seq, 10) }

// parseEventID returns the number in an identifier. It returns false for one of an earlier run of the
// service.
func (s *Server) parseEventID(id string) (seq uint64, ok bool) {
	epoch, number, _ := strings.Cut(id, "-")
	seq, err := strconv.ParseUint(number, 10, 64)
	return seq, err == nil && epoch == s.epoch
}

// lastSeen returns the number of the last event that a reader saw; it returns nil for a reader that has to
// get everything.
func (s *Server) lastSeen(r *http.Request) *uint64 {
	seq, ok := s.parseEventID(cmp.Or(r.Header.Get("Last-Event-ID"), r.URL.Query().Get("after")))
	if !ok {
		return nil
	}
	return &seq
}

// eventStream holds what one reader has got.
type eventStream struct {
	server *Server
	seq    *uint64 // of the last entry that the reader knows; nil where it knows nothing
	health []byte  // as it was sent last
	quiet  int     // runs of the checks since something was sent
}

// pulse returns the service's health where it has changed, or a heartbeat where one is due; it may be
// empty.
func (e *eventStream) pulse() []byte {
	var b bytes.Buffer
	if health := jsonOf(e.server.ready()); !bytes.Equal(health, e.health) {
		e.health = health
		writeEvent(&b, "health", "", health)
	} else if e.quiet++; e.quiet >= heartbeatAfter {
		writeEvent(&b, "heartbeat", "", timeBody())
	}
	if b.Len() > 0 {
		e.quiet = 0
	}
	return b.Bytes()
}

// next returns what has come since the last call; it may be empty.
func (e *eventStream) next() []byte {
	var b bytes.Buffer
	feed := e.server.options.Feed
	if e.seq != nil {
		entries, next, complete := feed.Since(*e.seq)
		if complete {
			for _, entry := range entries {
				writeEvent(&b, string(entry.Kind), e.server.eventID(entry.Seq), entry.Payload)
			}
			e.seq = &next
			return b.Bytes()
		}
	}

	entries, next := feed.All()
	b.WriteString("retry: 2000\n")
	writeEvent(&b, "reset", "", []byte("{}"))
	// Only the last event has an identifier, so a reader whose connection breaks before that begins anew.
	past := len(entries)
	for left := startEvents; past > 0 && left > 0; past-- {
		if entries[past-1].Kind == bridge.FeedEvent {
			left--
		}
	}

	for i, entry := range entries {
		if entry.Kind != bridge.FeedEvent || i >= past {
			writeEvent(&b, string(entry.Kind), "", entry.Payload)
		}
	}

	writeEvent(&b, "ready", e.server.eventID(next), timeBody())
	e.seq = &next
	return b.Bytes()
}

// timeBody returns the time of this machine's clock, from which a reader's may differ.
func timeBody() []byte {
	return fmt.Appendf(nil, `{"time":%q}`, time.Now().UTC().Format(time.RFC3339Nano))
}

// writeEvent writes one event. Its data is JSON on one line.
func writeEvent(b *bytes.Buffer, name, id string, data []byte) {
	fmt.Fprintf(b, "event: %s\n", name)
	if id != "" {
		fmt.Fprintf(b, "id: %s\n", id)
	}
	fmt.Fprintf(b, "data: %s\n\n", data)
}

// history has past events, the oldest first.
type history struct {
	Events []json.RawMessage `json:"events"`
	Next   string            `json:"next"` // the value for "after" in the next request
}

const (
	defaultHistory = 200
	maxHistory     = 1000
)

// getHistory answers with the events after a given one, or with the last ones.
func (s *Server) getHistory(w http.ResponseWriter, r *http.Request) {
	limit := defaultHistory
	query := r.URL.Query()
	if given := query.Get("limit"); given != "" {
		n, err := strconv.Atoi(given)
		if err != nil || n < 1 || n > maxHistory {
			refuse(w, &refusal{
				status: http.StatusBadRequest,
				text:   fmt.Sprintf("limit: must be a whole number from 1 to %d", maxHistory),
			})
			return
		}
		limit = n
	}
	after := uint64(0) // stays so for an identifier of an earlier run of the service: every event is new
	if seq, ok := s.parseEventID(query.Get("after")); ok {
		after = seq
	}
	entries, next := s.options.Feed.All()
	entries = slices.DeleteFunc(entries, func(e bridge.FeedEntry) bool {
		return e.Kind != bridge.FeedEvent || e.Seq <= after
	})
	body := history{Events: []json.RawMessage{}, Next: s.eventID(next)}
	for _, e := range entries[max(0, len(entries)-limit):] {
		body.Events = append(body.Events, e.Payload)
	}
	answerJSON(w, http.StatusOK, body)
}
