// Package promises keeps requests that were told that they are being carried out, so that each gets its final
// answer, whatever becomes of the process in between: a request is on the disk before it is told so, and
// stays there until the broker has its final answer. The next life of the service carries out again what is
// there.
//
// It does not know what the requests ask for, nor who is told what.
package promises

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/zigate-ota/zigate-ota/otasvc/statefile"
	"github.com/zigate-ota/zigate-ota/otasvc/statefile/document"
)

// Promise is a request whose final answer is owed.
type Promise struct {
	// ID differs from that of every other promise, over restarts too.
	ID string `json:"id"`
	// Operation is the request's operation, as in its topic.
	Operation string `json:"operation"`
	// Delivery is that of the message by which the request came; empty where that cannot come again.
	Delivery string `json:"delivery,omitempty"`
	// Payload is the request's payload, a JSON object.
	Payload json.RawMessage `json:"payload"`
	// Withheld says that the payload lacks secrets that it had, so that it cannot be carried out again.
	Withheld bool `json:"withheld,omitempty"`
}

// Answer is a final answer that was given and that the broker is not known to have.
type Answer struct {
	// ID differs from that of every other answer, over restarts too.
	ID string `json:"id"`
	// Delivery is that of the request, as in Promise.
	Delivery string `json:"delivery,omitempty"`
	// Topic and Response are what is to be published; the response is a JSON object.
	Topic    string          `json:"topic"`
	Response json.RawMessage `json:"response"`
}

// Book is all that is promised, and answers that are on their way. Its methods may be called by any
// goroutine.
type Book struct {
	file *statefile.File

	mu      sync.Mutex
	open    []Promise // in the order in which they were made
	answers []Answer  // in the order in which they were given; on the disk only from one life to the next
	kept    []Answer  // those on the disk: of the life before, and those of promises
}

// lists are the lists in the file, as package document wants them.
var lists = map[string]string{"promises": "payload", "answers": "response"}

// Open reads what was promised before from a file, which is made where there is none. The error is that of
// [statefile.Open].
func Open(path string, log *slog.Logger) (*Book, error) {
	b := &Book{}
	file, err := statefile.Open(path, log, b.read)
	if err != nil {
		return nil, fmt.Errorf("opening the file of open requests: %w", err)
	}
	b.file = file
	return b, nil
}

// read reads the file.
func (b *Book) read(data []byte) error {
	doc, whole, err := document.Parse(data, lists)
	if err != nil {
		return err
	}
	b.open = nil
	b.kept = nil
	var left []string
	if !whole {
		left = append(left, "it is no valid JSON")
	}
	for i, entry := range doc.Lists["promises"] {
		var p Promise
		if err := json.Unmarshal(entry, &p); err != nil || p.ID == "" || p.Operation == "" {
			left = append(left, fmt.Sprintf("number %d makes no sense", i+1))
			continue
		}
		b.open = append(b.open, p)
	}
	for i, entry := range doc.Lists["answers"] {
		var a Answer
		if err := json.Unmarshal(entry, &a); err != nil || a.ID == "" || a.Topic == "" {
			left = append(left, fmt.Sprintf("answer %d makes no sense", i+1))
			continue
		}
		b.kept = append(b.kept, a)
	}
	if len(left) > 0 {
		return fmt.Errorf("%w: %s", statefile.ErrDamaged, strings.Join(left, "; "))
	}
	return nil
}

// Run writes the file until ctx is done. It has to end after everything that gives answers and after the
// connection to the broker: the answers that are on their way then are for the next life of the service.
func (b *Book) Run(ctx context.Context) error {
	var writing sync.WaitGroup
	writing.Go(b.file.Run)
	<-ctx.Done()
	b.mu.Lock()
	b.kept = append(b.kept, b.answers...)
	last := b.bytes()
	b.mu.Unlock()
	b.file.Close(last)
	writing.Wait()
	return nil
}

// Open lists what is promised, in the order in which that was done.
func (b *Book) Open() []Promise {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.open)
}

// Deliveries lists the messages whose requests are on the disk, answered or not.
func (b *Book) Deliveries() (list []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.open {
		list = append(list, p.Delivery)
	}
	for _, a := range b.kept {
		list = append(list, a.Delivery)
	}
	return slices.DeleteFunc(list, func(delivery string) bool { return delivery == "" })
}

// Keep notes a promise; then is called, on any goroutine, once that is on the disk. Where the disk cannot be
// written it is called with the error, and nothing is promised.
func (b *Book) Keep(p Promise, then func(error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open = append(b.open, p)
	b.file.Save(b.bytes(), func(err error) {
		if err != nil {
			b.Drop(p.ID)
		}
		then(err)
	})
}

// Settle notes the final answer to what was promised; then is called, on any goroutine, once that is on the
// disk, or the disk cannot be written. An answer that somebody may have got is not to be followed by another
// one in the next life of the service.
func (b *Book) Settle(promise string, a Answer, then func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open = slices.DeleteFunc(b.open, func(p Promise) bool { return p.ID == promise })
	b.kept = append(b.kept, a)
	b.file.Save(b.bytes(), func(error) { then() })
}

// Drop notes that a promise was kept. It does nothing where there is none with that ID.
func (b *Book) Drop(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := len(b.open)
	b.open = slices.DeleteFunc(b.open, func(p Promise) bool { return p.ID == id })
	if len(b.open) != before {
		b.file.Save(b.bytes(), func(error) {})
	}
}

// Answers lists the answers on the disk that the broker is not known to have: at the start those that an
// earlier life of the service has given.
func (b *Book) Answers() []Answer {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.kept)
}

// Given notes an answer that is on its way to the broker.
func (b *Book) Given(a Answer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answers = append(b.answers, a)
}

// Had notes that the broker has an answer.
func (b *Book) Had(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	is := func(a Answer) bool { return a.ID == id }
	b.answers = slices.DeleteFunc(b.answers, is)
	if slices.ContainsFunc(b.kept, is) {
		b.kept = slices.DeleteFunc(b.kept, is)
		b.file.Save(b.bytes(), func(error) {})
	}
}

// bytes is the file's content; the lock is held.
func (b *Book) bytes() []byte {
	doc := document.Document{
		Fields: map[string]json.RawMessage{"version": json.RawMessage("1")},
		Lists:  map[string][]json.RawMessage{"promises": nil, "answers": nil},
	}
	for _, p := range b.open {
		text, err := json.Marshal(p)
		if err != nil {
			continue // its payload was read as JSON, so this does not happen
		}
		doc.Lists["promises"] = append(doc.Lists["promises"], text)
	}
	for _, a := range b.kept {
		text, err := json.Marshal(a)
		if err != nil {
			continue // it was JSON, so this does not happen
		}
		doc.Lists["answers"] = append(doc.Lists["answers"], text)
	}
	content, err := doc.Bytes()
	if err != nil {
		panic(fmt.Sprintf("promises: the file does not marshal: %v", err)) // it was marshalled just now
	}
	return content
}
