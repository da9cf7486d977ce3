package sending_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/sending"
	"github.com/zigate-ota/zigate-ota/zigate/mailbox"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// dongle answers each command with the next of its statuses, and with success when there are no more.
type dongle struct {
	statuses []message.Status
	at       []time.Duration // when commands came, since begun
	begun    time.Time
}

func (d *dongle) Submit(_ message.Message, done func(message.Status, error)) {
	d.at = append(d.at, time.Since(d.begun))
	var st message.Status
	if len(d.statuses) > 0 {
		st = d.statuses[0]
		d.statuses = d.statuses[1:]
	}
	if st.Status != message.StatusOK {
		done(st, &message.StatusError{Status: st})
		return
	}
	done(st, nil)
}

// buffers is a status with so many APDUs in use.
func buffers(status, apdu uint8) message.Status {
	return message.Status{Status: status, Form: message.StatusFormBuffers, APDUUsed: apdu}
}

// withSender runs a test in fake time, with a goroutine that owns the mailbox.
func withSender(t *testing.T, statuses []message.Status, test func(*sending.Sender, *dongle, context.CancelFunc)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		inbox := mailbox.New[func()]()
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for {
				select {
				case <-t.Context().Done():
					return
				case <-inbox.Wake():
				}
				for _, f := range inbox.Take() {
					f()
				}
			}
		}()
		d := &dongle{statuses: statuses, begun: time.Now()}
		s := sending.New(inbox)
		time.Sleep(time.Second) // no word of the dongle's buffers counts any more
		d.begun = time.Now()
		s.Begin(ctx, d)
		test(s, d, cancel)
	})
}

func TestSend(t *testing.T) {
	const ms = time.Millisecond
	full := buffers(message.StatusNoBuffer, 2)
	crowded := buffers(message.StatusOK, 6)
	broken := message.Status{Status: message.StatusEndpointRange}
	notify := message.ImageNotify{}
	block := message.ImageBlockResponse{}
	tests := map[string]struct {
		cmd      message.Message
		noted    *message.Status // before
		statuses []message.Status
		stopped  bool
		want     []time.Duration
		status   uint8
	}{
		"taken":                             {cmd: block, want: []time.Duration{0}},
		"refused once":                      {cmd: block, statuses: []message.Status{full}, want: []time.Duration{0, 80 * ms}},
		"refused twice":                     {cmd: block, statuses: []message.Status{full, full}, want: []time.Duration{0, 80 * ms, 240 * ms}},
		"refused each time":                 {cmd: block, statuses: []message.Status{full, full, full, full}, want: []time.Duration{0, 80 * ms, 240 * ms}, status: message.StatusNoBuffer},
		"wrong":                             {cmd: block, statuses: []message.Status{broken}, want: []time.Duration{0}, status: message.StatusEndpointRange},
		"full buffers, and a block":         {cmd: block, noted: &crowded, want: []time.Duration{0}},
		"full buffers, and a notification":  {cmd: notify, noted: &crowded, want: []time.Duration{560 * ms}},
		"stopped, with full buffers":        {cmd: notify, noted: &crowded, stopped: true, want: []time.Duration{0}},
		"stopped, and refused":              {cmd: block, statuses: []message.Status{full, full}, stopped: true, want: []time.Duration{0}, status: message.StatusNoBuffer},
		"a notification is refused for two": {cmd: notify, statuses: []message.Status{full, full}, want: []time.Duration{0, 80 * ms, 240 * ms}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			withSender(t, tt.statuses, func(s *sending.Sender, d *dongle, stop context.CancelFunc) {
				if tt.noted != nil {
					s.NoteStatus(tt.noted, time.Now())
				}
				if tt.stopped {
					stop()
				}
				done := 0
				s.Send(tt.cmd, func(st message.Status, err error) {
					done++
					if st.Status != tt.status || (err != nil) != (tt.status != 0) {
						t.Errorf("done with status %d, %v", st.Status, err)
					}
				})
				time.Sleep(time.Minute)
				synctest.Wait()
				if diff := cmp.Diff(tt.want, d.at); diff != "" {
					t.Errorf("sent: %s", diff)
				}
				if done != 1 {
					t.Errorf("done was called %d times", done)
				}
			})
		})
	}
}

