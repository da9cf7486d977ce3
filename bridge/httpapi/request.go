package httpapi

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge"
	"github.com/zigate-ota/zigate-ota/bridge/contract"
)

// Asker carries requests out.
type Asker interface {
	// Ask carries a request for an operation out; the payload is that of MQTT. The answers come over the
	// feed, as responses with the id. It does not block.
	Ask(id, operation string, payload []byte)
}

const (
	maxRequestBody = contract.MaxRequest // bytes, as on MQTT
	defaultWait    = 10 * time.Second    // how long a request waits for the final answer
	maxWait        = 25 * time.Second    // shorter than answerTimeout
)

func newID() string { return rand.Text()[:16] }

// postRequest carries out what would have come on <base>/request/<operation>, and answers as on
// <base>/response/<operation>: with the final answer where it comes soon, else 202 with the latest one.
func (s *Server) postRequest(w http.ResponseWriter, r *http.Request) {
	wait, err := waitOf(r)
	if err != nil {
		refuse(w, &refusal{status: http.StatusBadRequest, text: err.Error()})
		return
	}
	payload, no := readJSON(w, r, maxRequestBody)
	if no != nil {
		refuse(w, no)
		return
	}
	id := newID()
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	s.options.Asker.Ask(id, r.PathValue("operation"), payload)
	s.answerWith(w, s.await(ctx, id), id)
}

// waitOf returns how long a client wants to wait for the final answer.
func waitOf(r *http.Request) (time.Duration, error) {
	given := r.URL.Query().Get("wait")
	if given == "" {
		return defaultWait, nil
	}
	seconds, err := strconv.Atoi(given)
	if wait := time.Duration(seconds) * time.Second; err == nil && wait >= 0 && wait <= maxWait {
		return wait, nil
	}
	return 0, fmt.Errorf("wait: must be a whole number of seconds from 0 to %d", int(maxWait/time.Second))
}

// await returns the final response to a request, or the latest when ctx is done. It returns nil where there
// is none yet.
func (s *Server) await(ctx context.Context, id string) *bridge.FeedEntry {
	for {
		changed := s.options.Feed.Changed()
		e, ok := s.options.Feed.Get(bridge.FeedResponse, id)
		if ok && e.Final {
			return &e
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if !ok {
				return nil
			}
			return &e
		}
	}
}

// getResponse answers with the latest response to a request that was answered with 202.
func (s *Server) getResponse(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	e, ok := s.options.Feed.Get(bridge.FeedResponse, id)
	if !ok {
		refuse(w, &refusal{
			status: http.StatusNotFound,
			text: fmt.Sprintf("there is no response with the id %q; the last few hundred are kept, "+
				"as long as the service runs", id),
		})
		return
	}
	s.answerWith(w, &e, id)
}

// accepted is the answer where there is none yet: the service is starting, and waits for its dongle.
type accepted struct {
	ID     string          `json:"id"`
	Status contract.Status `json:"status"`
}

// answerWith answers with a response.
func (s *Server) answerWith(w http.ResponseWriter, e *bridge.FeedEntry, id string) {
	if e == nil || !e.Final {
		w.Header().Set("Location", "/api/v1/responses/"+id)
	}
	if e == nil {
		answerJSON(w, http.StatusAccepted, accepted{ID: id, Status: contract.StatusInProgress})
		return
	}
	status := statusCode(e.Status)
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "10")
	}
	answer(w, status, jsonType, e.Payload)
}

// statusCode returns the HTTP status that corresponds to a response's status.
func statusCode(s contract.Status) int {
	switch s {
	case contract.StatusSuccess, contract.StatusServiceAvailable:
		return http.StatusOK
	case contract.StatusInProgress:
		return http.StatusAccepted
	case contract.StatusInvalidData:
		return http.StatusBadRequest
	case contract.StatusDeviceNotFound, contract.StatusImageInfoNotFound:
		return http.StatusNotFound
	case contract.StatusFailure, contract.StatusIncompatibleDriverVersion:
		return http.StatusConflict
	case contract.StatusImageValidationFailed:
		return http.StatusUnprocessableEntity
	case contract.StatusImageAccessFailed:
		return http.StatusBadGateway
	case contract.StatusServiceNotAvailable:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}
