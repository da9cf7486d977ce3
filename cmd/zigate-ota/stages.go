package main

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// task is something long-lived: it runs until its context is done and returns nil then, or an
// error that ends all.
type task interface {
	Run(ctx context.Context) error
}

// runStages runs tasks in stages that are stopped in reverse order: what a later stage still has to say when
// it stops, an earlier one has to carry. All stop when ctx is done or any of them fails.
func runStages(ctx context.Context, stages ...[]task) error {
	if len(stages) == 0 {
		<-ctx.Done()
		return nil
	}
	// This stage outlives ctx until the later stages have stopped.
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, own := errgroup.WithContext(own)
	for _, t := range stages[0] {
		group.Go(func() error { return t.Run(own) })
	}
	later, stopLater := context.WithCancel(ctx)
	defer stopLater()
	go func() {
		<-own.Done() // a task of this stage has failed, or all is over
		stopLater()
	}()
	err := runStages(later, stages[1:]...)
	stop()
	if own := group.Wait(); err == nil {
		err = own
	}
	return err
}
