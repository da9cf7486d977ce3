package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/config"
)

// logger is the service's logger, with a level that can be changed while it runs.
type logger struct {
	*slog.Logger
	level      slog.LevelVar // the least severe level that is written
	configured slog.Level
}

func newLogger(w io.Writer, cfg config.LogConfig) *logger {
	l := &logger{configured: cfg.Level}
	l.level.Set(cfg.Level)
	options := &slog.HandlerOptions{Level: &l.level}
	var handler slog.Handler = slog.NewTextHandler(w, options)
	if cfg.Format == config.LogJSON {
		handler = slog.NewJSONHandler(w, options)
	}
	l.Logger = slog.New(newLimiter(handler))
	return l
}

// Run lets SIGHUP switch between the configured level and debug, until ctx is done. SIGHUP cannot reload
// the configuration, because a process cannot read its environment again.
func (l *logger) Run(ctx context.Context) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	defer signal.Stop(signals)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-signals:
			l.toggle(ctx)
		}
	}
}

func (l *logger) toggle(ctx context.Context) {
	before := l.level.Level()
	now := slog.LevelDebug
	if before != l.configured {
		now = l.configured
	}
	l.level.Set(now)
	// The message is severe enough to be written at the new level.
	l.Log(ctx, max(slog.LevelInfo, now), "the log level was changed by SIGHUP", "from", before, "to", now)
}