// Buffers that stay full do not keep a command back for ever.
func TestSendWaitsABoundedTime(t *testing.T) {
	withSender(t, nil, func(s *sending.Sender, d *dongle, _ context.CancelFunc) {
		s.Send(message.ImageNotify{}, nil)
		if len(d.at) != 1 {
			t.Error("with empty buffers it is not sent at once")
		}
		crowded := buffers(message.StatusOK, 14)
		s.NoteStatus(&crowded, time.Now())
		s.Send(message.ImageNotify{}, nil)
		for range 100 {
			s.NoteStatus(&crowded, time.Now())
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		if len(d.at) != 2 || d.at[1] != 2*time.Second {
			t.Errorf("sent at %v", d.at)
		}
	})
}

func TestResend(t *testing.T) {
	const ms = time.Millisecond
	full := buffers(message.StatusNoBuffer, 2)
	tests := map[string]struct {
		statuses []message.Status
		crowded  time.Duration // how long the buffers stay full
		fresh    int           // how often the block is worth it
		want     []time.Duration
	}{
		"once":             {fresh: 9, want: []time.Duration{80 * ms}},
		"not worth it":     {fresh: 0},
		"refused again":    {fresh: 9, statuses: []message.Status{full}, want: []time.Duration{80 * ms, 240 * ms}},
		"refused for good": {fresh: 9, statuses: []message.Status{full, full, full}, want: []time.Duration{80 * ms, 240 * ms, 480 * ms}},
		"no longer worth":  {fresh: 1, statuses: []message.Status{full, full}, want: []time.Duration{80 * ms}},
		"full buffers":     {fresh: 9, crowded: time.Nanosecond, want: []time.Duration{560 * ms}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			withSender(t, tt.statuses, func(s *sending.Sender, d *dongle, _ context.CancelFunc) {
				if tt.crowded > 0 {
					st := buffers(message.StatusOK, 9)
					s.NoteStatus(&st, time.Now())
				}
				asked := 0
				s.Resend(func(time.Time) (message.Message, bool) {
					asked++
					return message.ImageBlockResponse{}, asked <= tt.fresh
				})
				time.Sleep(time.Minute)
				synctest.Wait()
				if diff := cmp.Diff(tt.want, d.at); diff != "" {
					t.Errorf("sent: %s", diff)
				}
			})
		})
	}
}

func TestCrowded(t *testing.T) {
	tests := map[string]struct {
		note func(*sending.Sender, time.Time)
		want bool
	}{
		"nothing known": {func(*sending.Sender, time.Time) {}, false},
		"few APDUs": {func(s *sending.Sender, now time.Time) {
			st := buffers(0, 5)
			s.NoteStatus(&st, now)
		}, false},
		"many APDUs": {func(s *sending.Sender, now time.Time) {
			st := buffers(0, 6)
			s.NoteStatus(&st, now)
		}, true},
		"a status of another form": {func(s *sending.Sender, now time.Time) {
			st := message.Status{APDUUsed: 14}
			s.NoteStatus(&st, now)
		}, false},
		"many NPDUs": {func(s *sending.Sender, now time.Time) {
			s.NoteConfirm(message.Confirm{HasBuffers: true, NPDUUsed: 10}, message.FamilyV1, now)
		}, true},
		"a report without buffers": {func(s *sending.Sender, now time.Time) {
			s.NoteConfirm(message.Confirm{NPDUUsed: 14, APDUUsed: 14}, message.FamilyV1, now)
		}, false},
		"APDUs of a v2 report": {func(s *sending.Sender, now time.Time) {
			s.NoteConfirm(message.Confirm{HasBuffers: true, APDUUsed: 14}, message.FamilyV2, now)
		}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			withSender(t, nil, func(s *sending.Sender, _ *dongle, _ context.CancelFunc) {
				now := time.Now()
				tt.note(s, now)
				if s.Crowded(now) != tt.want {
					t.Errorf("crowded: %v", !tt.want)
				}
				if s.Crowded(now.Add(500 * time.Millisecond)) {
					t.Error("crowded for ever")
				}
			})
		})
	}
}

