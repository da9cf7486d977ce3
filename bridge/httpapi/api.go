package httpapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge"
	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// errorBody is the body of every error of the API, but for answers to requests, which are responses as on
// MQTT.
type errorBody struct {
	Error string `json:"error"` // one sentence for a person
}

// access says what the client may do.
type access struct {
	Change bool   `json:"change"`          // whether this request could change something
	Token  bool   `json:"token"`           // whether a token is set, and needed
	Error  string `json:"error,omitempty"` // why nothing can be changed
}

func (s *Server) getAccess(w http.ResponseWriter, r *http.Request) {
	body := access{Token: s.options.Token != ""}
	no := s.mayChange(r)
	if no != nil && no.status == http.StatusTooManyRequests {
		refuse(w, no)
		return
	}
	if body.Change = no == nil; no != nil {
		body.Error = no.text
	}
	answerJSON(w, http.StatusOK, body)
}

// getRecord answers with a record of a kind that has only one.
func (s *Server) getRecord(kind bridge.FeedKind) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		e, ok := s.options.Feed.Get(kind, "")
		if !ok {
			refuse(w, errStarting())
			return
		}
		answer(w, http.StatusOK, jsonType, e.Payload)
	}
}

func errStarting() *refusal {
	return &refusal{
		status: http.StatusServiceUnavailable,
		text:   "the service is starting; try again in a second",
		after:  1,
	}
}

// deviceList has all device records, by EUID.
type deviceList struct {
	Devices []json.RawMessage `json:"devices"`
}

// devices returns what is known of all devices, by EUID.
func (s *Server) devices() []bridge.FeedEntry {
	all, _ := s.options.Feed.All()
	devices := slices.DeleteFunc(all, func(e bridge.FeedEntry) bool { return e.Kind != bridge.FeedDevice })
	slices.SortFunc(devices, func(a, b bridge.FeedEntry) int { return cmp.Compare(a.Key, b.Key) })
	return devices
}

func (s *Server) getDevices(w http.ResponseWriter, _ *http.Request) {
	body := deviceList{Devices: []json.RawMessage{}}
	for _, d := range s.devices() {
		body.Devices = append(body.Devices, d.Payload)
	}
	answerJSON(w, http.StatusOK, body)
}

// getDevice takes an EUID as requests do: with or without 0x, colons or dashes.
func (s *Server) getDevice(w http.ResponseWriter, r *http.Request) {
	euid, err := message.ParseIEEE(r.PathValue("euid"))
	if err == nil {
		if e, ok := s.options.Feed.Get(bridge.FeedDevice, euid.String()); ok {
			answer(w, http.StatusOK, jsonType, e.Payload)
			return
		}
	}
	refuse(w, &refusal{
		status: http.StatusNotFound,
		text:   fmt.Sprintf("no device is known by the euid %q", r.PathValue("euid")),
	})
}

// queue has the upgrades that have not ended.
type queue struct {
	// Active has the upgrades that are fetching, notified, downloading, paused, downloaded or applying, in
	// the order in which they were asked for.
	Active []queued `json:"active"`
	Queued []queued `json:"queued"` // scheduled or queued; the first is to begin next
	// ExpectedEnd is as in the record of the service.
	ExpectedEnd *time.Time `json:"expectedEnd"`
}

type queued struct {
	EUID    message.IEEE    `json:"euid"`
	Name    string          `json:"name"`
	Upgrade json.RawMessage `json:"upgrade"` // as in the device record
}

func (s *Server) getQueue(w http.ResponseWriter, _ *http.Request) {
	body := queue{Active: []queued{}, Queued: []queued{}}
	devices := slices.DeleteFunc(s.devices(), func(e bridge.FeedEntry) bool {
		return e.Device.Upgrade == nil || e.Device.Upgrade.State.Ended()
	})
	slices.SortStableFunc(devices, func(a, b bridge.FeedEntry) int {
		return cmp.Or(
			cmp.Compare(position(a.Device), position(b.Device)),
			a.Device.Upgrade.QueuedAt.Compare(b.Device.Upgrade.QueuedAt),
		)
	})
	for _, d := range devices {
		var record struct{ Upgrade json.RawMessage }
		if err := json.Unmarshal(d.Payload, &record); err != nil {
			refuse(w, errRecord(err))
			return
		}
		line := &body.Active
		if waits(d.Device) {
			line = &body.Queued
		}
		*line = append(*line, queued{EUID: d.Device.EUID, Name: d.Device.Name, Upgrade: record.Upgrade})
	}

	if info, ok := s.options.Feed.Get(bridge.FeedInfo, ""); ok {
		var record contract.Info
		if err := json.Unmarshal(info.Payload, &record); err != nil {
			refuse(w, errRecord(err))
			return
		}
		body.ExpectedEnd = record.Upgrades.ExpectedEnd
	}
	answerJSON(w, http.StatusOK, body)
}

