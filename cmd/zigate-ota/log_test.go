package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/config"
)

// A fault that comes every five seconds for a day, and what is left of it in the log.
func TestRepeatedFaultIsToldRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(newLimiter(slog.NewTextHandler(&out, nil)))
		took := func() []string {
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			out.Reset()
			if lines[0] == "" {
				return nil
			}
			return lines
		}
		const day = 24 * time.Hour / (5 * time.Second)
		fault := func(n int) {
			// Another each time.
			log.Warn("a frame was not sent", "euid", "0x01", "err", fmt.Errorf("number %d", n))
			time.Sleep(5 * time.Second)
		}
		for n := range day {
			fault(int(n))
		}
		lines := took()
		if len(lines) < 24 || len(lines) > 40 {
			t.Errorf("%d lines in a day", len(lines))
		}
		for _, line := range lines[:faultBurst] {
			if strings.Contains(line, leftOut) {
				t.Errorf("the first are told as they are: %s", line)
			}
		}
		if last := lines[len(lines)-1]; !strings.Contains(last, "leftOut=719") { // an hour of them
			t.Errorf("the last: %s", last)
		}

		log.Warn("a frame was not sent", "euid", "0x02")
		log.With("euid", "0x03").Warn("a frame was not sent")
		log.Error("another fault")
		if lines := took(); len(lines) != 3 {
			t.Errorf("others are told at once: %q", lines)
		}
		time.Sleep(2 * time.Hour)
		fault(0)
		if lines := took(); len(lines) != 1 {
			t.Errorf("after some quiet it is told at once: %q", lines)
		}
		for range 100 {
			log.Info("download started", "euid", "0x01")
		}
		if lines := took(); len(lines) != 100 {
			t.Errorf("%d of 100 lines that are no fault", len(lines))
		}
	})
}

// Faults of ever new things do not fill the memory.
func TestRepeatedFaultsAreBounded(t *testing.T) {
	limiter := newLimiter(slog.DiscardHandler)
	log := slog.New(limiter)
	for n := range 3 * faultsKept {
		log.Error("fault", "euid", n, "err", errors.New("gone"))
	}
	if n := len(limiter.seen.faults); n > faultsKept {
		t.Errorf("%d faults are kept", n)
	}
}

// What changes the level says so at every level.
func TestLevelIsToggled(t *testing.T) {
	for _, configured := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		out := newLines()
		log := newLogger(out, config.LogConfig{Level: configured})
		enabled := func() bool { return log.Enabled(t.Context(), slog.LevelDebug) }
		log.toggle(t.Context())
		if !enabled() {
			t.Errorf("%v: no debug", configured)
		}
		log.toggle(t.Context())
		if enabled() != (configured == slog.LevelDebug) {
			t.Errorf("%v: not as it was configured", configured)
		}
		if told, _ := out.all(); len(told) != 2 {
			t.Errorf("%v: told %q", configured, told)
		}
	}
}
