package main

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// task is a part of the program that lasts.
type task interface {
	// Run runs until its context is done and then returns nil. Where it returns an error before, that ends
	// all tasks.
	Run(ctx context.Context) error
}

// runStages runs tasks in stages and stops the stages in reverse order, because a stage that stops may
// still need the stages before it. All stop when ctx is done or one of them fails.
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
		<-own.Done() // a task of this stage has failed, or all stages end
		stopLater()
	}()
	err := runStages(later, stages[1:]...)
	stop()
	if own := group.Wait(); err == nil {
		err = own
	}
	return err
}