// waits reports whether the upgrade of a device waits in the queue, or for its time.
func waits(d *otasvc.DeviceRecord) bool {
	return d.Upgrade.State == upgrade.Scheduled || d.Upgrade.State == upgrade.Queued
}

// position is the place in the queue of a device whose upgrade waits; 0 for others. One whose place was not
// told yet comes last.
func position(d *otasvc.DeviceRecord) int {
	switch {
	case !waits(d):
		return 0
	case d.Queue == nil:
		return math.MaxInt
	default:
		return d.Queue.Position
	}
}

func errRecord(err error) *refusal {
	return &refusal{status: http.StatusInternalServerError, text: "reading a record: " + err.Error()}
}

// logLevel is the least severe message that is written.
type logLevel struct {
	Level string `json:"level"` // debug, info, warn or error
}

func (s *Server) getLogLevel(w http.ResponseWriter, _ *http.Request) {
	answerJSON(w, http.StatusOK, logLevel{Level: strings.ToLower(s.options.LogLevel.Level().String())})
}

func (s *Server) putLogLevel(w http.ResponseWriter, r *http.Request) {
	b, no := readJSON(w, r, maxSmallBody)
	if no != nil {
		refuse(w, no)
		return
	}
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
	var body logLevel
	level := slog.Level(0)
	ok := false
	if strict(b, &body) == nil {
		level, ok = levels[body.Level]
	}
	if !ok {
		refuse(w, &refusal{
			status: http.StatusBadRequest,
			text:   `level: must be debug, info, warn or error, in an object such as {"level":"debug"}`,
		})
		return
	}
	s.log.Info("the log level was changed over HTTP", "from", s.options.LogLevel.Level(), "to", level)
	s.options.LogLevel.Set(level)
	answerJSON(w, http.StatusOK, body)
}

// maxSmallBody bounds the bodies of everything but requests and images, in bytes.
const maxSmallBody = 4 << 10

// readJSON reads a body of at most longest bytes. It refuses one whose Content-Type is not JSON; the header
// may be absent.
func readJSON(w http.ResponseWriter, r *http.Request, longest int64) ([]byte, *refusal) {
	if given := r.Header.Get("Content-Type"); given != "" {
		if kind, _, err := mime.ParseMediaType(given); err != nil || kind != jsonType {
			return nil, &refusal{
				status: http.StatusUnsupportedMediaType,
				text: fmt.Sprintf(
					`the body must be JSON, with the header "Content-Type: application/json", not %q`, given,
				),
			}
		}
	}
	return readBody(w, r, longest)
}

// readBody reads a body of at most longest bytes.
func readBody(w http.ResponseWriter, r *http.Request, longest int64) ([]byte, *refusal) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, longest))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &refusal{
			status: http.StatusRequestEntityTooLarge,
			text:   fmt.Sprintf("the body has more than the %d bytes that are allowed", longest),
		}
	case err != nil:
		return nil, &refusal{
			status: http.StatusBadRequest, text: "the body did not come to its end: " + err.Error(),
		}
	}
	return b, nil
}

// strict reads one JSON object, which may have no other keys than v.
func strict(b []byte, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the object")
	}
	return nil
}

const jsonType = "application/json"

// answerJSON writes a whole answer.
func answerJSON(w http.ResponseWriter, status int, body any) {
	answer(w, status, jsonType, jsonOf(body))
}

// jsonOf encodes one of the bodies of this package, which never fails.
func jsonOf(body any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // people read it at a shell, and it does not stand in HTML
	if err := encoder.Encode(body); err != nil {
		panic(fmt.Sprintf("httpapi: %T does not marshal: %v", body, err))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
