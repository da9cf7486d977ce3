package main

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// stageLog is what tasks of a test did, in order.
type stageLog struct {
	mu  sync.Mutex
	did []string
}

func (l *stageLog) add(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.did = append(l.did, what)
}

// lasting is a task that takes a second to stop.
func (l *stageLog) lasting(name string) task {
	return taskFunc(func(ctx context.Context) error {
		l.add(name + " runs")
		<-ctx.Done()
		time.Sleep(time.Second)
		l.add(name + " stopped")
		return nil
	})
}

func (l *stageLog) failing(name string, after time.Duration, err error) task {
	return taskFunc(func(ctx context.Context) error {
		select {
		case <-time.After(after):
			l.add(name + " failed")
			return err
		case <-ctx.Done():
			return nil
		}
	})
}

// delayed begins later, so that the order of beginnings does not depend on chance.
func delayed(d time.Duration, t task) task {
	return taskFunc(func(ctx context.Context) error {
		time.Sleep(d)
		return t.Run(ctx)
	})
}

func TestStages(t *testing.T) {
	broken, alsoBroken := errors.New("broken"), errors.New("also broken")
	begun := []string{"broker runs", "client runs", "service runs"}
	reversed := []string{"service stopped", "client stopped", "broker stopped"}
	tests := []struct {
		name   string
		stages func(l *stageLog) [][]task
		stop   time.Duration // when the context ends; 0: never
		want   []string
		last   string // where the order before it is left to chance
		err    error
	}{
		{
			name: "stopped from outside, last stage first",
			stages: func(l *stageLog) [][]task {
				return [][]task{{l.lasting("broker")}, {delayed(1, l.lasting("client"))}, {delayed(2, l.lasting("service"))}}
			},
			stop: time.Minute,
			want: append(append([]string{}, begun...), reversed...),
		},
		{
			name: "a task of the last stage fails",
			stages: func(l *stageLog) [][]task {
				return [][]task{{l.lasting("broker")}, {delayed(1, l.lasting("client"))}, {delayed(2, l.lasting("service")), l.failing("http", time.Minute, broken)}}
			},
			want: append(append([]string{}, begun...), "http failed", "service stopped", "client stopped", "broker stopped"),
			err:  broken,
		},
		{
			name: "a task of the middle stage fails",
			stages: func(l *stageLog) [][]task {
				return [][]task{{l.lasting("broker")}, {delayed(1, l.lasting("client")), l.failing("other", time.Minute, broken)}, {delayed(2, l.lasting("service"))}}
			},
			// The rest of the failed stage is stopped at once, beside the later stage; the
			// earlier one after both.
			last: "broker stopped",
			err:  broken,
		},
		{
			name: "a task of the first stage fails",
			stages: func(l *stageLog) [][]task {
				return [][]task{{l.failing("broker", time.Minute, broken)}, {delayed(1, l.lasting("client"))}, {delayed(2, l.lasting("service"))}}
			},
			want: []string{"client runs", "service runs", "broker failed", "service stopped", "client stopped"},
			err:  broken,
		},
		{
			name: "the first error counts",
			stages: func(l *stageLog) [][]task {
				return [][]task{{l.lasting("broker")}, {l.failing("a", time.Second, broken), l.failing("b", time.Minute, alsoBroken)}}
			},
			want: []string{"broker runs", "a failed", "broker stopped"},
			err:  broken,
		},
		{
			name:   "nothing to run waits for the end",
			stages: func(*stageLog) [][]task { return nil },
			stop:   time.Minute,
		},
		{
			name:   "an empty stage is no end",
			stages: func(l *stageLog) [][]task { return [][]task{nil, {l.lasting("client")}} },
			stop:   time.Minute,
			want:   []string{"client runs", "client stopped"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.stop > 0 {
					time.AfterFunc(tt.stop, cancel)
				}
				var l stageLog
				began := time.Now()
				err := runStages(ctx, tt.stages(&l)...)
				if !errors.Is(err, tt.err) {
					t.Errorf("error %v, want %v", err, tt.err)
				}
				if tt.last != "" {
					if n := len(l.did); n != 7 || l.did[n-1] != tt.last {
						t.Errorf("%q, want three beginnings and ends and a failure, %q last", l.did, tt.last)
					}
				} else if diff := cmp.Diff(tt.want, l.did); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if took := time.Since(began); took < tt.stop {
					t.Errorf("ended after %v, before it was stopped", took)
				}
			})
		})
	}
}

// What a task of the last stage says when it stops, one of an earlier stage still carries.
func TestStagesCarryLastWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		words := make(chan string)
		var carried []string
		carrier := taskFunc(func(ctx context.Context) error {
			for {
				select {
				case w := <-words:
					carried = append(carried, w)
				case <-ctx.Done():
					return nil
				}
			}
		})
		speaker := taskFunc(func(ctx context.Context) error {
			<-ctx.Done()
			for _, w := range []string{"what I did", "good bye"} {
				words <- w // would hang for ever if nobody listened any more
			}
			return nil
		})
		if err := runStages(ctx, []task{carrier}, []task{speaker}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"what I did", "good bye"}, carried); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