func TestGate(t *testing.T) {
	var g sending.Gate
	now := time.Now()
	step := func(after time.Duration, crowded, want bool) {
		t.Helper()
		now = now.Add(after)
		for range 2 { // asking changes nothing
			if g.Allows(crowded, now) != want {
				t.Errorf("allowed: %v", !want)
			}
		}
		g.Wanted(crowded, now)
		if want {
			g.Begun(now)
		}
	}
	step(0, false, true)
	step(0, false, true)
	step(0, true, false)
	step(time.Second, true, false)
	step(time.Second, true, true)
	step(0, true, false)
	step(2*time.Second, true, true)
	step(time.Second, true, false)
	step(0, false, true)
	step(0, true, false)
}

func TestBusy(t *testing.T) {
	full := &message.StatusError{Status: message.Status{Status: message.StatusNoBuffer}}
	wrong := &message.StatusError{Status: message.Status{Status: message.StatusEndpointRange}}
	if !sending.Busy(full) || sending.Busy(wrong) || sending.Busy(nil) || sending.Busy(errors.New("gone")) {
		t.Error("only a dongle without room is busy")
	}
}

// A command that is not wanted any more when the dongle has room for it again is not sent.
func TestSendWhile(t *testing.T) {
	full := buffers(message.StatusNoBuffer, 2)
	tests := map[string]struct {
		statuses []message.Status // of the attempts
		wanted   time.Duration    // for how long
		sent     int
		err      error
	}{
		"wanted":                    {wanted: time.Hour, sent: 1},
		"never wanted":              {err: sending.ErrNotWanted},
		"refused, and still wanted": {statuses: []message.Status{full}, wanted: time.Hour, sent: 2},
		"refused, and not wanted":   {statuses: []message.Status{full}, wanted: 50 * time.Millisecond, sent: 1, err: sending.ErrNotWanted},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			withSender(t, tt.statuses, func(s *sending.Sender, d *dongle, _ context.CancelFunc) {
				begun := time.Now()
				var got []error
				wanted := func() bool { return time.Since(begun) < tt.wanted }
				s.SendWhile(wanted, message.ImageNotify{}, func(_ message.Status, err error) { got = append(got, err) })
				time.Sleep(time.Minute)
				synctest.Wait()
				if len(got) != 1 || !errors.Is(got[0], tt.err) || len(d.at) != tt.sent {
					t.Errorf("ended with %v after %d attempts", got, len(d.at))
				}
			})
		})
	}
}

// What the dongle says of blocks is counted, whoever has sent them; what it says of other commands is not.
func TestBlocks(t *testing.T) {
	block := message.ImageBlockResponse{}
	said := func(m message.Message, status uint8) *message.Status {
		return &message.Status{Request: m.Type(), Status: status}
	}
	tests := map[string]struct {
		note           []*message.Status // of blocks that were written at once
		resent         []message.Status  // of one that was sent again
		taken, refused uint64
	}{
		"nothing":                        {},
		"taken":                          {note: []*message.Status{said(block, 0), said(block, 0)}, taken: 2},
		"refused, in any way":            {note: []*message.Status{said(block, 0x14), said(block, 0x15), said(block, 0x06)}, refused: 3},
		"other commands":                 {note: []*message.Status{said(message.WaitForData{}, 0), said(message.ImageNotify{}, 0x14)}},
		"sent again, refused, and taken": {resent: []message.Status{*said(block, 0x14), *said(block, 0)}, taken: 1, refused: 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			withSender(t, tt.resent, func(s *sending.Sender, _ *dongle, _ context.CancelFunc) {
				for _, st := range tt.note {
					s.NoteStatus(st, time.Now())
				}
				if tt.resent != nil {
					s.Resend(func(time.Time) (message.Message, bool) { return block, true })
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if taken, refused := s.Blocks(); taken != tt.taken || refused != tt.refused {
					t.Errorf("%d taken, %d refused", taken, refused)
				}
				st := said(block, 0x14)
				if n := testing.AllocsPerRun(100, func() { s.NoteStatus(st, time.Time{}) }); n != 0 {
					t.Errorf("a status costs %v allocations", n)
				}
			})
		})
	}
}
